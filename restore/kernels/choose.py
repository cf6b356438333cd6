"""Whether a kernel or its twin computes: asked once for each device and number format."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["TOLERANCE", "TRY_ALL", "can_run", "can_try", "difference", "distrust", "trust"]

#: Largest difference from the twin for values about 1: rounding of the number format, twice over.
TOLERANCE = {"float32": 2e-5, "float16": 4e-3, "bfloat16": 3.2e-2}

#: Value of ``RESTORE_KERNELS`` with which kernels run that did not prove themselves apart.
TRY_ALL = "all"

_trusted: set[tuple[str, int | None, torch.dtype]] = set()


@lru_cache(maxsize=1)
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def can_run(device: torch.device) -> bool:
    """Whether kernels can be started there: on CUDA, or anywhere in Triton's interpreter.

    ``RESTORE_KERNELS=off`` in the environment leaves them all out: a kernel that reads where it
    must not ends every program on that card, and no check afterwards helps.
    """
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    wanted = os.environ.get("RESTORE_KERNELS") != "off"
    return _has_triton() and wanted and (device.type == "cuda" or interpreted)


def can_try(device: torch.device, family: str, dtype: torch.dtype) -> bool:
    """The same for kernels that no card has run to the end: once they proved themselves apart.

    With ``RESTORE_KERNELS=all`` without that, as the trial itself runs them.

    Args:
        device: where.
        family: name of the kernels.
        dtype: what they would run in; each format has a trial of its own.
    """
    if not can_run(device):
        return False
    asked = os.environ.get("RESTORE_KERNELS") == TRY_ALL
    return device.type != "cuda" or asked or (family, device.index, dtype) in _trusted


def trust(device: torch.device, family: str, dtype: torch.dtype) -> None:
    """Lets :func:`can_try` allow kernels on a device in a format from now on."""
    _trusted.add((family, device.index, dtype))


def distrust(device: torch.device, family: str, dtype: torch.dtype) -> None:
    """Takes that back."""
    _trusted.discard((family, device.index, dtype))


def difference(kernel: Callable[[], Tensor], twin: Callable[[], Tensor], dtype: str) -> str:
    """Says what is wrong with a kernel on a sample, or nothing.

    Args:
        kernel: computes the sample by the kernel.
        twin: computes the same in plain torch.
        dtype: number format of the sample, a key of ``TOLERANCE``.
    """
    try:
        found = kernel()
    except Exception as error:  # whatever a compiler says on a machine that it was not tried on
        reason = str(error).strip().partition("\n")[0][:200]
        return f"does not run here ({reason or type(error).__name__})"
    off = float((found.double() - twin().double()).abs().max())
    # Values that are not finite give no number that is below the tolerance.
    if not off <= TOLERANCE[dtype]:
        return f"differs from its twin by {off:.2g} in {dtype}"
    return ""
