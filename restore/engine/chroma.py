"""Chroma resampling by pairs of filters that undo each other exactly.

A clip that passes through unchanged must come back unchanged, also at the sharp edges of colour
bars, so the filter that halves chroma is the biorthogonal dual of the one that doubled it (Cohen,
Daubechies, Feauveau, "Biorthogonal bases of compactly supported wavelets", 1992):

- co-sited samples: linear interpolation up, LeGall 5/3 analysis down, written as its lifting steps
  (Le Gall and Tabatabai, 1988; Sweldens, 1996), which stay exact at the borders;
- samples half-way between two: the (1, 3, 3, 1)/4 kernel up, and down the mean of two followed by
  the inverse of (1, 6, 1)/8, the smoothing that up and mean together make.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from restore.color import ChromaSite

__all__ = ["downsample", "upsample"]

# (1, 6, 1)/8 has the inverse g * r^|n| with r = -(3 - 2 sqrt 2): 12 taps a side leave less than
# 1e-9, far below half a code value at 16 bit.
_POLE = -(3 - 2 * math.sqrt(2))
_SIDE_TAPS = 12


def _inverse_taps(like: Tensor) -> Tensor:
    taps = torch.tensor([_POLE ** abs(n) for n in range(-_SIDE_TAPS, _SIDE_TAPS + 1)])
    return (taps / taps.sum()).to(like)


def _mirrored(plane: Tensor, side: int) -> Tensor:
    """Extend the last axis by half-sample symmetry, for any length >= 1."""
    length = plane.shape[-1]
    index = torch.arange(-side, length + side, device=plane.device) % (2 * length)
    return plane[..., torch.where(index < length, index, 2 * length - 1 - index)]


def _up_cosited(chroma: Tensor) -> Tensor:
    following = torch.cat([chroma[..., 1:], chroma[..., -1:]], -1)
    return torch.stack([chroma, (chroma + following) / 2], -1).flatten(-2)


def _up_centred(chroma: Tensor) -> Tensor:
    before = torch.cat([chroma[..., :1], chroma[..., :-1]], -1)
    following = torch.cat([chroma[..., 1:], chroma[..., -1:]], -1)
    pair = [(3 * chroma + before) / 4, (3 * chroma + following) / 4]
    return torch.stack(pair, -1).flatten(-2)


def _down_cosited(full: Tensor) -> Tensor:
    even, odd = full[..., 0::2], full[..., 1::2]
    following = torch.cat([even[..., 1:], even[..., -1:]], -1)
    detail = odd - (even + following) / 2
    before = torch.cat([torch.zeros_like(detail[..., :1]), detail[..., :-1]], -1)
    return even + (before + detail) / 4


def _down_centred(full: Tensor) -> Tensor:
    mean = (full[..., 0::2] + full[..., 1::2]) / 2
    taps = _inverse_taps(mean)
    rows = _mirrored(mean, _SIDE_TAPS).reshape(-1, 1, mean.shape[-1] + 2 * _SIDE_TAPS)
    return F.conv1d(rows, taps.view(1, 1, -1)).reshape(mean.shape)


def _up_axis(chroma: Tensor, length: int, times: int, *, cosited: bool) -> Tensor:
    for _ in range(times):
        chroma = _up_cosited(chroma) if cosited else _up_centred(chroma)
    return chroma[..., :length]


def _down_axis(full: Tensor, times: int, *, cosited: bool) -> Tensor:
    for _ in range(times):
        if full.shape[-1] % 2:
            full = torch.cat([full, _missing_column(full, cosited=cosited)], -1)
        full = _down_cosited(full) if cosited else _down_centred(full)
    return full


def _missing_column(full: Tensor, *, cosited: bool) -> Tensor:
    """What :func:`upsample` cut off at an odd length: the partner of the last sample."""
    last = full[..., -1:]
    if cosited or full.shape[-1] == 1:
        return last
    return (3 * last - full[..., -2:-1]) / 2


def _is_bottom(site: ChromaSite) -> bool:
    return site in (ChromaSite.BOTTOM, ChromaSite.BOTTOMLEFT)


def upsample(
    chroma: Tensor, height_px: int, width_px: int, log2_h: int, log2_w: int, site: ChromaSite
) -> Tensor:
    """Bring chroma planes to full size.

    Args:
        chroma: ``[..., ceil(h / 2**log2_h), ceil(w / 2**log2_w)]`` float, any range.
        height_px: full height.
        width_px: full width.
        log2_h: vertical subsampling as a power of two.
        log2_w: horizontal subsampling as a power of two.
        site: where the samples sit.

    Returns:
        ``[..., height_px, width_px]`` of the same dtype.
    """
    if log2_w:
        chroma = _up_axis(chroma, width_px, log2_w, cosited=site.is_left)
    if log2_h:
        flip = _is_bottom(site) and height_px % (1 << log2_h) == 0
        rows = (chroma.flip(-2) if flip else chroma).transpose(-1, -2)
        rows = _up_axis(rows, height_px, log2_h, cosited=site.is_top or flip).transpose(-1, -2)
        chroma = rows.flip(-2) if flip else rows
    return chroma


def downsample(full: Tensor, log2_h: int, log2_w: int, site: ChromaSite) -> Tensor:
    """Bring full-size chroma to its subsampled grid; the exact inverse of :func:`upsample`.

    Args:
        full: ``[..., h, w]`` float, any range.
        log2_h: vertical subsampling as a power of two.
        log2_w: horizontal subsampling as a power of two.
        site: where the samples shall sit.

    Returns:
        ``[..., ceil(h / 2**log2_h), ceil(w / 2**log2_w)]`` of the same dtype.
    """
    if log2_h:
        flip = _is_bottom(site) and full.shape[-2] % (1 << log2_h) == 0
        rows = (full.flip(-2) if flip else full).transpose(-1, -2)
        rows = _down_axis(rows, log2_h, cosited=site.is_top or flip).transpose(-1, -2)
        full = rows.flip(-2) if flip else rows
    if log2_w:
        full = _down_axis(full, log2_w, cosited=site.is_left)
    return full
