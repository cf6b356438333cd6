"""Where the picture lies in each frame of a shot."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from restore.motion.camera import GlobalMotion, MotionModel, Sight, global_motion
from restore.motion.middle import median

__all__ = ["Register"]

Doubles = NDArray[np.float64]

_OLDEST: Final = 24  # frames that a key frame serves: actors move on, light changes
_FARTHEST: Final = 0.08  # share of the frame's size that the picture may have moved from the key
_ZOOM: Final = 0.02
_SURE_PX: Final = 0.5
_CHECK_PX: Final = 320  # long side of the pictures on which a match is checked


class Register:
    """Positions of a shot's frames, each measured against a key frame some frames back.

    Measuring against the frame just before would let small errors add up frame by frame; a key
    frame serves as long as the picture still looks like it. One object serves one shot.
    """

    def __init__(self) -> None:
        self._key: Sight | None = None
        self._key_at = np.zeros(2)
        self._last: Sight | None = None
        self._last_at = np.zeros(2)
        self._age = 0

    def add(self, frame: Tensor) -> Doubles:
        """The position of the shot's next frame.

        Args:
            frame: ``[3, h, w]`` float32, nominal 0..1.

        Returns:
            ``[2]`` px, (across, down): how far the picture lies from where it lay in the shot's
            first frame, measured at the frame's centre. Where nothing can be made out (leader,
            pure grain) the picture counts as lying where it lay before.
        """
        now = Sight(frame)
        if self._key is None or self._last is None:
            self._key = self._last = now
            return self._last_at.copy()
        motion = _motion(self._key, now)
        if self._age >= _OLDEST or motion is None or _far(motion, now):
            self._key, self._key_at, self._age = self._last, self._last_at, 0
            motion = _motion(self._key, now)
        self._age += 1
        if motion is None:
            self._key, self._key_at, self._age = now, self._last_at, 0
        else:
            self._last_at = self._key_at + _shift(motion, now)
        self._last = now
        return self._last_at.copy()


def _shift(motion: GlobalMotion, frame: Sight) -> Doubles:
    height, width = frame.shape[-2:]
    return np.array(motion.at((width - 1) / 2, (height - 1) / 2))


def _far(motion: GlobalMotion, frame: Sight) -> bool:
    away = float(np.abs(_shift(motion, frame)).max())
    zoom = float(np.hypot(motion.matrix[0, 0], motion.matrix[1, 0]))
    return away > _FARTHEST * min(frame.shape[-2:]) or abs(zoom - 1) > _ZOOM


def _motion(source: Sight, target: Sight) -> GlobalMotion | None:
    """The motion, or None where the frames do not bear it out."""
    found = global_motion(source, target, MotionModel.SIMILARITY)
    across, down = _shift(found, source)
    if not np.isfinite([across, down]).all():
        return None
    if max(abs(across), abs(down)) <= _SURE_PX:
        return found
    factor = max(1, max(source.shape[-2:]) // _CHECK_PX)
    one, other = source.luma(factor), target.luma(factor)
    shift = np.array([across, down]) / factor
    # The opposite shift blurs just as much by interpolation, and fits worse if there is a fit.
    fit, misfit = _gap(one, other, shift), _gap(one, other, -shift)
    return found if fit <= 0.95 * misfit else None


def _gap(one: NDArray[np.float32], other: NDArray[np.float32], shift: Doubles) -> float:
    import cv2

    height, width = one.shape
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(other, matrix, (width, height), flags=flags)
    margin = min(int(np.abs(shift).max()) + 2, min(height, width) // 4)
    inside = (slice(margin, height - margin),) * 1 + (slice(margin, width - margin),)
    gap = moved[inside] - one[inside]
    return float(np.abs(gap - median(gap[::2, ::2])).mean())
