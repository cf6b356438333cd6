"""Find the film's own frames in faster video: each goes on once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from restore.analysis.even_times import EvenTimes
from restore.analysis.film_rates import named_rate
from restore.engine.stage import StreamSpec
from restore.errors import InvalidInput
from restore.frames import Frame
from restore.stages import StageContext
from restore.time import Clock

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Cadence"]

_LOOKAHEAD = 12


class Cadence:
    """Leaves out frames that show a film frame again, so that each is processed once.

    The first showing of a film frame stays, at its own time, and lasts until the next one comes:
    the result has uneven frame times and the sound stays in step. With ``keep = "film rate"`` each
    comes one film frame's period after the one before instead, which is never further than that
    period from its own time. A repeat is told by the pattern that a steady film leaves in steady
    video; a frame that merely differs little from the one before stays.
    """

    class Settings(BaseModel):
        """Settings of the stage: ``fps`` is the film's rate, found where none is given."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        fps: Fraction | None = Field(default=None, gt=0, le=120)
        keep: Literal["times", "film rate"] = "times"

        @model_validator(mode="after")
        def _rate_is_known(self) -> Self:
            if self.keep == "film rate" and self.fps is None:
                raise ValueError('keep = "film rate" needs fps, which a run without it reports')
            return self

    def __init__(self, fps: Fraction | None = None, *, even: bool = False) -> None:
        # One frame more than is looked ahead: a frame's length is known when the next one comes.
        self.spec = StreamSpec("cadence", delay=_LOOKAHEAD + 1, rate=None)
        self._fps = fps
        self._even = EvenTimes(fps) if even and fps else None
        self.taken = 0
        self.dropped = 0
        self._span_s = Fraction(0)
        self._spans = 0

    @classmethod
    def build(cls, settings: Settings, context: StageContext) -> Self:
        """Make the stage."""
        return cls(settings.fps, even=settings.keep == "film rate")

    @property
    def film_fps(self) -> Fraction | None:
        """Film frames in a second of what was seen so far, by a rate's name where it has one."""
        if not self._span_s or self.taken < 2:
            return None
        share = Fraction(self.taken - self.dropped, self.taken)
        # One frame too many or too few at the ends of what was seen.
        return named_rate(share * self._spans / self._span_s, Fraction(1) / self._span_s)

    def retime(self, clock: Clock) -> Clock:
        """The film's even rate where the frames are put at it, else times that the clip decides."""
        if self._even is None or self._fps is None:
            return clock.multiplied(None)
        count = clock.frames
        if count is not None and clock.frame_rate is not None:
            count = round(count * self._fps / clock.frame_rate)
        return replace(
            clock,
            frame_rate=self._fps,
            time_base=self._even.unit(clock.time_base),
            is_vfr=False,
            frames=count if clock.frame_rate is not None else None,
        )

    def facts(self) -> Mapping[str, str]:
        """What was found."""
        facts = {"keep": "film rate" if self._even else "times"}
        if self._fps is not None:
            facts["film rate given"] = f"{float(self._fps):g} fps"
        if self.taken:
            facts["repeats left out"] = f"{self.dropped} of {self.taken} frames"
        if self.film_fps is not None:
            facts["film rate found"] = f"{float(self.film_fps):.4g} fps"
        return facts

    def stream(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Film frames once each, with the time until the next as their duration."""
        kept: Frame | None = None
        last: Frame | None = None
        end = 0
        for frame, repeat in self._judged(frames):
            self._count(frame, last, repeat=repeat)
            last = frame
            if repeat and kept is not None:
                end = frame.pts + (frame.duration or 0)
                continue
            if kept is not None:
                yield self._timed(replace(kept, duration=frame.pts - kept.pts))
            kept, end = frame, 0
        if kept is not None:
            yield self._timed(replace(kept, duration=end - kept.pts) if end else kept)

    def _judged(self, frames: Iterator[Frame]) -> Iterator[tuple[Frame, bool]]:
        """Each frame and whether it repeats the one before."""
        # Loaded here: recipes are checked without OpenCV.
        from restore.analysis.pictures import half_luma
        from restore.analysis.repeats import RepeatFinder

        held: deque[Frame] = deque()
        finder: RepeatFinder | None = None
        before: tuple[Frame, Tensor] | None = None
        for frame in frames:
            picture = half_luma(frame)
            if before is None:
                yield frame, False
            else:
                finder = finder or RepeatFinder(self._ratio(before[0], frame))
                held.append(frame)
                verdict = finder.push(float((picture - before[1]).square().mean()))
                if verdict is not None:
                    yield held.popleft(), verdict
            before = frame, picture
        for verdict in finder.finish() if finder else ():
            yield held.popleft(), verdict

    def _ratio(self, first: Frame, second: Frame) -> Fraction | None:
        """Film frames for each video frame, where the film's rate was given."""
        if self._fps is None:
            return None
        video_fps = 1 / ((second.pts - first.pts) * second.time_base)
        if self._fps > video_fps:
            raise InvalidInput(
                f"film at {float(self._fps):g} fps in video at {float(video_fps):.4g} fps",
                "a film rate that is not above the video's",
            )
        return self._fps / video_fps

    def _count(self, frame: Frame, last: Frame | None, *, repeat: bool) -> None:
        self.taken += 1
        self.dropped += repeat
        if last is not None:
            self._span_s += frame.pts * frame.time_base - last.pts * last.time_base
            self._spans += 1

    def _timed(self, frame: Frame) -> Frame:
        return frame if self._even is None else self._even.place(frame)
