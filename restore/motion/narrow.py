"""What is narrow and bright in bands down a frame, and the best ways down through it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from restore.motion.middle import medians

__all__ = ["BANDS", "CAP", "SEEN", "narrow_of", "paths_of"]

Plane = NDArray[Any]  # float32
Doubles = NDArray[np.float64]

BANDS: Final = 24
"""Bands down the frame, in which a line is looked for on its own."""

CAP: Final = 4.0
"""Most that one band counts, in deviations."""

SEEN: Final = 1.8
"""Deviations at which a band shows the line."""

_STRONG: Final = 0.9  # share of all that the bands could count, of a line next to another
_MOST: Final = 12  # lines of a frame that are looked at, brighter and darker each


def narrow_of(frame: Plane, width_px: int) -> tuple[Plane, Plane]:
    """What is brighter than its sides and no wider than a line, and by how much the sides differ.

    Args:
        frame: ``[h, w]`` float32, of ``BANDS`` rows at least.
        width_px: the widest line.

    Returns:
        Both ``[bands, w]``: the former about 0, the latter right less left.
    """
    import cv2

    kernel = np.ones((1, width_px + 2), np.uint8)
    narrow = frame - cv2.morphologyEx(frame, cv2.MORPH_OPEN, kernel)
    size = (frame.shape[1], BANDS)
    bands: Plane = cv2.resize(narrow, size, interpolation=cv2.INTER_AREA)
    whole: Plane = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    aside = width_px // 2 + 2
    padded = np.pad(cv2.blur(whole, (3, 1)), ((0, 0), (aside, aside)), mode="edge")
    step = padded[:, 2 * aside :] - padded[:, : -2 * aside]
    return bands - medians(bands)[:, None], step


def paths_of(marks: Plane, least: float) -> Doubles:
    """The best ways down a plane, a column aside per band at most.

    Args:
        marks: ``[bands, w]`` how far each place stands out, in deviations.
        least: share of the bands that have to show it, by their sum.

    Returns:
        ``[n, bands]`` their columns, px; best first.
    """
    width = marks.shape[1]
    # What stands out much in one band must not make up for others that show nothing.
    capped = np.clip(marks, -1, CAP)
    total = np.full(width + 2, -np.inf)
    total[1:-1] = capped[0]
    turns = np.zeros((BANDS, width), np.int8)
    for band in range(1, BANDS):
        best = total[:-2] - 0.7
        turn = turns[band]
        turn[:] = -1
        for step, way in enumerate((total[1:-1], total[2:] - 0.7)):
            better = way > best
            turn[better] = step
            best = np.where(better, way, best)
        total[1:-1] = best + capped[band]
    total = total[1:-1]
    ends = np.argsort(-total)[:64]
    ends = ends[total[ends] >= least * SEEN * BANDS]
    strong = total[ends] >= _STRONG * CAP * BANDS
    ways = np.empty((len(ends), BANDS), np.intp)
    for band in range(BANDS - 1, -1, -1):
        ways[:, band] = ends
        ends = ends + turns[band, ends]
    near, close = (np.clip(ways[..., None] + np.arange(-px, px + 1), 0, width - 1) for px in (4, 2))
    found: list[NDArray[np.intp]] = []
    used, taken = np.zeros((2, width), np.bool_)
    for number, way in enumerate(ways):
        if len(found) >= _MOST:
            break
        # Beside another one it has to be a line beyond doubt.
        if not (taken if strong[number] else used)[way].any():
            found.append(way)
        used[near[number]] = True
        taken[close[number]] = True
    return _between_columns(marks, np.stack(found)) if found else np.empty((0, BANDS))


def _between_columns(marks: Plane, paths: NDArray[np.intp]) -> Doubles:
    """Paths ``[n, bands]`` to a fraction of a column: twice the centroid about it, smoothed."""
    width = marks.shape[1]
    band = np.arange(BANDS)[:, None]
    exact = paths.astype(np.float64)
    for _ in range(2):
        around = np.rint(exact).astype(np.intp)[..., None] + np.arange(-2, 3)
        around = np.clip(around, 0, width - 1)
        height = marks[band, around]
        weight = np.maximum(height - 0.4 * height.max(2, keepdims=True), 0.02)
        exact = (weight * around).sum(2) / weight.sum(2)
    wide = np.pad(exact, ((0, 0), (2, 2)), mode="edge")
    return np.stack([np.convolve(path, np.ones(5) / 5, mode="valid") for path in wide])
