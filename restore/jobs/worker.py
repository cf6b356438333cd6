"""A worker process: ``python -m restore.jobs.worker STORAGE DEVICE``.

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
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from restore.errors import RestoreError
from restore.hostenv import tune_host

if TYPE_CHECKING:
    from restore.jobs.journal import Journal
    from restore.jobs.storage import Storage
    from restore.jobs.work import Work

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

    def progress(self, frames: int, stage_s: Mapping[str, float]) -> None:
        """Send the number of frames done and the time spent in each stage, not too often."""
        now = time.monotonic()
        if now - self._said_s >= _PROGRESS_S:
            self._said_s = now
            self.say("progress", frames=frames, stage_s=dict(stage_s))


def _private_stdout() -> IO[str]:
    """The pipe to the parent, and standard output led to standard error."""
    kept = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(kept, "w", encoding="utf-8")


def main(storage_root: str, device: str) -> int:
    """Work until the input ends, which ends the process.

    Args:
        storage_root: folder of the journal and the chunks.
        device: where.
    """
    tune_host()
    requests = _requests()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the parent's to handle
    answers = _Answers(_private_stdout())
    # Loaded here: a parent that dies while torch is being imported is noticed.
    from restore.jobs.journal import Journal
    from restore.jobs.storage import Storage

    storage = Storage(Path(storage_root))
    desk = _Desk(storage, Journal(storage.journal), device, answers)
    while True:
        request = json.loads(requests.get())
        _tried(partial(desk.serve, request), answers)


class _Desk:
    """What one worker has before it: a job at a time."""

    def __init__(self, storage: Storage, journal: Journal, device: str, answers: _Answers) -> None:
        self._storage, self._journal = storage, journal
        self._device, self._answers = device, answers
        self._job = ""
        self._work: Work | None = None

    def serve(self, request: dict[str, Any]) -> None:
        """Answer one request."""
        if request["do"] == "open":
            # The one before and its weights go before the next ones come.
            self._job, self._work = request["job"], None
        elif request["do"] == "chunk":
            done = self._opened().chunk(
                request["number"],
                lambda told: self._answers.progress(told.frames_done, told.stage_s),
            )
            times = [[t.pts, str(t.time_base), t.duration, t.index] for t in done.times]
            self._answers.say("chunk", **{**asdict(done), "times": times})
        else:
            result = self._opened().assemble(
                self._journal.chunks(self._job),
                lambda frames: self._answers.progress(frames, {}),
                overwrite=request["overwrite"],
            )
            self._answers.say("delivered", result=result)

    def _opened(self) -> Work:
        from restore.jobs.durable import DurablePlan
        from restore.jobs.order import order_from_json
        from restore.jobs.work import Work

        if self._work is None:
            row = self._journal.job(self._job)
            plan = DurablePlan.from_json(row.plan)
            job = order_from_json(row.order)
            self._work = Work(plan, job, self._device, self._storage, self._job)
        return self._work


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
    sys.exit(main(*sys.argv[1:3]))
