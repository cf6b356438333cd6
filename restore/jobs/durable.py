"""The immutable plan of a durable job. Its id is the hash of its canonical JSON."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from restore import __version__
from restore.backend import choose_backend
from restore.engine.device import choose_device, memory_budget_bytes
from restore.engine.pixels import to_frame
from restore.engine.run import process
from restore.engine.settings import CancelToken
from restore.engine.stage import Memory
from restore.engine.varied import base_of
from restore.errors import InvalidInput
from restore.frames import ClipInfo
from restore.interpolation.survey import Survey
from restore.jobs.partition import Chunk, memory_of, partition, reach_of
from restore.jobs.timings import Timings, find_timings, listed_pipeline
from restore.media.layout import choose_color, choose_format
from restore.media.probe import probe
from restore.media.profiles import AUTO_SPEED, is_printf_pattern
from restore.pace import speed_note
from restore.plan import Job, JobPlan, open_source, plan_job
from restore.time import FrameRange

__all__ = ["CHUNK_FRAMES", "DurablePlan", "facts_of", "make_durable", "source_sha256"]

CHUNK_FRAMES = 48
_FORMAT = 1
# Packages whose arithmetic or encoding is in the result.
_PACKAGES = ("av", "numpy", "opencv-python-headless", "scipy", "spandrel", "torch")


@dataclass(frozen=True)
class DurablePlan:
    """Everything that decides a job's bytes.

    Attributes:
        body: source hash, recipe, shots, chunks, tiles, batches, threads, number formats, kind of
            device, model hashes, seeds and versions, as plain data.
    """

    body: Mapping[str, Any]

    def canonical(self) -> str:
        """JSON with sorted keys and no spaces: equal plans give equal text."""
        return json.dumps(self.body, sort_keys=True, separators=(",", ":"))

    @property
    def id(self) -> str:
        """32 hexadecimal digits of the canonical text's sha256."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:32]

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """The pieces of the work."""
        return tuple(
            Chunk(number, FrameRange(*core), FrameRange(*needs))
            for number, (core, needs) in enumerate(self.body["chunks"])
        )

    @property
    def threads(self) -> int:
        """Threads that torch computes with; another number gives other float bits."""
        return int(self.body["threads"])

    @property
    def settings(self) -> Mapping[str, Any]:
        """Engine settings that are pinned, by name."""
        pinned: Mapping[str, Any] = self.body["settings"]
        return pinned

    @property
    def timings(self) -> dict[str, Timings | Survey]:
        """Lists that stand for stages, and surveys that they go by, by the stages' labels."""
        found: dict[str, Mapping[str, Any]] = self.body.get("timings", {})
        return {
            label: Survey.unpacked(data) if "survey" in data else Timings.unpacked(data)
            for label, data in found.items()
        }

    def is_as_begun(self, begun: DurablePlan) -> bool:
        """Whether an earlier plan is of the same job, but for the speed that was settled then."""
        bodies = (self.body, begun.body)
        return all(body.get("speed") == AUTO_SPEED for body in bodies) and (
            _but_for_speed(self.body) == _but_for_speed(begun.body)
        )

    @staticmethod
    def from_json(text: str) -> DurablePlan:
        """The plan that was written by :meth:`canonical`.

        Raises:
            InvalidInput: another format's, or no plan.
        """
        try:
            body = json.loads(text)
        except ValueError as error:
            raise InvalidInput("a job's plan that is no JSON") from error
        if not isinstance(body, dict) or body.get("format") != _FORMAT:
            raise InvalidInput(
                f"a job's plan of format {body.get('format') if isinstance(body, dict) else None}",
                f"format {_FORMAT}",
                "Finish the job with the version that began it, or start it anew.",
            )
        return DurablePlan(body)


def _but_for_speed(body: Mapping[str, Any]) -> dict[str, Any]:
    recipe = body["recipe"]
    return {
        **body,
        "recipe": {**recipe, "delivery": {**recipe["delivery"], "speed": None}},
        "delivery": {**body["delivery"], "speed": None},
        "notes": None,
    }


