"""Two frames brought along the flows so far, at the size a block of an IFNet works at, in one pass.

A block that works ``scale`` times smaller sees, by bilinear interpolation, the mean of the four
pixels in the middle of each ``scale x scale`` cell: only there frames are fetched. Flows of earlier
blocks are read at the size they were estimated at. Nothing of full size is written but the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from restore.kernels.choose import can_try, difference
from restore.kernels.proving import trouble_apart

__all__ = ["Found", "blended", "blended_plain", "brought", "brought_plain", "brought_trouble"]

_FAMILY = "brought"
_MOST_STEPS = 5
_MOST_NUMBERS = 1 << 31  # the kernels count in 32 bits


@dataclass(frozen=True)
class Found:
    """What a block found, as its last convolution gives it.

    Attributes:
        raw: ``[N, 4 * C, h / (2 * scale), w / (2 * scale)]``, a pixel shuffle by 2 still to come:
            then C is 4 of flow in px of the block's size (x and y for the first frame, then for the
            second), 1 of the mask, and features.
        scale: how many times smaller the block works.
    """

    raw: Tensor
    scale: int


def brought_plain(
    ends: tuple[Tensor, Tensor], found: Sequence[Found], time: float, scale: int
) -> Tensor:
    """The twin: what the next block sees, by torch's own operations.

    Args:
        ends: both frames with their features, ``[N, P, h, w]`` each; sides are multiples of all
            scales.
        found: by the blocks so far, in order; all with the same C.
        time: of the wanted frame, 0..1.
        scale: of the next block: 1, or even.

    Returns:
        ``[N, P + P + R, h / scale, w / scale]`` in the format of ``ends``, channels_last: both ends
        fetched along the flows; flow in px of the block's size, mask and features; the time; zeros
        up to R, the next power of two.
    """
    height, width = ends[0].shape[-2:]
    rows, columns = (_middles(n, scale, ends[0].device) for n in (height, width))
    last = _lifted(found[-1], rows, columns)
    flow = last[:, :4] * found[-1].scale
    for one in found[:-1]:
        flow = flow + _lifted(one, rows, columns, most=4) * one.scale
    seen = [
        _fetched(end, flow[:, at : at + 2], rows, columns)
        for end, at in zip(ends, (0, 2), strict=True)
    ]
    rest = _rest(last.shape[1])
    others = flow.new_zeros(len(flow), rest - last.shape[1], *flow.shape[-2:])
    others[:, 0] = time
    every = torch.cat([*seen, flow / scale, last[:, 4:], others], 1)
    small = every if scale == 1 else F.avg_pool2d(every, 2)
    return small.to(ends[0].dtype, memory_format=torch.channels_last)


def brought(ends: tuple[Tensor, Tensor], found: Sequence[Found], time: float, scale: int) -> Tensor:
    """As the twin; by the kernel where it can run. ``P`` is then a power of two."""
    packed, numbers = ends[0].shape[1], ends[0].numel()
    fits = len(found) < _MOST_STEPS and packed & (packed - 1) == 0 and 8 * numbers < _MOST_NUMBERS
    if not (fits and can_try(ends[0].device, _FAMILY, ends[0].dtype)):
        return brought_plain(ends, found, time, scale)
    from restore.kernels.brought_triton import run_brought

    steps = [(one.raw, one.scale) for one in found]
    return run_brought(ends, steps, time, scale, _rest(found[0].raw.shape[1] // 4))


def blended_plain(first: Tensor, second: Tensor, found: Sequence[Found]) -> Tensor:
    """The twin: both frames brought along all flows, and blended by the last mask.

    Args:
        first: ``[N, 3, h, w]`` float32 R'G'B'.
        second: of the same shape.
        found: by all blocks, in order; of the last one features may be left out.

    Returns:
        float32 ``[N, 3, h, w]``, not clamped.
    """
    rows, columns = (_middles(n, 1, first.device) for n in first.shape[-2:])
    last = _lifted(found[-1], rows, columns)
    flow = last[:, :4] * found[-1].scale
    for one in found[:-1]:
        flow = flow + _lifted(one, rows, columns, most=4) * one.scale
    share = torch.sigmoid(last[:, 4:5])
    near = _fetched(first, flow[:, :2], rows, columns)
    far = _fetched(second, flow[:, 2:], rows, columns)
    return near * share + far * (1 - share)


def blended(first: Tensor, second: Tensor, found: Sequence[Found]) -> Tensor:
    """As the twin; by the kernel where it can run."""
    fits = len(found) <= _MOST_STEPS and 8 * first.numel() < _MOST_NUMBERS
    if not (fits and can_try(first.device, _FAMILY, found[-1].raw.dtype)):
        return blended_plain(first, second, found)
    from restore.kernels.brought_triton import run_blended

    return run_blended(first, second, [(one.raw, one.scale) for one in found])


def brought_trouble(device: torch.device, dtype: torch.dtype) -> str:
    """Holds both kernels against their twins there; says what is wrong, or nothing."""
    if trouble := trouble_apart(_FAMILY, "restore.kernels.brought:brought_trouble", device, dtype):
        return trouble
    draw = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        made = torch.rand(shape, generator=draw).to(device, dtype)
        return made.contiguous(memory_format=torch.channels_last)

    ends = drawn(2, 8, 8, 16), drawn(2, 8, 8, 16)
    found = [Found(2 * drawn(2, 28, 1, 2) - 1, 4), Found(2 * drawn(2, 28, 2, 4) - 1, 2)]
    frames = [end[:, :3].float().contiguous() for end in ends]
    form = str(dtype).removeprefix("torch.")
    for scale in (2, 1):
        trouble = difference(
            lambda scale=scale: brought(ends, found, 0.3, scale),  # type: ignore[misc]
            lambda scale=scale: brought_plain(ends, found, 0.3, scale),  # type: ignore[misc]
            form,
        )
        if trouble:
            return trouble
    return difference(
        lambda: blended(frames[0], frames[1], found),
        lambda: blended_plain(frames[0], frames[1], found),
        form,
    )


def _rest(used: int) -> int:
    """Channels beside the ends: what blocks find, the time, zeros up to a power of two."""
    return 1 << used.bit_length()


def _middles(many: int, scale: int, device: torch.device) -> Tensor | None:
    """The two middle rows (or columns) of each cell; None for all of them."""
    if scale <= 2:
        return None
    first = torch.arange(scale // 2 - 1, many, scale, device=device)
    return torch.stack([first, first + 1], 1).flatten()


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _lifted(
    one: Found, rows: Tensor | None, columns: Tensor | None, most: int | None = None
) -> Tensor:
    """What a block found, or its first channels, at full size, at some rows and columns only."""
    x = _wide(F.pixel_shuffle(one.raw if most is None else one.raw[:, : 4 * most], 2))
    if one.scale == 1 and rows is None and columns is None:
        return x
    if rows is None or columns is None:
        return F.interpolate(x, scale_factor=float(one.scale), mode="bilinear", align_corners=False)
    for places, axis in ((rows, -2), (columns, -1)):
        where = ((places + 0.5) / one.scale - 0.5).clamp(min=0)
        low = where.long()
        share = (where - low).to(x.dtype)
        share = share[:, None] if axis == -2 else share
        high = (low + 1).clamp(max=x.shape[axis] - 1)
        x = x.index_select(axis, low).lerp(x.index_select(axis, high), share)
    return x


def _fetched(end: Tensor, flow: Tensor, rows: Tensor | None, columns: Tensor | None) -> Tensor:
    """``end(p + flow(p))`` at some rows and columns; beyond the border the border's pixels."""
    height, width = end.shape[-2:]
    down = torch.arange(height, device=end.device) if rows is None else rows
    across = torch.arange(width, device=end.device) if columns is None else columns
    places = torch.stack([across + flow[:, 0], down[:, None] + flow[:, 1]], -1)
    size = torch.tensor([width, height], device=end.device)
    grid = (places * 2 + 1) / size - 1
    return F.grid_sample(
        _wide(end), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
