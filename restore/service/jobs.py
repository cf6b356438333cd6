"""JobService: durable jobs made of uploads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import grpc

from restore import errors
from restore.api import make_job
from restore.errors import InvalidInput, JobNotFound, RestoreError
from restore.jobs.estimate import estimate
from restore.jobs.journal import Journal
from restore.jobs.order import order_to_json
from restore.jobs.rows import JobRow, JobState
from restore.plan import JobPlan, plan_job
from restore.service.asked import delivery_of, recipe_of
from restore.service.auth import principal_of
from restore.service.deliverables import Deliverables
from restore.service.dispatch import Dispatcher
from restore.service.names import job_name, parse_name, request_id, upload_name
from restore.service.settings import ServiceSettings
from restore.service.status import QuotaExceeded, translated
from restore.service.uploads import Upload, Uploads
from restore.service.v1 import common_pb2
from restore.service.v1 import job_pb2 as pb
from restore.service.v1 import job_pb2_grpc as rpc
from restore.time import FrameRange

__all__ = ["Jobs"]

_ALIVE = (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED)
_CONTAINERS = (".mp4", ".mkv", ".mov")
_PAGE, _MOST = 50, 200
_LOOK_S = 0.5


class Jobs(rpc.JobServiceServicer):
    """The servicer.

    Args:
        journal: of the server.
        uploads: sources.
        deliverables: results.
        dispatcher: who runs jobs.
        settings: of the server.
    """

    def __init__(
        self,
        journal: Journal,
        uploads: Uploads,
        deliverables: Deliverables,
        dispatcher: Dispatcher,
        settings: ServiceSettings,
    ) -> None:
        self._journal, self._uploads, self._deliverables = journal, uploads, deliverables
        self._dispatcher, self._settings = dispatcher, settings

    def CreateJobs(
        self, request: pb.CreateJobsRequest, context: grpc.ServicerContext
    ) -> pb.CreateJobsResponse:
        """Plan and book one job for each upload; all of them or none."""
        with translated(context):
            principal = principal_of(context, self._settings)
            if not 0 < len(request.request_id) <= 200:
                raise InvalidInput("a request id of no or over 200 characters", "1 to 200")
            if not request.sources:
                raise InvalidInput("no source", "at least one upload")
            names = [
                request_id(principal, request.request_id, n) for n in range(len(request.sources))
            ]
            new = [
                (name, *self._ready(request, place, name, principal))
                for place, name in enumerate(names)
                if self._known(name) is None
            ]
            orders = {
                name: (order_to_json(plan.job), _facts(upload, plan, self._settings.threads))
                for name, upload, plan in new
            }
            rows = self.book(
                principal,
                [(name, *orders.get(name, ("", {}))) for name in names],
                validate_only=request.validate_only,
            )
            return pb.CreateJobsResponse(jobs=[self.told(row) for row in rows])

    def book(
        self,
        principal: str,
        wanted: list[tuple[str, str, dict[str, Any]]],
        *,
        validate_only: bool,
    ) -> list[JobRow]:
        """Book jobs, all of them or none; those that are there already are given as they are.

        Args:
            principal: whose they are.
            wanted: id, order and facts of each; the facts have ``pixels`` for the quota.
            validate_only: check and tell, and book nothing.

        Raises:
            QuotaExceeded: together with what has not ended they are too many or too large.
        """
        there = {name: self._known(name) for name, _, _ in wanted}
        new = [row for row in wanted if there[row[0]] is None]
        self._check_quota(principal, [facts["pixels"] for _, _, facts in new])
        if validate_only:
            there |= {name: _unbooked(name, principal, facts) for name, _, facts in new}
        else:
            there |= {row.id: row for row in self._journal.book(principal, new)}
        self._dispatcher.wake()
        return [row for row in there.values() if row is not None]

    def deliverable(self, job: str, container: str) -> Path:
        """Where a job's deliverable will be.

        Raises:
            InvalidInput: no container that is written.
        """
        if container not in _CONTAINERS:
            raise InvalidInput(f"container {container[:20]!r}", f"one of {', '.join(_CONTAINERS)}")
        return self._deliverables.place(job, container)

    def _known(self, name: str) -> JobRow | None:
        """The job that this request made when it was sent before."""
        try:
            return self._journal.job(name)
        except JobNotFound:
            return None

    def _ready(
        self, request: pb.CreateJobsRequest, place: int, name: str, principal: str
    ) -> tuple[Upload, JobPlan]:
        """A job's source and plan."""
        upload = self._uploads.get(parse_name("uploads", request.sources[place]), principal)
        wanted = request.delivery
        place_of = self.deliverable(name, wanted.container or ".mkv")
        recipe, options = recipe_of(request.recipe)
        options |= delivery_of(wanted)
        if request.HasField("range"):
            stop = request.range.stop if request.range.HasField("stop") else None
            options["range"] = FrameRange(request.range.start, stop)
        job = make_job(self._uploads.path(upload), place_of, recipe, options)
        plan = plan_job(replace(job, overwrite=True), measure=True)
        self._check_size(plan)
        return upload, plan

    def _check_size(self, plan: JobPlan) -> None:
        limits = self._settings
        for width, height in (plan.source.upright_px, (plan.video.width_px, plan.video.height_px)):
            if width > limits.max_width_px or height > limits.max_height_px:
                raise InvalidInput(
                    f"a picture of {width}x{height}",
                    f"at most {limits.max_width_px}x{limits.max_height_px}",
                )
        if (plan.frames_near or 0) > limits.max_frames:
            raise InvalidInput(f"{plan.frames_near} frames", f"at most {limits.max_frames}")

    def _check_quota(self, principal: str, pixels: list[int]) -> None:
        alive = self._journal.jobs(_ALIVE, principal=principal, limit=self._settings.max_jobs + 1)
        if len(alive) + len(pixels) > self._settings.max_jobs:
            raise QuotaExceeded(
                f"{len(pixels)} jobs beside {len(alive)} that have not ended",
                f"at most {self._settings.max_jobs} together",
            )
        held = sum(row.facts.get("pixels", 0) for row in alive)
        new = sum(pixels)
        if held + new > self._settings.max_job_pixels:
            raise QuotaExceeded(
                f"{new} frames x pixels beside {held} of jobs that have not ended",
                f"at most {self._settings.max_job_pixels} together",
            )

    def GetJob(self, request: pb.GetJobRequest, context: grpc.ServicerContext) -> pb.GetJobResponse:
        """A job as it is."""
        with translated(context):
            return pb.GetJobResponse(job=self.told(self._row(request.name, context)))

    def ListJobs(
        self, request: pb.ListJobsRequest, context: grpc.ServicerContext
    ) -> pb.ListJobsResponse:
        """The principal's jobs, oldest first."""
        with translated(context):
            states = [_state(number) for number in request.states]
            size = min(request.page_size or _PAGE, _MOST)
            if size < 1:
                raise InvalidInput(f"a page of {size} jobs", f"1 to {_MOST}")
            rows = self._journal.jobs(
                states or tuple(JobState),
                principal=principal_of(context, self._settings),
                limit=size,
                after=_page(request.page_token),
            )
            last = rows[-1] if len(rows) == size else None
            token = f"{last.created_s!r}/{last.id}" if last else ""
            return pb.ListJobsResponse(jobs=[self.told(row) for row in rows], next_page_token=token)

    def WatchJob(
        self, request: pb.WatchJobRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WatchJobResponse]:
        """The job after every change."""
        with translated(context):
            last = None
            while context.is_active():
                row = self._row(request.name, context)
                job = self.told(row)
                if job != last:
                    last = job
                    yield pb.WatchJobResponse(job=job)
                if row.state.is_final:
                    return
                self._dispatcher.wait(_LOOK_S)

    def PauseJob(
        self, request: pb.PauseJobRequest, context: grpc.ServicerContext
    ) -> pb.PauseJobResponse:
        """Stop a job where it is; its finished chunks stand."""
        return pb.PauseJobResponse(job=self._moved(request.name, context, JobState.PAUSED))

    def ResumeJob(
        self, request: pb.ResumeJobRequest, context: grpc.ServicerContext
    ) -> pb.ResumeJobResponse:
        """Let a paused or failed job go on."""
        return pb.ResumeJobResponse(job=self._moved(request.name, context, JobState.QUEUED))

    def CancelJob(
        self, request: pb.CancelJobRequest, context: grpc.ServicerContext
    ) -> pb.CancelJobResponse:
        """End a job for good."""
        return pb.CancelJobResponse(job=self._moved(request.name, context, JobState.CANCELLED))

    def DeleteJob(
        self, request: pb.DeleteJobRequest, context: grpc.ServicerContext
    ) -> pb.DeleteJobResponse:
        """Forget a job that has ended, with its deliverable."""
        with translated(context):
            row = self._row(request.name, context)
            # It says that it has ended a moment before the one who ran it is done with it.
            if row.state.is_final:
                self._dispatcher.let_go(row.id)
            self._journal.delete(row.id)
            self._deliverables.delete(row.id)
            return pb.DeleteJobResponse()

    def _moved(self, name: str, context: grpc.ServicerContext, state: JobState) -> pb.Job:
        with translated(context):
            principal = principal_of(context, self._settings)
            job = parse_name("jobs", name)
            return self.told(self._dispatcher.move(job, principal, state, "asked by the client"))

    def _row(self, name: str, context: grpc.ServicerContext) -> JobRow:
        principal = principal_of(context, self._settings)
        return self._journal.job(parse_name("jobs", name), principal)

    def told(self, row: JobRow) -> pb.Job:
        """A job as the contract tells it."""
        job = pb.Job(
            name=job_name(row.id),
            state=f"JOB_STATE_{row.state.value}",
            # One whose clip is made here has no upload.
            source=upload_name(row.facts["upload"]) if row.facts["upload"] else "",
            recipe=row.facts["recipe"],
            estimate=pb.Estimate(**row.facts["estimate"]),
            progress=self._progress(row),
            warnings=row.result.get("warnings", row.facts["notes"]),
            plan_sha256=hashlib.sha256(row.plan.encode()).hexdigest() if row.plan else "",
        )
        job.create_time.FromNanoseconds(int(row.created_s * 1e9))
        job.change_time.FromNanoseconds(int(row.changed_s * 1e9))
        if row.error_type:
            kind: type[RestoreError] = getattr(errors, row.error_type, RestoreError)
            job.failure.CopyFrom(
                common_pb2.Failure(status=kind.grpc_code, reason=row.error_type, message=row.reason)
            )
        if row.state is JobState.SUCCEEDED:
            job.deliverable.CopyFrom(
                pb.Deliverable(
                    name=job_name(row.id),
                    sha256=row.result["sha256"],
                    size_bytes=row.result["bytes"],
                    frames=row.result["frames"],
                )
            )
        return job

    def _progress(self, row: JobRow) -> pb.Progress:
        tally = self._journal.tally(row.id)
        told = pb.Progress(
            frames_done=tally.frames,
            frames_total=row.facts.get("frames"),
            chunks_done=tally.done,
            chunks_total=tally.chunks,
        )
        running = self._dispatcher.progress(row.id)
        if running is not None:
            told.frames_done = max(told.frames_done, running.frames_done)
            told.fps = running.fps
            if running.eta_s is not None:
                told.eta_s = running.eta_s
        stage_s = {one["stage"]: one["elapsed_s"] for one in tally.report.get("stages", [])}
        if running is not None and running.stage_s:
            stage_s = dict(running.stage_s)
        told.stage = max(stage_s, key=lambda stage: stage_s[stage], default="")
        told.shot = tally.report.get("shot") or 0
        return told


