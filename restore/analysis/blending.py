"""Frames that are weighted sums of film frames: what a bad standards conversion leaves.

A video of more frames than the film had, made by mixing neighbours, holds fewer pictures than
frames: a frame is then a sum of the frames about it, exactly, wherever things move. A scene that
is merely filmed is better explained by its neighbours brought along its motion. Both are fitted by
least squares on detail that changes, and their errors are compared; grain says little, since it is
softened first and is averaged by both.

A sum of film frames that no other frame of the window shows cannot be told (film at 24 in 25, where
one mix slides into the next over a whole second), nor can one that a codec has smoothed over.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restore.motion.area import shrunk_luma
from restore.motion.flow import Effort, optical_flow
from restore.motion.warp import warp

__all__ = ["BlendFinder"]

Doubles = NDArray[np.float64]
Plane = NDArray[np.float32]

_ROWS: Final = 200  # of the pictures that are compared, about
_REACH: Final = 3  # frames on each side: 18 in 25 shows no more film frames than frames in seven
# Frames from one look to the next, at first and later: none has a factor in common with 4, 5 or 25.
_EVERY: Final = (3, 11)
_FIRST: Final = 16  # looks
_SOFT: Final = 1.0  # px, against grain
_WIDE: Final = 6.0  # px: what is broader than that is light, not detail
_MOVING: Final = 0.8  # share of the picture that is left out, where least changes
_AROUND: Final = 5
_TELLING: Final = (0.5 / 255) ** 2  # the least that motion must leave unexplained
_STEADY: Final = 0.6  # changes as much alike as that, three frames apart, are a dissolve
_FEWEST: Final = 4
_SMALLEST_PX: Final = 32
_BLENDED: Final = 0.5


class BlendFinder:
    """Takes frames one by one; holds seven small ones."""

    def __init__(self) -> None:
        self._held: deque[Plane] = deque(maxlen=2 * _REACH + 1)
        self._since = 0
        self._ratios: list[float] = []

    def forget(self) -> None:
        """What comes next does not follow on what came: a cut, or frames of another kind."""
        self._held.clear()
        self._since = 0

    def push(self, data: Tensor) -> None:
        """Take the next frame, ``[3, h, w]`` R'G'B' 0..1 on any device."""
        if min(data.shape[-2:]) < _SMALLEST_PX:
            return
        self._held.append(_detail(data))
        self._since += 1
        if len(self._held) == self._held.maxlen and self._since >= self._every:
            self._since = 0
            ratio = _compared(list(self._held))
            if ratio is not None:
                self._ratios.append(ratio)

    @property
    def _every(self) -> int:
        return _EVERY[0] if len(self._ratios) < _FIRST else _EVERY[1]

    @property
    def ratio(self) -> float | None:
        """Mean square error as a sum of frames over that along motion, the median of all looks.

        Below 1 where mixing explains more than motion; None where too little moved to tell.
        """
        return float(np.median(self._ratios)) if len(self._ratios) >= _FEWEST else None

    @property
    def is_blended(self) -> bool:
        """Whether most frames are clearly sums of others."""
        return self.ratio is not None and self.ratio < _BLENDED


def _detail(data: Tensor) -> Plane:
    """Small softened luma without its broad light and dark, so that flicker says nothing."""
    import cv2

    small = shrunk_luma(data, max(1, data.shape[-2] // _ROWS))
    soft = cv2.GaussianBlur(small, (0, 0), _SOFT)
    return np.asarray(soft - cv2.GaussianBlur(soft, (0, 0), _WIDE), np.float32)


def _compared(window: list[Plane]) -> float | None:
    """Error of the middle picture as a sum of the others over its error along motion."""
    middle, before, after = window[_REACH], window[_REACH - 1], window[_REACH + 1]
    where = _changing(before, middle, after)
    wanted = middle[where].astype(np.float64)
    late = (middle - before)[where], (window[-1] - window[-2])[where]
    power = float(np.square(late[0]).sum()) * float(np.square(late[1]).sum())
    if float((late[0] * late[1]).sum()) > _STEADY * power**0.5:
        return None
    brought = [_brought(middle, other)[where] for other in (before, after)]
    along = _error(wanted, brought)
    if along < _TELLING:
        return None
    others = [one[where] for number, one in enumerate(window) if number != _REACH]
    return _error(wanted, others) / along


def _changing(before: Plane, middle: Plane, after: Plane) -> NDArray[np.bool_]:
    """Where the middle picture differs most from both of its neighbours."""
    import cv2

    change = np.minimum(np.abs(middle - before), np.abs(middle - after))
    change = cv2.blur(change, (_AROUND, _AROUND))
    found: NDArray[np.bool_] = change >= np.quantile(change, _MOVING)
    return found


def _brought(middle: Plane, other: Plane) -> Plane:
    here, there = (torch.from_numpy(one)[None, None] for one in (middle, other))
    flow = optical_flow(here, there, Effort.FAST)
    return np.asarray(warp(there, flow, "bicubic")[0, 0].numpy(), np.float32)


def _error(wanted: Doubles, parts: list[Plane]) -> float:
    """Mean square of what no weighted sum of the parts explains."""
    rows = np.stack(parts).astype(np.float64)
    gram = rows @ rows.T
    gram += 1e-6 * np.trace(gram) / len(parts) * np.eye(len(parts)) + 1e-12 * np.eye(len(parts))
    rest = wanted - np.linalg.solve(gram, rows @ wanted) @ rows
    return float(np.square(rest).mean())
