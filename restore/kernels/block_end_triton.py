"""The kernel of :mod:`restore.kernels.block_end`.

Rows of pixels stay in registers, their channels in three parts of 64, since a block of Triton has a
power of two. Weights come from the cache, 64 x 64 at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

if TYPE_CHECKING:
    from restore.kernels.block_end import BlockEnd

__all__ = ["normed_parts", "run"]

_ROWS, _WARPS, _STAGES = 64, 4, 3
_PART = tl.constexpr(64)
_INNER = tl.constexpr(32)


@triton.jit
def _matrix(weights, row, column, pitch: tl.constexpr, outputs: tl.constexpr, inputs: tl.constexpr):
    """Some outputs from ``row`` by some inputs from ``column``, as ``[in, out]``."""
    out = row + tl.arange(0, outputs)
    into = column + tl.arange(0, inputs)
    return tl.load(weights + out[None, :] * pitch + into[:, None])


@triton.jit
def _vector(values, part: tl.constexpr):
    return tl.load(values + part * _PART + tl.arange(0, _PART))[None, :]


@triton.jit
def normed_parts(a, b, c, by, channels: tl.constexpr, eps):
    """The norm of three parts of 64 channels, ``[rows, 64]`` each, over the first ``channels``."""
    mean = (tl.sum(a, 1) + tl.sum(b, 1) + tl.sum(c, 1)) / channels
    held = tl.arange(0, _PART)[None, :] < channels - 2 * _PART
    a = a - mean[:, None]
    b = b - mean[:, None]
    c = tl.where(held, c - mean[:, None], 0.0)
    spread = (tl.sum(a * a, 1) + tl.sum(b * b, 1) + tl.sum(c * c, 1)) / channels
    factor = tl.rsqrt(spread + eps)[:, None]
    shift = by + 3 * _PART
    a = a * factor * _vector(by, 0) + _vector(shift, 0)
    b = b * factor * _vector(by, 1) + _vector(shift, 1)
    c = c * factor * _vector(by, 2) + _vector(shift, 2)
    return a, b, c


@triton.jit
def _gelu(x):
    """By Abramowitz and Stegun, formula 7.1.26: within 1.5e-7 of the error function."""
    far = tl.abs(x) * 0.7071067811865476
    t = 1.0 / (1.0 + 0.3275911 * far)
    series = 1.421413741 + t * (-1.453152027 + t * 1.061405429)
    series = t * (0.254829592 + t * (-0.284496736 + t * series))
    half = 0.5 * series * tl.exp(-far * far)
    return x * tl.where(x < 0.0, half, 1.0 - half)


@triton.jit
def _kernel(
    x,
    found,
    near,
    share,
    proj,
    proj_bias,
    norm,
    up,
    up_bias,
    down,
    down_bias,
    after,
    out,
    normed_out,
    pixels,
    eps,
    channels: tl.constexpr,
    hidden: tl.constexpr,
    has_near: tl.constexpr,
    has_after: tl.constexpr,
    precise: tl.constexpr,
    block: tl.constexpr,
) -> None:
    width: tl.constexpr = 3 * _PART
    form = out.dtype.element_ty
    row = tl.program_id(0) * block + tl.arange(0, block)
    inside = (row < pixels)[:, None]
    picture = tl.program_id(1).to(tl.int64)
    place = (picture * pixels + row)[:, None] * width + tl.arange(0, _PART)[None, :]
    a = tl.load(x + place, mask=inside, other=0.0).to(tl.float32) + _vector(proj_bias, 0)
    b = tl.load(x + place + _PART, mask=inside, other=0.0).to(tl.float32) + _vector(proj_bias, 1)
    c = tl.load(x + place + 2 * _PART, mask=inside, other=0.0).to(tl.float32)
    c += _vector(proj_bias, 2)
    if has_near:
        factors = share + picture * width
        a += tl.load(near + place, mask=inside, other=0.0).to(tl.float32) * _vector(factors, 0)
        part = tl.load(near + place + _PART, mask=inside, other=0.0).to(tl.float32)
        b += part * _vector(factors, 1)
        part = tl.load(near + place + 2 * _PART, mask=inside, other=0.0).to(tl.float32)
        c += part * _vector(factors, 2)
    for first in range(0, width, _PART):
        given = tl.load(found + place + first, mask=inside, other=0.0)
        a += tl.dot(given, _matrix(proj, 0, first, width, _PART, _PART), input_precision=precise)
        near_part = _matrix(proj, _PART, first, width, _PART, _PART)
        b += tl.dot(given, near_part, input_precision=precise)
        near_part = _matrix(proj, 2 * _PART, first, width, _PART, _PART)
        c += tl.dot(given, near_part, input_precision=precise)
    p, q, r = normed_parts(a, b, c, norm, channels, eps)
    p = p.to(form)
    q = q.to(form)
    r = r.to(form)
    a += _vector(down_bias, 0)
    b += _vector(down_bias, 1)
    c += _vector(down_bias, 2)
    for first in range(0, hidden, _INNER):
        inner = tl.dot(p, _matrix(up, first, 0, width, _INNER, _PART), input_precision=precise)
        given = _matrix(up, first, _PART, width, _INNER, _PART)
        inner = tl.dot(q, given, inner, input_precision=precise)
        given = _matrix(up, first, 2 * _PART, width, _INNER, _PART)
        inner = tl.dot(r, given, inner, input_precision=precise)
        inner += tl.load(up_bias + first + tl.arange(0, _INNER))[None, :]
        sent = _gelu(inner).to(form)
        given = _matrix(down, 0, first, hidden, _PART, _INNER)
        a = tl.dot(sent, given, a, input_precision=precise)
        given = _matrix(down, _PART, first, hidden, _PART, _INNER)
        b = tl.dot(sent, given, b, input_precision=precise)
        given = _matrix(down, 2 * _PART, first, hidden, _PART, _INNER)
        c = tl.dot(sent, given, c, input_precision=precise)
    tl.store(out + place, a.to(form), mask=inside)
    tl.store(out + place + _PART, b.to(form), mask=inside)
    tl.store(out + place + 2 * _PART, c.to(form), mask=inside)
    if has_after:
        a, b, c = normed_parts(a, b, c, after, channels, eps)
        tl.store(normed_out + place, a.to(form), mask=inside)
        tl.store(normed_out + place + _PART, b.to(form), mask=inside)
        tl.store(normed_out + place + 2 * _PART, c.to(form), mask=inside)


def run(
    end: BlockEnd, x: Tensor, found: Tensor, near: Tensor | None, share: Tensor | None
) -> tuple[Tensor, Tensor]:
    """One pass: features, attention's and the convolution's result in, both results out."""
    x, found = x.contiguous(), found.contiguous()
    near = near if near is None else near.contiguous()
    n, h, w, _ = x.shape
    out = torch.empty_like(x)
    normed = out if end.after is None else torch.empty_like(x)
    has_near = near is not None and share is not None
    # Triton launches on the current device.
    with torch.cuda.device_of(x):
        _kernel[(triton.cdiv(h * w, _ROWS), n)](
            x,
            found,
            near if has_near else x,
            share.contiguous() if has_near and share is not None else x,
            end.proj,
            end.proj_bias,
            end.norm,
            end.up,
            end.up_bias,
            end.down,
            end.down_bias,
            end.norm if end.after is None else end.after,
            out,
            normed,
            h * w,
            end.eps,
            channels=end.channels,
            hidden=end.up.shape[0],
            has_near=has_near,
            has_after=end.after is not None,
            # float32 products as they are; the fast ones would keep ten bits.
            precise="ieee" if x.dtype == torch.float32 else "tf32",
            block=_ROWS,
            num_warps=_WARPS,
            num_stages=_STAGES,
        )
    return out, normed
