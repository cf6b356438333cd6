"""Tells the camera's movement from the gate's: which part of a path was meant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["IntendedPath", "PathRules"]

Doubles = NDArray[np.float64]

_SHORT: Final = 8  # half-width, in frames, of the window that follows a camera closely
_LAST: Final = 6  # half-width of the last smoothing
_TUBE: Final = 2.0  # in jitters: how far the long window may stray from the short one
_PLAY: Final = 1.5  # in jitters: wander of the long window that a still camera shows
_SLOPES: Final = (6.0, 10.0)  # in jitters over a window: slopes below are chance, above are real


@dataclass(frozen=True)
class PathRules:
    """What is known about the movement beforehand.

    Attributes:
        lookahead: frames that are seen ahead, at least 10. Weave slower than one swing in so many
            frames passes for the camera's own movement.
        floor_px: jitter that is assumed at least.
        ceiling_px: jitter that is assumed at most.
    """

    lookahead: int = 40
    floor_px: float = 0.1
    ceiling_px: float = 4.0

    @property
    def half(self) -> int:
        """Half-width of the long window, in frames."""
        return max(_SHORT, self.lookahead - _LAST)


class IntendedPath:
    """The camera's movement along one axis, estimated while the film runs.

    Gate weave is a fresh error at every pull-down and a drift with a period of up to some tens of
    frames; a camera stands, or moves for longer than that. A local linear fit with a long window
    (W. S. Cleveland, "Robust locally weighted regression", 1979, without its outlier pass) takes
    weave out of still shots and steady pans. Where a camera starts or stops, it is kept within a
    tube about the same fit with a short window. Backlash as in a gear then makes stillness of what
    only wanders, and leaves every speed as it is.

    One object serves one shot and one axis.
    """

    def __init__(self, rules: PathRules) -> None:
        self._rules = rules
        self._held: list[float] = []

    def at(self, frame: int, path: Doubles) -> float:
        """Where a frame was meant to lie.

        Args:
            frame: number in the shot; to be asked for in order, from 0.
            path: ``[n]`` px, positions of the shot's frames from its first on; all of them, or up
                to ``frame + lookahead`` at least.

        Returns:
            px, in the path's own coordinates.
        """
        stop = min(len(path), frame + _LAST + 1)
        jitter_px = self._jitter(path[: frame + self._rules.lookahead + 1])
        while len(self._held) < stop:
            self._held.append(self._step(len(self._held), path, jitter_px))
        return _smoothed(np.array(self._held[:stop]), frame)

    def _step(self, frame: int, path: Doubles, jitter_px: float) -> float:
        near = _fit(path, frame, _SHORT, jitter_px)
        far = _fit(path, frame, self._rules.half, jitter_px)
        wanted = float(np.clip(far, near - _TUBE * jitter_px, near + _TUBE * jitter_px))
        if not self._held:
            return wanted
        play_px = _PLAY * jitter_px
        return float(np.clip(self._held[-1], wanted - play_px, wanted + play_px))

    def _jitter(self, path: Doubles) -> float:
        """Standard deviation of the errors that are fresh at every frame.

        Second differences know nothing of position and speed; their variance is six times that of
        independent errors. The median keeps the camera's starts out.
        """
        if len(path) < 4:
            return self._rules.floor_px
        bends = np.abs(np.diff(path, 2))
        found = 1.4826 * float(np.median(bends)) / np.sqrt(6.0)
        return float(np.clip(found, self._rules.floor_px, self._rules.ceiling_px))


def _fit(path: Doubles, frame: int, half: int, jitter_px: float) -> float:
    """Local linear fit with Hann weights; a slope that could be chance counts as none."""
    # Towards the end of a shot the past stands in for the missing future.
    half += max(0, frame + half + 1 - len(path))
    start, stop = max(0, frame - half), min(len(path), frame + half + 1)
    offset = np.arange(start, stop) - frame
    weights = 1 + np.cos(np.pi * offset / (half + 1))
    weights /= weights.sum()
    values = path[start:stop]
    centre = float(weights @ offset)
    mean = float(weights @ values)
    spread = float(weights @ np.square(offset - centre))
    if spread <= 0:
        return mean
    slope = float(weights @ ((offset - centre) * (values - mean))) / spread
    low, high = _SLOPES
    rise = abs(slope) * (stop - start) / jitter_px
    slope *= min(1.0, max(0.0, (rise - low) / (high - low)))
    return mean - slope * centre


def _smoothed(held: Doubles, frame: int) -> float:
    """Gaussian mean about a frame; beyond the ends the path goes on in a point reflection."""
    offset = np.arange(-_LAST, _LAST + 1)
    weights = np.exp(-0.5 * np.square(offset / (_LAST / 2)))
    place = frame + offset
    last = len(held) - 1
    inside = held[
        np.clip(np.where(place < 0, -place, np.minimum(place, 2 * last - place)), 0, last)
    ]
    values = np.where(
        place < 0, 2 * held[0] - inside, np.where(place > last, 2 * held[last] - inside, inside)
    )
    return float(weights @ values / weights.sum())
