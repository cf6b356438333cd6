"""Which worker takes which chunk: whoever is free asks, and slow ones leave the last to fast ones.

Chunks are as the plan has them, so who does which changes nothing in the result. A worker's speed
is what its own chunks took. Near the end a chunk in slow hands is what everybody waits for: a
worker leaves it where the others would be done with all that is left before it was.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Shares"]

_LOOK_S = 0.2


@dataclass
class _Hand:
    """What one worker did, and is doing."""

    frames: int = 0
    spent_s: float = 0.0
    chunk: int | None = None
    began_s: float = 0.0
    chunks: list[int] = field(default_factory=list)

    @property
    def fps(self) -> float:
        return self.frames / self.spent_s if self.spent_s > 0 else 0.0


class Shares:
    """Chunks that are left, handed out to workers; safe from several threads.

    Args:
        frames: of each chunk that is left, by its number, in the order to be done.
        workers: how many there are.
    """

    def __init__(self, frames: Mapping[int, int], workers: int) -> None:
        self._frames = dict(frames)
        self._left = list(frames)
        self._hands = [_Hand() for _ in range(workers)]
        self._changed = threading.Condition()

    def take(self, worker: int, stopped: Callable[[], bool]) -> int | None:
        """The next chunk for a worker; waits while others may still hand theirs on.

        Args:
            worker: its number.
            stopped: whether nobody shall go on.

        Returns:
            A chunk's number; None where all is done, or nobody shall go on.
        """
        hand = self._hands[worker]
        with self._changed:
            while not stopped():
                if not self._left and all(other.chunk is None for other in self._hands):
                    return None
                if self._left and not self._better_left(worker):
                    hand.chunk, hand.began_s = self._left.pop(0), time.monotonic()
                    return hand.chunk
                self._changed.wait(_LOOK_S)
        return None

    def done(self, worker: int, frames: int) -> None:
        """A worker's chunk is done, with so many frames."""
        hand = self._hands[worker]
        with self._changed:
            if hand.chunk is not None:
                hand.chunks.append(hand.chunk)
            hand.frames += frames
            hand.spent_s += time.monotonic() - hand.began_s
            hand.chunk = None
            self._changed.notify_all()

    def lost(self, worker: int) -> None:
        """A worker was lost over its chunk: whoever is free next takes it."""
        hand = self._hands[worker]
        with self._changed:
            if hand.chunk is not None:
                self._left.insert(0, hand.chunk)
            hand.chunk = None
            self._changed.notify_all()

    def told(self) -> Sequence[Mapping[str, object]]:
        """What each worker did: its chunks, frames, and frames a second."""
        with self._changed:
            return [
                {"chunks": hand.chunks, "frames": hand.frames, "fps": round(hand.fps, 4)}
                for hand in self._hands
            ]

    def _better_left(self, worker: int) -> bool:
        """Whether the others would be done with everything before this worker with one chunk."""
        if not self._hands[worker].fps:
            return False
        now_s = time.monotonic()
        free_s: dict[int, float] = {}
        for number, hand in enumerate(self._hands):
            if hand.fps:
                free_s[number] = self._rest_s(hand, now_s)
        for chunk in self._left:
            ends_s = {
                number: free + self._frames[chunk] / self._hands[number].fps
                for number, free in free_s.items()
            }
            first = min(ends_s, key=lambda number: (ends_s[number], number))
            if first == worker:
                return False
            free_s[first] = ends_s[first]
        return True

    def _rest_s(self, hand: _Hand, now_s: float) -> float:
        """How long a worker is busy yet; one that is overdue is taken for half done."""
        if hand.chunk is None:
            return 0.0
        spent_s = now_s - hand.began_s
        rest_s = self._frames[hand.chunk] / hand.fps - spent_s
        return rest_s if rest_s > 0 else spent_s
