"""The command line's door: a job that can be killed at any moment and asked for again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from restore import errors
from restore.engine.device import choose_device
from restore.engine.settings import CancelToken, Progress
from restore.errors import Cancelled, OutputExists, RestoreError
from restore.jobs.conduct import conduct
from restore.jobs.durable import CHUNK_FRAMES, DurablePlan, make_durable
from restore.jobs.executor import LocalProcesses
from restore.jobs.journal import Journal
from restore.jobs.order import order_from_json, order_to_json
from restore.jobs.report import job_report
from restore.jobs.rows import JobRow, JobState
from restore.jobs.storage import Storage
from restore.plan import Job, JobPlan
from restore.restoration import JobReport

__all__ = ["run_durable", "work_folder"]


def work_folder(destination: str) -> Path:
    """Where a job's chunks wait for its deliverable: a hidden folder beside it."""
    path = Path(destination.rstrip("/")).absolute()
    return path.with_name(f".{path.name}.restore-work")


def run_durable(
    job: Job,
    *,
    folder: Path | None = None,
    devices: Sequence[str] = (),
    chunk_frames: int = CHUNK_FRAMES,
    on_progress: Callable[[Progress], None] | None = None,
    cancel: CancelToken | None = None,
) -> JobReport:
    """Do a job in chunks that are kept, going on from what an earlier call left.

    The same source, recipe, settings and versions make the same job; anything else is another one,
    which begins anew. The work folder is removed once the job has succeeded.

    Args:
        job: what is asked for.
        folder: for journal and chunks; :func:`work_folder` where None.
        devices: one worker each; the job's own device where empty.
        chunk_frames: frames of a chunk.
        on_progress: called from other threads.
        cancel: stops the job, which stays where it is.

    Returns:
        What was planned, done over all calls, and written.

    Raises:
        OutputExists: the destination's name is taken, and not by this job.
        RestoreError: what went wrong; what was done so far is kept.
    """
    began_s = time.perf_counter()
    plan, pinned, planned = make_durable(job, chunk_frames=chunk_frames, cancel=cancel)
    storage = Storage(folder or work_folder(job.destination))
    storage.prepare()
    executor = LocalProcesses(storage, devices or (str(choose_device(job.settings.device)),))
    journal = Journal(storage.journal)
    try:
        plan, pinned, planned = _as_begun(journal, plan, pinned, planned)
        storage.prepare(plan.id)
        row = journal.create(plan.id, plan.canonical(), order_to_json(pinned), len(plan.chunks))
        _check_free(job, journal, row)
        if row.state.is_final:
            journal.forgive(row.id)
            journal.move(row.id, JobState.QUEUED, reason="asked for again")
        row = conduct(
            journal,
            storage,
            executor,
            plan.id,
            frames_total=planned.frames,
            on_progress=on_progress,
            cancel=cancel,
        )
        rows = journal.chunks(row.id)
    finally:
        executor.close()
        journal.close()
    if row.state is not JobState.SUCCEEDED:
        raise _failure(row, storage)
    storage.clear(row.id)
    if folder is None:
        storage.remove()
    return job_report(planned, rows, row.result, time.perf_counter() - began_s)


def _as_begun(
    journal: Journal, plan: DurablePlan, pinned: Job, planned: JobPlan
) -> tuple[DurablePlan, Job, JobPlan]:
    """An earlier call's plan where only the encoder's speed differs, which the machine's pace gave.

    What was begun is finished as it was begun, however fast the machine is today.
    """
    for row in journal.jobs():
        begun = DurablePlan.from_json(row.plan)
        if begun.id != plan.id and plan.is_as_begun(begun):
            delivery = replace(planned.delivery, speed=begun.body["delivery"]["speed"])
            return begun, order_from_json(row.order), replace(planned, delivery=delivery)
    return plan, pinned, planned


def _check_free(job: Job, journal: Journal, row: JobRow) -> None:
    """Refuse a taken name before the work, unless an earlier try of this job took it."""
    target = Path(job.destination)
    taken = target.is_file() or (target.is_dir() and any(target.iterdir()))
    ours = any(event[2] == "delivering" for event in journal.events(row.id))
    if taken and not ours and not job.overwrite:
        raise OutputExists(
            f"{job.destination} exists", "a free name", "Give another name, or allow overwriting."
        )


def _failure(row: JobRow, storage: Storage) -> RestoreError:
    """The typed error of a job that did not succeed."""
    kept = f"What was done is kept in {storage.root}; the same command goes on from there."
    if row.state is JobState.PAUSED and not row.error_type:
        return Cancelled("the job was stopped", fix=kept)
    kind: type[RestoreError] = getattr(errors, row.error_type, RestoreError)
    return kind(row.reason, fix=kept)
