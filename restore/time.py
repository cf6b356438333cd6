"""Rational time: rates, time bases, timecodes, half-open ranges. Seconds are never a float here."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from restore.errors import InvalidInput

__all__ = [
    "Clock",
    "FrameRange",
    "Timecode",
    "format_rate",
    "parse_range",
    "parse_rate",
    "rescale",
]

# Rates that people write as decimals but that are defined as ratios (SMPTE ST 12-1, ITU-R BT.601).
_NAMED_RATES = {
    "23.976": Fraction(24000, 1001),
    "23.98": Fraction(24000, 1001),
    "29.97": Fraction(30000, 1001),
    "47.952": Fraction(48000, 1001),
    "47.95": Fraction(48000, 1001),
    "59.94": Fraction(60000, 1001),
    "119.88": Fraction(120000, 1001),
    "ntsc": Fraction(30000, 1001),
    "pal": Fraction(25),
    "film": Fraction(24),
}


def rescale(value: int, source: Fraction, target: Fraction) -> int:
    """Convert a timestamp between time bases, rounding half away from zero as libavutil does.

    Args:
        value: timestamp in units of ``source`` seconds.
        source: time base of ``value``.
        target: time base wanted.

    Returns:
        The nearest timestamp in units of ``target`` seconds.
    """
    exact = value * source / target
    whole, rest = divmod(abs(exact.numerator), exact.denominator)
    rounded = whole + (1 if 2 * rest >= exact.denominator else 0)
    return rounded if exact >= 0 else -rounded


def parse_rate(text: str | int | Fraction) -> Fraction:
    """Read a frame rate: ``25``, ``24000/1001``, ``23.976`` (the NTSC ratio), ``pal``, ``film``.

    Raises:
        InvalidInput: not a positive rate.
    """
    word = str(text).strip().lower()
    try:
        rate = _NAMED_RATES[word] if word in _NAMED_RATES else Fraction(word)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise InvalidInput(
            f"frame rate {text!r}", "a positive rate such as 25, 23.976 or 30000/1001"
        )
    return rate


def format_rate(rate: Fraction) -> str:
    """Write a rate the way people read it, exactly: ``25``, ``30000/1001``."""
    return str(rate.numerator) if rate.denominator == 1 else f"{rate.numerator}/{rate.denominator}"


@dataclass(frozen=True)
class Clock:
    """What the times of a clip are counted in, as far as it is known before the clip is read.

    Attributes:
        frame_rate: average frames in a second; None where there is none.
        time_base: unit of every pts, in seconds; frames may carry a finer one of their own.
        is_vfr: frame times are uneven; None where unknown.
        frames: number of frames; None where unknown.
        tempo: seconds of the source that a second of this clip shows: 2 is twice as fast, 1/2 is
            slow motion at half speed.
        sound: what becomes of the source's sound where the tempo is not 1: ``retime`` resamples it
            by that factor, ``keep`` copies it, ``drop`` leaves it out.
    """

    frame_rate: Fraction | None
    time_base: Fraction
    is_vfr: bool | None
    frames: int | None = None
    tempo: Fraction = Fraction(1)
    sound: Literal["retime", "keep", "drop"] = "retime"

    def __post_init__(self) -> None:
        rate = 1 if self.frame_rate is None else self.frame_rate
        if min(self.time_base, self.tempo, rate) <= 0:
            raise InvalidInput(f"a clip's times in {self}", "a positive rate, time base and tempo")

    def multiplied(self, rate: Fraction | None) -> Clock:
        """The clock of a clip with ``rate`` frames for each of this one's, in the same time.

        None stands for a rate that the clip's pictures decide: what is known then is the unit.
        """
        if rate is None:
            return replace(self, frame_rate=None, is_vfr=True, frames=None)
        return replace(
            self,
            frame_rate=None if self.frame_rate is None else self.frame_rate * rate,
            # Whole rates only make times finer; what leaves frames out keeps their times.
            time_base=self.time_base / rate.numerator,
            frames=None if self.frames is None else round(self.frames * rate),
        )


@dataclass(frozen=True)
class Timecode:
    """A SMPTE ST 12-1 timecode: a frame count with a way of writing it.

    Attributes:
        frame: frames since 00:00:00:00, counted without gaps, >= 0.
        rate: true frame rate in frames per second.
        drop_frame: labels skip two (four at 59.94) numbers a minute, but not every tenth minute.
    """

    frame: int
    rate: Fraction
    drop_frame: bool = False

    def __post_init__(self) -> None:
        if self.frame < 0 or self.rate <= 0:
            raise InvalidInput(
                f"timecode of frame {self.frame} at {self.rate}/s", "frame >= 0 and a positive rate"
            )
        if self.drop_frame and self.nominal % 30:
            raise InvalidInput(
                f"drop-frame timecode at {format_rate(self.rate)}/s",
                "drop frame only at 30000/1001 or 60000/1001",
            )

    @property
    def nominal(self) -> int:
        """Frames per labelled second: the rate rounded up (30 for 29.97)."""
        return -(-self.rate.numerator // self.rate.denominator)

    @property
    def _dropped_per_minute(self) -> int:
        return self.nominal // 15 if self.drop_frame else 0

    @classmethod
    def parse(cls, text: str, rate: Fraction) -> Timecode:
        """Read ``HH:MM:SS:FF``; a ``;`` or ``.`` before the frames means drop frame.

        Raises:
            InvalidInput: malformed, out of range, or a label that drop frame skips.
        """
        match = re.fullmatch(r"(\d{1,2}):([0-5]?\d):([0-5]?\d)([:;.,])(\d{1,3})", text.strip())
        if not match:
            raise InvalidInput(f"timecode {text!r}", "HH:MM:SS:FF, or HH:MM:SS;FF for drop frame")
        hours, minutes, seconds, frames = (int(match[i]) for i in (1, 2, 3, 5))
        zero = cls(0, rate, drop_frame=match[4] in ";.")
        dropped = zero._dropped_per_minute
        if frames >= zero.nominal:
            raise InvalidInput(
                f"timecode {text!r} has frame {frames}", f"a frame below {zero.nominal}"
            )
        if dropped and minutes % 10 and seconds == 0 and frames < dropped:
            raise InvalidInput(f"timecode {text!r}", "a label that drop frame does not skip")
        total_minutes = 60 * hours + minutes
        label = (total_minutes * 60 + seconds) * zero.nominal + frames
        return cls(label - dropped * (total_minutes - total_minutes // 10), rate, zero.drop_frame)

    def __str__(self) -> str:
        dropped = self._dropped_per_minute
        label = self.frame
        if dropped:
            per_minute = self.nominal * 60 - dropped
            per_ten = per_minute * 10 + dropped
            tens, rest = divmod(label, per_ten)
            label += 9 * dropped * tens
            if rest >= self.nominal * 60:
                label += dropped * (1 + (rest - self.nominal * 60) // per_minute)
        seconds, frames = divmod(label, self.nominal)
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        mark = ";" if self.drop_frame else ":"
        return f"{hours % 24:02d}:{minutes:02d}:{seconds:02d}{mark}{frames:02d}"

    def at(self, rate: Fraction) -> Timecode:
        """The label of the same hour, minute, second and share of a second at another rate.

        Drop frame stays where the other rate has it.
        """
        hours, minutes, seconds, frames = (int(n) for n in re.split("[:;]", str(self)))
        other = Timecode(0, rate)
        label = frames * other.nominal // self.nominal
        drops = self.drop_frame and other.nominal % 30 == 0
        if drops and minutes % 10 and seconds == 0:
            label = max(label, other.nominal // 15)
        mark = ";" if drops else ":"
        text = f"{hours:02d}:{minutes:02d}:{seconds:02d}{mark}{label:02d}"
        return Timecode.parse(text, rate)

    def __add__(self, frames: int) -> Timecode:
        return Timecode(self.frame + frames, self.rate, self.drop_frame)


@dataclass(frozen=True)
class FrameRange:
    """A half-open range of frames, ``[start, stop)``; ``stop`` None means to the end."""

    start: int = 0
    stop: int | None = None

    def __post_init__(self) -> None:
        if self.start < 0 or (self.stop is not None and self.stop <= self.start):
            raise InvalidInput(
                f"frame range {self.start}:{'' if self.stop is None else self.stop}",
                "0 <= START < STOP (STOP itself is not included)",
            )

    @property
    def is_whole(self) -> bool:
        """Whether the range takes every frame of any clip."""
        return self.start == 0 and self.stop is None

    def __contains__(self, index: int) -> bool:
        return self.start <= index and (self.stop is None or index < self.stop)


def parse_range(text: str, rate: Fraction, first: Timecode | None = None) -> FrameRange:
    """Read ``START:STOP`` in frames (``100:250``, ``100:``, ``:50``) or timecodes.

    Two timecodes are joined by a dash, since they hold colons themselves:
    ``00:00:04:00-00:00:10:00``. They are absolute where the clip has a timecode of its own.

    Args:
        text: the range, STOP not included.
        rate: frame rate of the clip, for timecodes.
        first: timecode of the clip's first frame, where it has one.

    Raises:
        InvalidInput: malformed, empty, or before the clip's first frame.
    """
    word = text.strip()
    plain = re.fullmatch(r"(\d*):(\d*)", word)
    if plain:
        return FrameRange(int(plain[1] or 0), int(plain[2]) if plain[2] else None)
    ends = word.split("-")
    if len(ends) != 2 or not any(ends):
        raise InvalidInput(
            f"range {text!r}", "START:STOP in frames or HH:MM:SS:FF-HH:MM:SS:FF as timecodes"
        )
    offset = first.frame if first else 0
    start = Timecode.parse(ends[0], rate).frame - offset if ends[0] else 0
    stop = Timecode.parse(ends[1], rate).frame - offset if ends[1] else None
    if start < 0 or (stop is not None and stop < 0):
        raise InvalidInput(
            f"range {text!r} begins before the clip", f"timecodes from {first} on, the clip's first"
        )
    return FrameRange(start, stop)
