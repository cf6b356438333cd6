"""CUDA programs, compiled for the card at hand when they are first wanted, and kept on disk.

What is kept (:mod:`restore.kernels.kept`) is named by everything that it follows from and has its
own hash before it: what is damaged is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from restore.kernels.kept import keep, kept_folder

__all__ = ["Card", "Kernel", "answered", "card", "compiled", "kernel"]

_HASH_BYTES = 32
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Kernel:
    """A function on one device.

    Attributes:
        handle: the driver's.
        blocks: that find room on the device at once.
    """

    handle: Any
    blocks: int


@dataclass(frozen=True)
class Card:
    """What a kernel's form follows from.

    Attributes:
        capability: compute capability, ten times: 90 for Hopper.
        processors: multiprocessors.
        room_bytes: shared memory of each.
        block_bytes: shared memory that one block can have.
    """

    capability: int
    processors: int
    room_bytes: int
    block_bytes: int


@lru_cache(maxsize=64)
def card(device: int) -> Card:
    """The facts of a device by its number; torch has begun to use it."""
    from cuda.bindings import driver

    names = driver.CUdevice_attribute
    capability_major, minor, processors, room, block = (
        answered(driver.cuDeviceGetAttribute(name, device))
        for name in (
            names.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
            names.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            names.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
            names.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR,
            names.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
        )
    )
    return Card(10 * capability_major + minor, processors, room, block)


def answered(answer: tuple[Any, ...]) -> Any:  # noqa: ANN401
    """What a call of the driver or the compiler gave.

    Raises:
        RuntimeError: it failed.
    """
    if int(answer[0]):
        raise RuntimeError(f"CUDA says {answer[0].name}")
    return answer[1] if len(answer) == 2 else answer[1:]


@lru_cache(maxsize=256)
def compiled(source: str, architecture: str, macros: tuple[tuple[str, int], ...]) -> bytes:
    """The machine code of a program, from disk where it was made before.

    Args:
        source: name of a file beside this one.
        architecture: such as ``sm_90a``.
        macros: that the program is compiled with, names and values.

    Raises:
        RuntimeError: the compiler refused it; its words.
        ImportError: there is no compiler (``cuda.bindings``, which comes with torch for a GPU).
    """
    from cuda.bindings import nvrtc

    text = (_HERE / source).read_bytes()
    version = answered(nvrtc.nvrtcVersion())
    options = [f"--gpu-architecture={architecture}", "-std=c++17"]
    options += [f"-D{name}={value}" for name, value in sorted(macros)]
    follows_from = json.dumps([hashlib.sha256(text).hexdigest(), version, options])
    folder = kept_folder()
    place = folder and folder / f"{hashlib.sha256(follows_from.encode()).hexdigest()[:32]}.cubin"
    if place:
        with contextlib.suppress(OSError):
            kept = place.read_bytes()
            code = kept[_HASH_BYTES:]
            if hashlib.sha256(code).digest() == kept[:_HASH_BYTES]:
                return code
    program = answered(nvrtc.nvrtcCreateProgram(text, source.encode(), 0, [], []))
    done = nvrtc.nvrtcCompileProgram(program, len(options), [o.encode() for o in options])
    if int(done[0]):
        log = b" " * answered(nvrtc.nvrtcGetProgramLogSize(program))
        nvrtc.nvrtcGetProgramLog(program, log)
        raise RuntimeError(f"{source} does not compile: {log.decode(errors='replace')[:400]}")
    code = bytes(int(answered(nvrtc.nvrtcGetCUBINSize(program))))
    answered((*nvrtc.nvrtcGetCUBIN(program, code), None))
    if place:
        keep(place, hashlib.sha256(code).digest() + code)
    return code


@lru_cache(maxsize=256)
def kernel(
    source: str,
    name: str,
    architecture: str,
    macros: tuple[tuple[str, int], ...],
    device: int,
    threads: int,
    shared_bytes: int,
) -> Kernel:
    """A function of a program, loaded on a device that torch has begun to use.

    Args:
        source: name of a file beside this one.
        name: of the function in it.
        architecture: such as ``sm_90a``.
        macros: names and values.
        device: its number; the current one.
        threads: of a block.
        shared_bytes: of shared memory, of a block.

    Raises:
        RuntimeError: it cannot be compiled or loaded.
    """
    from cuda.bindings import driver

    module = answered(driver.cuModuleLoadData(compiled(source, architecture, macros)))
    handle = answered(driver.cuModuleGetFunction(module, name.encode()))
    most = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    answered((*driver.cuFuncSetAttribute(handle, most, shared_bytes), None))
    asked = driver.cuOccupancyMaxActiveBlocksPerMultiprocessor(handle, threads, shared_bytes)
    return Kernel(handle, max(1, answered(asked)) * card(device).processors)
