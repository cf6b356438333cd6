"""GenerationService: clips that are made here and then restored, as jobs like any other."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import grpc

from restore import errors
from restore.api import make_job
from restore.engine.settings import CancelToken
from restore.errors import InvalidInput, JobError, RestoreError, WorkerLost
from restore.generate.shot import Shot
from restore.generate.shotlist import shots_from
from restore.jobs.order import order_to_json
from restore.jobs.rows import JobRow
from restore.jobs.storage import Storage
from restore.service.asked import delivery_of, recipe_of
from restore.service.auth import principal_of
from restore.service.jobs import Jobs
from restore.service.names import parse_name, request_id
from restore.service.settings import ServiceSettings
from restore.service.status import translated
from restore.service.uploads import Uploads
from restore.service.v1 import common_pb2
from restore.service.v1 import generation_pb2 as pb
from restore.service.v1 import generation_pb2_grpc as rpc

__all__ = ["Generation", "prepare"]

_MOST_TEXT: Final = 1 << 20
_MOST_SHOTS: Final = 200
_FILES: Final = ("image", "depth", "video", "mask")
_LOOK_S: Final = 0.2
_SCALE: Final = 4  # of the usual preset, for the quota


class Generation(rpc.GenerationServiceServicer):
    """The servicer.

    Args:
        jobs: books them.
        uploads: pictures, clips and masks that shots are made from.
        storage: where clips are made.
        settings: of the server; names the pipelines.
    """

    def __init__(
        self, jobs: Jobs, uploads: Uploads, storage: Storage, settings: ServiceSettings
    ) -> None:
        self._jobs, self._uploads = jobs, uploads
        self._storage, self._settings = storage, settings

    def CreateClips(
        self, request: pb.CreateClipsRequest, context: grpc.ServicerContext
    ) -> pb.CreateClipsResponse:
        """Check every shot and book one job for each; all of them or none."""
        with translated(context):
            principal = principal_of(context, self._settings)
            if not 0 < len(request.request_id) <= 200:
                raise InvalidInput("a request id of no or over 200 characters", "1 to 200")
            shots = self._asked(request.shots)
            new = []
            for place, shot in enumerate(shots):
                name = request_id(principal, f"generate:{request.request_id}", place)
                local = self._on_this_machine(shot, principal)
                new.append((name, self._order(request, name, shot), _facts(shot, local)))
            rows = self._jobs.book(principal, new, validate_only=request.validate_only)
            return pb.CreateClipsResponse(jobs=[self._jobs.told(row) for row in rows])

    def ListPipelines(
        self, request: pb.ListPipelinesRequest, context: grpc.ServicerContext
    ) -> pb.ListPipelinesResponse:
        """What the server's settings name."""
        with translated(context):
            principal_of(context, self._settings)
            found = [
                pb.Pipeline(name=name, class_name=_class_name(ref))
                for name, ref in sorted(self._settings.pipelines.items())
            ]
            found += [pb.Pipeline(name=n, is_lora=True) for n in sorted(self._settings.loras)]
            return pb.ListPipelinesResponse(pipelines=found)

    def _asked(self, text: str) -> tuple[Shot, ...]:
        if not text or len(text) > _MOST_TEXT:
            raise InvalidInput(f"a list of {len(text)} characters", f"1 to {_MOST_TEXT}")
        shots = shots_from(text, "shots")
        if len(shots) > _MOST_SHOTS:
            raise InvalidInput(f"{len(shots)} shots", f"at most {_MOST_SHOTS} in a request")
        for shot in shots:
            if shot.kind == "text-to-image":
                raise InvalidInput(
                    f"shot {shot.name!r} of kind text-to-image", "a kind that makes a clip"
                )
            limits = self._settings
            if max(shot.width, shot.height) * _SCALE > max(
                limits.max_width_px, limits.max_height_px
            ):
                raise InvalidInput(
                    f"shot {shot.name!r} of {shot.width}x{shot.height}, enlarged by {_SCALE}",
                    f"at most {limits.max_width_px}x{limits.max_height_px}",
                )
            if shot.frames > limits.max_frames:
                raise InvalidInput(f"{shot.frames} frames", f"at most {limits.max_frames}")
        return shots

    def _on_this_machine(self, shot: Shot, principal: str) -> Shot:
        """The shot with paths of this machine: nothing that a client named is opened as a path."""
        changed: dict[str, Any] = {}
        for name in _FILES:
            named = getattr(shot, name)
            if named:
                upload = self._uploads.get(parse_name("uploads", named), principal)
                changed[name] = str(self._uploads.path(upload).absolute())
        changed |= self._pipeline(shot.model, shot.lora)
        if shot.picture is not None:
            step = self._pipeline(shot.picture.model or shot.model, shot.picture.lora)
            changed["picture"] = shot.picture.model_copy(update=step)
        return shot.model_copy(update=changed)

    def _pipeline(self, model: str, loras: tuple[Any, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if model:
            known = self._settings.pipelines
            if model not in known:
                names = ", ".join(sorted(known)) or "none: this server has no pipelines"
                raise InvalidInput(f"pipeline {model[:80]!r}", f"one of {names}")
            found["model"], _, found["revision"] = known[model].partition("@")
        uses = []
        for use in loras:
            if use.file not in self._settings.loras:
                names = ", ".join(sorted(self._settings.loras)) or "none: this server has no LoRAs"
                raise InvalidInput(f"LoRA {use.file[:80]!r}", f"one of {names}")
            path = Path(self._settings.loras[use.file]).absolute()
            uses.append(use.model_copy(update={"file": str(path)}))
        return found | {"lora": tuple(uses)}

    def _order(self, request: pb.CreateClipsRequest, name: str, shot: Shot) -> str:
        """What is done with the clip once it is made."""
        recipe = request.recipe
        if recipe.WhichOneof("source") is None:
            recipe = common_pb2.Recipe()
            recipe.CopyFrom(request.recipe)
            recipe.preset = "generated"
        chosen, options = recipe_of(recipe)
        wanted = request.delivery
        options |= delivery_of(wanted)
        if shot.invent is not None:
            options["invent"] = shot.invent
        place = self._jobs.deliverable(name, wanted.container or ".mp4")
        job = make_job(_clip(self._storage, name), place, chosen, options)
        return order_to_json(replace(job, overwrite=True))


def _class_name(ref: str) -> str:
    """Of a pipeline's folder; empty where it has none to read."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        index = json.loads((Path(ref.partition("@")[0]) / "model_index.json").read_text())
        return str(index.get("_class_name", ""))
    return ""


def _clip(storage: Storage, job: str) -> Path:
    return storage.job(job).absolute() / "generated" / "clips" / "clip.mkv"


def _facts(asked: Shot, local: Shot) -> dict[str, Any]:
    pixels = asked.frames * asked.width * asked.height * _SCALE**2
    return {
        "upload": "",
        "recipe": "generated",
        "frames": asked.frames,
        "pixels": pixels,
        "estimate": {"frames": asked.frames, "disk_bytes": pixels * 3},
        "notes": [f"shot {asked.name}: {asked.kind}, seed {asked.number}"],
        # The seed goes by the name that the client gave.
        "shot": json.loads(
            local.model_copy(update={"name": "clip", "seed": asked.number}).model_dump_json()
        ),
    }


def prepare(storage: Storage, device: str, row: JobRow, cancel: CancelToken) -> None:
    """Make a job's clip, where it is one of a shot and not there yet.

    A child process does it, so that a pipeline's crash takes nobody along; what it finished is
    known by its record, so that after a kill a whole clip is not made again.

    Args:
        storage: where clips are made.
        device: that pipelines compute on.
        row: the job.
        cancel: ends the child.

    Raises:
        Cancelled: it was cancelled; the clip is made anew next time.
        WorkerLost: the child was killed.
        RestoreError: as the child said.
    """
    shot = row.facts.get("shot")
    if shot is None:
        return
    folder = storage.job(row.id) / "generated"
    folder.mkdir(parents=True, exist_ok=True)
    listed = folder / "shots.json"
    listed.write_text(json.dumps({"shots": [shot]}))
    command = [sys.executable, "-m", "restore", "generate", str(listed), "-o", str(folder)]
    command += ["--preset", "none", "--device", device, "--json", "--tethered"]
    with (folder / "told").open("w+b") as told:
        # The child reads nothing: the pipe ends with this process, however that ends.
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=told, stderr=subprocess.DEVNULL
        )
        try:
            while child.poll() is None:
                cancel.check()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(_LOOK_S)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
            if child.stdin is not None:
                child.stdin.close()
        told.seek(0)
        _judge(child.returncode, told.read())


def _judge(code: int, told: bytes) -> None:
    if code < 0:
        raise WorkerLost(f"the process that made the clip was ended by signal {-code}")
    try:
        (row,) = json.loads(told)
    except ValueError:
        raise JobError(f"the process that made the clip ended with code {code}") from None
    if row["error"] is not None:
        kind: type[RestoreError] = getattr(errors, str(row.get("error_type")), JobError)
        raise kind(row["error"])
