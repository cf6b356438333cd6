"""One durable job, and the most memory that it took, on standard output."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import psutil

from restore.api import make_job
from restore.jobs.conduct import conduct
from restore.jobs.durable import make_durable
from restore.jobs.executor import LocalProcesses
from restore.jobs.journal import Journal
from restore.jobs.order import order_to_json
from restore.jobs.rows import JobState
from restore.jobs.storage import Storage
from restore.recipe import load_preset

_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")


def _peak_bytes(process: int) -> int:
    found = _PEAK.search(Path(f"/proc/{process}/status").read_text())
    assert found is not None
    return int(found[1]) << 10


def main(clip: Path, folder: Path) -> None:
    """Do the job; print the peaks of this process and of its worker, added up."""
    job = make_job(clip, folder / "out.mkv", load_preset("transcode"), {})
    plan, pinned, _ = make_durable(job, chunk_frames=48, threads=1)
    storage = Storage(folder / "work")
    storage.prepare(plan.id)
    journal = Journal(storage.journal)
    journal.create(plan.id, plan.canonical(), order_to_json(pinned), len(plan.chunks))
    executor = LocalProcesses(storage, ["cpu"])
    row = conduct(journal, storage, executor, plan.id)
    assert row.state is JobState.SUCCEEDED, row.reason
    me = psutil.Process()
    workers = [
        one.pid
        for one in me.children(recursive=True)
        if "restore.jobs.worker" in " ".join(one.cmdline())
    ]
    assert len(workers) == 1
    peak = sum(_peak_bytes(process) for process in (me.pid, *workers))
    executor.close()
    journal.close()
    sys.stdout.write(f"{peak}\n")
