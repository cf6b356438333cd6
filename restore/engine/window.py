"""Temporal windows over a stream of frames; none reaches across a cut."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator

from restore.frames import Frame

__all__ = ["windows"]


def windows(
    frames: Iterable[Frame], past: int, future: int, cuts: Collection[int] = ()
) -> Iterator[tuple[Frame, ...]]:
    """Give each frame with its neighbours, in order, holding ``past + 1 + future`` frames at most.

    At the ends of a shot the nearest frame of the same shot stands in for the missing neighbours.

    Args:
        frames: in presentation order.
        past: frames before the centre.
        future: frames after the centre.
        cuts: source indices of frames that begin a shot.

    Yields:
        ``past + 1 + future`` frames, the centre at position ``past``.
    """
    for shot in _shots(frames, cuts):
        yield from _within(shot, past, future)


def _shots(frames: Iterable[Frame], cuts: Collection[int]) -> Iterator[Iterator[Frame]]:
    source = iter(frames)
    pending = next(source, None)
    while pending is not None:
        first: Frame = pending
        pending = None

        def shot(first: Frame = first) -> Iterator[Frame]:
            nonlocal pending
            yield first
            previous = first.index
            for frame in source:
                # Stages that change the rate give several frames of one source index.
                if frame.index in cuts and frame.index != previous:
                    pending = frame
                    return
                previous = frame.index
                yield frame

        yield shot()


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
