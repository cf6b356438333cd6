"""Parts that blobs of marks with the straight things that they touch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["parted"]

Integers = NDArray[np.intp]
Doubles = NDArray[np.float64]
Mask = NDArray[np.bool_]

_CORE_PX: Final = 1.5  # about a line that pixels pull at
_WIDE: Final = 2.5  # times the median distance from it, and a little: what belongs to it
_SLACK_PX: Final = 1.0
_LEAST: Final = 0.1  # share of a blob that lies along a line
_REST: Final = 0.03  # share that does not
_POINTS: Final = 1500  # of a blob that vote for a line
_ANGLES: Final = 60
_MOST: Final = 4  # lines that one blob is parted along
_THIN: Final = 3.0  # least ratio between the length and the width of a line


def parted(place: Integers, owner: Integers, shape: tuple[int, int], least_px: float) -> Integers:
    """Number blobs anew, those along a straight line apart from what touches it.

    A post, a wire or the edge of a stripe is known by its length and direction as long as it is by
    itself; dirt that lies on it makes another shape of both. The line is the one that most of a
    blob lies along: a Hough transform finds it (R. Duda and P. Hart, "Use of the Hough
    transformation to detect lines and curves in pictures", 1972), a robust fit settles it (Welsch's
    weights).

    Args:
        place: ``[P]`` flat index of every pixel.
        owner: ``[P]`` number of its blob, 0 .. M - 1.
        shape: ``(h, w)`` of the frame.
        least_px: extent from which on a blob is looked at, and length of a line.

    Returns:
        ``[P]`` numbers, from 0 on without gaps.
    """
    if not len(place):
        return owner
    rows, columns = np.divmod(place, shape[1])
    out = owner.copy()
    count = int(owner.max()) + 1
    low, high = np.full((2, count), np.iinfo(np.intp).max), np.full((2, count), -1)
    for axis, where in enumerate((rows, columns)):
        np.minimum.at(low[axis], owner, where)
        np.maximum.at(high[axis], owner, where)
    for number in np.flatnonzero(np.hypot(*(high - low + 1)) >= least_px):
        inside = np.flatnonzero(owner == number)
        for part in _parts(columns[inside], rows[inside], least_px):
            out[inside[part]] = count
            count += 1
    return np.unique(out, return_inverse=True)[1].astype(np.intp)


def _parts(x: Integers, y: Integers, least_px: float) -> Iterator[Integers]:
    """Which pixels belong together, but for those of one part that keeps the old number."""
    left = np.arange(len(x))
    found = False
    for _ in range(_MOST):
        line = _along_a_line(x[left], y[left], least_px)
        if line is None:
            break
        found = True
        yield left[line]
        left = left[~line]
    if found:
        yield from _connected(x, y, left)


def _along_a_line(x: Integers, y: Integers, least_px: float) -> Mask | None:
    """The pixels along the line that most lie along; None where that is all or none."""
    import cv2

    if len(x) < least_px:
        return None
    points = np.stack([x, y], 1).astype(np.float32)
    reach = least_px / (2 * _THIN)
    first = _strip(points, reach)
    vx, vy, x0, y0 = (
        cv2.fitLine(points[first], cv2.DIST_WELSCH, _CORE_PX, 0.01, 0.01).ravel().tolist()
    )
    away = np.abs((x - x0) * vy - (y - y0) * vx)
    along = (x - x0) * vx + (y - y0) * vy
    near = away <= reach
    if not near.any():
        return None
    line = away <= _SLACK_PX + _WIDE * float(np.median(away[near]))
    length = float(np.ptp(along[line]))
    width = 4 * float(np.sqrt(np.square(away[line]).mean() + 1 / 12))
    share = float(line.mean())
    fits = length >= max(least_px, _THIN * width) and _LEAST <= share <= 1 - _REST
    return line if fits else None


def _strip(points: NDArray[np.float32], width_px: float) -> Mask:
    """Which of ``[P, 2]`` lie in the strip of that width, at any place and angle, that holds most.

    A Hough transform: a fit that begins anywhere would settle between two lines.
    """
    some = points[:: max(1, len(points) // _POINTS)]
    angles = np.arange(0, np.pi, np.pi / _ANGLES)
    ways = np.stack([np.cos(angles), np.sin(angles)])
    cells = np.floor(some @ ways / width_px).astype(np.intp)
    cells -= cells.min()
    count = int(cells.max()) + 1
    votes = np.bincount((cells + np.arange(_ANGLES) * count).ravel(), minlength=_ANGLES * count)
    best, cell = divmod(int(votes.argmax()), count)
    offset = points @ ways[:, best] / width_px
    offset -= np.floor(some @ ways / width_px).min()
    return np.asarray((offset >= cell) & (offset < cell + 1), np.bool_)


def _connected(x: Integers, y: Integers, left: Integers) -> Iterator[Integers]:
    """What is left, by connected pieces, but for the first."""
    import cv2

    if not len(left):
        return
    across, down = x[left] - x[left].min(), y[left] - y[left].min()
    plane = np.zeros((int(down.max()) + 1, int(across.max()) + 1), np.uint8)
    plane[down, across] = 1
    count, labels = cv2.connectedComponents(plane, connectivity=8)
    mine = labels[down, across]
    for number in range(2, count):
        yield left[mine == number]
