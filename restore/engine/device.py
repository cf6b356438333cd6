"""Devices, their memory, and the settings of the host that cost or save most."""

from __future__ import annotations

import ctypes
import platform

import torch

from restore.errors import DeviceError, InvalidInput

__all__ = ["choose_device", "memory_budget_bytes", "tune_host"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MALLOC_THRESHOLD_BYTES = 1 << 30


def tune_host() -> None:
    """Set what torch's CPU path wants from the C library; call once, before the first big tensor.

    Large blocks stay in the heap instead of being mapped and zeroed anew for every activation.
    Threads that wait shall sleep: spinning ones take the cores from decoder and encoder. The
    second must be in the environment before torch is loaded, so it is set by the entry points.
    """
    if platform.system() != "Linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return  # a C library without mallopt (musl): nothing to tune
    mallopt(_M_MMAP_THRESHOLD, _MALLOC_THRESHOLD_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _MALLOC_THRESHOLD_BYTES)


def choose_device(name: str) -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` into a device that answers.

    Raises:
        InvalidInput: not a device name.
        DeviceError: the device is not there.
    """
    if name == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InvalidInput(f"device {name!r}", "auto, cpu, cuda or cuda:N") from None
    if device.type == "cpu":
        return torch.device("cpu")
    if device.type != "cuda":
        raise InvalidInput(f"device {name!r}", "auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count()
    index = device.index or 0
    if index >= count:
        raise DeviceError(
            f"device {name!r} asked for, {count} CUDA devices found",
            fix="Use --device cpu, or check the driver with nvidia-smi.",
        )
    return torch.device("cuda", index)


def memory_budget_bytes(device: torch.device) -> int:
    """Memory that one network call may take where the settings name none.

    2 GiB on the CPU, whatever the machine, so that tiles are the same everywhere; 60 % of a GPU.
    """
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory * 0.6)
    return 2 << 30
