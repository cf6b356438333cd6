"""Puts a loaded network on a device in a number format, leaving the original as it is."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

from restore.models.load import LoadedModel

if TYPE_CHECKING:
    import torch

__all__ = ["placed"]


def placed(model: LoadedModel, device: torch.device, dtype: torch.dtype) -> LoadedModel:
    """The same network elsewhere, made from the exact weights of ``model``.

    A network that fails or gives no finite picture in a 16-bit format is placed in float32, and
    ``dtype_note`` says so: spandrel's support flags are untested for some architectures.

    Args:
        model: as loaded, float32 on the CPU.
        device: where it shall compute.
        dtype: float32, float16 or bfloat16.
    """
    import torch

    name = str(dtype).removeprefix("torch.")
    if model.device == str(device) and model.dtype == name:
        return model
    descriptor = copy.deepcopy(model.descriptor)
    descriptor.model.to(device=device, dtype=dtype, memory_format=torch.channels_last)
    moved = replace(model, device=str(device), dtype=name, descriptor=descriptor)
    if dtype is torch.float32:
        return moved
    trouble = _trouble(moved, device)
    if not trouble:
        return moved
    note = f"{model.architecture} in {name} {trouble}; float32 is used"
    return replace(placed(model, device, torch.float32), dtype_note=note)


def _trouble(model: LoadedModel, device: torch.device) -> str:
    """What goes wrong when the network runs on a small ramp; empty if nothing does."""
    import torch

    side_px = -(-max(32, model.minimum_px) // model.multiple_of) * model.multiple_of
    ramp = torch.linspace(0, 1, side_px, device=device)
    try:
        result = model(ramp.expand(1, model.in_channels, side_px, side_px).contiguous())
    except RuntimeError as error:
        return f"fails: {str(error).splitlines()[0][:200]}"
    return "" if bool(torch.isfinite(result).all()) else "gives values that are not finite"