def source_sha256(source: str) -> str:
    """Hash of a source's content: of the file, or of all files of a sequence with their names.

    Raises:
        InvalidInput: nothing is there, or it is a pipe, which cannot be read twice.
    """
    if source == "-":
        raise InvalidInput("a durable job from a pipe", "a file or folder, which can be read again")
    path = Path(source)
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    folder = path.parent if is_printf_pattern(source) else path
    if not folder.is_dir():
        raise InvalidInput(f"source {source!r}, which is not there")
    whole = hashlib.sha256()
    for entry in sorted(entry for entry in folder.iterdir() if entry.is_file()):
        with entry.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{entry.name}\0{digest}\n".encode())
    return whole.hexdigest()


def make_durable(
    job: Job,
    *,
    chunk_frames: int = CHUNK_FRAMES,
    threads: int | None = None,
    cancel: CancelToken | None = None,
) -> tuple[DurablePlan, Job, JobPlan]:
    """Plan a job so that any process can do any part of it, any number of times.

    Where the recipe looks for shots, or for which frames are the film's, they are looked for now,
    so that chunks can be cut.

    Args:
        job: what is asked for.
        chunk_frames: frames of a chunk, see :func:`restore.jobs.partition.partition`.
        threads: torch threads of a worker; this machine's cores where None.
        cancel: stops the planning.

    Returns:
        The plan, the job with everything pinned, and the job planned.

    Raises:
        InvalidInput, MediaError, ModelError: the job cannot be done, or not in pieces, and why.
        Cancelled: ``cancel`` was used.
    """
    digest = source_sha256(job.source)
    if job.destination == "-":
        raise InvalidInput("a durable job into a pipe", "a file or folder")
    if job.side_clips is not None:
        raise InvalidInput(
            "side clips of a job that is kept chunk by chunk",
            "one of the two, since chunks that were done before left none",
            "Leave out --resume, or --side-clips and side_clips in the recipe.",
        )
    device = choose_device(job.settings.device)
    budget = job.settings.memory_bytes or memory_budget_bytes(device)
    backend = choose_backend(job.settings.backend, device.type)
    settings = replace(job.settings, memory_bytes=budget, device=str(device), backend=backend)
    job = replace(job, settings=settings)
    planned = plan_job(job)
    # What was found in the pictures is pinned with the rest, and so is what was timed.
    is_paced = job.recipe.delivery.get("speed") == AUTO_SPEED
    found = planned.job.recipe
    job = replace(job, recipe=replace(job.recipe, crop=found.crop, delivery=found.delivery))
    said = [speed_note(planned.delivery)] if is_paced and planned.delivery.speed else []
    timings, why = find_timings(planned, cancel)
    planned = _listed(job, timings) if timings or why else planned
    asked = job
    job, cuts, beside, total = _with_shots(job, planned, cancel)
    planned = planned if job is asked else _listed(job, timings)
    stages = base_of(planned.pipeline)
    chunks = partition(
        job.range,
        total,
        memory_of(stages),
        cuts=cuts,
        reach=reach_of(stages),
        chunk_frames=chunk_frames,
    )
    body = _body(job, planned, chunks, device)
    for one in timings.values():
        beside = {**beside, **one.sidecars}
    body |= {"source_sha256": digest, "sidecars": beside, "undivided": why}
    body["timings"] = {label: one.packed() for label, one in timings.items()}
    body["threads"] = threads or os.cpu_count() or 1
    if is_paced:
        body["speed"] = AUTO_SPEED
    pinned, missing = _pinned(job, planned)
    if said or missing:
        body["notes"] = [*said, *filter(None, [missing])]
    return DurablePlan(body), pinned, planned


def _pinned(job: Job, planned: JobPlan) -> tuple[Job, str]:
    """The job with the encoder that was found, so that all who work on it write by the same one.

    Returns:
        The job, and what those who see the encoder named cannot say any more.
    """
    asked, found = job.recipe.delivery, planned.delivery
    if asked.get("encoder") != "hardware" or found.encoder == "hardware":
        return job, ""
    # Without the driver's words, which may differ next time: they would make it another job.
    said = f"no hardware encoder when the job was planned: {found.facts.encoder} encodes"
    delivery = {name: value for name, value in asdict(found).items() if value is not None}
    return replace(job, recipe=replace(job.recipe, delivery=delivery)), said


