"""Devices and their memory."""

from __future__ import annotations

import torch

from restore.errors import DeviceError, InvalidInput

__all__ = ["choose_device", "memory_budget_bytes"]


def choose_device(name: str) -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` into a device that answers.

    Raises:
        InvalidInput: not a device name.
        DeviceError: the device is not there.
    """
    if name == "auto":
        name = "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InvalidInput(f"device {name!r}", "auto, cpu, cuda or cuda:N") from None
    if device.type == "cpu":
        return torch.device("cpu")
    if device.type != "cuda":
        raise InvalidInput(f"device {name!r}", "auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count()
    _keep_float32_whole()
    index = device.index or 0
    if index >= count:
        raise DeviceError(
            f"device {name!r} asked for, {count} CUDA devices found",
            fix="Use --device cpu, or check the driver with nvidia-smi.",
        )
    return torch.device("cuda", index)


def _keep_float32_whole() -> None:
    """Products of float32 as they are: cuDNN's own choice keeps ten bits of each factor (TF32)."""
    convolutions = getattr(torch.backends.cudnn, "conv", None)
    if convolutions is not None and hasattr(convolutions, "fp32_precision"):
        convolutions.fp32_precision = "ieee"
    else:  # before torch 2.9
        torch.backends.cudnn.allow_tf32 = False


def memory_budget_bytes(device: torch.device) -> int:
    """Memory that one network call may take where the settings name none.

    2 GiB on the CPU, whatever the machine, so that tiles are the same everywhere; 60 % of a GPU.
    """
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory * 0.6)
    return 2 << 30
