"""The kernel of :mod:`restore.kernels.enlarge`."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["run"]

_BLOCK = 1024


@triton.jit
def _kernel(
    x,
    base,
    out,
    numbers,
    channels,
    height,
    width,
    x_n,
    x_c,
    x_h,
    x_w,
    b_n,
    b_c,
    b_h,
    b_w,
    levels,
    scale: tl.constexpr,
    rounds: tl.constexpr,
    has_base: tl.constexpr,
    block: tl.constexpr,
) -> None:
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    here = at < numbers
    column = at % (width * scale)
    rest = at // (width * scale)
    row = rest % (height * scale)
    rest = rest // (height * scale)
    channel, picture = rest % channels, rest // channels
    small_row, small_column = row // scale, column // scale
    part = (channel * scale + row % scale) * scale + column % scale
    place = picture * x_n + part * x_c + small_row * x_h + small_column * x_w
    value = tl.load(x + place, mask=here, other=0.0).to(tl.float32)
    if has_base:
        place = picture * b_n + channel * b_c + small_row * b_h + small_column * b_w
        value += tl.load(base + place, mask=here, other=0.0).to(tl.float32)
    if rounds:
        value = tl.minimum(tl.maximum(value, 0.0), 1.0) * levels
        # Halves to even, as torch rounds: at 2^23 float32 holds whole numbers only.
        value = (value + 8388608.0) - 8388608.0
    tl.store(out + at, value.to(out.dtype.element_ty), mask=here)


def run(x: Tensor, base: Tensor | None, scale: int, levels: int) -> Tensor:
    """One pass: the last convolution's result and the picture in, the large picture out."""
    n, parts, height, width = x.shape
    channels = parts // scale**2
    form = torch.float32 if not levels else torch.uint8 if levels <= 255 else torch.int32
    out = torch.empty((n, channels, height * scale, width * scale), dtype=form, device=x.device)
    # Triton launches on the current device.
    with torch.cuda.device_of(x):
        _kernel[(triton.cdiv(out.numel(), _BLOCK),)](
            x,
            x if base is None else base,
            out,
            out.numel(),
            channels,
            height,
            width,
            *x.stride(),
            *(x if base is None else base).stride(),
            float(levels),
            scale=scale,
            rounds=levels > 0,
            has_base=base is not None,
            block=_BLOCK,
            # A sum joined to the product before it would round otherwise than the twin.
            enable_fp_fusion=False,
        )
    return out