def _listed(job: Job, timings: Mapping[str, Timings | Survey]) -> JobPlan:
    """The job planned with stages that have seen no frame."""
    planned = plan_job(job)
    return replace(planned, pipeline=listed_pipeline(planned.pipeline, timings))


def _with_shots(
    job: Job, planned: JobPlan, cancel: CancelToken | None
) -> tuple[Job, frozenset[int], Mapping[str, str], int | None]:
    """Look for the shots now where the recipe looks for them and chunks can be cut by them.

    Returns:
        The job with its list of shots, the list, the texts that belong beside the result, and the
        number of frames in the source.
    """
    total = _frames(planned.source)
    stages = base_of(planned.pipeline)
    others = [stage for stage in stages if stage.spec.name != "shots"]
    at = next((n for n, stage in enumerate(stages) if stage.spec.name == "shots"), None)
    if at is None or memory_of(others) is Memory.CLIP:
        return job, job.settings.cuts, {}, total
    device = choose_device(job.settings.device)
    found, last = set(job.settings.cuts), None
    with open_source(job) as reader, torch.inference_mode():
        frames = (to_frame(raw, device, planned.source.rotation_deg) for raw in reader)
        for frame in process(frames, planned.pipeline[: at + 1], job.settings, cancel):
            if last is not None and frame.shot != last:
                found.add(frame.index)
            last = frame.shot
        total = job.range.start + reader.frames_read
    cuts = tuple(sorted(found))
    recipe = job.recipe.with_settings("shots", cuts=cuts)
    texts: Mapping[str, str] = getattr(stages[at], "sidecars", dict)()
    return replace(job, recipe=recipe), frozenset(cuts), dict(texts), total


def _frames(source: ClipInfo) -> int | None:
    """Frames of a source, as near as can be told; the last chunk takes what is left over.

    What says neither its frames nor its length is read through once.
    """
    counted = source.decoded_frames or source.declared_frames
    if counted is None and source.duration and source.frame_rate:
        return max(1, round(source.duration * source.frame_rate))
    return counted or probe(source.source, count_frames=True).decoded_frames


def _body(
    job: Job, planned: JobPlan, chunks: tuple[Chunk, ...], device: torch.device
) -> dict[str, Any]:
    layout, _ = choose_format(planned.delivery, planned.video)
    color = choose_color(planned.delivery, layout, planned.video)
    settings = job.settings
    return {
        "format": _FORMAT,
        "recipe": json.loads(job.recipe.canonical()),
        "range": [job.range.start, job.range.stop],
        "rate": None if job.rate is None else str(job.rate),
        "strict": job.strict,
        "cuts": sorted(settings.cuts),
        "chunks": [[_pair(chunk.core), _pair(chunk.needs)] for chunk in chunks],
        "stages": facts_of(planned, str(device)),
        "settings": {
            "device": device.type,
            "precision": settings.precision,
            "tile_px": settings.tile_px,
            "batch": settings.batch,
            "memory_bytes": settings.memory_bytes,
            "job": settings.job,
            "backend": settings.backend,
        },
        "delivery": {
            name: getattr(planned.delivery, name)
            for name in ("profile", "crf", "speed", "bit_depth", "threads", "pixel_format")
        }
        # Plans from before there was a choice keep their names.
        | ({"encoder": "hardware"} if planned.delivery.encoder == "hardware" else {}),
        "deliverable": Path(job.destination).suffix.lower(),
        "pixel_format": layout.name,
        "color": [
            part.name for part in (color.matrix, color.primaries, color.transfer, color.range)
        ],
        "versions": {"restore": __version__} | {n: metadata.version(n) for n in _PACKAGES},
    }


def facts_of(planned: JobPlan, device: str) -> list[dict[str, Any]]:
    """What of the stages decides the bytes: tiles, batches, number formats, models with hashes.

    Args:
        planned: the job.
        device: where it was laid out; only the kind of device counts, not which one of a kind.
    """
    return [
        {
            "stage": stage.label,
            "layout": stage.layout.replace(device, torch.device(device).type, 1),
            "grid": stage.grid,
            "output_px": list(stage.output_px),
            "facts": dict(stage.facts),
        }
        for stage in planned.stages
    ]


def _pair(frames: FrameRange) -> list[int | None]:
    return [frames.start, frames.stop]
