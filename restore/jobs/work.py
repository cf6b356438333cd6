"""The work itself: one chunk from source to disk, and the deliverable from all chunks."""

from __future__ import annotations

import contextlib
import hashlib
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from restore.color import ColorSpec
from restore.engine.run import run
from restore.engine.settings import CancelToken, Progress
from restore.engine.stage import StreamStage
from restore.engine.varied import base_of
from restore.errors import DamagedMedia, InvalidInput, JobError
from restore.frames import PixelFormat
from restore.jobs.durable import DurablePlan, facts_of
from restore.jobs.lossless import LosslessChunk, check_chunk, read_chunk
from restore.jobs.partition import Chunk
from restore.jobs.rows import ChunkRow, FrameTime
from restore.jobs.storage import Storage
from restore.jobs.timings import listed_pipeline
from restore.media.layout import choose_color, choose_format
from restore.media.reader import ClipReader
from restore.media.sidecar import save_beside
from restore.plan import Job, JobPlan, open_source, plan_job
from restore.restoration import MADE_UP, measured_of, open_master

__all__ = ["ChunkDone", "Work", "clip_end"]


@dataclass(frozen=True)
class ChunkDone:
    """A chunk whose file is whole.

    Attributes:
        number: of the chunk.
        sha256: of its file; empty where it holds no frame.
        size_bytes: of its file.
        times: of its frames.
        report: what the stages said, where the clip ended, warnings; plain data.
    """

    number: int
    sha256: str
    size_bytes: int
    times: tuple[FrameTime, ...]
    report: dict[str, Any]


