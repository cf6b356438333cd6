"""The end of a network that enlarges: pixel shuffle, the picture itself added, rounding.

Source: Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
Convolutional Neural Network", CVPR 2016 (pixel shuffle). In plain torch each step is a pass over
the large picture.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pixel_shuffle

from restore.kernels.choose import can_run, difference

__all__ = ["enlarge", "enlarge_plain", "enlarge_trouble"]


def enlarge_plain(x: Tensor, base: Tensor | None, scale: int, levels: int = 0) -> Tensor:
    """The twin: the same by torch's own operations, in float32.

    Args:
        x: ``[N, C * scale * scale, h, w]``, what the last convolution gave.
        base: ``[N, C, h, w]``, the picture, 0..1; each of its pixels is added to a square. None for
            nothing.
        scale: output size over input size.
        levels: largest code value, such as 255 or 1023: the sum is clipped to 0..1 and rounded to
            codes, halves to even; 0 leaves it as it is.

    Returns:
        ``[N, C, h * scale, w * scale]``: float32 without ``levels``, else uint8 (to 255) or int32.
    """
    total = pixel_shuffle(x.float(), scale)
    if base is not None:
        total = total + interpolate(base.float(), scale_factor=scale, mode="nearest")
    if not levels:
        return total.contiguous()
    codes = (total.clamp(0, 1) * levels).round()
    return codes.to(torch.uint8 if levels <= 255 else torch.int32).contiguous()


def enlarge(x: Tensor, base: Tensor | None, scale: int, levels: int = 0) -> Tensor:
    """As the twin; by the kernel where it can run. Any strides."""
    if not can_run(x.device):
        return enlarge_plain(x, base, scale, levels)
    from restore.kernels.enlarge_triton import run

    return run(x, base, scale, levels)


def enlarge_trouble(device: torch.device, dtype: torch.dtype) -> str:
    """Holds the kernel against its twin there; says what is wrong, or nothing."""
    draw = torch.Generator().manual_seed(0)
    x, base = (
        torch.rand(shape, generator=draw).to(device, dtype)
        for shape in ((2, 48, 9, 13), (2, 3, 9, 13))
    )
    x = x.contiguous(memory_format=torch.channels_last)
    return difference(
        lambda: enlarge(x, base, 4),
        lambda: enlarge_plain(x, base, 4),
        "float32",
    )
