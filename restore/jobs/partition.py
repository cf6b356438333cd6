"""Cuts a clip into chunks that give the same frames alone as the whole clip gives."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from restore.engine.stage import AnyStage, Memory, Stage
from restore.errors import InvalidInput
from restore.time import FrameRange

__all__ = ["Chunk", "halo_frames", "memory_of", "partition"]


@dataclass(frozen=True)
class Chunk:
    """A piece of the work that is done, kept and redone as one.

    Attributes:
        number: place in the plan, from 0.
        core: source frames whose results it gives; the last chunk of a clip is open at its end.
        needs: source frames that it has to see: the core and its halo.
    """

    number: int
    core: FrameRange
    needs: FrameRange


def memory_of(pipeline: Sequence[AnyStage]) -> Memory:
    """The longest memory among the stages."""
    order = list(Memory)
    held = [Memory.FRAMES if isinstance(s, Stage) else s.spec.memory for s in pipeline]
    return max(held, key=order.index, default=Memory.FRAMES)


def halo_frames(pipeline: Sequence[AnyStage]) -> int:
    """Source frames that a chunk needs on each side of its core: the radii, one after the other.

    Stages that remember their shot add nothing: chunks are whole shots then.
    """
    halo = 0
    for stage in pipeline:
        if isinstance(stage, Stage):
            halo += max(stage.spec.radius_past, stage.spec.radius_future)
        elif stage.spec.memory is Memory.FRAMES:
            halo += stage.spec.delay
    return halo


def partition(
    wanted: FrameRange,
    total: int | None,
    memory: Memory,
    *,
    cuts: Collection[int],
    halo: int,
    chunk_frames: int,
) -> tuple[Chunk, ...]:
    """Cut the frames of a job into chunks.

    Where every frame depends on its neighbours alone, chunks have ``chunk_frames`` each, counted
    from the beginning. Where a stage remembers its shot, chunks are whole shots, at least
    ``chunk_frames`` together. Where one remembers the clip, there is one chunk.

    Args:
        wanted: source frames of the job.
        total: frames in the source; None where unknown.
        memory: of the pipeline.
        cuts: source frames that begin a shot.
        halo: see :func:`halo_frames`.
        chunk_frames: size aimed at.

    Returns:
        Chunks whose cores are the job's frames, each once, in order.

    Raises:
        InvalidInput: nothing to cut, or a chunk of no frames.
    """
    if chunk_frames < 1 or halo < 0:
        raise InvalidInput(
            f"chunks of {chunk_frames} frames with a halo of {halo}", ">= 1 and >= 0"
        )
    stop = wanted.stop if total is None else min(total, wanted.stop or total)
    if stop is not None and stop <= wanted.start:
        raise InvalidInput(f"no frame in [{wanted.start}, {stop})")
    starts = [wanted.start]
    if stop is not None and memory is not Memory.CLIP:
        starts = _starts(wanted.start, stop, cuts if memory is Memory.SHOT else None, chunk_frames)
    ends: list[int | None] = [*starts[1:], wanted.stop]
    return tuple(
        Chunk(
            number,
            FrameRange(start, end),
            FrameRange(
                max(wanted.start, start - halo),
                wanted.stop if end is None else min(end + halo, wanted.stop or end + halo),
            ),
        )
        for number, (start, end) in enumerate(zip(starts, ends, strict=True))
    )


def _starts(start: int, stop: int, cuts: Collection[int] | None, chunk_frames: int) -> list[int]:
    if cuts is None:
        return list(range(start, stop, chunk_frames))
    bounds = sorted({cut for cut in cuts if start < cut < stop})
    starts = [start]
    while (place := bisect_left(bounds, starts[-1] + chunk_frames)) < len(bounds):
        starts.append(bounds[place])
    return starts
