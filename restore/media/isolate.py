"""Runs functions of ours on untrusted media in child processes with limits.

Opening a file is enough to make a decoder allocate without bound, hang or crash, so nothing here
decodes in the program itself. Children are forked by a small host (:mod:`restore.media.zygote`), a
fresh interpreter of its own, which keeps a start at milliseconds and never forks the program with
its threads and devices. A child that crashes, hangs, or asks for more than it may have, ends as a
typed error.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from restore import errors
from restore.errors import DamagedMedia, InvalidInput, RestoreError, UnsafeMedia
from restore.media.wire import Channel, ChannelClosed, Garbled, Message
from restore.media.zygote import EXIT_MEMORY

__all__ = ["DecodeLimits", "Job", "JobLost", "run_job", "stop_host"]

_START_S = 60.0


@dataclass(frozen=True)
class DecodeLimits:
    """What a file may cost to read.

    Attributes:
        memory_bytes: address space of the child beyond that of the idle host.
        cpu_s: processor time between two signs of progress, all threads together.
        wall_s_without_progress: time between two signs of progress.
        max_pixels_px: largest picture, width times height.
        max_frames: most frames (and packets) that are read; the rest is cut off with a warning.
        ring_bytes: shared memory for frames decoded ahead; two frames at least are always held.
    """

    memory_bytes: int = 4 * 2**30
    cpu_s: int = 120
    wall_s_without_progress: float = 25.0
    max_pixels_px: int = 8192 * 8192
    max_frames: int = 50_000_000
    ring_bytes: int = 64 * 2**20

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value <= 0:
                raise InvalidInput(f"decode limit {name} = {value}", "a positive number")


class JobLost(Exception):
    """A child ended before its job was done.

    Attributes:
        reason: for people, without a full stop.
        by_limit: one of the limits was hit (else it crashed).
    """

    def __init__(self, reason: str, *, by_limit: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.by_limit = by_limit

    def as_error(self, source: str) -> RestoreError:
        """The typed error for a file that cost its child."""
        if self.by_limit:
            fix = "Raise the decode limits if you trust the file."
            return UnsafeMedia(f"{source}: {self.reason}", "a file within the decode limits", fix)
        return DamagedMedia(f"{source}: {self.reason}", "a file that the decoder survives")


class _Host:
    """The program's end of the zygote."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._lock = threading.Lock()
        self._number = 0
        self.control = Channel(ours)
        with theirs, tempfile.TemporaryFile() as messages:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "restore.media.zygote", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=messages,
                pass_fds=[theirs.fileno()],
                env=_environment(),
                start_new_session=True,  # Ctrl-C is for the program to handle
            )
            theirs.close()
            try:
                self.control.recv(_START_S)
            except (ChannelClosed, TimeoutError) as problem:
                self.close()
                messages.seek(0)
                text = messages.read().decode(errors="replace").strip().splitlines()
                raise RestoreError(
                    f"the decode host did not start: {text[-1] if text else problem}"
                ) from problem

    def start(self, message: Mapping[str, Any], fds: Sequence[int]) -> int:
        """Ask for a child; returns the job's number."""
        with self._lock:
            self._number += 1
            self.control.send({**message, "job": self._number}, fds)
            return self._number

    def kill(self, job: int) -> None:
        """End a child, if it still runs."""
        with self._lock, contextlib.suppress(ChannelClosed):
            self.control.send({"kill": job})

    def close(self) -> None:
        """End the host and with it every child."""
        self.control.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _environment() -> dict[str, str]:
    """The program's environment, with the same modules importable and no idle threads."""
    paths = [str(Path(entry or ".").resolve()) for entry in sys.path]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",  # each arena reserves 64 MiB of the address space that is limited
    }


_host: _Host | None = None
_host_lock = threading.Lock()


def _current_host() -> _Host:
    global _host
    with _host_lock:
        if _host is not None and _host.process.poll() is not None:
            _host.close()
            _host = None
        if _host is None:
            _host = _Host()
        return _host


def stop_host() -> None:
    """End the decode host and every child; a later job starts a new one."""
    global _host
    with _host_lock:
        if _host is not None:
            _host.close()
            _host = None


def _forget_host() -> None:
    """In a fork of the program the host belongs to the original."""
    global _host, _host_lock
    if _host is not None:
        _host.control.close()
    _host, _host_lock = None, threading.Lock()


