"""Film in interlaced video by 3:2 pulldown: which field of which frame belongs to which film frame.

Four film frames A B C D become five video frames of fields (first field / second field)

    A/A  A/B  B/C  C/C  D/D

so that in every five frames the first field is shown again once (place 1), and the second field
once (place 3). A hidden Markov model with the five places for either field order, and one state for
video that is no telecine, is filtered forward and smoothed over a fixed lag, as for repeats.
"""

from __future__ import annotations

import math
from collections import deque
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from restore.analysis.combing import FieldMetrics

__all__ = ["LAG", "NOT_TELECINE", "FieldVotes", "Scan", "TelecineFinder"]

LAG: Final = 14
"""Frames after a frame that are seen before its place is decided."""

NOT_TELECINE: Final = 10
_EPSILON: Final = 1e-7
_NONE_PRIOR: Final = 0.8
_JUMP: Final = 1e-5
_TELLING: Final = 0.15
_FITS: Final = 1.2
_MISFITS: Final = 0.5

Array = NDArray[np.float64]


class Scan(Enum):
    """How a clip was scanned, as far as its pictures tell."""

    UNKNOWN = "progressive or still"
    PROGRESSIVE = "progressive"
    TFF = "interlaced, top field first"
    BFF = "interlaced, bottom field first"
    TELECINE_TFF = "hard telecine, top field first"
    TELECINE_BFF = "hard telecine, bottom field first"
    SOFT_TELECINE = "soft telecine"
    BLENDED = "blended of neighbouring film frames"


class TelecineFinder:
    """Takes the relations of frames one by one and says each one's place in the pulldown."""

    def __init__(self) -> None:
        self._prior: Array = np.full(11, (1 - _NONE_PRIOR) / 10)
        self._prior[NOT_TELECINE] = _NONE_PRIOR
        self._forward = self._prior.copy()
        self._waiting: deque[Array] = deque()
        places = np.arange(5)
        self._before = np.concatenate([(places - 1) % 5, 5 + (places - 1) % 5, [10]])
        self._after = np.concatenate([(places + 1) % 5, 5 + (places + 1) % 5, [10]])

    def push(self, metrics: FieldMetrics) -> int | None:
        """Take the next frame.

        Returns:
            State of the frame ``LAG`` places before: 0..4 its place in the cycle with the top field
            first, 5..9 with the bottom field first, :data:`NOT_TELECINE`; None while there is none.
        """
        self._waiting.append(_likelihood(metrics))
        return self._decide() if len(self._waiting) > LAG else None

    def finish(self) -> list[int]:
        """States of the frames that are still undecided, after the last one came."""
        return [self._decide() for _ in range(len(self._waiting))]

    def _decide(self) -> int:
        moved = (1 - _JUMP) * self._forward[self._before] + _JUMP * self._prior
        self._forward = moved * self._waiting.popleft()
        self._forward /= self._forward.sum()
        later = np.ones(11)
        for likelihood in reversed(self._waiting):
            weighed = later * likelihood
            later = (1 - _JUMP) * weighed[self._after] + _JUMP * float(weighed @ self._prior)
            later /= later.max()
        return int(np.argmax(self._forward * later))


def _likelihood(metrics: FieldMetrics) -> Array:
    """Of one frame in every state, relative to that of no repeated field."""
    change = math.log((metrics.top_change + _EPSILON) / (metrics.bottom_change + _EPSILON))
    whole = _wholeness(metrics)
    moving = max(abs(whole), abs(_lateness(metrics)))
    out = np.ones(11)
    for sign, places in ((1, (1, 8)), (-1, (3, 6))):
        out[list(places)] = math.exp(_log_odds(sign * change, moving))
    # Woven with the frame before, places 1 and 2 get better and places 0 and 4 get worse; some
    # vertical speeds turn that round, so that it weighs little.
    if abs(whole) > _TELLING:
        fits, misfits = ((0, 4, 5, 9), (1, 2, 6, 7))[:: 1 if whole > 0 else -1]
        out[list(fits)] *= _FITS
        out[list(misfits)] *= _MISFITS
    return out


def _wholeness(metrics: FieldMetrics) -> float:
    """Decades by which a frame combs less than its fields do with those of the frame before."""
    other = min(metrics.with_bottom, metrics.with_top)
    return math.log10((other + _EPSILON) / (metrics.own + _EPSILON))


def _lateness(metrics: FieldMetrics) -> float:
    """Decades by which the bottom field is the later one: below 0 where the top field is."""
    return math.log10((metrics.with_top + _EPSILON) / (metrics.with_bottom + _EPSILON))


def _log_odds(change: float, moving: float) -> float:
    """Evidence that a field is shown again: it changed far less than its partner did."""
    again = 0.85 * (1 / 8 if change < -0.7 else 0.0) + 0.15 * _normal(change, 0.5)
    free = 0.97 * _normal(change, 0.35) + 0.03 / 10
    # A still scene changes neither field and says next to nothing.
    weight = min(1.0, max(0.15, (abs(change) - 0.2) / 0.6, moving / 0.3))
    return weight * math.log(again / free)


def _normal(x: float, deviation: float) -> float:
    return math.exp(-0.5 * (x / deviation) ** 2) / (deviation * math.sqrt(2 * math.pi))


class FieldVotes:
    """Interlaced or progressive, and which field comes first, from many frames together."""

    _KEPT: Final = 0.98
    _ENOUGH: Final = 0.5

    def __init__(self) -> None:
        self._whole = 0.0
        self._order = 0.0

    def add(self, metrics: FieldMetrics) -> None:
        """Count a frame; older ones fade away over some fifty frames."""
        self._whole = self._KEPT * self._whole + _wholeness(metrics)
        self._order = self._KEPT * self._order + _lateness(metrics)

    @property
    def scan(self) -> Scan:
        """The verdict so far; nothing moved enough to tell where it is unknown."""
        if self._whole >= self._ENOUGH and self._whole > abs(self._order):
            return Scan.PROGRESSIVE
        if abs(self._order) >= self._ENOUGH:
            return Scan.TFF if self._order > 0 else Scan.BFF
        return Scan.UNKNOWN
