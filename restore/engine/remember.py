"""What was worked out of a frame, kept for as long as windows come back to the frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from torch import Tensor

__all__ = ["Remembered"]

T = TypeVar("T")


class Remembered(Generic[T]):
    """Works something out of each frame once, though several windows hold it.

    A frame is known again as the same object, never by its content, so that it must not be written
    to. One object serves one thread.

    Args:
        work: what is to be known of a frame.
        most: frames that are remembered, the last ones; the length of a window.
    """

    def __init__(self, work: Callable[[Tensor], T], most: int) -> None:
        self._work = work
        self._known: deque[tuple[Tensor, T]] = deque(maxlen=most)

    def of(self, frame: Tensor) -> T:
        """What is known of a frame, worked out now where it is new."""
        for known, result in self._known:
            if known is frame:
                return result
        result = self._work(frame)
        self._known.append((frame, result))
        return result
