"""A straight edge between bright and dark, by parts of a pixel, whatever dirt lies on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Edge", "fitted_edge"]

Doubles = NDArray[np.float64]
Plane = NDArray[Any]  # float32

_DARK: Final = 0.45  # of the bright side, that the dark one has at most
_FAR: Final = 0.8  # of a fall, that lies within its window
_LEAST: Final = 0.3  # share of the profiles that must show the edge
_TUKEY: Final = 4.685
_ROUNDS: Final = 6


@dataclass(frozen=True)
class Edge:
    """An edge along a row of the picture.

    Attributes:
        at_px: where it lies at its middle, from the outer side of the first row.
        error_px: standard deviation of that, as far as the edge's own unevenness tells.
        used: share of the profiles across it that agree.
    """

    at_px: float
    error_px: float
    used: float


def fitted_edge(
    plane: Plane, near_px: float, *, columns: slice, reach_px: int, level: float, upwards: bool
) -> Edge | None:
    """Find the edge near a row.

    Each column gives one profile across the edge. Where it has fallen to half between the bright
    side and what lies beyond gives its place first; the area under the profile about that place
    (A. J. Tabatabai and O. R. Mitchell, "Edge location to subpixel values in digital imagery",
    1984, by the first moment alone) makes it exact for every even blur. A robust line through all
    columns leaves dust out.

    Args:
        plane: ``[h, w]`` float32.
        near_px: expected row.
        columns: of the profiles.
        reach_px: how far from ``near_px`` the edge may lie.
        level: brightness of the bright side.
        upwards: whether the dark side is above the bright one.

    Returns:
        The edge, None where too little of it is seen.
    """
    first, last = round(near_px) - 2 * reach_px, round(near_px) + 2 * reach_px
    low, high = max(0, first), min(plane.shape[0], last)
    strip = plane[low:high, columns].astype(np.float64)
    if strip.shape[0] < 2 * reach_px or strip.shape[1] < 4:
        return None
    # From the bright side to the dark one.
    strip = strip[::-1] if upwards else strip
    place, good = _crossings(strip, reach_px, level)
    if good.mean() < _LEAST:
        return None
    where = np.arange(strip.shape[1], dtype=np.float64)
    where -= where.mean()
    edge = _line(where[good], place[good], good.size)
    if edge is None or edge.used < _LEAST:
        return None
    at = high - edge.at_px if upwards else low + edge.at_px
    # The strip's end may have been cut by the frame's side; places far off are none.
    return Edge(at, edge.error_px, edge.used) if abs(at - near_px) <= reach_px else None


def _crossings(strip: Doubles, reach_px: int, level: float) -> tuple[Doubles, NDArray[np.bool_]]:
    """Where each column ``[n, m]`` falls, px from the strip's bright end, and whether it does."""
    count = len(strip)
    # Beside the hole there may be letters along the film's edge: the darkest counts, less grain.
    dark = np.quantile(strip[count // 2 :], 0.2, axis=0)
    below = strip < (level + dark) / 2
    bright = np.argmax(below, axis=0) - 1
    good = below.any(0) & (dark < _DARK * level)
    window = _window(strip, bright, good, reach_px)
    good &= (bright >= window) & (bright < count - window - 1)
    near = _about(strip, bright, window)
    end = max(1, window // 3)
    inner, outer = near[:end].mean(0), near[-end:].mean(0)
    fall = inner - outer
    good &= (outer < _DARK * level) & (inner > 0.8 * level)
    area = ((near - outer) / np.where(good, fall, 1.0)).sum(0)
    return bright - window + area, good


def _about(strip: Doubles, bright: NDArray[np.intp], window: int) -> Doubles:
    """The samples about each column's fall, as many on either side of it."""
    index = bright + np.arange(-window, window + 2)[:, None]
    return np.take_along_axis(strip, np.clip(index, 0, len(strip) - 1), 0)


def _window(
    strip: Doubles, bright: NDArray[np.intp], good: NDArray[np.bool_], reach_px: int
) -> int:
    """Samples on either side of the fall that it takes, from the usual profile."""
    if not good.any():
        return 3
    usual = np.median(_about(strip[:, good], bright[good], reach_px), axis=1)
    low, high = float(usual[reach_px:].min()), float(usual[: reach_px + 1].max())
    share = (usual - low) / max(high - low, 1e-6)
    inwards = int(np.argmax(share[: reach_px + 1][::-1] >= _FAR))
    outwards = int(np.argmax(share[reach_px + 1 :] <= 1 - _FAR)) + 1
    return min(max(3, max(inwards, outwards) + 2), reach_px)


def _line(where: Doubles, place: Doubles, total: int) -> Edge | None:
    """A robust straight line; its value at 0."""
    design = np.stack([np.ones_like(where), where], 1)
    params = np.array([float(np.median(place)), 0.0])
    weights = np.ones(len(place))
    scale = 0.0
    for _ in range(_ROUNDS):
        gap = place - design @ params
        scale = max(1.4826 * float(np.median(np.abs(gap))), 0.02)
        weights = np.square(np.clip(1 - np.square(gap / (_TUKEY * scale)), 0, None))
        normal = design.T @ (design * weights[:, None])
        if weights.sum() < 4 or np.linalg.cond(normal) > 1e9:
            return None
        params = np.linalg.solve(normal, design.T @ (weights * place))
    return Edge(float(params[0]), scale / float(np.sqrt(weights.sum())), weights.sum() / total)
