"""The report of a job that was done in pieces, as if it had been done in one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from restore.engine.report import LadderStep, StageReport
from restore.engine.run import RunReport
from restore.jobs.rows import ChunkRow
from restore.media.master import CopiedStream, WriteReport
from restore.plan import JobPlan
from restore.restoration import MADE_UP, JobReport, both_pieces

__all__ = ["job_report"]


def job_report(
    planned: JobPlan, rows: Sequence[ChunkRow], result: Mapping[str, Any], elapsed_s: float
) -> JobReport:
    """Add up what the chunks reported.

    Args:
        planned: the job.
        rows: its chunks, all done.
        result: of the delivery.
        elapsed_s: wall time of this call; stages report their own times over all calls.
    """
    stages: dict[str, StageReport] = {}
    for row in rows:
        for told in row.report["stages"]:
            ladder = tuple(LadderStep(**step) for step in told["ladder"])
            one = StageReport(**{**told, "ladder": ladder})
            before = stages.get(one.stage)
            if before is not None:
                one = dataclasses.replace(
                    one,
                    facts=_facts(before.facts, one.facts),
                    frames=before.frames + one.frames,
                    elapsed_s=before.elapsed_s + one.elapsed_s,
                    ladder=before.ladder + one.ladder,
                    repeats=before.repeats + one.repeats,
                )
            stages[one.stage] = one
    written = WriteReport(
        path=result["path"],
        frames=result["frames"],
        bytes=result["bytes"],
        streams=tuple(CopiedStream(**stream) for stream in result["streams"]),
    )
    run = RunReport(
        frames_in=len({when.index for row in rows for when in row.times}),
        frames_out=result["frames"],
        elapsed_s=elapsed_s,
        device=planned.job.settings.device,
        stages=tuple(stages.values()),
    )
    return JobReport(planned, run, written, tuple(result["warnings"]))


def _facts(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """The later piece's words, but for what each piece says of its own shots."""
    facts = dict(after)
    for name, text in before.items():
        if MADE_UP.fullmatch(name):
            facts[name] = both_pieces(name, text, after[name]) if name in after else text
    return facts
