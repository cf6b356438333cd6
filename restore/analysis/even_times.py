"""Times of frames that shall come at one rate, held in step with the video they came from."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import lcm

from restore.frames import Frame

__all__ = ["EvenTimes"]


class EvenTimes:
    """Gives frames times one period apart, never further than a period from their own.

    Args:
        fps: frames in a second.
    """

    def __init__(self, fps: Fraction) -> None:
        self.fps = fps
        self._origin_s: Fraction | None = None
        self._place = 0

    def unit(self, time_base: Fraction) -> Fraction:
        """A unit of time that holds the times of a clip and every period of the rate exactly."""
        return Fraction(1, lcm(time_base.denominator, self.fps.numerator))

    def is_early(self, frame: Frame) -> bool:
        """Whether a frame comes so soon that giving it a place would put it off by a period."""
        if self._origin_s is None:
            return False
        since_s = frame.pts * frame.time_base - self._origin_s
        return since_s * self.fps <= self._place - 1

    def place(self, frame: Frame) -> Frame:
        """The frame at its even time, in a time base that holds it exactly.

        Where frames are missing or the film stood still, the clock follows the frame's own time.
        """
        time_s = frame.pts * frame.time_base
        if self._origin_s is None:
            self._origin_s = time_s
        late = (time_s - self._origin_s) * self.fps - self._place
        self._place += round(late) if late > 1 else 0
        unit = self.unit(frame.time_base)
        pts = int((self._origin_s + self._place / self.fps) / unit)
        self._place += 1
        return replace(frame, pts=pts, time_base=unit, duration=int(1 / self.fps / unit))
