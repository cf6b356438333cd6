"""Brings a loaded network to a device and a number format."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from restore.errors import DeviceError, InvalidInput
from restore.models.loaded import LoadedModel

if TYPE_CHECKING:
    import torch

__all__ = ["device_that_works", "placed"]


def device_that_works(device: str | torch.device) -> torch.device:
    """Returns a torch device after making a tensor on it.

    Raises:
        DeviceError: torch does not know the device, or it is not there.
    """
    import torch

    try:
        where = torch.device(device)
        torch.empty(0, device=where)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise DeviceError(
            f"the device {str(device)!r} does not work here: {reason}",
            "cpu, or a device that torch sees",
            "Use `--device cpu`.",
        ) from error
    return where


def placed(
    model: LoadedModel, device: str | torch.device, dtype: torch.dtype | None = None
) -> LoadedModel:
    """Returns the same network on a device in a number format; the given one stays as it is.

    Where it is there already, the given one itself comes back.

    spandrel's support flags are untested for some architectures, so a network that fails or
    gives values that are not finite in half precision gets float32 instead, with a note in
    ``dtype_note``.

    Args:
        model: a network in float32, so that no precision has been lost already.
        device: torch device.
        dtype: one of ``model.dtypes``; float32 where None.

    Raises:
        InvalidInput: the model is not float32, or does not support the dtype.
        DeviceError: the device is missing.
    """
    import torch

    where = device_that_works(device)
    wanted = str(dtype or torch.float32).removeprefix("torch.")
    if wanted not in model.dtypes:
        raise InvalidInput(
            f"{model.name} ({model.architecture}) was asked to run in {wanted}",
            " or ".join(model.dtypes),
        )
    if model.dtype != "float32":
        raise InvalidInput(f"{model.name} is in {model.dtype}", "the network in float32")
    if wanted == "float32" and str(where) == model.device:
        return model
    descriptor, kernels = _moved(model.descriptor, where, wanted)
    trouble = "" if wanted == "float32" else _trouble(model, descriptor, where, wanted)
    if trouble:
        descriptor, kernels = _moved(model.descriptor, where, "float32")
    note = f"{model.architecture} in {wanted} {trouble}; float32 is used" if trouble else ""
    return replace(
        model,
        dtype="float32" if trouble else wanted,
        dtype_note=note,
        kernels=kernels,
        device=str(where),
        descriptor=descriptor,
    )


def _moved(descriptor: Any, where: torch.device, dtype: str) -> tuple[Any, str]:  # noqa: ANN401
    """A copy there, and by which kernels it runs."""
    import torch

    from restore.models.own_kernels import use_kernels

    moved = copy.deepcopy(descriptor)
    moved.model.to(device=where, dtype=getattr(torch, dtype), memory_format=torch.channels_last)
    return moved, use_kernels(moved.model, where, getattr(torch, dtype))


def _trouble(model: LoadedModel, descriptor: Any, where: torch.device, dtype: str) -> str:  # noqa: ANN401
    """Says what is wrong with a network in half precision, or nothing."""
    import torch

    side_px = max(16, model.minimum_px)
    side_px = -(-side_px // model.multiple_of) * model.multiple_of
    ramp = torch.linspace(0, 1, side_px, device=where, dtype=getattr(torch, dtype))
    sample = ramp.expand(1, model.in_channels, side_px, side_px).contiguous()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fine = bool(torch.isfinite(descriptor(sample)).all())
    except RuntimeError as error:
        return f"fails: {str(error).splitlines()[0][:200]}"
    return "" if fine else "gives values that are not finite"