class Work:
    """A job opened for working on it. One object serves one process.

    Args:
        plan: what decides the bytes.
        job: what is asked for.
        device: ``cpu``, ``cuda:N``: of the kind that the plan has.
        storage: where chunks go.
        name: the job's id.

    Raises:
        JobError: this machine has other models, tiles or a device of another kind than the plan.
    """

    def __init__(
        self, plan: DurablePlan, job: Job, device: str, storage: Storage, name: str
    ) -> None:
        self._plan, self._storage, self._name = plan, storage, name
        torch.set_num_threads(plan.threads)
        context = replace(job.context, kept={})
        self._job = replace(job, settings=replace(job.settings, device=device), context=context)
        self._timings = plan.timings
        self._cuts = sorted(_cuts_of(self._job))
        self._planned = self._anew()
        if facts_of(self._planned, device) != plan.body["stages"]:
            raise JobError(
                f"job {name} was planned with other models or tiles than are here now",
                "the models, settings and kind of device of its plan",
                "Bring them back, or start the job anew.",
            )

    def chunk(
        self,
        number: int,
        on_progress: Callable[[Progress], None] | None = None,
        cancel: CancelToken | None = None,
    ) -> ChunkDone:
        """Compute a chunk and bring it to the disk.

        Raises:
            RestoreError: what went wrong; no file of this chunk is there then.
        """
        chunk = self._plan.chunks[number]
        planned = self._fresh()
        layout, color = self._samples(planned)
        path = self._storage.chunk(self._name, number)
        sink = LosslessChunk(path, layout, color, chunk.core.start, chunk.core.stop)
        reader = open_source(planned.job, chunk.needs)
        try:
            with reader:
                report = self._run(reader, sink, planned, chunk, on_progress, cancel)
            sha256, size_bytes = sink.close()
        except BaseException:
            sink.abort()
            raise
        report["warnings"] = list(reader.warnings)
        report["shot"] = bisect_right(self._cuts, sink.times[-1].index) if sink.times else None
        return ChunkDone(number, sha256, size_bytes, tuple(sink.times), report)

    def _run(
        self,
        reader: ClipReader,
        sink: LosslessChunk,
        planned: JobPlan,
        chunk: Chunk,
        on_progress: Callable[[Progress], None] | None,
        cancel: CancelToken | None,
    ) -> dict[str, Any]:
        stages: list[dict[str, Any]] = []
        try:
            done = run(
                reader,
                sink,
                planned.pipeline,
                self._job.settings,
                rotation_deg=planned.source.rotation_deg,
                on_progress=on_progress,
                cancel=cancel,
            )
            stages = [asdict(stage) for stage in done.stages]
            for stage in stages:
                stage["facts"] = _own_facts(stage["facts"], chunk)
        except (InvalidInput, DamagedMedia):
            # The clip ends before it says it does: a later chunk may find no frame at all.
            if reader.frames_read or not chunk.number or self._job.strict:
                raise
        read = chunk.needs.start + reader.frames_read
        short = chunk.needs.stop is None or read < chunk.needs.stop
        return {"stages": stages, "clip_end": read if short else None}

    def _fresh(self) -> JobPlan:
        """The plan with stages that have seen no frame yet."""
        stages = base_of(self._planned.pipeline)
        if any(isinstance(stage, StreamStage) for stage in stages):
            return self._anew()
        return self._planned

    def _anew(self) -> JobPlan:
        planned = plan_job(self._job)
        return replace(planned, pipeline=listed_pipeline(planned.pipeline, self._timings))

    @staticmethod
    def _samples(planned: JobPlan) -> tuple[PixelFormat, ColorSpec]:
        layout, _ = choose_format(planned.delivery, planned.video)
        return layout, choose_color(planned.delivery, layout, planned.video)

    def assemble(
        self, rows: Sequence[ChunkRow], on_progress: Callable[[int], None], *, overwrite: bool
    ) -> dict[str, Any]:
        """Encode the deliverable from the chunks. Its bytes follow from theirs alone.

        Args:
            rows: all chunks, done, in order.
            on_progress: is told the number of frames after each chunk.
            overwrite: replace what has the deliverable's name: an earlier try of the same job.

        Returns:
            What was delivered: path, sha256 (of a single file), bytes, frames, warnings.

        Raises:
            ChunkDamaged: a chunk's file is not what was written; nothing is delivered.
            RestoreError: what else went wrong.
        """
        planned, job = self._planned, self._job
        layout, color = self._samples(planned)
        end = clip_end(rows)
        kept = [row for row in rows if self._plan.chunks[row.number].core.start < end]
        for row in kept:
            check_chunk(self._storage.chunk(self._name, row.number), row.sha256)
        said = (stage for row in kept for stage in row.report["stages"])
        measured = measured_of((stage["stage"], stage["facts"]) for stage in said)
        with open_master(planned, overwrite=overwrite) as writer:
            if measured:
                with contextlib.suppress(InvalidInput):  # pictures and pipes hold no tags
                    writer.set_metadata(measured)
            frames = 0
            for row in kept:
                path = self._storage.chunk(self._name, row.number)
                for frame in read_chunk(path, layout, color, row.times):
                    writer.write(frame)
                frames += len(row.times)
                on_progress(frames)
            written = writer.close()
        texts = self._plan.body["sidecars"]
        beside = save_beside(job.destination, texts, overwrite=overwrite or job.overwrite)
        heard = [*planned.notes, *self._plan.body.get("notes", [])]
        for row in kept:
            heard += row.report.get("warnings", [])
        return {
            "path": written.path,
            "sha256": _file_sha256(written.path),
            "bytes": written.bytes,
            "frames": written.frames,
            "streams": [asdict(stream) for stream in written.streams],
            "warnings": list(dict.fromkeys([*heard, *written.warnings, *beside])),
        }


def _cuts_of(job: Job) -> set[int]:
    """Source frames that begin a shot, the clip's first one apart."""
    cuts = set(job.settings.cuts)
    for step in job.recipe.steps:
        given = step.settings.get("cuts")
        if step.stage == "shots" and isinstance(given, list | tuple):
            cuts.update(int(cut) for cut in given)
    return cuts - {0}


def _own_facts(facts: dict[str, str], chunk: Chunk) -> dict[str, str]:
    """Without what is said of shots that are in the chunk's halo only, and there in part."""
    shots = {name: match[1] for name in facts if (match := MADE_UP.fullmatch(name))}
    other = {name for name, first in shots.items() if first and int(first) not in chunk.core}
    return {name: text for name, text in facts.items() if name not in other}


def clip_end(rows: Sequence[ChunkRow]) -> float:
    """Source frame at which the first reader found the clip's end; infinite where none did."""
    ends = [row.report.get("clip_end") for row in rows]
    return min((float(end) for end in ends if end is not None), default=float("inf"))


def _file_sha256(path: str) -> str:
    file = Path(path)
    if not file.is_file():
        return ""  # a sequence of pictures, or its pattern
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
