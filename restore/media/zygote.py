"""The host of the decode children: a small process that imports av once and forks a child a job.

It is started by :mod:`restore.media.isolate` as ``python -P -m restore.media.zygote FD`` and speaks
:class:`~restore.media.wire.Channel` on that descriptor. It opens no media itself. It stays
single-threaded, so that forking is safe, and dies with the program that started it.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

from restore.errors import RestoreError
from restore.media.wire import Channel, ChannelClosed, Message

__all__ = ["EXIT_MEMORY", "main"]

#: Exit status of a child that ran out of the memory it was given.
EXIT_MEMORY = 97
_PRELOAD = ("numpy", "av", "restore.media.examine", "restore.media.decode_child")
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_HEADROOM_BYTES = 64 * 2**20


_SPACE, _DATA = 0, 5  # places in statm


def _used_bytes(place: int) -> int:
    """Address space or data in use, where the system tells."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123  one line of procfs
            return int(file.read().split()[place]) * resource.getpagesize()
    except OSError:
        return 0


def _set_limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(kind, (value, hard))


def _follow(parent_pid: int) -> None:
    """Die when the host dies, even in the middle of a decoder; gain no rights by exec."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(0)


def _confine(limits: dict[str, Any], *, with_card: bool) -> None:
    """Put this process under its limits; what the system does not know is left out.

    A GPU's driver reserves address space by the tens of GiB that it never writes to: there only
    what may be written to counts.
    """
    if sys.platform == "linux":
        # Address space counts thread stacks and mappings too, hence the headroom.
        kind, place = (resource.RLIMIT_DATA, _DATA) if with_card else (resource.RLIMIT_AS, _SPACE)
        _set_limit(kind, _used_bytes(place) + _HEADROOM_BYTES + int(limits["memory_bytes"]))
    _set_limit(resource.RLIMIT_CORE, 0)
    _set_limit(resource.RLIMIT_NOFILE, 256 if with_card else 64)
    _set_limit(resource.RLIMIT_FSIZE, 0)
    _set_limit(resource.RLIMIT_CPU, max(1, int(limits["cpu_s"])))


def _resolve(target: str) -> Callable[[Channel, Message], None]:
    module, _, name = target.partition(":")
    function: Callable[[Channel, Message], None] = getattr(importlib.import_module(module), name)
    return function


def _serve(channel: Channel, request: Message) -> int:
    """Run one job in the forked child and return its exit status."""
    try:
        # Importing may write byte code, which the file-size limit would turn into a signal.
        target = _resolve(request["target"])
        _confine(request["limits"], with_card=bool(request["payload"].get("card")))
        target(channel, request["payload"])
    except ChannelClosed:
        return 0
    except MemoryError:
        return EXIT_MEMORY
    except RestoreError as problem:
        came, expected, fix = problem.came, problem.expected, problem.fix
        kind = type(problem).__name__
        with contextlib.suppress(ChannelClosed):
            channel.send({"t": "error", "kind": kind, "parts": [came, expected, fix]})
    except Exception as problem:
        text = f"{type(problem).__name__}: {problem}"
        with contextlib.suppress(ChannelClosed):
            channel.send({"t": "error", "kind": "DamagedMedia", "parts": [text, "", ""]})
    return 0


class _Host:
    """The loop: starts children, kills them on request, tells how they ended."""

    def __init__(self, control: Channel) -> None:
        self._control = control
        self._running: dict[int, tuple[int, int]] = {}  # pid -> (job number, status descriptor)

    def loop(self) -> None:
        """Serve until the program closes the control channel."""
        wake_r, wake_w = os.pipe()
        for end in (wake_r, wake_w):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        try:
            while True:
                ready, _, _ = select.select([self._control.fileno(), wake_r], [], [])
                if wake_r in ready:
                    os.read(wake_r, 4096)
                    self._reap()
                if self._control.fileno() in ready:
                    message, fds = self._control.recv()
                    if "kill" in message:
                        self._kill(message["kill"])
                    else:
                        self._start(message, fds)
        except ChannelClosed:
            pass
        finally:
            for pid in self._running:
                os.kill(pid, signal.SIGKILL)

    def _start(self, message: Message, fds: list[int]) -> None:
        job_fd, status_fd = fds
        host_pid = os.getpid()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                _follow(host_pid)
                os.close(status_fd)
                for _, other in self._running.values():
                    os.close(other)
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                self._control.close()
                status = _serve(Channel(socket.socket(fileno=job_fd)), message)
            finally:
                os._exit(status)
        os.close(job_fd)
        self._running[pid] = (message["job"], status_fd)

    def _kill(self, job: int) -> None:
        for pid, (number, _) in self._running.items():
            if number == job:
                os.kill(pid, signal.SIGKILL)

    def _reap(self) -> None:
        while self._running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            _, status_fd = self._running.pop(pid)
            with contextlib.suppress(OSError):
                os.write(status_fd, str(os.waitstatus_to_exitcode(status)).encode())
            os.close(status_fd)


def main() -> None:
    """Preload what children need, say so, and serve."""
    control = Channel(socket.socket(fileno=int(sys.argv[1])))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    for name in _PRELOAD:
        importlib.import_module(name)
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123  no path to speak of
        os.dup2(nowhere.fileno(), 2)  # until here, start-up failures were for the program to show
    try:
        control.send({"t": "ready"})
    except ChannelClosed:
        return
    _Host(control).loop()


if __name__ == "__main__":
    main()
