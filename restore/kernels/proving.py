"""Kernels that no card has run to the end yet prove themselves in a process of their own.

An illegal read, or a kernel that does not end, takes with it every program on the card that shares
its context, and no check afterwards helps. So such kernels are held against their twins in a child
first; what came of it is kept beside the compiled kernels and holds for that card, these sources
and these versions. Where nothing can be kept, each program proves anew.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from restore.kernels.choose import TRY_ALL, can_run, can_try, trust
from restore.kernels.kept import keep, kept_folder

if TYPE_CHECKING:
    import torch

__all__ = ["LIMIT_S", "Trial", "driver_version", "tried", "trouble_apart"]

LIMIT_S: Final = 300.0  # a compiler that starts cold takes a minute on a busy machine
_SAID_CHARS: Final = 200


@dataclass(frozen=True)
class Trial:
    """A proof, and where it is held.

    Attributes:
        proof: ``module:function``; the function takes device and format and says what is wrong, or
            nothing.
        device: such as ``cuda:0``.
        dtype: such as ``bfloat16``.
        limit_s: what it may take.
    """

    proof: str
    device: str
    dtype: str
    limit_s: float = LIMIT_S


def trouble_apart(family: str, proof: str, device: torch.device, dtype: torch.dtype) -> str:
    """Lets a family of kernels prove itself apart, and trusts it there in that format if it does.

    Args:
        family: name of the kernels, as :func:`restore.kernels.choose.can_try` is asked for them.
        proof: ``module:function``, see :class:`Trial`.
        device: where they are to run.
        dtype: what they are to run in.

    Returns:
        What is wrong, or nothing; nothing where they cannot run at all or are trusted already.
    """
    if not can_run(device) or can_try(device, family, dtype):
        return ""
    import torch

    where = torch.device("cuda", torch.cuda.current_device()) if device.index is None else device
    form = str(dtype).removeprefix("torch.")
    trouble = tried(Trial(proof, str(where), form), _card(where.index))
    if not trouble:
        trust(where, family, dtype)
    return trouble


@lru_cache(maxsize=64)
def tried(trial: Trial, card: tuple[str, ...]) -> str:
    """What came of a trial, now or earlier on such a card.

    Args:
        trial: which.
        card: what the outcome follows from beside sources and versions.
    """
    place = _place(trial, card)
    if place:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return str(json.loads(place.read_text(encoding="utf-8"))["trouble"])
    began, trouble = _run(trial)
    # What failed before the kernels had their turn (no memory, a card in use) says nothing of them.
    if place and began:
        keep(place, json.dumps({"trouble": trouble}).encode())
    return trouble


def _run(trial: Trial) -> tuple[bool, str]:
    """Whether the kernels had their turn, and what is wrong."""
    command = [sys.executable, "-P", "-m", "restore.kernels.prove"]
    try:
        # A group of its own: the compilers that it starts have to end with it.
        child = subprocess.Popen(
            [*command, trial.proof, trial.device, trial.dtype, str(trial.limit_s)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=os.environ | {"RESTORE_KERNELS": TRY_ALL},
        )
    except OSError as error:
        return False, f"trial could not be started ({error})"
    late = False
    with child:
        try:
            out, said = child.communicate(timeout=trial.limit_s)
        except subprocess.TimeoutExpired:
            late = True
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
        if late:
            out, said = child.communicate()
    lines = out.decode(errors="replace").splitlines()
    began = "began" in lines
    if late:
        # A busy machine may be the cause, so that this is never kept.
        when = "" if began else " before it began"
        return False, f"trial took more than {trial.limit_s:g} s{when}"
    if child.returncode == 0 and began:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return True, str(json.loads(lines[-1])["trouble"])
    return began, f"trial {_ending(child.returncode)}{_last(said)}"


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"


def _last(said: bytes) -> str:
    lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    # Of CUDA's errors the first line says what happened, the others what one could set.
    telling = [line for line in lines if "Error" in line] or lines
    return f" ({telling[-1][:_SAID_CHARS]})" if telling else ""


def _place(trial: Trial, card: tuple[str, ...]) -> Path | None:
    folder = kept_folder()
    if folder is None:
        return None
    follows_from = json.dumps([trial.proof, trial.dtype, card, _sources(trial.proof), _versions()])
    return folder / f"{hashlib.sha256(follows_from.encode()).hexdigest()[:32]}.trial.json"


@lru_cache(maxsize=16)
def _sources(proof: str) -> str:
    """Of all kernels, and of the room a proof is in: there its twin may be."""
    folders = {Path(__file__).parent}
    spec = importlib.util.find_spec(proof.partition(":")[0])
    if spec is not None and spec.origin:
        folders.add(Path(spec.origin).parent)
    found = hashlib.sha256()
    for path in sorted(file for folder in folders for file in folder.glob("*.*")):
        if path.suffix in (".py", ".cu"):
            found.update(path.name.encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


@lru_cache(maxsize=1)
def _versions() -> tuple[str, ...]:
    found = [sys.version.partition(" ")[0]]
    for package in ("torch", "triton"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{package} {importlib.metadata.version(package)}")
    return tuple(found)


@lru_cache(maxsize=16)
def _card(number: int) -> tuple[str, ...]:
    import torch

    major, minor = torch.cuda.get_device_capability(number)
    name, cuda = torch.cuda.get_device_name(number), str(torch.version.cuda)
    return name, f"{major}.{minor}", cuda, driver_version()


def driver_version(told: Path = Path("/proc/driver/nvidia/version")) -> str:
    """Of NVIDIA's driver, which compiles what it loads a last time; empty where it does not say.

    Args:
        told: where the driver's module says it.
    """
    with contextlib.suppress(OSError):
        first = told.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
        # "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu ..."
        if found := re.search(r"\b\d+\.\d+(\.\d+)*\b", first.replace("x86_64", "")):
            return found[0]
    return _library_version()


def _library_version() -> str:
    """What the driver's library says of the CUDA that it speaks; containers may show no more."""
    number = ctypes.c_int()
    with contextlib.suppress(OSError, AttributeError):
        if ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(number)) == 0:
            return f"CUDA {number.value}"
    return ""
