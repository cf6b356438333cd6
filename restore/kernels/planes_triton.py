"""The kernels of :mod:`restore.kernels.planes`: one, two or three launches a picture.

Products are joined to sums exactly where torch joins them (``add`` with a factor), so that on a
card the sums have the twin's bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

if TYPE_CHECKING:
    from restore.kernels.planes import Plan

__all__ = ["run"]

_WARPS = 4
_COLUMNS = 512
_TALL, _WIDE = 8, 128
# As Halving has them; kernels take names of their own module only where they are constants.
_COSITED = tl.constexpr(1)
_CENTRED = tl.constexpr(2)


@triton.jit
def _coded(
    value: tl.tensor,
    scale: tl.tensor,
    offset: tl.tensor,
    noise: tl.tensor,
    at: tl.tensor,
    here: tl.tensor,
    top: tl.tensor,
    dithers: tl.constexpr,
) -> tl.tensor:
    code = value * scale + offset
    if dithers:
        code += tl.load(noise + at, mask=here, other=0.0)
    code = tl.minimum(tl.maximum(code, 0.0), top)
    # Halves to even, as torch rounds: at 2^23 float32 holds whole numbers only.
    return (code + 8388608.0) - 8388608.0


@triton.jit
def _color(
    data: tl.tensor,
    y: tl.tensor,
    x: tl.tensor,
    strides: tl.tensor,
    here: tl.tensor,
    is_gray: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    at = y * strides[1] + x * strides[2]
    red = tl.load(data + at, mask=here, other=0.0).to(tl.float32)
    green = tl.load(data + at + strides[0], mask=here, other=0.0).to(tl.float32)
    blue = tl.load(data + at + 2 * strides[0], mask=here, other=0.0).to(tl.float32)
    if is_gray:
        red = (red + green + blue) * (1.0 / 3.0)
        green = red
        blue = red
    return red, green, blue


@triton.jit
def _row(color: tl.tensor, matrix: tl.tensor, first: tl.constexpr) -> tl.tensor:
    total = color[0] * matrix[first]
    total = tl.fma(color[1], matrix[first + 1], total)
    return tl.fma(color[2], matrix[first + 2], total)


@triton.jit
def _lifted(
    before: tl.tensor,
    odd_before: tl.tensor,
    even: tl.tensor,
    odd: tl.tensor,
    following: tl.tensor,
    is_first: tl.tensor,
) -> tl.tensor:
    """LeGall 5/3 analysis, of five samples in a row."""
    left = tl.where(is_first, 0.0, odd_before - (before + even) * 0.5)
    return even + (left + (odd - (even + following) * 0.5)) * 0.25


@triton.jit
def _mirrored(at: tl.tensor, length: tl.tensor) -> tl.tensor:
    at = tl.where(at < 0, -1 - at, at)
    return tl.where(at >= length, 2 * length - 1 - at, at)


@triton.jit
def _first(
    data,
    strides,
    matrix,
    height,
    width,
    luma,
    luma_noise,
    luma_by,
    blue,
    red,
    blue_noise,
    red_noise,
    chroma_by,
    top,
    down: tl.constexpr,
    is_last: tl.constexpr,
    dithers: tl.constexpr,
    is_gray: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """Luma, and chroma with rows halved; codes of it where that is all, else float32."""
    row = tl.program_id(1)
    x = tl.program_id(0) * block + tl.arange(0, block)
    here = x < width
    rows: tl.constexpr = 2 if down else 1
    color = _color(data, rows * row, x, strides, here, is_gray)
    at = rows * row * width + x
    code = _coded(_row(color, matrix, 0), *luma_by, luma_noise, at, here, top, dithers)
    tl.store(luma + at, code.to(luma.dtype.element_ty), mask=here)
    u, v = _row(color, matrix, 3), _row(color, matrix, 6)
    if down:
        color = _color(data, 2 * row + 1, x, strides, here, is_gray)
        at += width
        code = _coded(_row(color, matrix, 0), *luma_by, luma_noise, at, here, top, dithers)
        tl.store(luma + at, code.to(luma.dtype.element_ty), mask=here)
        odd_u, odd_v = _row(color, matrix, 3), _row(color, matrix, 6)
        if down == _CENTRED:
            u = (u + odd_u) * 0.5
            v = (v + odd_v) * 0.5
        else:
            a = _color(data, tl.maximum(2 * row - 2, 0), x, strides, here, is_gray)
            b = _color(data, tl.maximum(2 * row - 1, 0), x, strides, here, is_gray)
            c = _color(data, tl.minimum(2 * row + 2, height - 2), x, strides, here, is_gray)
            u = _lifted(
                _row(a, matrix, 3), _row(b, matrix, 3), u, odd_u, _row(c, matrix, 3), row == 0
            )
            v = _lifted(
                _row(a, matrix, 6), _row(b, matrix, 6), v, odd_v, _row(c, matrix, 6), row == 0
            )
    at = row * width + x
    if is_last:
        u = _coded(u, *chroma_by, blue_noise, at, here, top, dithers)
        v = _coded(v, *chroma_by, red_noise, at, here, top, dithers)
    tl.store(blue + at, u.to(blue.dtype.element_ty), mask=here)
    tl.store(red + at, v.to(red.dtype.element_ty), mask=here)


@triton.jit
def _upright(
    plane: tl.tensor,
    y: tl.tensor,
    x: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    here: tl.tensor,
    taps: tl.constexpr,
) -> tl.tensor:
    """One column's samples, sharpened along it where there are taps."""
    value = tl.load(plane + y * width + x, mask=here, other=0.0)
    if len(taps) > 0:
        value = value * taps[0]
        for n in tl.static_range(1, len(taps)):
            above, below = _mirrored(y - n, height), _mirrored(y + n, height)
            one = tl.load(plane + above * width + x, mask=here, other=0.0)
            value = tl.fma(one, taps[n], value)
            one = tl.load(plane + below * width + x, mask=here, other=0.0)
            value = tl.fma(one, taps[n], value)
    return value


