"""One restoration: a clip in, a recipe, a master out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Final

from restore import __version__
from restore.engine.run import RunReport, run
from restore.engine.settings import CancelToken, Progress
from restore.errors import InvalidInput
from restore.frames import PIXEL_FORMATS, PixelFormat
from restore.media.late_tags import ROOM_BYTES
from restore.media.master import ClipWriter, WriteReport
from restore.media.sidecar import save_beside
from restore.media.writer import open_writer
from restore.plan import Job, JobPlan, open_source, plan_job
from restore.sides import SideClips

__all__ = [
    "MADE_UP",
    "Job",
    "JobPlan",
    "JobReport",
    "both_pieces",
    "measured_of",
    "metadata_of",
    "open_master",
    "plan_job",
    "run_job",
]

_TAG: Final = "restore_invented"
MADE_UP: Final = re.compile(r"shot at (\d+)|invented")  # facts that say what stages made up


@dataclass(frozen=True)
class JobReport:
    """What a job did.

    Attributes:
        plan: what was planned.
        run: what the engine did.
        written: what the writer did.
        warnings: everything a person should know, in order.
        side_clips: paths of the side clips and tables that were asked for.
    """

    plan: JobPlan
    run: RunReport
    written: WriteReport
    warnings: tuple[str, ...]
    side_clips: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The report as plain data for JSON."""
        return {
            "source": self.plan.job.source,
            "output": self.written.path,
            "frames_in": self.run.frames_in,
            "frames_out": self.written.frames,
            "bytes": self.written.bytes,
            "elapsed_s": round(self.run.elapsed_s, 3),
            "device": self.run.device,
            "recipe": json.loads(self.plan.job.recipe.canonical()),
            "stages": [asdict(stage) for stage in self.run.stages],
            "streams": [asdict(stream) for stream in self.written.streams],
            "side_clips": list(self.side_clips),
            "warnings": list(self.warnings),
        }


def run_job(
    job: Job | JobPlan,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    cancel: CancelToken | None = None,
) -> JobReport:
    """Do a job. The result is visible under its final name only when it is complete.

    Raises:
        RestoreError: what went wrong; nothing is left under the final name.
    """
    plan = job if isinstance(job, JobPlan) else plan_job(job)
    job = plan.job
    reader = plan.reader or open_source(job)
    with (
        reader,
        open_master(plan) as writer,
        SideClips(plan, writer.pixel_format) as sides,
    ):
        if any("gate" in stage.facts for stage in plan.stages):
            writer.keep_room(_TAG)
        done = run(
            reader,
            writer,
            plan.pipeline,
            job.settings,
            rotation_deg=plan.source.rotation_deg,
            frames_total=plan.frames,
            on_progress=on_progress,
            cancel=cancel,
            watchers=sides.watchers,
        )
        sides.close()
        unsaid = _measured_into(writer, done)
        written = writer.close()
        narrowed = _narrowed(plan, writer.pixel_format)
    ladder = [
        f"memory ran out in {stage.stage} at frame {step.frame}: {step.before} became {step.after}"
        for stage in done.stages
        for step in stage.ladder
    ]
    texts = {k: v for s in plan.pipeline for k, v in getattr(s, "sidecars", dict)().items()}
    beside = save_beside(job.destination, texts, overwrite=job.overwrite)
    heard = (*plan.notes, *narrowed, *unsaid, *reader.warnings, *ladder, *written.warnings, *beside)
    warnings = tuple(dict.fromkeys((*heard, *sides.notes)))
    return JobReport(plan, done, written, warnings, sides.written)


def open_master(plan: JobPlan, *, overwrite: bool = False) -> ClipWriter:
    """The open output of a job, with the source's other streams on their way into it.

    Args:
        plan: of the job.
        overwrite: replace what has the name, whatever the job says.
    """
    job = plan.job
    return open_writer(
        job.destination,
        plan.delivery,
        plan.video,
        copy_from=None if job.source == "-" else job.source,
        source=plan.source,
        range=job.range,
        overwrite=overwrite or job.overwrite,
        metadata=metadata_of(plan),
    )


def measured_of(facts: Iterable[tuple[str, Mapping[str, str]]]) -> dict[str, str]:
    """What stages that may invent say they did, as a tag for the result; empty where none did.

    Args:
        facts: label and facts of stages after a run, piece by piece. Shots are named by their first
            frame, so that each is said once; what is said of no shot is listed for each piece.
    """
    told: dict[str, dict[str, str]] = {}
    for label, found in facts:
        for name, text in found.items():
            if not MADE_UP.fullmatch(name):
                continue
            known = told.setdefault(label, {}).get(name)
            told[label][name] = text if known is None else both_pieces(name, known, text)
    return {_TAG: _fitting(told)} if told else {}


def _fitting(told: Mapping[str, Mapping[str, str]]) -> str:
    """As JSON in the room of a tag: the shares alone where all words do not fit, and at last as
    many of them as do."""
    text = json.dumps(told, sort_keys=True)
    if len(text) <= ROOM_BYTES:
        return text
    shares = {
        label: {name: text[: text.find("%") + 1].split()[-1] for name, text in said.items()}
        for label, said in told.items()
    }
    text = json.dumps(shares, sort_keys=True)
    most = ROOM_BYTES // 40 // len(shares)
    if len(text) > ROOM_BYTES:
        cut = {label: dict(list(said.items())[:most]) for label, said in shares.items()}
        text = json.dumps({**cut, "more": "in the report"}, sort_keys=True)
    return text


def both_pieces(name: str, one: str, other: str) -> str:
    """What two pieces of a job say under one name that :data:`MADE_UP` matches."""
    return f"{one} | {other}" if name == "invented" else other


def _measured_into(writer: ClipWriter, done: RunReport) -> tuple[str, ...]:
    """Put what was invented into the result's tags; a note where those are written already."""
    measured = measured_of((stage.stage, stage.facts) for stage in done.stages)
    if not measured:
        return ()
    try:
        writer.set_metadata(measured)
    except InvalidInput:
        return (
            "what the stages made up is in this report, and not in the result, which holds no tags",
        )
    return ()


def _narrowed(plan: JobPlan, written: PixelFormat) -> tuple[str, ...]:
    """A note where the delivery holds fewer bits than the source."""
    held = PIXEL_FORMATS.get(plan.source.pixel_format.replace("yuvj", "yuv"))
    if held is None or held.depth_bits <= written.depth_bits:
        return ()
    return (f"the source's {held.depth_bits} bit became {written.depth_bits} bit in the delivery",)


def metadata_of(plan: JobPlan) -> dict[str, str]:
    """What was done, as tags for the result: version, recipe, models with hashes, tiles, seed."""
    stages = [
        {"stage": stage.label, "tiles": stage.grid, "layout": stage.layout, **stage.facts}
        for stage in plan.stages
    ]
    record = {
        "version": __version__,
        "recipe": json.loads(plan.job.recipe.canonical()),
        "precision": plan.job.settings.precision,
        "backend": plan.job.settings.backend,
        "job": plan.job.settings.job,
        "stages": stages,
    }
    return {"restore": json.dumps(record, sort_keys=True)}
