"""What is in one frame only: spikes in time along the motion of the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from restore.motion.fetch import by_level, places
from restore.motion.flow import Effort, flow8
from restore.motion.holes import filled
from restore.motion.trajectory import Blobs, attached, blobs_of, gliding, passing

__all__ = ["Looked", "SpikeRules", "Spikes", "find_spikes", "looked_at"]

Plane = NDArray[Any]  # float32
Mask = NDArray[np.bool_]

_BINS: Final = 12  # of luma, for the noise curve
_NOISE_FLOOR: Final = 0.004  # 1 of 255
_STRONG: Final = 2.5  # times the noise, beyond the neighbours' local range
_WEAK: Final = 2.0  # times the noise, beyond the neighbours' values
_AGAIN: Final = 1.9  # times the noise: what a neighbour shows of a thing that flies past
_RIM: Final = 0.15  # share of its contrast at which a mark ends
_LEAST: Final = 3.2  # times the noise, of a mark's own pixels
_TRACE: Final = 0.6  # times the noise, beside a mark
_RING_PX: Final = 8  # about a mark
_MISFIT: Final = 2.0  # times the noise, mean about a mark
_POLE: Final = 0.12  # share of the frame's height from which on a thin thing may be a pole
_STRAIGHT: Final = 8.0  # least ratio of length and width of what a missed edge leaves
_SLIP_PX: Final = 2.0  # by which the search may miss an edge
_EDGE: Final = 0.6  # share of a blob that such a miss must explain
_VISIBLE: Final = 0.024  # least contrast of a spike's core


@dataclass(frozen=True)
class SpikeRules:
    """What counts as a spike.

    Attributes:
        sensitivity: divides every threshold; 1 is the usual.
        agreement: the neighbours may differ by this share of the spike's contrast.
        reach_px: how far per frame a thing may move and still be known as a fast mover; 0 protects
            none.
        largest_share: share of the frame's area that one spike may cover.
        most_share: share of the frame that all spikes may cover together; beyond it the frame
            differs as a whole (a flash, a lost flow) and nothing is marked.
        grow_px: pixels by which marks may be widened to take in their soft rims.
    """

    sensitivity: float = 1.0
    agreement: float = 0.5
    reach_px: float = 64.0
    largest_share: float = 0.03
    most_share: float = 0.12
    grow_px: int = 1


@dataclass(frozen=True)
class Looked:
    """A frame as the search for spikes sees it; worked out once, it serves as centre and neighbour.

    Attributes:
        luma: ``[h, w]``.
        soft: the same, blurred lightly.
        half: ``[h / 2, w / 2]`` luma.
        small: the same in 8 bit, small dirt ranked out so that it does not steer a flow search.
    """

    luma: Plane
    soft: Plane
    half: Plane
    small: NDArray[np.uint8]


def looked_at(luma: Plane) -> Looked:
    """Look at a frame.

    Args:
        luma: ``[h, w]`` float32, nominal 0..1.
    """
    import cv2

    height, width = luma.shape
    size = (max(1, width // 2), max(1, height // 2))
    half = np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), np.float32)
    stretched = np.clip(half * np.float32(255), 0, 255).astype(np.uint8)
    small = np.asarray(cv2.medianBlur(stretched, 3), np.uint8)
    soft = np.asarray(cv2.GaussianBlur(luma, (0, 0), 0.6), np.float32)
    return Looked(luma, soft, half, small)


@dataclass(frozen=True)
class Spikes:
    """The finding for one frame.

    Attributes:
        mask: ``[h, w]``.
        places: for each of the two neighbours, two of ``[h, w]``: columns and rows, px, at which it
            shows what belongs to a pixel, carried across the marks from their surroundings.
        moved: two of ``[h, w]``: the neighbours' luma at these places, exposure matched.
        levels: two of ``[h, w]``: what has to be added to a neighbour's values for its exposure to
            match the frame's.
        noise: standard deviation of the difference between two frames, median over the frame.
    """

    mask: Mask
    places: tuple[tuple[Plane, Plane], tuple[Plane, Plane]]
    moved: tuple[Plane, Plane]
    levels: tuple[Plane, Plane]
    noise: float


def find_spikes(
    centre: Looked, neighbours: tuple[Looked, Looked], steps: tuple[int, int], rules: SpikeRules
) -> Spikes:
    """Mark what neither of two neighbouring frames shows at its place along the motion.

    A spike detection index with ranked-order tolerance (A. Kokaram, "Motion Picture Restoration",
    1998: SDIp and ROD) on flow both ways: a pixel is a candidate where it lies beyond everything
    that the two brought-along neighbours show within a pixel, by more than the noise, which is
    measured per luma level. Candidates grow to their rims by hysteresis; those are taken back
    whose neighbours disagree with each other, or that are seen on a steady path in both.

    Args:
        centre: the frame.
        neighbours: two of the same size.
        steps: their places in time, in frames from the centre (usually -1 and 1).
        rules: what counts.
    """
    fields, gains = _fields(centre, neighbours, rules)
    shape = centre.soft.shape
    one, other = (places(field, shape) for field in fields)
    levels = [_enlarged(gain, shape) for gain in gains]
    moved = [
        np.asarray(_bring(looked.soft, *at) + level, np.float32)
        for looked, at, level in zip(neighbours, (one, other), levels, strict=True)
    ]
    noise = _noise(centre.soft, moved)
    mask = _marks(centre.soft, moved, noise, steps, rules)
    return Spikes(
        mask,
        (one, other),
        (moved[0], moved[1]),
        (levels[0], levels[1]),
        float(np.median(noise[::4, ::4])),
    )


def _fields(
    centre: Looked, neighbours: tuple[Looked, Looked], rules: SpikeRules
) -> tuple[list[Plane], list[Plane]]:
    """Flow to both neighbours at the search's size, and the difference in exposure, smaller still.

    Marks draw a search off: it is done again with what is suspected painted over.
    """
    import cv2

    fields: list[Plane] = [flow8(centre.small, other.small, Effort.FAST) for other in neighbours]
    moved = [
        _bring(other.half, *places(field, field.shape))
        for other, field in zip(neighbours, fields, strict=True)
    ]
    gains = [_level(centre.half, plane) for plane in moved]
    moved = [
        np.asarray(plane + _enlarged(gain, plane.shape), np.float32)
        for plane, gain in zip(moved, gains, strict=True)
    ]
    noise = _noise(centre.half, moved)
    suspects = [found.strong for found in _candidates(centre.half, moved, noise, rules)]
    hole = cv2.dilate(np.logical_or(*suspects).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    if hole.any():
        fields = [filled(field, hole) for field in fields]
        fields = _searched_again(centre, neighbours, fields, hole)
    return fields, gains


def _searched_again(
    centre: Looked, neighbours: tuple[Looked, Looked], fields: list[Plane], hole: Mask
) -> list[Plane]:
    """Flow from the frame with what its neighbours show in the holes, at the search's size."""
    import cv2

    one, other = (
        _bring(looked.small, *places(field, hole.shape))
        for looked, field in zip(neighbours, fields, strict=True)
    )
    painted = np.where(hole, cv2.addWeighted(one, 0.5, other, 0.5, 0), centre.small)
    return [flow8(painted.astype(np.uint8), looked.small, Effort.MEDIUM) for looked in neighbours]


