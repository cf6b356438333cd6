"""Frames moved by parts of a pixel without growing softer, and their borders filled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

__all__ = ["cropped", "filled_borders", "shifted"]

_LOBES: Final = 4
_FEATHER_PX: Final = 4
_MATCH_PX: Final = 24  # of the picture beside an open border, to compare brightness on


def shifted(picture: Tensor, across_px: float, down_px: float) -> Tensor:
    """Move a picture: ``out(x, y) = picture(x - across_px, y - down_px)``.

    Whole pixels are copied, the rest is Lanczos' windowed sinc with four lobes (C. E. Duchon,
    "Lanczos filtering in one and two dimensions", 1979), with weights of sum 1: a shift by whole
    pixels is exact, detail up to about 0.4 cycles/px passes unweakened.

    Args:
        picture: ``[C, h, w]`` float32.
        across_px: to the right.
        down_px: down.

    Returns:
        ``[C, h, w]``; border pixels are repeated into what is left open; may overshoot.
    """
    if picture.device.type == "cpu" and picture.dtype == torch.float32:
        return _both(picture, across_px, down_px)
    out = _along(picture, down_px, 1)
    return _along(out, across_px, 2)


def _weights(part: float) -> Tensor:
    """``[2 * _LOBES]`` float64, for a shift by a part of a pixel, in [0, 1)."""
    away = torch.arange(-_LOBES, _LOBES, dtype=torch.float64) + part
    weights = torch.sinc(away) * torch.sinc(away / _LOBES)
    return weights / weights.sum()


def _whole(picture: Tensor, by_px: int, axis: int) -> Tensor:
    length = picture.shape[axis]
    index = torch.arange(length, device=picture.device) - by_px
    return picture.index_select(axis, index.clamp(0, length - 1))


def _split(by_px: float) -> tuple[int, float]:
    """Whole pixels, and the part of one that is left."""
    whole = math.floor(by_px)
    part = by_px - whole
    return whole, part if part >= 1e-6 else 0.0


def _along(picture: Tensor, by_px: float, axis: int) -> Tensor:
    whole, part = _split(by_px)
    if not part:
        return _whole(picture, whole, axis)
    length = picture.shape[axis]
    # Output n reads from n - whole - part: between n - whole - 1 and n - whole.
    first = -whole - _LOBES
    index = torch.arange(first, first + length + 2 * _LOBES - 1, device=picture.device)
    wide = picture.index_select(axis, index.clamp(0, length - 1))
    # Eight scaled sums: several times faster than a convolution with one channel.
    out = torch.zeros_like(picture)
    for tap, weight in enumerate(_weights(part).tolist()):
        out.add_(wide.narrow(axis, tap, length), alpha=weight)
    return out


def _both(picture: Tensor, across_px: float, down_px: float) -> Tensor:
    """The same sums for both axes, in one pass over memory."""
    import cv2

    kernels, anchors = [], []
    # Moving by whole pixels is the filter's anchor, as far as that lies within the filter.
    for by_px, axis in ((across_px, 2), (down_px, 1)):
        whole, part = _split(by_px)
        within = min(max(whole, -_LOBES), _LOBES - 1) if part else 0
        if whole != within:
            picture = _whole(picture, whole - within, axis)
        kernels.append(_weights(part).numpy() if part else np.ones(1))
        anchors.append(_LOBES + within if part else 0)
    if not any(len(kernel) > 1 for kernel in kernels):
        return picture
    out = torch.empty(picture.shape)
    across, down = kernels
    for plane, moved in zip(picture.numpy(), out.numpy(), strict=True):
        cv2.sepFilter2D(
            plane, cv2.CV_32F, across, down, moved, anchors, borderType=cv2.BORDER_REPLICATE
        )
    return out


def cropped(picture: Tensor, share: float) -> Tensor:
    """Show the middle of a picture at the picture's size, so that its borders lie outside.

    Args:
        picture: ``[C, h, w]`` float32.
        share: of the height, that is cut off above and below at least; as much of the height, or
            more, goes at the sides, so that proportions stay.

    Returns:
        ``[C, h, w]``, enlarged by cubic convolution (R. Keys, 1981); may overshoot.
    """
    height, width = picture.shape[-2:]
    part = share * max(1.0, height / width)
    down, across = math.ceil(part * height), math.ceil(part * width)
    middle = picture[:, down : height - down, across : width - across]
    return interpolate(middle[None], (height, width), mode="bicubic", align_corners=False)[0]


def filled_borders(
    picture: Tensor,
    move_px: tuple[float, float],
    others: Sequence[tuple[Tensor, tuple[float, float]]],
) -> Tensor:
    """Fill what a shift has left open from other frames of the shot.

    Args:
        picture: ``[C, h, w]`` as :func:`shifted` gave it.
        move_px: the shift (across, down) that it went through.
        others: frames as they came and the shift that would lay each over ``picture``, those to be
            preferred first; of several that see equally much the first is taken.

    Returns:
        ``[C, h, w]``: along the open sides a frame that saw what lies there, blended over a few
        pixels; where none did, the border's pixels stay repeated.
    """
    open_px = _open(move_px)
    if not any(open_px):
        return picture
    height, width = picture.shape[-2:]
    out = picture.clone()
    for side in range(4):
        if not open_px[side] or not others:
            continue
        gaps = [_open(shift)[side] for _, shift in others]
        best = min(range(len(others)), key=gaps.__getitem__)
        if gaps[best] >= open_px[side]:
            continue
        depth = min(open_px[side] + _MATCH_PX, (height, height, width, width)[side])
        rows, columns = _strip(side, depth, height, width)
        strip = out[:, rows, columns]
        seen = _cut(*others[best], rows, columns)
        ramp, match = _ramp(side, depth, open_px[side], picture)
        # Frames differ in exposure; a step in brightness along the border would show it.
        level = ((strip - seen) * match).mean((1, 2), keepdim=True) / match.mean().clamp(min=1e-6)
        out[:, rows, columns] = strip + (seen + level - strip) * ramp
    return out


def _open(move_px: tuple[float, float]) -> tuple[int, int, int, int]:
    """Pixels that a shift leaves open or mixed with the border: top, bottom, left, right."""
    across, down = move_px
    return (
        math.ceil(max(0.0, down)),
        math.ceil(max(0.0, -down)),
        math.ceil(max(0.0, across)),
        math.ceil(max(0.0, -across)),
    )


def _strip(side: int, depth: int, height: int, width: int) -> tuple[slice, slice]:
    return (
        (slice(0, depth), slice(0, width)),
        (slice(height - depth, height), slice(0, width)),
        (slice(0, height), slice(0, depth)),
        (slice(0, height), slice(width - depth, width)),
    )[side]


def _cut(other: Tensor, shift: tuple[float, float], rows: slice, columns: slice) -> Tensor:
    """One strip of a shifted frame, without shifting the rest."""
    margin = [math.ceil(abs(part)) + _LOBES for part in shift]
    top, left = max(0, rows.start - margin[1]), max(0, columns.start - margin[0])
    piece = other[:, top : rows.stop + margin[1], left : columns.stop + margin[0]]
    moved = shifted(piece, *shift)
    return moved[:, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]


def _ramp(side: int, depth: int, open_px: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Share of the other frame, 1 over the open part and down to 0; and where to compare levels."""
    place = torch.arange(depth, device=like.device, dtype=like.dtype)
    ramp = (1 - (place - open_px + 1) / (_FEATHER_PX + 1)).clamp(0, 1)
    match = (place >= open_px).to(like.dtype)
    if side in (1, 3):
        ramp, match = ramp.flip(0), match.flip(0)
    if side < 2:
        return ramp[:, None], match[:, None]
    return ramp[None, :], match[None, :]