@triton.jit
def _across(
    given,
    height,
    width,
    blue,
    red,
    blue_noise,
    red_noise,
    chroma_by,
    top,
    taps: tl.constexpr,
    across: tl.constexpr,
    is_last: tl.constexpr,
    dithers: tl.constexpr,
    tall: tl.constexpr,
    wide: tl.constexpr,
) -> None:
    """Chroma ``[2, h, w]``: sharpened along columns, and rows halved; to codes, or float32."""
    y = (tl.program_id(1) * tall + tl.arange(0, tall))[:, None]
    x = (tl.program_id(0) * wide + tl.arange(0, wide))[None, :]
    long = width // 2 if across else width
    here = (y < height) & (x < long)
    # Rows beyond the last are read by nobody: the mask holds them.
    plane = given + tl.program_id(2) * height * width
    if across == 0:
        value = _upright(plane, y, x, height, width, here, taps)
    else:
        even = _upright(plane, y, 2 * x, height, width, here, taps)
        odd = _upright(plane, y, 2 * x + 1, height, width, here, taps)
        if across == _CENTRED:
            value = (even + odd) * 0.5
        else:
            before = _upright(plane, y, tl.maximum(2 * x - 2, 0), height, width, here, taps)
            left = _upright(plane, y, tl.maximum(2 * x - 1, 0), height, width, here, taps)
            right = tl.minimum(2 * x + 2, width - 2)
            following = _upright(plane, y, right, height, width, here, taps)
            value = _lifted(before, left, even, odd, following, x == 0)
    at = y * long + x
    out, noise = blue, blue_noise
    if tl.program_id(2) == 1:
        out, noise = red, red_noise
    if is_last:
        value = _coded(value, *chroma_by, noise, at, here, top, dithers)
    tl.store(out + at, value.to(out.dtype.element_ty), mask=here)


@triton.jit
def _sharpened(
    given,
    height,
    width,
    blue,
    red,
    blue_noise,
    red_noise,
    chroma_by,
    top,
    taps: tl.constexpr,
    dithers: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """Chroma ``[2, h, w]``, sharpened along rows, to codes."""
    row = tl.program_id(1)
    x = tl.program_id(0) * block + tl.arange(0, block)
    here = x < width
    line = given + (tl.program_id(2) * height + row) * width
    value = tl.load(line + x, mask=here, other=0.0) * taps[0]
    for n in tl.static_range(1, len(taps)):
        one = tl.load(line + _mirrored(x - n, width), mask=here, other=0.0)
        value = tl.fma(one, taps[n], value)
        one = tl.load(line + _mirrored(x + n, width), mask=here, other=0.0)
        value = tl.fma(one, taps[n], value)
    out, noise = blue, blue_noise
    if tl.program_id(2) == 1:
        out, noise = red, red_noise
    at = row * width + x
    value = _coded(value, *chroma_by, noise, at, here, top, dithers)
    tl.store(out + at, value.to(out.dtype.element_ty), mask=here)


def run(data: Tensor, plan: Plan, noise: Sequence[Tensor] | None, out: Sequence[Tensor]) -> None:
    """Launches what the plan needs; see :func:`restore.kernels.planes.write_planes`."""
    _, height, width = data.shape
    noises = noise or [data, data, data]
    fixed = {"dithers": noise is not None, "num_warps": _WARPS, "enable_fp_fusion": False}
    ends = (noises[1], noises[2], plan.chroma, float(plan.top))
    rows = height // 2 if plan.down else height
    halves_on, sharpens_down = plan.across > 0, plan.down == _CENTRED.value
    goes_on = halves_on or sharpens_down
    # Triton launches on the current device.
    with torch.cuda.device_of(data):
        half = data.new_empty(2, rows, width, dtype=torch.float32) if goes_on else out[1:]
        _first[(triton.cdiv(width, _COLUMNS), rows)](
            data,
            tuple(data.stride()),
            tuple(weight for row in plan.matrix for weight in row),
            height,
            width,
            out[0],
            noises[0],
            plan.luma,
            half[0],
            half[1],
            *ends,
            down=int(plan.down),
            is_last=not goes_on,
            is_gray=plan.is_gray,
            block=_COLUMNS,
            **fixed,
        )
        if not goes_on:
            return
        long = width // 2 if halves_on else width
        is_last = plan.across != _CENTRED.value
        less = out[1:] if is_last else data.new_empty(2, rows, long, dtype=torch.float32)
        _across[(triton.cdiv(long, _WIDE), triton.cdiv(rows, _TALL), 2)](
            half,
            rows,
            width,
            less[0],
            less[1],
            *ends,
            taps=plan.taps if sharpens_down else (),
            across=int(plan.across),
            is_last=is_last,
            tall=_TALL,
            wide=_WIDE,
            **fixed,
        )
        if not is_last:
            _sharpened[(triton.cdiv(long, _COLUMNS), rows, 2)](
                less, rows, long, out[1], out[2], *ends, taps=plan.taps, block=_COLUMNS, **fixed
            )
