"""The kernel of :mod:`restore.kernels.activation`."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["run"]

_BLOCK = 2048


@triton.jit
def _kernel(
    x,
    bias,
    slope,
    numbers,
    channels,
    inner,
    has_bias: tl.constexpr,
    one_slope: tl.constexpr,
    block: tl.constexpr,
) -> None:
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    here = at < numbers
    channel = (at // inner) % channels
    value = tl.load(x + at, mask=here, other=0.0).to(tl.float32)
    if has_bias:
        value += tl.load(bias + channel, mask=here, other=0.0).to(tl.float32)
    factor = tl.load(slope + (channel * 0 if one_slope else channel), mask=here, other=0.0)
    value = tl.where(value > 0, value, value * factor.to(tl.float32))
    tl.store(x + at, value.to(x.dtype.element_ty), mask=here)


def run(x: Tensor, bias: Tensor | None, slope: Tensor) -> Tensor:
    """Over a dense ``x``, in place."""
    _, channels, height, width = x.shape
    # In channels_last neighbours in memory are channels of one pixel, else pixels of one channel.
    last = x.is_contiguous(memory_format=torch.channels_last)
    # Triton launches on the current device.
    with torch.cuda.device_of(x):
        _kernel[(triton.cdiv(x.numel(), _BLOCK),)](
            x,
            slope if bias is None else bias,
            slope,
            x.numel(),
            channels,
            1 if last else height * width,
            has_bias=bias is not None,
            one_slope=slope.numel() == 1,
            block=_BLOCK,
        )
    return x
