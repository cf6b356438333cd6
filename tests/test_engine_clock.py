"""What a clip's times are counted in, followed through a chain of stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restore.engine.stage import StreamSpec, clock_after
from restore.errors import InvalidInput
from restore.frames import Frame
from restore.time import Clock

PAL = Clock(Fraction(25), Fraction(1, 12800), False, frames=250)


class Plain:
    """Declares a rate and no more."""

    def __init__(self, rate: Fraction | None) -> None:
        self.spec = StreamSpec("plain", rate=rate)

    def facts(self) -> Mapping[str, str]:
        return {}

    def stream(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        return frames


class ToRate(Plain):
    """Knows its output's clock beforehand, though its rate depends on the clip."""

    def __init__(self, fps: Fraction) -> None:
        super().__init__(None)
        self._fps = fps

    def retime(self, clock: Clock) -> Clock:
        if clock.frame_rate is None:
            raise InvalidInput("a clip without a rate", "one with a rate")
        frames = None if clock.frames is None else round(clock.frames * self._fps / 25)
        return replace(clock, frame_rate=self._fps, time_base=1 / self._fps, frames=frames)


def test_a_chain_without_retiming_keeps_the_clock():
    assert clock_after([], PAL) == PAL
    assert clock_after([Plain(Fraction(1))], PAL) == PAL


@given(st.integers(1, 60), st.integers(1, 60))
def test_rates_multiply_and_times_stay_whole(first, second):
    clock = clock_after([Plain(Fraction(first)), Plain(Fraction(second))], PAL)
    assert clock.frame_rate == 25 * first * second
    assert clock.frames == 250 * first * second
    # A frame's length in the unit of the clock is whole wherever it was before.
    assert (1 / clock.frame_rate / clock.time_base).denominator == 1


def test_a_rate_that_the_pictures_decide_is_unknown_until_a_stage_says_it():
    dropped = clock_after([Plain(None)], PAL)
    assert (dropped.frame_rate, dropped.is_vfr, dropped.frames) == (None, True, None)
    assert dropped.time_base == PAL.time_base
    assert clock_after([ToRate(Fraction(18))], PAL).frames == 180
    with pytest.raises(InvalidInput, match="without a rate"):
        clock_after([Plain(None), ToRate(Fraction(18))], PAL)


def test_impossible_clocks_are_refused():
    for wrong in ({"frame_rate": Fraction(0)}, {"time_base": Fraction(0)}, {"tempo": Fraction(-1)}):
        with pytest.raises(InvalidInput):
            replace(PAL, **wrong)
