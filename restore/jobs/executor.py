"""Who does the work: an interface, and worker processes on this machine, one for each device."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any, Protocol

from restore import errors
from restore.errors import RestoreError, WorkerLost
from restore.jobs.storage import Storage

__all__ = ["Executor", "LocalProcesses", "Worker"]


class Worker(Protocol):
    """One place where chunks of one job are computed, one request at a time."""

    def ask(self, request: dict[str, Any]) -> None:
        """Send a request: ``{"do": "chunk", "number": n}`` or ``{"do": "assemble", ...}``."""

    def answer(self, timeout_s: float) -> dict[str, Any] | None:
        """The next answer, or None where none came in time.

        Raises:
            WorkerLost: the worker ended.
            RestoreError: the request failed; the worker is ready for the next.
        """

    def stop(self) -> None:
        """End what it is doing at once; another request begins anew."""


class Executor(Protocol):
    """Gives workers: processes here, or machines elsewhere."""

    def workers(self, job: str) -> Sequence[Worker]:
        """Workers for a job, one for each device; the job before has no more use for them."""

    def close(self) -> None:
        """End all workers."""


class LocalProcesses:
    """Worker processes on this machine.

    Args:
        storage: the folder that they share with the journal.
        devices: one process each; a device may be named twice.
        program: module that a worker runs.
    """

    def __init__(
        self, storage: Storage, devices: Sequence[str], program: str = "restore.jobs.worker"
    ) -> None:
        self._commands = [
            [sys.executable, "-m", program, str(storage.root), device] for device in devices
        ]
        self._processes: list[_Process] = []

    def workers(self, job: str) -> list[_Process]:
        """The processes, one for each device; started with the first job, kept for the next."""
        if not self._processes:
            self._processes = [_Process(command) for command in self._commands]
        for process in self._processes:
            process.open(job)
        return self._processes

    def close(self) -> None:
        """Kill the processes."""
        for process in self._processes:
            process.stop()


class _Process:
    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._job = ""
        self._begin()

    def _begin(self) -> None:
        self._answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._child = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # A group of its own: the terminal's Ctrl-C goes to the parent alone.
            start_new_session=True,
            # torch must know before it is loaded that waiting threads shall sleep.
            env={**os.environ, "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")},
        )
        self._ear = threading.Thread(
            target=self._listen, args=(self._child, self._answers), daemon=True, name="worker"
        )
        self._ear.start()

    @staticmethod
    def _listen(
        child: subprocess.Popen[str], answers: queue.SimpleQueue[dict[str, Any] | None]
    ) -> None:
        assert child.stdout is not None  # noqa: S101 - asked for above
        with contextlib.suppress(ValueError):  # a line that a kill cut off
            for line in child.stdout:
                answers.put(json.loads(line))
        answers.put(None)

    def open(self, job: str) -> None:
        """Name the job that requests are about."""
        self._job = job
        if self._child.poll() is None:
            self._send({"do": "open", "job": job})

    def ask(self, request: dict[str, Any]) -> None:
        """Send a request, to a new process where the one before is gone."""
        if self._child.poll() is not None:
            self.stop()
            self._begin()
            self._send({"do": "open", "job": self._job})
        self._send(request)

    def _send(self, request: dict[str, Any]) -> None:
        assert self._child.stdin is not None  # noqa: S101 - asked for above
        with contextlib.suppress(BrokenPipeError):  # told by the next answer
            self._child.stdin.write(json.dumps(request) + "\n")
            self._child.stdin.flush()

    def answer(self, timeout_s: float) -> dict[str, Any] | None:
        """The next answer of the process."""
        try:
            found = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if found is None:
            how = _how(self._child.wait())
            self.stop()
            raise WorkerLost(f"a worker process ended by {how}")
        if found["kind"] == "error":
            kind = getattr(errors, found["type"], RestoreError)
            raise kind(found["came"], found["expected"], found["fix"])
        return found

    def stop(self) -> None:
        """Kill the process and wait for it."""
        self._child.kill()
        self._child.wait()
        self._ear.join()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def _how(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-status).name
    return f"signal {-status}"
