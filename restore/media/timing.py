"""Presentation times: evenness of a clip, and the smallest repair of missing or backward ones."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from restore.time import rescale

__all__ = ["Timeline", "average_rate", "is_uneven"]


def is_uneven(times: Sequence[int], time_base: Fraction) -> bool | None:
    """Whether frame times differ from an even spacing by more than rounding.

    One tick is rounding, and so is a millisecond up to 2 % of a frame: that is what a trip through
    a container with millisecond times leaves behind.

    Args:
        times: sorted presentation times in ``time_base`` units.
        time_base: in seconds.

    Returns:
        None where one frame or none leaves nothing to compare.
    """
    if len(times) < 2:
        return None
    first, last = times[0], times[-1]
    steps = len(times) - 1
    if last == first:
        return True
    millisecond = Fraction(1, 1000) / time_base
    step = Fraction(last - first, steps)
    tolerance = max(Fraction(1), min(millisecond, step / 50))
    if step < 2:  # a time base of about the frame rate rounds nothing
        tolerance = Fraction(0)
    # |t - (first + i * (last - first) / steps)| <= tolerance, in whole numbers.
    bound = tolerance * steps
    span = last - first
    return any(abs((t - first) * steps - i * span) > bound for i, t in enumerate(times))


def average_rate(times: Sequence[int], time_base: Fraction) -> Fraction | None:
    """Frames per second over sorted presentation times; None where there are less than two."""
    if len(times) < 2 or times[-1] == times[0]:
        return None
    return Fraction(len(times) - 1) / ((times[-1] - times[0]) * time_base)


class Timeline:
    """Gives every frame a presentation time above the one before, changing as little as it can.

    A missing time follows the last by one frame. A time that does not rise is set one tick above
    the last; where it falls back by more than two frames, the clock was reset and all that follows
    is moved.

    Args:
        time_base: unit of the times, in seconds.
        rate: frames per second, for missing times; None takes one tick.
    """

    def __init__(self, time_base: Fraction, rate: Fraction | None) -> None:
        self._rate = rate
        self._time_base = time_base
        self._tick = max(1, rescale(1, 1 / rate, time_base)) if rate else 1
        self._last: int | None = None
        self._offset = 0
        self._run: tuple[int, int] | None = None  # origin and count of a run of missing times
        self.missing = 0
        self.raised = 0
        self.resets = 0

    def place(self, pts: int | None) -> int:
        """The time of the next frame, in ``time_base`` units.

        Args:
            pts: as decoded, None where the file has none.
        """
        if pts is None:
            self.missing += 1
            placed = self._synthesise()
        else:
            self._run = None
            placed = pts + self._offset
        if self._last is not None and placed <= self._last:
            if pts is not None and self._last - placed >= 2 * self._tick:
                self.resets += 1
                self._offset += self._last + self._tick - placed
                placed = self._last + self._tick
            else:
                self.raised += 1
                placed = self._last + 1
        self._last = placed
        return placed

    def _synthesise(self) -> int:
        """Count from the last known time in exact frames, so that rounding does not add up."""
        if self._run is None:
            first = self._last is None
            self._run = (0 if self._last is None else self._last, -1 if first else 0)
        origin, count = self._run
        self._run = (origin, count + 1)
        if self._rate is None:
            return origin + count + 1
        return origin + rescale(count + 1, 1 / self._rate, self._time_base)

    def warnings(self) -> tuple[str, ...]:
        """What was repaired, one sentence each."""
        said = []
        if self.missing:
            said.append(f"{self.missing} frames carry no time stamp; set from the frame rate")
        if self.raised:
            said.append(f"{self.raised} frames did not rise in time; moved to just after the last")
        if self.resets:
            said.append(f"the clock jumps back {self.resets} times; what follows was moved on")
        return tuple(said)
