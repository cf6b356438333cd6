"""Looks at what goes into a stage and what comes out, frame by frame, without touching either."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Protocol

from restore.frames import Frame

__all__ = ["Watched", "Watcher"]

Watcher = Callable[[Frame, Frame], None]
"""Told a frame as it came and the one of the same time as it left."""


class _Runner(Protocol):
    label: str

    def stream(self, frames: Iterable[Frame]) -> Iterator[Frame]: ...


class Watched:
    """A runner that lets somebody watch.

    Frames are matched by their time. What came in is remembered for as long as the stage has not
    given a frame of that time or a later one, which is no longer than the stage holds it back; a
    frame that the stage made up has no counterpart and is not shown to the watcher.

    Args:
        runner: the stage at work.
        watcher: called in the stage's thread; what it raises ends the run.
    """

    def __init__(self, runner: _Runner, watcher: Watcher) -> None:
        self.label = runner.label
        self._runner = runner
        self._watcher = watcher
        self._came: deque[Frame] = deque()

    def stream(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Give the stage's frames."""
        for frame in self._runner.stream(self._noted(frames)):
            now = _time(frame)
            while self._came and _time(self._came[0]) < now:
                self._came.popleft()
            if self._came and _time(self._came[0]) == now:
                self._watcher(self._came[0], frame)
            yield frame

    def _noted(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        for frame in frames:
            self._came.append(frame)
            yield frame


def _time(frame: Frame) -> Fraction:
    return frame.pts * frame.time_base
