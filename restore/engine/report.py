"""What stages did in a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["LadderStep", "StageReport"]


@dataclass(frozen=True)
class LadderStep:
    """One step down after memory ran out.

    Attributes:
        frame: source index of the first frame it holds for.
        before: layout that ran out.
        after: layout used from there on.
        cause: the allocator's words.
    """

    frame: int
    before: str
    after: str
    cause: str


@dataclass(frozen=True)
class StageReport:
    """What a stage did in a run.

    Attributes:
        stage: label in the pipeline.
        facts: the stage's own words: models, hashes, settings.
        layout: device, number format, tiles and batch at the end.
        grid: the tile grid at the end.
        tiling: how tiles relate to the whole frame.
        frames: frames given out.
        elapsed_s: time spent in the stage's code.
        ladder: steps taken for lack of memory.
        repeats: frames that were not computed, being equal to the one before with all that the
            stage looks at.
    """

    stage: str
    facts: Mapping[str, str]
    layout: str
    grid: str
    tiling: str
    frames: int
    elapsed_s: float
    ladder: tuple[LadderStep, ...]
    repeats: int = 0
