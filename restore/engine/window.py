"""Temporal windows over a stream of frames; none reaches across a cut."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from itertools import groupby

from restore.frames import Frame

__all__ = ["marked_shots", "windows"]


def marked_shots(frames: Iterable[Frame], cuts: Collection[int]) -> Iterator[Frame]:
    """Number the shots of frames as they come from a source.

    Args:
        frames: with rising source indices.
        cuts: source indices of frames that begin a shot; 0 need not be among them.
    """
    starts = sorted(set(cuts) - {0})
    for frame in frames:
        yield replace(frame, shot=bisect_right(starts, frame.index))


def windows(frames: Iterable[Frame], past: int, future: int) -> Iterator[tuple[Frame, ...]]:
    """Give each frame with its neighbours, in order, holding ``past + 1 + future`` frames at most.

    At the ends of a shot the nearest frame of the same shot stands in for the missing neighbours.

    Args:
        frames: in presentation order.
        past: frames before the centre.
        future: frames after the centre.

    Yields:
        ``past + 1 + future`` frames, the centre at position ``past``.
    """
    for _, shot in groupby(frames, key=lambda frame: frame.shot):
        yield from _within(shot, past, future)


def _within(shot: Iterator[Frame], past: int, future: int) -> Iterator[tuple[Frame, ...]]:
    held: deque[Frame] = deque(maxlen=past + 1 + future)
    arrived = 0
    for frame in shot:
        if not arrived:
            held.extend([frame] * past)
        held.append(frame)
        arrived += 1
        if arrived > future:
            yield tuple(held)
    for _ in range(future if arrived else 0):
        held.append(held[-1])
        arrived += 1
        if arrived > future:
            yield tuple(held)