def _state(number: int) -> JobState:
    # A later contract's states are numbers that this one has no name for.
    known = {value: name.removeprefix("JOB_STATE_") for name, value in pb.JobState.items()}
    if number == pb.JOB_STATE_UNSPECIFIED or number not in known:
        raise InvalidInput(f"state {number} to list", f"one of {', '.join(JobState.__members__)}")
    return JobState(known[number])


def _pixels(plan: JobPlan) -> int:
    return (plan.frames_near or 0) * plan.video.width_px * plan.video.height_px


def _facts(upload: Upload, plan: JobPlan, threads: int | None) -> dict[str, object]:
    """What the contract tells of a job beside its state."""
    expected = asdict(estimate(plan, threads))
    return {
        "upload": upload.id,
        "recipe": plan.job.recipe.name,
        "frames": plan.frames,
        "pixels": _pixels(plan),
        "estimate": {key: value for key, value in expected.items() if value is not None},
        "notes": [*plan.notes, *filter(None, [plan.pace_advice])],
    }


def _unbooked(name: str, principal: str, facts: dict[str, object]) -> JobRow:
    return JobRow(name, principal, JobState.QUEUED, "", "", "", "", 0.0, 0.0, facts=facts)


def _page(token: str) -> tuple[float, str]:
    if not token:
        return 0.0, ""
    created, _, job = token.partition("/")
    try:
        return float(created), parse_name("jobs", f"jobs/{job}")
    except ValueError:
        raise InvalidInput(f"page token {token[:80]!r}", "one that ListJobs gave") from None
