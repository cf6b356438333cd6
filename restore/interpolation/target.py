"""Which times a clip is wanted at: a rate, a multiple of its own, slow motion. All in fractions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, lcm

from restore.errors import InvalidInput
from restore.frames import Frame
from restore.time import Clock, parse_rate

__all__ = ["Target", "Ticks", "runs", "time_s"]


def time_s(frame: Frame) -> Fraction:
    """When a frame is shown, in seconds."""
    return frame.pts * frame.time_base


@dataclass(frozen=True)
class Ticks:
    """The even times of a result, beginning with the source's first frame.

    Attributes:
        fps: frames in a second of the result.
        slow: seconds of the result for each second of the source.
        origin_s: the source's first frame, in seconds of the source.
    """

    fps: Fraction
    slow: Fraction
    origin_s: Fraction

    def source_s(self, number: int) -> Fraction:
        """What time of the source a frame of the result shows, counted from 0, in seconds."""
        return self.origin_s + number / (self.fps * self.slow)

    def first(self, time_s: Fraction) -> int:
        """The first frame of the result that shows a time of the source or a later one."""
        return max(0, ceil((time_s - self.origin_s) * self.fps * self.slow))

    def result_s(self, number: int) -> Fraction:
        """When a frame of the result is shown, in seconds."""
        return self.origin_s * self.slow + number / self.fps

    def count(self, end_s: Fraction) -> int:
        """Frames of the result up to a time of the source, at least 1."""
        return max(1, round((end_s - self.origin_s) * self.slow * self.fps))

    def unit(self, time_base: Fraction) -> Fraction:
        """A time base that holds the times of the result of a source with this one, in seconds."""
        start = time_base * self.slow
        return Fraction(1, lcm(start.denominator, self.fps.numerator))

    def pts(self, number: int, unit: Fraction) -> tuple[int, int]:
        """Time and duration of a frame of the result, in units."""
        return int(self.result_s(number) / unit), int(1 / self.fps / unit)


@dataclass(frozen=True)
class Target:
    """What is asked for.

    Attributes:
        fps: frames in a second; None for the source's own rate, or a multiple of it.
        multiple: of the source's rate, where no rate is named.
        slow: seconds of the result for each second of the source: 4 is four times as slow.
    """

    fps: Fraction | None = None
    multiple: Fraction = Fraction(1)
    slow: Fraction = Fraction(1)

    def __post_init__(self) -> None:
        if min(self.fps or 1, self.multiple) <= 0 or not Fraction(1, 64) <= self.slow <= 64:
            raise InvalidInput(f"{self}", "rates above 0, slow motion from 1/64 to 64")

    @classmethod
    def parse(cls, fps: str | None, slow: str | int | Fraction = 1) -> Target:
        """Read ``25``, ``29.97`` (the NTSC rate), ``60000/1001`` or ``2x``; and a factor.

        Raises:
            InvalidInput: neither is a rate or a multiple, or the factor is out of range.
        """
        try:
            factor = Fraction(str(slow).strip().lower().removesuffix("x"))
        except (ValueError, ZeroDivisionError):
            factor = Fraction(0)
        if factor <= 0:
            raise InvalidInput(f"slow motion {slow!r}", "a factor such as 2, 4 or 3/2")
        word = "" if fps is None else fps.strip().lower()
        if not word:
            return cls(slow=factor)
        if not word.endswith("x"):
            return cls(fps=parse_rate(word), slow=factor)
        try:
            multiple = Fraction(word.removesuffix("x"))
        except (ValueError, ZeroDivisionError):
            multiple = Fraction(0)
        if multiple <= 0:
            raise InvalidInput(
                f"frame rate {fps!r}", "a rate such as 25, 29.97 or 60000/1001, or 2x"
            )
        return cls(multiple=multiple, slow=factor)

    def rate(self, own: Fraction | None) -> Fraction:
        """Frames in a second of the result, from those of the source.

        Raises:
            InvalidInput: a multiple of a rate that is not known.
        """
        if self.fps is not None:
            return self.fps
        if own is None:
            raise InvalidInput(
                f"{float(self.multiple):g} times a frame rate that is not known beforehand",
                "a rate of its own",
                "Name the rate, such as --fps 50.",
            )
        return own * self.multiple

    def clock(self, clock: Clock) -> Clock:
        """The clock of the result: even, at the wanted rate and tempo.

        Raises:
            InvalidInput: as for :meth:`rate`.
        """
        ticks = Ticks(self.rate(clock.frame_rate), self.slow, Fraction(0))
        frames = None
        if clock.frames is not None and clock.frame_rate is not None:
            frames = ticks.count(clock.frames / clock.frame_rate)
        return replace(
            clock,
            frame_rate=ticks.fps,
            time_base=ticks.unit(clock.time_base),
            is_vfr=False,
            frames=frames,
            tempo=clock.tempo / self.slow,
        )


def runs(numbers: list[int]) -> Iterator[tuple[int, int, int]]:
    """Rising numbers as (first, last, step), as few as a look ahead of two gives."""
    start = 0
    while start < len(numbers):
        stop = start + 1
        step = 1
        if stop < len(numbers):
            step = numbers[stop] - numbers[start]
            while stop < len(numbers) and numbers[stop] - numbers[stop - 1] == step:
                stop += 1
        if stop - start == 2 and step > 1:  # two that happen to be apart are no pattern
            stop, step = start + 1, 1
        yield numbers[start], numbers[stop - 1], step
        start = stop