def _enlarged(plane: Plane, shape: tuple[int, ...]) -> Plane:
    import cv2

    return np.asarray(cv2.resize(plane, (shape[1], shape[0])), np.float32)


def _bring(plane: Plane, columns: Plane, rows: Plane) -> Plane:
    import cv2

    out: Plane = cv2.remap(plane, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return out


def _level(centre: Plane, moved: Plane) -> Plane:
    """Smooth difference in exposure, deaf to anything smaller than a sixth of the frame.

    A quarter of the planes' size.
    """
    import cv2

    height, width = centre.shape
    size = (max(1, width // 4), max(1, height // 4))
    gap: Plane = cv2.resize(centre - moved, size, interpolation=cv2.INTER_AREA)
    middle = np.float32(np.median(gap))
    gap -= middle
    side = max(3, min(size) // 3 | 1)
    even: Plane = cv2.blur(np.clip(gap, -0.04, 0.04), (side, side))
    even += np.float32(np.median(centre[::2, ::2] - moved[::2, ::2]))
    return even


def _noise(centre: Plane, moved: list[Plane]) -> Plane:
    """Standard deviation of the difference to a neighbour, for each pixel by its luma."""
    some = centre[::3, ::3]
    gap = np.minimum(*(np.abs(some - plane[::3, ::3]) for plane in moved)).ravel()
    place = np.clip(some * _BINS, 0, _BINS - 1).astype(np.uint8).ravel()
    overall = float(np.median(gap))
    curve = np.full(_BINS, overall)
    ends = np.cumsum(np.bincount(place, minlength=_BINS))
    by_place = np.split(gap[np.argsort(place, kind="stable")], ends[:-1])
    for level, inside in enumerate(by_place):
        if len(inside) > 200:
            curve[level] = np.median(inside)
    curve = np.convolve(np.pad(curve, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    # The median of the smaller of two half-normal values is 0.39 of their common sigma.
    curve = np.maximum(curve / 0.39, _NOISE_FLOOR)
    at = (np.arange(_BINS) + 0.5) / _BINS
    return by_level(centre, np.interp(np.arange(256) / 255, at, curve))


@dataclass(frozen=True)
class _Candidate:
    """Pixels beyond what both neighbours show, on one side of them.

    Attributes:
        sign: 1 bright, -1 dark.
        height: ``[h, w]`` how far beyond.
        strong: ``[h, w]`` those far beyond.
    """

    sign: int
    height: Plane
    strong: Mask


def _candidates(
    centre: Plane, moved: list[Plane], noise: Plane, rules: SpikeRules
) -> tuple[_Candidate, _Candidate]:
    """The bright and the dark ones."""
    import cv2

    block = np.ones((3, 3), np.uint8)
    strong = _threshold(_STRONG * noise, _VISIBLE, rules)
    top, bottom = cv2.max(*moved), cv2.min(*moved)
    bright = cv2.subtract(centre, cv2.dilate(top, block)) > strong
    dark = cv2.subtract(cv2.erode(bottom, block), centre) > strong
    return (
        _Candidate(1, np.asarray(cv2.subtract(centre, top), np.float32), bright),
        _Candidate(-1, np.asarray(cv2.subtract(bottom, centre), np.float32), dark),
    )


def _threshold(noise: Plane, least: float, rules: SpikeRules) -> Plane:
    out = np.maximum(noise, np.float32(least))
    out *= np.float32(1 / rules.sensitivity)
    return out


def _marks(
    centre: Plane,
    moved: list[Plane],
    noise: Plane,
    steps: tuple[int, int],
    rules: SpikeRules,
) -> Mask:
    import cv2

    mask = np.zeros(centre.shape, np.bool_)
    dispute = np.asarray(cv2.absdiff(*moved), np.float32)
    again = _threshold(_AGAIN * noise, _VISIBLE, rules)
    weak = _threshold(_WEAK * noise, _VISIBLE / 2, rules)
    least, trace = np.float32(_LEAST) * noise, np.float32(_TRACE) * noise
    for found in _candidates(centre, moved, noise, rules):
        if not found.strong.any():
            continue
        height = found.height
        line_px = _POLE * centre.shape[0] if rules.reach_px else None
        here = blobs_of((height > weak) | found.strong, height, centre, found.strong, line_px)
        keep = here.area_px <= rules.largest_share * centre.size
        keep &= here.means(dispute) <= rules.agreement * here.contrast
        if steps[0] * steps[1] > 0:
            keep &= _sure(here, centre, moved, noise)
        if rules.reach_px and keep.any():
            one, other = _elsewhere(centre, moved, again, found.sign)
            keep &= ~passing(here, (one, other), steps, rules.reach_px)
            poles, known = gliding(here, (one, other), rules.reach_px, _POLE * centre.shape[0])
            keep &= ~poles
            keep &= ~attached(here, (one, other), centre, rules.reach_px / 4, known)
            keep &= ~_slipped(here, moved, height, _POLE * centre.shape[0])
        stands = height.ravel()[here.place]
        core = stands > np.maximum(_RIM * here.contrast[here.owner], least.ravel()[here.place])
        # Where a neighbour is dirty too, the mark has a hole.
        whole: Plane = here.chosen(keep, core).astype(np.uint8)
        whole = cv2.morphologyEx(whole, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
        mask |= _grown(whole > 0, height > trace, rules.grow_px)
    # One-sided evidence is weaker, and so is believed for less of the frame.
    most = rules.most_share if steps[0] * steps[1] < 0 else rules.most_share / 6
    return mask if mask.mean() <= most else np.zeros_like(mask)


def _slipped(here: Blobs, moved: list[Plane], height: Plane, least_px: float) -> Mask:
    """Long thin blobs that lie along an edge of the neighbours, brought beside their place.

    Where a frame jolts, the search can miss a straight edge by a pixel or so, all along it; what
    it then stands out by is no more than the edge's slope makes of that.
    """
    import cv2

    length, width, _ = here.axes()
    long = (length >= least_px) & (length >= _STRAIGHT * width)
    if not long.any():
        return long
    slopes = [
        cv2.magnitude(*(cv2.Sobel(p, cv2.CV_32F, dx, 1 - dx, scale=1 / 8) for dx in (1, 0)))
        for p in moved
    ]
    explained = height <= _SLIP_PX * cv2.max(*slopes)
    return long & (here.means(explained.astype(np.float32)) >= _EDGE)


def _grown(mask: Mask, trace: Mask, steps_px: int) -> Mask:
    """Widen marks over pixels that still show a trace of them."""
    import cv2

    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    for _ in range(steps_px if mask.any() else 0):
        mask = mask | ((cv2.dilate(mask.astype(np.uint8), cross) > 0) & trace)
    return mask


def _elsewhere(centre: Plane, moved: list[Plane], strong: Plane, sign: int) -> tuple[Blobs, Blobs]:
    """What the neighbours show of that sign and the centre does not, on the centre's grid."""
    import cv2

    block = np.ones((3, 3), np.uint8)
    # As bright or as dark as something must be to stand out from the centre.
    if sign > 0:
        edge = cv2.add(cv2.dilate(centre, block), strong)
    else:
        edge = cv2.subtract(cv2.erode(centre, block), strong)
    one, other = (
        blobs_of(
            cv2.compare(plane, edge, cv2.CMP_GT if sign > 0 else cv2.CMP_LT) > 0,
            sign * cv2.subtract(plane, centre),
            plane,
        )
        for plane in moved
    )
    return one, other


def _sure(here: Blobs, centre: Plane, moved: list[Plane], noise: Plane) -> Mask:
    """Blobs about which both neighbours fit the frame well.

    With both neighbours on one side in time, what a moving edge uncovers looks like a spike; there
    the flow about it goes wrong as well.
    """
    import cv2

    known = np.ones(centre.shape, np.float32)
    known.ravel()[here.place] = 0
    gap = cv2.max(*(np.abs(centre - plane) for plane in moved)) / noise
    side = (2 * _RING_PX + 1,) * 2
    misfit = cv2.blur(gap * known, side) / np.maximum(cv2.blur(known, side), 1e-3)
    return here.means(misfit) < _MISFIT
