"""A worker process: ``python -m restore.jobs.worker STORAGE JOB DEVICE``.

It reads one request a line from standard input and answers with lines of JSON; whatever libraries
print goes to standard error. It ends with its parent: nothing works on that nobody waits for.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import IO, Any

from restore.errors import RestoreError

__all__ = ["main"]

_PROGRESS_S = 0.2


def _requests() -> queue.SimpleQueue[str]:
    """Lines of the input, read by a thread that ends the process with the input.

    The parent's end of the pipe closes however it dies, so a killed parent leaves no worker behind.
    """
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True, name="requests").start()
    return lines


class _Answers:
    """Lines of JSON to the parent."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._said_s = 0.0

    def say(self, kind: str, **values: object) -> None:
        """Send one answer."""
        self._out.write(json.dumps({"kind": kind, **values}) + "\n")
        self._out.flush()

    def progress(self, frames: int) -> None:
        """Send the number of frames done, not too often."""
        now = time.monotonic()
        if now - self._said_s >= _PROGRESS_S:
            self._said_s = now
            self.say("progress", frames=frames)


def _private_stdout() -> IO[str]:
    """The pipe to the parent, and standard output led to standard error."""
    kept = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(kept, "w", encoding="utf-8")


def main(storage_root: str, job_id: str, device: str) -> int:
    """Work until the input ends, which ends the process.

    Args:
        storage_root: folder of the journal and the chunks.
        job_id: job to work on.
        device: where.
    """
    requests = _requests()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the parent's to handle
    answers = _Answers(_private_stdout())
    # Loaded here: a parent that dies while torch is being imported is noticed.
    from restore.jobs.durable import DurablePlan
    from restore.jobs.journal import Journal
    from restore.jobs.order import order_from_json
    from restore.jobs.storage import Storage
    from restore.jobs.work import Work

    storage = Storage(Path(storage_root))
    journal = Journal(storage.journal)

    def begin() -> Work:
        row = journal.job(job_id)
        plan = DurablePlan.from_json(row.plan)
        return Work(plan, order_from_json(row.order), device, storage, job_id)

    work = _tried(begin, answers)
    if work is None:
        return 1
    answers.say("ready")
    while True:
        request = json.loads(requests.get())
        _tried(partial(_answer, work, journal, job_id, request, answers), answers)


def _answer(
    work: Any,  # noqa: ANN401 - Work is loaded late
    journal: Any,  # noqa: ANN401
    job_id: str,
    request: dict[str, Any],
    answers: _Answers,
) -> None:
    if request["do"] == "chunk":
        done = work.chunk(request["number"], lambda p: answers.progress(p.frames_done))
        times = [[t.pts, str(t.time_base), t.duration, t.index] for t in done.times]
        answers.say("chunk", **{**asdict(done), "times": times})
    else:
        rows = journal.chunks(job_id)
        result = work.assemble(rows, answers.progress, overwrite=request["overwrite"])
        answers.say("delivered", result=result)


def _tried(do: Callable[[], Any], answers: _Answers) -> Any:  # noqa: ANN401
    try:
        return do()
    except RestoreError as error:
        answers.say(
            "error",
            type=type(error).__name__,
            came=error.came,
            expected=error.expected,
            fix=error.fix,
        )
        return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
