"""A durable job as a process of its own, to be killed: ``python -m tests.faults.driver JSON``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from restore.api import make_job
from restore.engine.settings import CancelToken
from restore.jobs.conduct import conduct
from restore.jobs.durable import make_durable
from restore.jobs.executor import LocalProcesses
from restore.jobs.journal import Journal
from restore.jobs.order import order_to_json
from restore.jobs.rows import JobRow
from restore.jobs.storage import Storage
from restore.plan import Job
from restore.recipe import Recipe, Step, load_preset


def recipe(name: str) -> Recipe:
    """A preset, or ``shots``: stages that remember their shot."""
    if name == "windows":
        steps = (Step("degrain", {"radius": 1}), Step("upscale", {"scale": 4}))
        return Recipe("windows", "", steps, delivery={"profile": "h264", "speed": "ultrafast"})
    return load_preset(name)


def durable(
    source: Path,
    destination: Path,
    folder: Path,
    *,
    name: str = "windows",
    chunk_frames: int = 8,
    devices: tuple[str, ...] = ("cpu",),
    program: str = "restore.jobs.worker",
    cancel: CancelToken | None = None,
    threads: int = 1,
    **options: object,
) -> tuple[JobRow, Journal]:
    """Begin a job or go on with it; the journal is left open, and in its folder."""
    job = make_job(source, destination, recipe(name), options)  # type: ignore[arg-type]
    return run_durably(
        job,
        folder,
        chunk_frames=chunk_frames,
        devices=devices,
        program=program,
        cancel=cancel,
        threads=threads,
    )


def run_durably(
    job: Job,
    folder: Path,
    *,
    chunk_frames: int = 8,
    devices: tuple[str, ...] = ("cpu",),
    program: str = "restore.jobs.worker",
    cancel: CancelToken | None = None,
    threads: int = 1,
) -> tuple[JobRow, Journal]:
    """The same for a job of any recipe."""
    plan, pinned, planned = make_durable(job, chunk_frames=chunk_frames, threads=threads)
    storage = Storage(folder)
    storage.prepare(plan.id)
    journal = Journal(storage.journal)
    journal.create(plan.id, plan.canonical(), order_to_json(pinned), len(plan.chunks))
    executor = LocalProcesses(storage, devices, program)
    try:
        row = conduct(
            journal, storage, executor, plan.id, frames_total=planned.frames, cancel=cancel
        )
    finally:
        executor.close()
    return row, journal


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    paths = [Path(given.pop(key)) for key in ("source", "destination", "folder")]
    done, _ = durable(*paths, **{k: tuple(v) if k == "devices" else v for k, v in given.items()})
    sys.exit(0 if done.state.value == "SUCCEEDED" else 1)
