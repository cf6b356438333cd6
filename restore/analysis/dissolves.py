"""Where one scene turns into another over several frames: dissolves, fades in and out.

In a dissolve every frame is a mix of the picture before it and the picture after it, with a share
that grows steadily. Both ends are taken some frames apart and each frame between is fitted as such
a mix (least squares, with a constant); pans, zooms and fast movers are not mixes of their ends.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from restore.analysis.likeness import unlike

__all__ = ["DissolveFinder", "Span"]

HALF_LENGTHS: Final = (4, 6, 8, 12, 18, 28)
_SOFT: Final = 3.0
_UNLIKE: Final = 0.6
_FIT: Final = 0.88
_STEP_TOLERANCE: Final = 0.13
_FLAT: Final = 0.012


@dataclass(frozen=True)
class Span:
    """Frames ``[start, stop)`` of a dissolve, counted from the first picture."""

    start: int
    stop: int


@dataclass(frozen=True)
class _Fit:
    centre: float
    length: float
    quality: float


class DissolveFinder:
    """Takes small pictures one by one; holds twice the longest half length of them."""

    def __init__(self) -> None:
        self._held: deque[NDArray[np.float32]] = deque(maxlen=2 * HALF_LENGTHS[-1] + 1)
        self._arrived = 0
        self._fits: list[_Fit] = []

    def push(self, picture: NDArray[np.float32], *, cuts: bool = False) -> None:
        """Take the next picture (``[h, w]`` luma 0..1); ``cuts`` forgets those before it."""
        if cuts:
            self._held.clear()
        self._held.append(cv2.GaussianBlur(picture, (0, 0), _SOFT).astype(np.float32))
        self._arrived += 1
        for half in HALF_LENGTHS:
            # Longer ones move slowly: a look at every fourth of the half length misses none.
            if len(self._held) > 2 * half and self._arrived % max(1, half // 4) == 0:
                fit = self._fit(half)
                if fit is not None:
                    self._fits.append(fit)

    def found(self) -> tuple[Span, ...]:
        """Dissolves so far, in order, none overlapping another."""
        spans: list[Span] = []
        for fit in sorted(self._fits, key=lambda fit: -fit.quality):
            start = max(0, round(fit.centre - fit.length / 2))
            stop = min(self._arrived, max(start + 1, round(fit.centre + fit.length / 2)))
            if all(stop <= other.start or start >= other.stop for other in spans):
                spans.append(Span(start, stop))
        return tuple(sorted(spans, key=lambda span: span.start))

    def _fit(self, half: int) -> _Fit | None:
        """Whether the last ``2 * half + 1`` pictures hold a dissolve in their middle."""
        first, last = self._held[-1 - 2 * half], self._held[-1]
        if not _strangers(first, last):
            return None
        shares, quality = [], 1.0
        for quarter in (1, 2, 3):
            middle = self._held[-1 - 2 * half + half * quarter // 2]
            share, fit = _mix(middle, first, last)
            shares.append(share)
            quality = min(quality, fit)
        step = (shares[2] - shares[0]) / 2
        even = abs(shares[1] - 0.5) + abs(shares[1] - (shares[0] + shares[2]) / 2)
        if quality < _FIT or not 0.12 <= step <= 0.42 or even > _STEP_TOLERANCE:
            return None
        if min(float(first.std()), float(last.std())) > _FLAT and (unlike(first, last) < _UNLIKE):
            return None
        slope = step / (half / 2)
        centre = self._arrived - 1 - half + (0.5 - shares[1]) / slope
        return _Fit(centre, 1 / slope, quality)


def _strangers(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    """A quick look first: pictures that correlate well are one scene."""
    x, y = a - a.mean(), b - b.mean()
    power = float((x * x).sum()) * float((y * y).sum())
    return bool(float((x * y).sum()) < 0.8 * power**0.5 + 1e-6)


def _mix(
    middle: NDArray[np.float32], first: NDArray[np.float32], last: NDArray[np.float32]
) -> tuple[float, float]:
    """Share of ``last`` in ``middle``, and how well the mix explains it (R squared)."""
    columns = np.stack([first.ravel(), last.ravel()], axis=1).astype(np.float64)
    columns -= columns.mean(axis=0)
    wanted = middle.ravel().astype(np.float64)
    wanted -= wanted.mean()
    gram = columns.T @ columns + 1e-9 * np.eye(2)
    weights = np.linalg.solve(gram, columns.T @ wanted)
    # An end that is flat (a fade) has no weight of its own: what the other lacks is its share.
    if gram[1, 1] < 1e-3 * gram[0, 0]:
        weights[1] = 1 - weights[0]
    elif gram[0, 0] < 1e-3 * gram[1, 1]:
        weights[0] = 1 - weights[1]
    power = float(wanted @ wanted)
    if power <= 0 or weights.sum() <= 0:
        return 0.0, 0.0
    rest = wanted - columns @ weights
    return float(weights[1] / weights.sum()), 1 - float(rest @ rest) / power
