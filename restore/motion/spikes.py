"""What is in one frame only: spikes in time along the motion of the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from restore.motion.flow import Effort, flow8
from restore.motion.trajectory import Blobs, attached, blobs_of, gliding, passing

__all__ = ["SpikeRules", "Spikes", "filled", "find_spikes"]

Plane = NDArray[Any]  # float32
Mask = NDArray[np.bool_]

_BINS: Final = 12  # of luma, for the noise curve
_NOISE_FLOOR: Final = 0.004  # 1 of 255
_STRONG: Final = 1.9  # times the noise, beyond the neighbours' local range
_WEAK: Final = 2.0  # times the noise, beyond the neighbours' values
_RIM: Final = 0.15  # share of its contrast at which a mark ends
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
class Spikes:
    """The finding for one frame.

    Attributes:
        mask: ``[h, w]``.
        flows: two of ``[h, w, 2]`` (x, y) px to the two neighbours, carried across the marks from
            their surroundings.
        moved: two of ``[h, w]``: the neighbours' luma along those flows, exposure matched.
        levels: two of ``[h, w]``: what has to be added to a neighbour's values for its exposure to
            match the frame's.
        noise: standard deviation of the difference between two frames, median over the frame.
    """

    mask: Mask
    flows: tuple[Plane, Plane]
    moved: tuple[Plane, Plane]
    levels: tuple[Plane, Plane]
    noise: float


def find_spikes(
    centre: Plane, neighbours: tuple[Plane, Plane], steps: tuple[int, int], rules: SpikeRules
) -> Spikes:
    """Mark what neither of two neighbouring frames shows at its place along the motion.

    A spike detection index with ranked-order tolerance (A. Kokaram, "Motion Picture Restoration",
    1998: SDIp and ROD) on flow both ways: a pixel is a candidate where it lies beyond everything
    that the two brought-along neighbours show within a pixel, by more than the noise, which is
    measured per luma level. Candidates grow to their rims by hysteresis; those are taken back
    whose neighbours disagree with each other, or that are seen on a steady path in both.

    Args:
        centre: ``[h, w]`` luma, nominal 0..1.
        neighbours: two planes of the same shape.
        steps: their places in time, in frames from the centre (usually -1 and 1).
        rules: what counts.
    """
    import cv2

    small = [_for_search(plane) for plane in (centre, *neighbours)]
    fields = [flow8(small[0], other, Effort.FAST) for other in small[1:]]
    soft, *softs = (cv2.GaussianBlur(plane, (0, 0), 0.6) for plane in (centre, *neighbours))
    flows = [_enlarged(field, centre.shape) for field in fields]
    moved = [_bring(plane, flow) for plane, flow in zip(softs, flows, strict=True)]
    levels = [_level(soft, plane) for plane in moved]
    moved = [plane + level for plane, level in zip(moved, levels, strict=True)]
    noise = _noise(soft, moved)
    suspects = [found.strong for found in _candidates(soft, moved, noise, rules)]
    wide = cv2.dilate(np.logical_or(*suspects).astype(np.uint8), np.ones((7, 7), np.uint8))
    if wide.any():
        # Marks drew the flow off: search again with the suspects painted over.
        size = (small[0].shape[1], small[0].shape[0])
        hole = cv2.resize(wide, size, interpolation=cv2.INTER_NEAREST) > 0
        fields = _searched_again(small, [filled(field, hole) for field in fields], hole)
        flows = [_enlarged(field, centre.shape) for field in fields]
        moved = [_bring(p, f) + v for p, f, v in zip(softs, flows, levels, strict=True)]
    mask = _marks(soft, moved, noise, steps, rules)
    return Spikes(
        mask,
        (flows[0], flows[1]),
        (moved[0], moved[1]),
        (levels[0], levels[1]),
        float(np.median(noise[::4, ::4])),
    )


def filled(field: Plane, hole: Mask) -> Plane:
    """Carry a field across holes from their surroundings, coarse to fine (pull-push).

    Args:
        field: ``[h, w, C]`` or ``[h, w]``.
        hole: ``[h, w]``, True where the field is not to be believed.
    """
    import cv2

    value = field * ~hole.reshape(hole.shape + (1,) * (field.ndim - 2))
    known = (~hole).astype(np.float32)
    return _pull_push(value.astype(np.float32), known, cv2.INTER_LINEAR, field.ndim)


def _pull_push(value: Plane, known: Plane, kernel: int, ndim: int) -> Plane:
    import cv2

    height, width = known.shape
    share = np.maximum(known, 1e-6)
    mean = value / (share[..., None] if ndim == 3 else share)
    if min(height, width) <= 2 or float(known.min()) > 0:
        return mean
    half = (max(1, width // 2), max(1, height // 2))
    below_value = cv2.resize(value, half, interpolation=cv2.INTER_AREA)
    below_known = cv2.resize(known, half, interpolation=cv2.INTER_AREA)
    coarse = _pull_push(below_value, below_known, kernel, ndim)
    up = cv2.resize(coarse, (width, height), interpolation=kernel)
    part = np.minimum(known, 1.0)
    part = part[..., None] if ndim == 3 else part
    out: Plane = mean * part + up * (1 - part)
    return out


def _for_search(plane: Plane) -> NDArray[np.uint8]:
    """Half size, stretched to 8 bit, small dirt ranked out so that it does not steer the search."""
    import cv2

    height, width = plane.shape
    half = (max(1, width // 2), max(1, height // 2))
    small = cv2.resize(plane, half, interpolation=cv2.INTER_AREA)
    stretched = np.clip(small * 255, 0, 255).astype(np.uint8)
    return np.asarray(cv2.medianBlur(stretched, 3), np.uint8)


def _searched_again(small: list[NDArray[np.uint8]], fields: list[Plane], hole: Mask) -> list[Plane]:
    """Flow from the frame with what its neighbours show in the holes, at the search's size."""
    import cv2

    guesses = [_bring(other, field) for other, field in zip(small[1:], fields, strict=True)]
    painted = np.where(hole, cv2.addWeighted(guesses[0], 0.5, guesses[1], 0.5, 0), small[0])
    return [flow8(painted.astype(np.uint8), other, Effort.MEDIUM) for other in small[1:]]


