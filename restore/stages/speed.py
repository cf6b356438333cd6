"""Play film at the speed that it was shot at, in whatever rate the delivery counts in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from math import floor, lcm
from typing import Annotated, Any, Final, Literal, Protocol, Self, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from restore.engine.stage import Memory, RetimingStage, StreamSpec
from restore.errors import InvalidInput
from restore.frames import Frame
from restore.stages import StageContext, build_stage
from restore.time import Clock, format_rate, parse_rate

__all__ = ["Speed"]

_MOST_UNITS: Final = 2**24  # in a second; finer ones cap the pause between frames in MP4


def _rate(value: Any) -> Any:  # noqa: ANN401 - whatever a recipe holds
    if isinstance(value, str):
        try:
            return parse_rate(value)
        except InvalidInput as error:
            raise ValueError(str(error)) from error
    return value


_Rate = Annotated[Fraction, BeforeValidator(_rate), Field(gt=0, le=240)]


class _Between(RetimingStage, Protocol):
    """What makes the frames between, as the stage ``interpolate`` does."""

    def sidecars(self) -> Mapping[str, str]:
        """The numbers of all made-up frames."""


class Speed:
    """Gives every film frame its time at the projection speed.

    ``film_fps`` says what the frames are: 18 for a reel shot at 18 frames a second, however fast
    the scan plays them. Without it they keep their own times and only ``fps`` is brought about.
    ``how = "timestamps"`` writes each film frame once, at its exact time, or at the tick of ``fps``
    nearest to it; ``how = "repeats"`` shows each on as many ticks of ``fps`` as fall to it, as
    evenly as whole numbers allow (J. Bresenham's rule); ``how = "interpolate"`` makes the frames
    that ``fps`` asks for between the film's, as the stage ``interpolate`` does. Every time is
    reckoned from the number of the frame, so nothing adds up: the length is exact to half a tick
    whatever the length.
    """

    class Settings(BaseModel):
        """Settings of the stage; rates as ``18``, ``16.667`` or ``24000/1001``.

        ``sound`` is what becomes of the source's sound where the speed changes: ``retime`` plays it
        faster or slower by the same factor, with its pitch, as a projector does; ``keep`` copies
        it, out of step; ``drop`` leaves it out.
        """

        model_config = ConfigDict(extra="forbid", frozen=True)

        film_fps: _Rate | None = None
        fps: _Rate | None = None
        how: Literal["timestamps", "repeats", "interpolate"] = "timestamps"
        sound: Literal["retime", "keep", "drop"] = "retime"

        @model_validator(mode="after")
        def _says_something(self) -> Self:
            if self.film_fps is None and self.fps is None:
                raise ValueError(
                    "film_fps (what the frames are) or fps (of the delivery) is needed"
                )
            if self.how != "timestamps" and self.fps is None:
                raise ValueError(f'how = "{self.how}" needs fps, the rate of the delivery')
            return self

    def __init__(self, settings: Settings, between: _Between | None = None) -> None:
        self._settings = settings
        self._between = between
        # Where frames are made between the film's, these keep their own exact times first.
        self._fps = None if between is not None else settings.fps
        self._clock: Clock | None = None
        self._taken = self._given = self._unseen = 0
        # The time that a frame lasts is known when the next one comes.
        delay = 1 + (0 if between is None else between.spec.delay)
        self.spec = StreamSpec(
            "speed", delay=delay, rate=None, memory=Memory.CLIP, by_times=between is None
        )

    @classmethod
    def build(cls, settings: Settings, context: StageContext) -> Self:
        """Make the stage."""
        if settings.how != "interpolate" or settings.fps is None:
            return cls(settings)
        between = build_stage("interpolate", {"fps": format_rate(settings.fps)}, context)
        return cls(settings, cast("_Between", between))

    def retime(self, clock: Clock) -> Clock:
        """The delivery's clock.

        Raises:
            InvalidInput: the frames cannot be counted at a film rate, or more film frames than
                ticks would come.
        """
        timed = self._retimed(clock)
        return timed if self._between is None else self._between.retime(timed)

    def _retimed(self, clock: Clock) -> Clock:
        """The film's clock, before frames are made between its own."""
        film, fps = self._settings.film_fps, self._fps
        rate = clock.frame_rate
        if film is not None and (rate is None or clock.is_vfr):
            raise InvalidInput(
                "frames at uneven times for stage 'speed' with film_fps",
                "each film frame once, at an even rate",
                'Put stage cadence with keep = "film rate" before it, or leave film_fps out: '
                "the frames then keep their own times.",
            )
        self._clock = clock
        shown = film or rate
        if fps is not None and shown is not None and fps < shown:
            raise InvalidInput(
                f"{format_rate(shown)} film frames a second in a delivery of {format_rate(fps)}",
                "fps not below the film's, so that every film frame is shown",
            )
        tempo = clock.tempo if film is None or rate is None else clock.tempo * film / rate
        frames = clock.frames
        if self._settings.how == "repeats" and fps is not None:
            if frames is not None:
                frames = None if shown is None else floor(frames * fps / shown + Fraction(1, 2))
            rate_out: Fraction | None = fps
            is_vfr: bool | None = False
        else:
            rate_out = shown
            is_vfr = clock.is_vfr if film is None else False
            if fps is not None and (shown is None or (fps / shown).denominator != 1):
                is_vfr = True
        unit = self._unit(clock, fps or shown)
        return replace(
            clock,
            frame_rate=rate_out,
            time_base=unit,
            is_vfr=is_vfr,
            frames=frames,
            tempo=tempo,
            sound=self._settings.sound,
        )

    def _unit(self, clock: Clock, rate: Fraction | None) -> Fraction:
        """A unit that the first frame's time and every period are whole in, where that is sane."""
        change = self._change(clock)
        scale = (clock.time_base / change).denominator
        if rate is None:
            return Fraction(1, scale)
        common = lcm(scale, rate.numerator)
        return Fraction(1, common if common <= _MOST_UNITS else rate.numerator)

    def _change(self, clock: Clock) -> Fraction:
        """How much faster the frames come than before."""
        if self._settings.film_fps is None or clock.frame_rate is None:
            return Fraction(1)
        return self._settings.film_fps / clock.frame_rate

    def facts(self) -> Mapping[str, str]:
        """What is done; after the run, how often frames were shown."""
        settings = self._settings
        facts: dict[str, str] = {"how": settings.how}
        if settings.film_fps is not None:
            facts["film"] = f"{format_rate(settings.film_fps)} fps"
        if settings.fps is not None:
            facts["delivery"] = f"{format_rate(settings.fps)} fps"
        if self._clock is not None and self._change(self._clock) != 1:
            facts["speed"] = f"{float(self._change(self._clock)):.4g} times the source's"
            facts["sound"] = settings.sound
        if self._taken:
            facts["film frames"] = str(self._taken)
            facts["repeats"] = str(self._given - self._taken + self._unseen)
        if self._taken and self._between is None:
            facts["synthetic"] = "0"
        if self._unseen:
            facts["not shown"] = f"{self._unseen} frames closer together than the delivery's ticks"
        if self._between is not None:
            facts |= {name: text for name, text in self._between.facts().items() if name != "place"}
        return facts

    def sidecars(self) -> Mapping[str, str]:
        """The numbers of all made-up frames, where the report has no room for them."""
        return {} if self._between is None else self._between.sidecars()

    def stream(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Film frames at their times, each as soon as the next one is known."""
        timed = self._at_their_times(frames)
        return timed if self._between is None else self._between.stream(timed)

    def _at_their_times(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        counter: _Counter | None = None
        held: tuple[Frame, Fraction] | None = None
        for frame in frames:
            counter = counter or _Counter(frame, self._settings.film_fps, self._clock)
            time_s = counter.place(frame)
            if held is not None:
                yield from self._shown(counter, *held, time_s)
            held = frame, time_s
            self._taken += 1
        if held is not None and counter is not None:
            yield from self._shown(counter, *held, held[1] + counter.length_s(held[0]))

    def _shown(
        self, counter: _Counter, frame: Frame, start_s: Fraction, stop_s: Fraction
    ) -> Iterator[Frame]:
        """A frame from ``start_s`` to ``stop_s`` after the first frame's time."""
        fps = self._fps
        if fps is None:
            self._given += 1
            yield _timed(frame, counter.origin_s + start_s, stop_s - start_s)
            return
        first, last = (floor(time_s * fps + Fraction(1, 2)) for time_s in (start_s, stop_s))
        if first == last:
            self._unseen += 1
            return
        if self._settings.how == "timestamps":
            self._given += 1
            yield _timed(frame, counter.origin_s + first / fps, (last - first) / fps)
            return
        for tick in range(first, last):
            self._given += 1
            yield _timed(frame, counter.origin_s + tick / fps, 1 / fps)


class _Counter:
    """Tells frames' times at the film's speed from their times in the source."""

    def __init__(self, first: Frame, film_fps: Fraction | None, clock: Clock | None) -> None:
        self._start_s = first.pts * first.time_base
        self._film_fps = film_fps
        rate = clock.frame_rate if clock is not None else None
        if rate is None and first.duration:
            rate = 1 / (first.duration * first.time_base)
        self._rate = rate or Fraction(25)
        self._last = -1
        self.origin_s = self._start_s
        if film_fps is not None:
            # The sound is slowed about time 0, so the picture's beginning moves along.
            self.origin_s = self._start_s * self._rate / film_fps

    def place(self, frame: Frame) -> Fraction:
        """Seconds from the first frame."""
        since_s = frame.pts * frame.time_base - self._start_s
        if self._film_fps is None:
            return since_s
        # Where frames are missing their places stay empty, so that the sound stays in step.
        number = max(round(since_s * self._rate), self._last + 1)
        self._last = number
        return number / self._film_fps

    def length_s(self, frame: Frame) -> Fraction:
        """How long the last frame lasts."""
        if self._film_fps is not None:
            return 1 / self._film_fps
        return frame.duration * frame.time_base if frame.duration else 1 / self._rate


def _timed(frame: Frame, time_s: Fraction, length_s: Fraction) -> Frame:
    unit = Fraction(1, lcm(time_s.denominator, length_s.denominator))
    return replace(frame, pts=int(time_s / unit), time_base=unit, duration=int(length_s / unit))
