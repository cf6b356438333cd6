"""Proofs that end in every way a kernel's can; a child runs them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch


def right(device: torch.device, dtype: torch.dtype) -> str:
    """Nothing is wrong; says where and in what, and that it ran."""
    if noted := os.environ.get("PROOF_RUNS"):
        with Path(noted).open("a", encoding="utf-8") as file:
            file.write(f"{device} {dtype} {os.environ['RESTORE_KERNELS']}\n")
    return ""


def off(device: torch.device, dtype: torch.dtype) -> str:
    """A kernel is off."""
    right(device, dtype)
    return "differs from its twin by 3 in float32"


def ends(device: torch.device, dtype: torch.dtype) -> str:
    """The process is ended by the system, as by an illegal read."""
    right(device, dtype)
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError


def breaks(device: torch.device, dtype: torch.dtype) -> str:
    """An error of the device."""
    sys.stdout.write("x" * 200_000 + "\n")
    sys.stderr.write("y" * 200_000 + "\n")
    raise RuntimeError("CUDA error: an illegal memory access was encountered\nTry this\nor that")


def starts(device: torch.device, dtype: torch.dtype) -> str:
    """Waits for a program that does not end, as for a compiler; notes its process."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as child:
        Path(os.environ["PROOF_CHILD"]).write_text(str(child.pid), encoding="utf-8")
    raise AssertionError


def hangs(device: torch.device, dtype: torch.dtype) -> str:
    """Does not come back."""
    time.sleep(600)
    raise AssertionError
