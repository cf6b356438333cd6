"""The kernel of :mod:`restore.kernels.windows`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

if TYPE_CHECKING:
    from restore.kernels.windows import Borders

__all__ = ["run"]

_ROWS, _KEYS = 64, 64
_OUTSIDE = tl.constexpr(-100.0)


@triton.jit
def _kernel(
    q,
    k,
    v,
    bias,
    parts,
    kinds,
    out,
    scale,
    heads,
    pixels,
    keys,
    q_w,
    q_p,
    q_h,
    q_c,
    k_w,
    k_p,
    k_h,
    k_c,
    v_w,
    v_p,
    v_h,
    v_c,
    channels: tl.constexpr,
    padded: tl.constexpr,
    has_borders: tl.constexpr,
    precise: tl.constexpr,
    block_rows: tl.constexpr,
    block_keys: tl.constexpr,
) -> None:
    both = tl.program_id(0).to(tl.int64)
    window, head = both // heads, both % heads
    row = tl.program_id(1) * block_rows + tl.arange(0, block_rows)
    channel = tl.arange(0, padded)
    held = channel < channels
    in_row = row < pixels
    start = q + window * q_w + head * q_h
    asked = tl.load(
        start + row[:, None] * q_p + channel[None, :] * q_c,
        mask=in_row[:, None] & held[None, :],
        other=0.0,
    )
    if has_borders:
        kind = tl.load(kinds + window).to(tl.int64)
        row_part = tl.load(parts + kind * pixels + row, mask=in_row, other=0)
    most = tl.full((block_rows,), float("-inf"), tl.float32)
    total = tl.zeros((block_rows,), tl.float32)
    mixed = tl.zeros((block_rows, padded), tl.float32)
    for first in range(0, keys, block_keys):
        key = first + tl.arange(0, block_keys)
        in_key = key < keys
        inside = in_key[:, None] & held[None, :]
        start = k + window * k_w + head * k_h
        near = tl.load(start + key[:, None] * k_p + channel[None, :] * k_c, mask=inside, other=0.0)
        scores = tl.dot(asked, tl.trans(near), input_precision=precise) * scale
        table = bias + (head * pixels + row[:, None]) * keys + key[None, :]
        scores += tl.load(table, mask=in_row[:, None] & in_key[None, :], other=0.0).to(tl.float32)
        if has_borders:
            key_part = tl.load(parts + kind * pixels + key, mask=in_key, other=0)
            scores += tl.where(row_part[:, None] == key_part[None, :], 0.0, _OUTSIDE)
        scores = tl.where(in_key[None, :], scores, float("-inf"))
        higher = tl.maximum(most, tl.max(scores, 1))
        weights = tl.exp(scores - higher[:, None])
        fading = tl.exp(most - higher)
        start = v + window * v_w + head * v_h
        value = tl.load(start + key[:, None] * v_p + channel[None, :] * v_c, mask=inside, other=0.0)
        mixed = mixed * fading[:, None]
        mixed += tl.dot(weights.to(value.dtype), value, input_precision=precise)
        total = total * fading + tl.sum(weights, 1)
        most = higher
    mixed = mixed / total[:, None]
    place = ((window * pixels + row[:, None]) * heads + head) * channels + channel[None, :]
    tl.store(out + place, mixed.to(out.dtype.element_ty), mask=in_row[:, None] & held[None, :])


def run(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float, borders: Borders | None
) -> Tensor:
    """Scores are made, weighed and used block by block; the result is contiguous."""
    windows, pixels, heads, channels = q.shape
    out = torch.empty((windows, pixels, heads, channels), dtype=q.dtype, device=q.device)
    bias = bias.contiguous()
    # Triton launches on the current device.
    with torch.cuda.device_of(q):
        _kernel[(windows * heads, triton.cdiv(pixels, _ROWS))](
            q,
            k,
            v,
            bias,
            bias if borders is None else borders.parts.contiguous(),
            bias if borders is None else borders.kinds.contiguous(),
            out,
            scale,
            heads,
            pixels,
            k.shape[1],
            *q.stride(),
            *k.stride(),
            *v.stride(),
            channels=channels,
            padded=max(16, triton.next_power_of_2(channels)),
            has_borders=borders is not None,
            # float32 products as they are; the fast ones would keep ten bits.
            precise="ieee" if q.dtype == torch.float32 else "tf32",
            block_rows=_ROWS,
            block_keys=_KEYS,
        )
    return out
