"""Workers with one fault each, chosen by the environment; all else is the real worker."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import torch

from restore.engine.runner import StageRunner
from restore.jobs import worker
from restore.jobs.work import Work


def _poison() -> None:
    """Chunk 1 ends the process by SIGSEGV, every time."""
    real = Work.chunk

    def chunk(self, number, *args, **kwargs):
        if number == 1:
            os.kill(os.getpid(), signal.SIGSEGV)
        return real(self, number, *args, **kwargs)

    Work.chunk = chunk


def _memory(times: int) -> None:
    """The first calls of a network find no memory."""
    real = StageRunner._timed
    left = [times]

    def timed(self, inputs, seeds):
        if left[0] and self.label == "upscale":
            left[0] -= 1
            raise torch.OutOfMemoryError("injected: tried to allocate 9 GiB")
        return real(self, inputs, seeds)

    StageRunner._timed = timed


def _dies_once() -> None:
    """Chunk 1 ends the process by SIGKILL, the first time."""
    real = Work.chunk
    mark = Path(os.environ["FAULT_MARK"])

    def chunk(self, number, *args, **kwargs):
        if number == 1 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, number, *args, **kwargs)

    Work.chunk = chunk


def _unequal() -> None:
    """The process that comes first is slow, half a second for a frame; the other is as it is."""
    real = Work.chunk
    mark = Path(os.environ["FAULT_MARK"])
    slow = True
    try:
        mark.mkdir()
    except FileExistsError:
        slow = False

    def chunk(self, number, *args, **kwargs):
        done = real(self, number, *args, **kwargs)
        time.sleep(0.5 * len(done.times) * slow)
        return done

    Work.chunk = chunk


FAULTS = {
    "unequal": _unequal,
    "poison": _poison,
    "memory once": lambda: _memory(1),
    "memory always": lambda: _memory(10**9),
    "dies once": _dies_once,
}

if __name__ == "__main__":
    FAULTS[os.environ["FAULT"]]()
    sys.exit(worker.main(*sys.argv[1:3]))
