"""What a figure was measured on, and how much of that machine there is."""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import torch
import torch.nn.functional as F

__all__ = [
    "conv_peak",
    "machine",
    "median_s",
    "peak_memory_bytes",
    "reset_peak_memory",
    "settle",
]

_PACKAGES = ("torch", "spandrel", "openvino", "ncnn", "realesrgan", "av", "numpy")


def machine(device: torch.device) -> dict[str, object]:
    """Processor, device, versions and commit, for the head of every result."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    found: dict[str, object] = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": _commit(),
        "python": sys.version.split()[0],
        "versions": versions,
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "device": "cpu",
    }
    if device.type == "cuda":
        facts = torch.cuda.get_device_properties(device)
        found["device"] = facts.name
        found["device memory, bytes"] = facts.total_memory
        found["cuda"] = torch.version.cuda
    return found


def _commit() -> str:
    here = Path(__file__).parent
    asked = subprocess.run(
        ["git", "-C", str(here), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.machine()


def settle(device: torch.device) -> None:
    """Wait for what the device still computes."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def median_s(calls: dict[str, Callable[[], object]], device: torch.device, limit_s: float,
             most: int = 9, warm_up: bool = True) -> dict[str, float]:  # fmt: skip
    """Median seconds of each call; calls take turns, so that a slow minute slows all of them.

    Every call runs once before it counts, unless it ran already. Ends after ``most`` rounds, or
    after the round in which ``limit_s`` has passed, warm-up not counted.
    """
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values() if warm_up else ():
        call()
    settle(device)
    began = time.perf_counter()
    for _ in range(most):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            settle(device)
            spent[name].append(time.perf_counter() - start)
        if time.perf_counter() - began > limit_s:
            break
    return {name: statistics.median(every) for name, every in spent.items()}


def conv_peak(
    device: torch.device, dtype: torch.dtype, size_px: tuple[int, int]
) -> tuple[Callable[[], object], float]:
    """A call of 3x3 convolutions 64 to 64 in channels_last, and its operations.

    The shape is general-x4v3's; eight in a row, so that weights are laid out once and tensors come
    out of caches as they do in a network. On a GPU, whose libraries are far from its limit with so
    few channels, it is a product of two large matrices instead.
    """
    if device.type == "cuda":
        return _product_peak(device, dtype)
    height, width = size_px
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, 64, height, width, generator=generator).to(device, dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    weight = (torch.rand(64, 64, 3, 3, generator=generator) - 0.5).to(device, dtype) / 20
    weight = weight.contiguous(memory_format=torch.channels_last)
    times = 8

    def call() -> torch.Tensor:
        with torch.inference_mode():
            y = x
            for _ in range(times):
                y = F.conv2d(y, weight, padding=1)
            return y

    return call, 2.0 * 64 * 64 * 9 * height * width * times


def _product_peak(
    device: torch.device, dtype: torch.dtype, side: int = 8192
) -> tuple[Callable[[], object], float]:
    draw = torch.Generator(device).manual_seed(0)
    # Random numbers: a GPU is quicker on zeros.
    a, b = (torch.rand((side, side), generator=draw, device=device).to(dtype) - 0.5 for _ in "ab")
    times = 4

    def call() -> torch.Tensor:
        out = a
        for _ in range(times):
            out = a @ b
        return out

    return call, 2.0 * side**3 * times


def reset_peak_memory(device: torch.device) -> None:
    """Begin to watch the peak anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return  # the peak is then that of the whole program so far


def peak_memory_bytes(device: torch.device) -> int:
    """Largest memory since the reset: of the device, or of this program on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))
