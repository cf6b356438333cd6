"""Chroma resampling by pairs of filters that undo each other exactly.

A clip that passes through unchanged must come back unchanged, also at the sharp edges of colour
bars, so the filter that halves chroma is the biorthogonal dual of the one that doubled it (Cohen,
Daubechies, Feauveau, "Biorthogonal bases of compactly supported wavelets", 1992):

- co-sited samples: linear interpolation up, LeGall 5/3 analysis down, written as its lifting steps
  (Le Gall and Tabatabai, 1988; Sweldens, 1996), which stay exact at the borders;
- samples half-way between two: the (1, 3, 3, 1)/4 kernel up, and down the mean of two followed by
  the inverse of (1, 6, 1)/8, the smoothing that up and mean together make;
- samples of one field, a quarter of the way from one of its lines to the next (ITU-T H.264, figures
  6-2 and 6-3: interlaced 4:2:0 is sited in each field, 1/4 in the top one, 3/4 in the bottom one):
  linear interpolation up, and down (3, 1)/4 followed by the inverse of (3, 26, 3)/32.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from restore.color import ChromaSite

__all__ = ["MEAN_UNDONE", "downsample", "upsample"]

_SIDE_TAPS = 8


def _inverse(pole: float) -> tuple[float, ...]:
    """Middle and one side of ``g * pole^|n|``, which undoes a smoothing by (1, a, 1) / (a + 2).

    ``pole`` is the root of ``r^2 + a r + 1`` within the unit circle. 8 taps a side leave less than
    1e-6, a twentieth of a code value at 16 bit.
    """
    whole = 1 + 2 * sum(pole**n for n in range(1, _SIDE_TAPS + 1))
    return tuple(pole**n / whole for n in range(_SIDE_TAPS + 1))


#: Middle and one side of what follows the mean of two samples: the inverse of (1, 6, 1) / 8.
MEAN_UNDONE = _inverse(-(3 - 2 * math.sqrt(2)))
_QUARTER = _inverse((math.sqrt(160) - 13) / 3)  # of (3, 26, 3)


def _part(plane: Tensor, axis: int, start: int, stop: int | None = None, step: int = 1) -> Tensor:
    """Samples of one axis as a view: rows are sliced in place, never transposed."""
    where: list[slice] = [slice(None)] * plane.ndim
    where[axis] = slice(start, stop, step)
    return plane[tuple(where)]


def _shifted(plane: Tensor, axis: int, by: int) -> Tensor:
    """The neighbour before (-1) or behind (+1) of each sample, repeated at the border."""
    if by > 0:
        return torch.cat([_part(plane, axis, 1), _part(plane, axis, -1)], axis)
    return torch.cat([_part(plane, axis, 0, 1), _part(plane, axis, 0, -1)], axis)


def _mirrored(plane: Tensor, axis: int, side: int) -> Tensor:
    """Extend an axis by half-sample symmetry, for any length >= 1."""
    length = plane.shape[axis]
    index = torch.arange(-side, length + side, device=plane.device) % (2 * length)
    return plane.index_select(axis, torch.where(index < length, index, 2 * length - 1 - index))


def _interleaved(even: Tensor, odd: Tensor, axis: int) -> Tensor:
    size = list(even.shape)
    size[axis] *= 2
    whole = even.new_empty(size)
    _part(whole, axis, 0, None, 2).copy_(even)
    _part(whole, axis, 1, None, 2).copy_(odd)
    return whole


def _up_cosited(chroma: Tensor, axis: int) -> Tensor:
    return _interleaved(chroma, (chroma + _shifted(chroma, axis, 1)) / 2, axis)


def _up_centred(chroma: Tensor, axis: int) -> Tensor:
    before, following = _shifted(chroma, axis, -1), _shifted(chroma, axis, 1)
    return _interleaved(torch.lerp(chroma, before, 0.25), torch.lerp(chroma, following, 0.25), axis)


def _down_cosited(full: Tensor, axis: int) -> Tensor:
    even, odd = _part(full, axis, 0, None, 2), _part(full, axis, 1, None, 2)
    detail = odd - (even + _shifted(even, axis, 1)) / 2
    before = torch.cat(
        [torch.zeros_like(_part(detail, axis, 0, 1)), _part(detail, axis, 0, -1)], axis
    )
    return even + (before + detail) / 4


def _down_centred(full: Tensor, axis: int) -> Tensor:
    mean = (_part(full, axis, 0, None, 2) + _part(full, axis, 1, None, 2)) / 2
    return _sharpened(mean, axis, MEAN_UNDONE)


def _up_quarter(chroma: Tensor, axis: int) -> Tensor:
    before, following = _shifted(chroma, axis, -1), _shifted(chroma, axis, 1)
    return _interleaved(
        torch.lerp(chroma, before, 0.125), torch.lerp(chroma, following, 0.375), axis
    )


def _down_quarter(full: Tensor, axis: int) -> Tensor:
    mean = torch.lerp(_part(full, axis, 0, None, 2), _part(full, axis, 1, None, 2), 0.25)
    return _sharpened(mean, axis, _QUARTER)


def _sharpened(mean: Tensor, axis: int, taps: tuple[float, ...]) -> Tensor:
    length = mean.shape[axis]
    wide = _mirrored(mean, axis, _SIDE_TAPS)
    result = mean * taps[0]
    for n, tap in enumerate(taps[1:], 1):
        result.add_(wide.narrow(axis, _SIDE_TAPS - n, length), alpha=tap)
        result.add_(wide.narrow(axis, _SIDE_TAPS + n, length), alpha=tap)
    return result


def _up_axis(chroma: Tensor, axis: int, length: int, times: int, *, cosited: bool) -> Tensor:
    for _ in range(times):
        chroma = _up_cosited(chroma, axis) if cosited else _up_centred(chroma, axis)
    return chroma.narrow(axis, 0, length)


def _down_axis(full: Tensor, axis: int, times: int, *, cosited: bool) -> Tensor:
    for _ in range(times):
        if full.shape[axis] % 2:
            full = torch.cat([full, _missing(full, axis, cosited=cosited)], axis)
        full = _down_cosited(full, axis) if cosited else _down_centred(full, axis)
    return full


def _missing(full: Tensor, axis: int, *, cosited: bool) -> Tensor:
    """What :func:`upsample` cut off at an odd length: the partner of the last sample."""
    last = _part(full, axis, -1)
    if cosited or full.shape[axis] == 1:
        return last
    return (3 * last - _part(full, axis, -2, -1)) / 2


def _is_bottom(site: ChromaSite) -> bool:
    return site in (ChromaSite.BOTTOM, ChromaSite.BOTTOMLEFT)


def _by_field(planes: Tensor, site: ChromaSite, *, up: bool) -> Tensor:
    """Rows of interlaced 4:2:0 doubled or halved, each field for itself."""
    fields = []
    for first in (0, 1):
        rows = _part(planes, -2, first, None, 2)
        flip = _is_bottom(site) or (first == 1 and not site.is_top)
        rows = rows.flip(-2) if flip else rows
        if site.is_top or _is_bottom(site):
            rows = _up_cosited(rows, -2) if up else _down_cosited(rows, -2)
        else:
            rows = _up_quarter(rows, -2) if up else _down_quarter(rows, -2)
        fields.append(rows.flip(-2) if flip else rows)
    return _interleaved(fields[0], fields[1], -2)


def _is_by_field(height_px: int, log2_h: int, woven: bool) -> bool:
    # A field with an odd number of lines shares its last chroma line with nobody.
    return woven and log2_h == 1 and height_px % 4 == 0


def upsample(
    chroma: Tensor,
    height_px: int,
    width_px: int,
    log2_h: int,
    log2_w: int,
    site: ChromaSite,
    *,
    woven: bool = False,
) -> Tensor:
    """Bring chroma planes to full size.

    Args:
        chroma: ``[..., ceil(h / 2**log2_h), ceil(w / 2**log2_w)]`` float, any range.
        height_px: full height.
        width_px: full width.
        log2_h: vertical subsampling as a power of two.
        log2_w: horizontal subsampling as a power of two.
        site: where the samples sit.
        woven: the lines are those of two fields in turn, each with chroma of its own. Counts where
            the height is a multiple of 4 and halved by the subsampling.

    Returns:
        ``[..., height_px, width_px]`` of the same dtype.
    """
    if log2_w:
        chroma = _up_axis(chroma, -1, width_px, log2_w, cosited=site.is_left)
    if _is_by_field(height_px, log2_h, woven):
        return _by_field(chroma, site, up=True)
    if log2_h:
        flip = _is_bottom(site) and height_px % (1 << log2_h) == 0
        rows = chroma.flip(-2) if flip else chroma
        rows = _up_axis(rows, -2, height_px, log2_h, cosited=site.is_top or flip)
        chroma = rows.flip(-2) if flip else rows
    return chroma


def downsample(
    full: Tensor, log2_h: int, log2_w: int, site: ChromaSite, *, woven: bool = False
) -> Tensor:
    """Bring full-size chroma to its subsampled grid; the exact inverse of :func:`upsample`.

    Args:
        full: ``[..., h, w]`` float, any range.
        log2_h: vertical subsampling as a power of two.
        log2_w: horizontal subsampling as a power of two.
        site: where the samples shall sit.
        woven: as for :func:`upsample`.

    Returns:
        ``[..., ceil(h / 2**log2_h), ceil(w / 2**log2_w)]`` of the same dtype.
    """
    if _is_by_field(full.shape[-2], log2_h, woven):
        full = _by_field(full, site, up=False)
    elif log2_h:
        flip = _is_bottom(site) and full.shape[-2] % (1 << log2_h) == 0
        rows = full.flip(-2) if flip else full
        rows = _down_axis(rows, -2, log2_h, cosited=site.is_top or flip)
        full = rows.flip(-2) if flip else rows
    if log2_w:
        full = _down_axis(full, -1, log2_w, cosited=site.is_left)
    return full
