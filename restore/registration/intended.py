"""Tells the camera's movement from the gate's: which part of a path was meant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from restore.registration.segments import bends, fitted

__all__ = ["IntendedPath", "PathRules"]

Doubles = NDArray[np.float64]

_BACK: Final = 48  # frames behind that a fit still hears
_PLAY: Final = 1.5  # in jitters: wander of the fit that a still camera shows
_PULL: Final = 1 / 30  # share of what is beyond that play, taken back in each frame


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


class IntendedPath:
    """The camera's movement along one axis, estimated while the film runs.

    Gate weave is a fresh error at every pull-down and a drift with a period of up to some tens of
    frames; a camera stands, or moves evenly for a while. What it meant is therefore a line with few
    bends (:mod:`restore.registration.segments`) through the frames behind and ahead. A bend that a
    frame has passed stays where it was found. The picture goes on at the line's speed; of the
    line's place it hears only what is beyond some play, as in a gear, so that stillness stays
    still however the fit wanders from frame to frame.

    One object serves one shot and one axis.
    """

    def __init__(self, rules: PathRules) -> None:
        self._rules = rules
        self._given: list[float] = []
        self._passed: list[float] = []

    def at(self, frame: int, path: Doubles) -> float:
        """Where a frame was meant to lie.

        Args:
            frame: number in the shot; to be asked for in order, from 0.
            path: ``[n]`` px, positions of the shot's frames from its first on; all of them, or up
                to ``frame + lookahead`` at least.

        Returns:
            px, in the path's own coordinates.
        """
        seen = path[: frame + self._rules.lookahead + 1]
        jitter_px = self._jitter(seen)
        first = max(0, frame - _BACK)
        piece, here = seen[first:], frame - first
        passed = [bend - first for bend in self._passed if bend > first + 1]
        ahead = bends(piece, jitter_px, passed, after=max(0, here - 1))
        line = fitted(piece, jitter_px, [*passed, *ahead])
        self._passed += [first + bend for bend in ahead if bend <= here]
        place = float(line[here])
        if self._given:
            going = self._given[-1] + place - float(line[here - 1])
            away = place - going
            beyond = np.sign(away) * max(0.0, abs(away) - _PLAY * jitter_px)
            place = going + _PULL * float(beyond)
        self._given.append(place)
        return place

    def _jitter(self, path: Doubles) -> float:
        """Standard deviation of the errors that are fresh at every frame.

        Second differences know nothing of position and speed; their variance is six times that of
        independent errors. The median keeps the camera's starts out.
        """
        if len(path) < 4:
            return self._rules.floor_px
        turns = np.abs(np.diff(path, 2))
        found = 1.4826 * float(np.median(turns)) / np.sqrt(6.0)
        return float(np.clip(found, self._rules.floor_px, self._rules.ceiling_px))
