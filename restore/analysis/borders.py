"""Black borders of a scan, told from what is merely dark."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["BorderFinder"]

Plane = NDArray[np.float32]

_DARK: Final = 0.14  # luma that a border has at most
_BLACK: Final = 0.05  # luma that it has at most where nobody asked for one to be found
_LIT: Final = 0.2  # luma that the picture has somewhere at least, to say anything
_RISE: Final = 0.15  # share of the way from border to picture at which the picture begins
_DEEPEST: Final = 0.2  # of the size: nothing wider is taken for a border
_STRAIGHT: Final = 0.03  # of the size: how far an edge may wander
_AGREE: Final = 0.8  # share of the lines across an edge that have to show it
_FULL: Final = 0.6  # share of what lies inside an edge that is lit, to be sure of a picture
_SMALLEST_PX: Final = 16  # side of a picture that can say anything
_SOFT_PX: Final = 2  # of an edge that is cut too
_CORNER: Final = 0.12  # of the size: rounded corners of a gate say nothing about its edges


class BorderFinder:
    """Collects frames of a clip; a border is dark in all of them, and its edge is straight.

    A night sky is dark as well: it is told by its edge, which follows what stands in it.
    """

    def __init__(self) -> None:
        self._most: Plane | None = None
        self.frames = 0

    def add(self, luma: Plane) -> None:
        """One frame, ``[h, w]`` luma 0..1, upright; all of one size."""
        import cv2

        # Grain and dust in the border are small.
        calm: Plane = np.asarray(cv2.medianBlur(np.ascontiguousarray(luma), 5), np.float32)
        self._most = calm if self._most is None else np.maximum(self._most, calm)
        self.frames += 1

    def margins(self, *, surely: bool = False) -> tuple[int, int, int, int]:
        """Border on the left, top, right and bottom, px; 0 where there is none to be sure of.

        Args:
            surely: only what is black, and shows its edge nearly all along: for frames that may be
                of one shot, of which a lit window in a dark room looks like a bordered picture.
        """
        if self._most is None or min(self._most.shape) < _SMALLEST_PX:
            return 0, 0, 0, 0
        most = self._most
        sides = (most, most.T, most[:, ::-1], most[::-1].T)
        left, top, right, bottom = (_side(side, surely=surely) for side in sides)
        return left, top, right, bottom


def _side(most: Plane, *, surely: bool) -> int:
    """Border at the left of ``[h, w]``, in pixels."""
    height, width = most.shape
    skip = max(1, round(_CORNER * height))
    lines = most[skip : height - skip]
    deepest = max(2, round(_DEEPEST * width))
    inside = float(np.quantile(lines[:, deepest:], 0.9))
    border = float(np.median(lines[:, :2]))
    if border > (_BLACK if surely else _DARK) or inside < max(_LIT, border + 0.1):
        return 0
    level = border + _RISE * (inside - border)
    lit = lines[:, : deepest + 1] > level
    found = lit.any(axis=1)
    starts = lit.argmax(axis=1)[found]
    # Dark parts of the picture begin late; the edge is where most of the others begin.
    if found.mean() < (_AGREE if surely else _AGREE / 2) or len(starts) < 8:
        return 0
    edge = int(np.quantile(starts, 0.3))
    wander = max(3, round(_STRAIGHT * width))
    near = np.abs(starts - edge) <= wander
    if near.mean() < _AGREE or not 0 < edge < deepest:
        return 0
    if surely and (lines[:, edge : edge + deepest] > level).mean() < _FULL:
        return 0  # writing
    return int(np.quantile(starts[near], 0.95)) + _SOFT_PX
