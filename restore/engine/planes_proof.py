"""Whether the kernels of the way back are right on a device: held against torch's passes there."""

from __future__ import annotations

from fractions import Fraction

import torch

from restore.color import ChromaSite, ColorSpec, Matrix, Primaries, Range, Transfer
from restore.engine.pixels import planes_by_kernel, planes_by_torch
from restore.frames import Frame, pixel_format
from restore.kernels.choose import can_try, distrust
from restore.kernels.planes import FAMILY
from restore.kernels.proving import trouble_apart

__all__ = ["planes_trouble"]

# Every kernel in every form: both depths, and each way that an axis is halved.
_CASES = (
    ("yuv420p", ChromaSite.LEFT, False),
    ("yuv420p10le", ChromaSite.LEFT, False),
    ("yuv420p10le", ChromaSite.TOPLEFT, True),
    ("yuv420p", ChromaSite.CENTER, True),
    ("yuv422p10le", ChromaSite.LEFT, False),
    ("yuv440p", ChromaSite.CENTER, False),
    ("yuv440p", ChromaSite.TOP, False),
    ("yuv444p16le", ChromaSite.LEFT, False),
)
# Sums that differ by rounding part at ties only: one sample in thousands.
_MOST_APART = 1e-3
# More than a block of columns, and none that blocks end at; the interpreter takes its time.
_SIZE, _INTERPRETED_SIZE = (130, 1110), (18, 150)


def planes_trouble(device: torch.device, dtype: torch.dtype) -> str:
    """Lets the kernels prove themselves, apart first; ``from_frame`` takes them if they do.

    Args:
        device: where frames are; nothing is done for the CPU.
        dtype: float32, as frames are.

    Returns:
        What is wrong, or nothing.
    """
    proof = f"{__name__}:planes_trouble"
    if trouble := trouble_apart(FAMILY, proof, device, dtype):
        return trouble
    if not can_try(device, FAMILY, dtype):
        return ""
    draw = torch.Generator().manual_seed(0)
    size = _SIZE if device.type == "cuda" else _INTERPRETED_SIZE
    data = (1.2 * torch.rand(3, *size, generator=draw) - 0.1).to(device, dtype)
    for name, site, is_gray in _CASES:
        frame = Frame(data, 0, Fraction(1, 25), _color(site), 0, is_gray=is_gray)
        if trouble := _apart(frame, name):
            distrust(device, FAMILY, dtype)
            return f"{name} {trouble}"
    return ""


def _color(site: ChromaSite) -> ColorSpec:
    return ColorSpec(Matrix.BT709, Primaries.BT709, Transfer.BT709, Range.LIMITED, site)


def _apart(frame: Frame, name: str) -> str:
    fmt = pixel_format(name)
    try:
        packed = planes_by_kernel(frame, fmt, frame.color)
        found = packed.fetched() if packed else []
    except Exception as error:  # whatever a compiler says on a machine that it was not tried on
        reason = str(error).strip().partition("\n")[0][:200]
        return f"does not run here ({reason or type(error).__name__})"
    if not found:
        return "is not taken"
    for ours, twin in zip(found, planes_by_torch(frame, fmt, frame.color), strict=True):
        off = abs(ours.astype("int64") - twin.cpu().numpy().astype("int64"))
        if off.max() > 1 or (off > 0).sum() > 1 + _MOST_APART * off.size:
            return f"differs from its twin by {off.max()} in {(off > 0).mean():.2%} of samples"
    return ""
