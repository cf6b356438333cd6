"""The kernels of :mod:`restore.kernels.brought`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["run_blended", "run_brought"]

_PIXELS = 128


@triton.jit
def _lifted(
    raw: tl.tensor,
    scale: tl.constexpr,
    wide: tl.constexpr,
    at: tl.tensor,
    channel: tl.tensor,
    size: tl.tensor,
    here: tl.tensor,
) -> tl.tensor:
    """A channel that a block found, at places of full size; ``wide`` counts channels of ``raw``."""
    high, across = size[0] // scale, size[1] // scale
    y = tl.maximum((at[1] + 0.5) / scale - 0.5, 0.0)
    x = tl.maximum((at[2] + 0.5) / scale - 0.5, 0.0)
    top, left = y.to(tl.int32), x.to(tl.int32)
    down, right = y - top.to(tl.float32), x - left.to(tl.float32)
    base = at[0] * (high // 2) * (across // 2)
    total = 0.0 * (y + channel)
    for part in tl.static_range(1 if scale == 1 else 4):
        v = tl.minimum(top + part // 2, high - 1)
        u = tl.minimum(left + part % 2, across - 1)
        share = (down if part // 2 else 1 - down) * (right if part % 2 else 1 - right)
        # The pixel shuffle that is still to come: four pixels lie in one.
        place = (base + (v // 2) * (across // 2) + u // 2) * wide
        place = place + channel * 4 + (v % 2) * 2 + u % 2
        total += share * tl.load(raw + place, mask=here, other=0.0).to(tl.float32)
    return total


@triton.jit
def _flow(
    raws: tl.tensor,
    scales: tl.constexpr,
    wides: tl.constexpr,
    at: tl.tensor,
    channel: tl.constexpr,
    size: tl.tensor,
    here: tl.tensor,
) -> tl.tensor:
    """One component of the flows so far, px of full size."""
    total = 0.0 * at[1]
    for k in tl.static_range(len(scales)):
        total += scales[k] * _lifted(raws[k], scales[k], wides[k], at, channel, size, here)
    return total


@triton.jit
def _fetched(
    end: tl.tensor,
    base: tl.tensor,
    y: tl.tensor,
    x: tl.tensor,
    channel: tl.tensor,
    size: tl.tensor,
    here: tl.tensor,
    pixel_stride: tl.constexpr,
) -> tl.tensor:
    """A picture between its pixels; beyond the border the border's."""
    y = tl.minimum(tl.maximum(y, 0.0), size[0] - 1.0)
    x = tl.minimum(tl.maximum(x, 0.0), size[1] - 1.0)
    top, left = y.to(tl.int32), x.to(tl.int32)
    down, right = y - top.to(tl.float32), x - left.to(tl.float32)
    total = 0.0 * (x + channel)
    for part in tl.static_range(4):
        v = tl.minimum(top + part // 2, size[0] - 1)
        u = tl.minimum(left + part % 2, size[1] - 1)
        share = (down if part // 2 else 1 - down) * (right if part % 2 else 1 - right)
        place = base + (v * size[1] + u) * pixel_stride + channel
        total += share * tl.load(end + place, mask=here, other=0.0).to(tl.float32)
    return total


@triton.jit
def _brought_kernel(
    ends: tl.tensor,
    out: tl.tensor,
    raws: tl.tensor,
    pixels: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    time: tl.tensor,
    scales: tl.constexpr,
    wides: tl.constexpr,
    scale: tl.constexpr,
    packed: tl.constexpr,
    rest: tl.constexpr,
    block: tl.constexpr,
) -> None:
    at = tl.program_id(0) * block + tl.arange(0, block)
    here = at < pixels
    small = width // scale
    picture = at // (small * (height // scale))
    first_row = (at // small) % (height // scale) * scale + (scale - 1) // 2
    first_column = at % small * scale + (scale - 1) // 2
    channel = tl.arange(0, packed)[None, :]
    other = tl.arange(0, rest)[None, :]
    k: tl.constexpr = len(scales) - 1
    used: tl.constexpr = wides[k] // 4
    carried = here[:, None] & (other >= 4) & (other < used)
    base = (picture * height * width * packed)[:, None]
    size = (height, width)
    mean: tl.constexpr = 1.0 if scale == 1 else 0.25
    place = out + (at * (2 * packed + rest))[:, None]
    found = tl.zeros((block, rest), tl.float32)
    for side in tl.static_range(2):
        seen = tl.zeros((block, packed), tl.float32)
        # Not unrolled: a program four times as long would take four times as long to compile.
        for part in range(1 if scale == 1 else 4):
            spot = (picture, first_row + part // 2, first_column + part % 2)
            x = _flow(raws, scales, wides, spot, 2 * side, size, here)
            y = _flow(raws, scales, wides, spot, 2 * side + 1, size, here)
            found += tl.where(other == 2 * side, x[:, None], 0.0) / scale
            found += tl.where(other == 2 * side + 1, y[:, None], 0.0) / scale
            y, x = (spot[1] + y)[:, None], (spot[2] + x)[:, None]
            seen += _fetched(ends[side], base, y, x, channel, size, here[:, None], packed)
        to = place + side * packed + channel
        tl.store(to, (seen * mean).to(out.dtype.element_ty), mask=here[:, None])
    for part in range(1 if scale == 1 else 4):
        row, column = first_row + part // 2, first_column + part % 2
        spot = (picture[:, None], row[:, None], column[:, None])
        found += _lifted(raws[k], scales[k], wides[k], spot, other, size, carried)
    found = found * mean + tl.where(other == used, time, 0.0)
    to = place + 2 * packed + other
    tl.store(to, found.to(out.dtype.element_ty), mask=here[:, None])


@triton.jit
def _blended_kernel(
    ends: tl.tensor,
    out: tl.tensor,
    raws: tl.tensor,
    pixels: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    scales: tl.constexpr,
    wides: tl.constexpr,
    block: tl.constexpr,
) -> None:
    at = tl.program_id(0) * block + tl.arange(0, block)
    here = at < pixels
    size = (height, width)
    spot = (at // (width * height), (at // width) % height, at % width)
    k: tl.constexpr = len(scales) - 1
    mask = _lifted(raws[k], scales[k], wides[k], spot, 4, size, here)
    share = 1 / (1 + tl.exp(-mask))
    near_x = spot[2] + _flow(raws, scales, wides, spot, 0, size, here)
    near_y = spot[1] + _flow(raws, scales, wides, spot, 1, size, here)
    far_x = spot[2] + _flow(raws, scales, wides, spot, 2, size, here)
    far_y = spot[1] + _flow(raws, scales, wides, spot, 3, size, here)
    for channel in tl.static_range(3):
        plane = (spot[0] * 3 + channel) * height * width
        near = _fetched(ends[0], plane, near_y, near_x, 0, size, here, 1)
        far = _fetched(ends[1], plane, far_y, far_x, 0, size, here, 1)
        to = out + plane + spot[1] * width + spot[2]
        tl.store(to, near * share + far * (1 - share), mask=here)


def _last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def run_brought(
    ends: tuple[Tensor, Tensor],
    found: Sequence[tuple[Tensor, int]],
    time: float,
    scale: int,
    rest: int,
) -> Tensor:
    """What the next block sees, written once."""
    n, packed, height, width = ends[0].shape
    shape = (n, 2 * packed + rest, height // scale, width // scale)
    out = torch.empty(
        shape, dtype=ends[0].dtype, device=ends[0].device, memory_format=torch.channels_last
    )
    pixels = n * shape[2] * shape[3]
    # Triton launches on the current device.
    with torch.cuda.device_of(out):
        _brought_kernel[(triton.cdiv(pixels, _PIXELS),)](
            (_last(ends[0]), _last(ends[1])),
            out,
            tuple(_last(raw) for raw, _ in found),
            pixels,
            height,
            width,
            time,
            scales=tuple(each for _, each in found),
            wides=tuple(raw.shape[1] for raw, _ in found),
            scale=scale,
            packed=packed,
            rest=rest,
            block=_PIXELS,
        )
    return out


def run_blended(first: Tensor, second: Tensor, found: Sequence[tuple[Tensor, int]]) -> Tensor:
    """The finished frame, written once."""
    out = torch.empty(first.shape, dtype=torch.float32, device=first.device)
    n, _, height, width = first.shape
    pixels = n * height * width
    # Triton launches on the current device.
    with torch.cuda.device_of(out):
        _blended_kernel[(triton.cdiv(pixels, _PIXELS),)](
            (first.contiguous(), second.contiguous()),
            out,
            tuple(_last(raw) for raw, _ in found),
            pixels,
            height,
            width,
            scales=tuple(each for _, each in found),
            wides=tuple(raw.shape[1] for raw, _ in found),
            block=_PIXELS,
        )
    return out