atexit.register(stop_host)
os.register_at_fork(after_in_child=_forget_host)


class Job:
    """A function running in a child.

    Args:
        target: ``module:function``; called there as ``function(channel, payload)``.
        payload: JSON object for it.
        limits: what it may use.
    """

    def __init__(self, target: str, payload: Mapping[str, Any], limits: DecodeLimits) -> None:
        self._limits = limits
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._status_r, status_w = os.pipe()
        message = {"target": target, "payload": dict(payload), "limits": asdict(limits)}
        self._closed = False
        try:
            self._host = _current_host()
            try:
                self._number = self._host.start(message, [theirs.fileno(), status_w])
            except ChannelClosed:  # the host died since; once more with a new one
                stop_host()
                self._host = _current_host()
                self._number = self._host.start(message, [theirs.fileno(), status_w])
        except BaseException:
            ours.close()
            os.close(self._status_r)
            raise
        finally:
            theirs.close()
            os.close(status_w)
        self._channel = Channel(ours)

    def send(self, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
        """Send a message to the child; one that is gone is noticed by the next :meth:`recv`."""
        with contextlib.suppress(ChannelClosed):
            self._channel.send(message, fds)

    def recv(self) -> Message:
        """The child's next message; signs of life are swallowed.

        Raises:
            RestoreError: what the function raised.
            JobLost: the child crashed, hung or hit a limit.
        """
        while True:
            try:
                message, fds = self._channel.recv(self._limits.wall_s_without_progress)
            except TimeoutError:
                self.close()
                waited = f"{self._limits.wall_s_without_progress:g} s"
                raise JobLost(f"decoding made no progress for {waited}", by_limit=True) from None
            except Garbled as problem:
                self.close()
                raise JobLost(f"the decoder answers nonsense: {problem}", by_limit=False) from None
            except ChannelClosed:
                raise self._lost() from None
            for fd in fds:  # children have no business sending any
                os.close(fd)
            if message.get("t") == "error":
                raise _typed(message)
            if message.get("t") != "beat":
                return message

    def _lost(self) -> JobLost:
        """Why the child is gone, from its exit status."""
        status = self._read_status()
        self.close()
        if status == EXIT_MEMORY:
            return JobLost(
                f"decoding needs more than {_mib(self._limits)} of memory", by_limit=True
            )
        if status == -signal.SIGXCPU:
            used = f"{self._limits.cpu_s} s of processor time"
            return JobLost(f"decoding used {used} without progress", by_limit=True)
        if status == -signal.SIGKILL:
            return JobLost(
                "the decoder was killed, as the system does when memory runs out", by_limit=True
            )
        if status is not None and status < 0:
            name = signal.Signals(-status).name
            return JobLost(f"the decoder crashed ({name})", by_limit=False)
        return JobLost("the decoder ended unexpectedly", by_limit=False)

    def _read_status(self) -> int | None:
        """Exit status that the host reports; None when the host is gone too."""
        ready, _, _ = select.select([self._status_r], [], [], 10.0)
        text = os.read(self._status_r, 32) if ready else b""
        return int(text) if text else None

    def close(self) -> None:
        """End the child, if it still runs, and give everything back."""
        if not self._closed:
            self._closed = True
            self._channel.close()
            self._host.kill(self._number)
            os.close(self._status_r)


def _mib(limits: DecodeLimits) -> str:
    return f"{limits.memory_bytes // 2**20} MiB"


def _typed(message: Message) -> RestoreError:
    """The error that a child reports, if it is one of ours."""
    kind = getattr(errors, str(message.get("kind")), None)
    parts = message.get("parts")
    if not (isinstance(kind, type) and issubclass(kind, RestoreError)):
        kind = DamagedMedia
    if not isinstance(parts, list) or len(parts) != 3:
        parts = ["unreadable media", "", ""]
    return kind(*(str(part) for part in parts))


def run_job(
    target: str, payload: Mapping[str, Any], limits: DecodeLimits, *, source: str
) -> Message:
    """Run a function in a child and return its one answer.

    Raises:
        UnsafeMedia: a limit was hit.
        DamagedMedia: the child crashed.
        RestoreError: what the function raised.
    """
    job = Job(target, payload, limits)
    try:
        return job.recv()
    except JobLost as lost:
        raise lost.as_error(source) from None
    finally:
        job.close()