def _enlarged(field: Plane, shape: tuple[int, ...]) -> Plane:
    """A flow field of the search's size at full size, and in full-size px."""
    import cv2

    height, width = shape
    ratio = width / field.shape[1], height / field.shape[0]
    # Planes one by one: numpy is slow along an axis of two.
    planes = [
        cv2.resize(plane * np.float32(factor), (width, height))
        for plane, factor in zip(cv2.split(field), ratio, strict=True)
    ]
    return np.asarray(cv2.merge(planes), np.float32)


def _bring(plane: Plane, flow: Plane) -> Plane:
    import cv2

    height, width = plane.shape
    columns, rows = cv2.split(flow)
    columns += np.arange(width, dtype=np.float32)
    rows += np.arange(height, dtype=np.float32)[:, None]
    out: Plane = cv2.remap(plane, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return out


def _level(centre: Plane, moved: Plane) -> Plane:
    """Smooth difference in exposure, deaf to anything smaller than a sixth of the frame."""
    import cv2

    height, width = centre.shape
    size = (max(1, width // 8), max(1, height // 8))
    gap: Plane = cv2.resize(centre - moved, size, interpolation=cv2.INTER_AREA)
    gap -= np.float32(np.median(gap))
    side = max(3, min(size) // 3 | 1)
    even: Plane = cv2.blur(np.clip(gap, -0.04, 0.04), (side, side))
    even += np.float32(np.median(centre[::3, ::3] - moved[::3, ::3]))
    return np.asarray(cv2.resize(even, (width, height)), np.float32)


def _noise(centre: Plane, moved: list[Plane]) -> Plane:
    """Standard deviation of the difference to a neighbour, for each pixel by its luma."""
    gap = np.minimum(*(np.abs(centre - plane) for plane in moved))[::2, ::2].ravel()
    place = np.clip(centre[::2, ::2] * _BINS, 0, _BINS - 1).astype(np.intp).ravel()
    overall = float(np.median(gap))
    curve = np.full(_BINS, overall)
    for level in range(_BINS):
        inside = gap[place == level]
        if len(inside) > 200:
            curve[level] = np.median(inside)
    curve = np.convolve(np.pad(curve, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    # The median of the smaller of two half-normal values is 0.39 of their common sigma.
    curve = np.maximum(curve / 0.39, _NOISE_FLOOR)
    at = (np.arange(_BINS) + 0.5) / _BINS
    table = np.interp(np.arange(256) / 255, at, curve).astype(np.float32)
    out: Plane = table[np.clip(centre * 255, 0, 255).astype(np.uint8)]
    return out


@dataclass(frozen=True)
class _Candidate:
    """Pixels beyond what both neighbours show, on one side of them."""

    sign: int
    strong: Mask
    weak: Mask


def _candidates(
    centre: Plane, moved: list[Plane], noise: Plane, rules: SpikeRules
) -> tuple[_Candidate, _Candidate]:
    """The bright and the dark ones."""
    import cv2

    block = np.ones((3, 3), np.uint8)
    strong, weak = _thresholds(noise, rules)
    top, bottom = cv2.max(*moved), cv2.min(*moved)
    bright = _Candidate(1, centre - cv2.dilate(top, block) > strong, centre - top > weak)
    dark = _Candidate(-1, cv2.erode(bottom, block) - centre > strong, bottom - centre > weak)
    return bright, dark


def _thresholds(noise: Plane, rules: SpikeRules) -> tuple[Plane, Plane]:
    scale = np.float32(1 / rules.sensitivity)
    strong = np.maximum(_STRONG * noise, _VISIBLE) * scale
    weak = np.maximum(_WEAK * noise, _VISIBLE / 2) * scale
    return strong, weak


def _marks(
    centre: Plane,
    moved: list[Plane],
    noise: Plane,
    steps: tuple[int, int],
    rules: SpikeRules,
) -> Mask:
    import cv2

    mask = np.zeros(centre.shape, np.bool_)
    dispute = np.abs(moved[0] - moved[1])
    strong, _ = _thresholds(noise, rules)
    for found in _candidates(centre, moved, noise, rules):
        if not found.strong.any():
            continue
        sign = np.float32(found.sign)
        height = np.minimum(*(sign * (centre - plane) for plane in moved))
        here = blobs_of(found.weak | found.strong, height, centre, found.strong)
        keep = here.area_px <= rules.largest_share * centre.size
        keep &= here.means(dispute) <= rules.agreement * here.contrast
        if steps[0] * steps[1] > 0:
            keep &= _sure(here, centre, moved, noise)
        if rules.reach_px:
            one, other = (_elsewhere(centre, plane, strong, found.sign) for plane in moved)
            keep &= ~passing(here, (one, other), steps, rules.reach_px)
            keep &= ~attached(here, (one, other), centre, rules.reach_px / 4)
            keep &= ~gliding(here, (one, other), rules.reach_px, _POLE * centre.shape[0])
            keep &= ~_slipped(here, moved, height, _POLE * centre.shape[0])
        core = height.ravel()[here.place] > _RIM * here.contrast[here.owner]
        # Where a neighbour is dirty too, the mark has a hole.
        whole: Plane = here.chosen(keep, core).astype(np.uint8)
        whole = cv2.morphologyEx(whole, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
        mask |= _grown(whole > 0, height > _TRACE * noise, rules.grow_px)
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


def _elsewhere(centre: Plane, moved: Plane, strong: Plane, sign: int) -> Blobs:
    """What the neighbour shows of that sign and the centre does not, on the centre's grid."""
    import cv2

    block = np.ones((3, 3), np.uint8)
    edge = cv2.dilate(centre, block) if sign > 0 else cv2.erode(centre, block)
    found = sign * (moved - edge) > strong
    return blobs_of(found, sign * (moved - centre), moved)


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
