"""Cuts a clip into chunks that give the same frames alone as the whole clip gives."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from restore.engine.stage import AnyStage, Memory, Stage
from restore.errors import InvalidInput
from restore.interpolation.knots import AHEAD
from restore.interpolation.survey import Survey
from restore.jobs.timings import Listed
from restore.time import FrameRange

__all__ = ["Chunk", "Reach", "memory_of", "partition", "reach_of"]


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


@dataclass(frozen=True)
class Reach:
    """How far around a chunk's core its frames have to be seen.

    Attributes:
        steps: from the last stage to the first: a number of frames on each side, or, where frames
            are left out or shown again, the source frame of each that goes on, in order.
    """

    steps: tuple[int | tuple[int, ...], ...] = ()

    def before(self, start: int) -> int:
        """First source frame that a core from ``start`` on needs; may be below 0."""
        halo = 0
        for step in self.steps:
            if isinstance(step, int):
                halo += step
            elif halo:
                place = bisect_left(step, start) - halo
                start, halo = (step[place], 0) if place >= 0 else (min(start, 0), halo)
        return start - halo

    def after(self, stop: int) -> int:
        """Source frame behind the last one that a core up to ``stop`` needs."""
        halo = 0
        for step in self.steps:
            if isinstance(step, int):
                halo += step
            elif halo:
                place = bisect_left(step, stop) + halo - 1
                if place < len(step):
                    stop, halo = step[place] + 1, 0
                elif step:
                    stop = max(stop, step[-1] + 1)
        return stop + halo


def reach_of(pipeline: Sequence[AnyStage]) -> Reach:
    """What a chunk needs on each side of its core: the radii, one after the other.

    Stages that remember their shot add nothing: chunks are whole shots then.
    """
    steps: list[int | tuple[int, ...]] = []
    for stage in reversed(pipeline):
        if isinstance(stage, Listed):
            shown = stage.timings.shown.items()
            steps.append(tuple(index for index, times in shown for _ in times))
        elif isinstance(survey := getattr(stage, "survey", None), Survey):
            # So many frames of the result, and for them so many that count on each side.
            steps += [tuple(survey.shown), AHEAD, survey.kept]
        elif isinstance(stage, Stage):
            steps.append(max(stage.spec.radius_past, stage.spec.radius_future))
        elif stage.spec.memory is Memory.FRAMES:
            steps.append(stage.spec.delay)
    return Reach(tuple(steps))


def partition(
    wanted: FrameRange,
    total: int | None,
    memory: Memory,
    *,
    cuts: Collection[int],
    reach: Reach,
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
        reach: see :func:`reach_of`.
        chunk_frames: size aimed at.

    Returns:
        Chunks whose cores are the job's frames, each once, in order.

    Raises:
        InvalidInput: nothing to cut, or a chunk of no frames.
    """
    if chunk_frames < 1:
        raise InvalidInput(f"chunks of {chunk_frames} frames", ">= 1")
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
                max(wanted.start, reach.before(start)),
                wanted.stop if end is None else _least(reach.after(end), wanted.stop),
            ),
        )
        for number, (start, end) in enumerate(zip(starts, ends, strict=True))
    )


def _least(stop: int, end: int | None) -> int:
    return stop if end is None else min(stop, end)


def _starts(start: int, stop: int, cuts: Collection[int] | None, chunk_frames: int) -> list[int]:
    if cuts is None:
        return list(range(start, stop, chunk_frames))
    bounds = sorted({cut for cut in cuts if start < cut < stop})
    starts = [start]
    while (place := bisect_left(bounds, starts[-1] + chunk_frames)) < len(bounds):
        starts.append(bounds[place])
    return starts
