"""Frames between frames: any rate, slow motion, and never across a cut."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Final, Literal, Protocol, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor

from restore.engine.seeds import seed_for
from restore.engine.stage import Memory, StreamSpec
from restore.frames import Frame
from restore.interpolation.survey import Survey
from restore.interpolation.target import Target, Ticks, runs, time_s
from restore.stages import StageContext
from restore.time import Clock, format_rate

if TYPE_CHECKING:
    from restore.analysis.passages import Judged
    from restore.interpolation.knots import Knots

__all__ = ["Interpolate"]

_DELAY: Final = 26  # what is looked ahead to judge a frame, and to learn a shot's grain
_SAME_TIME: Final = Fraction(1, 50)  # of the distance between two frames: nobody sees that
_AT_ONCE: Final = 4  # pictures of one pair in memory
_LISTED: Final = 12
_OWN_GRAIN: Final = "with grain of their own"


class Between(Protocol):
    """What makes pictures between two pictures."""

    @property
    def name(self) -> str:
        """For reports."""

    @property
    def flops_per_px(self) -> float:
        """Operations for each pixel of a new frame, a multiplication and an addition being two."""

    def between(self, first: Tensor, second: Tensor, times: Sequence[float]) -> Tensor:
        """``[T, 3, h, w]`` at times in (0, 1) from two ``[3, h, w]`` R'G'B' 0..1."""


@dataclass(frozen=True, eq=False)
class _Wish:
    """A frame of the result."""

    number: int
    source_s: Fraction


class Interpolate:
    """Gives the clip at even times of another rate, or slowed down.

    A source frame goes on as it is, bit for bit, where its time is wanted. Other frames are made
    from the two around them. Nothing is made across a cut, a flash or a pause: before a cut the
    last frame moves on as it moved, or stands. In a dissolve the two frames are mixed. Frames that
    show the one before again count as missing.
    """

    class Settings(BaseModel):
        """Settings of the stage.

        ``fps``: a rate (``25``, ``29.97``, ``60000/1001``), or ``2x``; the clip's own where None.
        ``slowmo``: seconds of the result for each second of the source. ``model``: ``flow``, which
        needs no weights, or a network's name. ``effort``: of ``flow``: ``fast``, or ``best`` for
        half a decibel more in half the time again. ``place``: before or after the upscaling,
        ``auto`` by cost. ``grain``: ``auto`` makes new frames of frames without grain and gives
        them grain of their own; ``keep`` takes frames as they are. ``repeats``: ``missing`` or
        ``keep``. ``at_cuts``: ``move on`` or ``hold``.
        """

        model_config = ConfigDict(extra="forbid", frozen=True)

        fps: str | None = None
        slowmo: str = "1"
        model: str = "flow"
        effort: Literal["fast", "best"] = "fast"
        place: Literal["auto", "before", "after"] = "auto"
        grain: Literal["auto", "keep"] = "auto"
        repeats: Literal["missing", "keep"] = "missing"
        at_cuts: Literal["move on", "hold"] = "move on"
        seed: int = Field(default=0, ge=0)

        @field_validator("fps", "slowmo", mode="before")
        @classmethod
        def _as_text(cls, value: object) -> object:
            return str(value) if isinstance(value, int | float | Fraction) else value

    def __init__(self, settings: Settings, model: Between, job: str) -> None:
        self.settings = settings
        self.target = Target.parse(settings.fps, settings.slowmo)
        self.model = model
        # Times count from the clip's first frame.
        self.spec = StreamSpec("interpolate", delay=_DELAY, rate=None, memory=Memory.CLIP)
        self._job = f"{job}/{settings.seed}"
        self.note = ""
        self._rate: Fraction | None = None
        self._made: list[int] = []
        self._given = 0
        self._ways: dict[str, int] = {}
        self._missing = 0
        self._noted: Survey | None = None  # written down while the whole clip is looked at
        self.survey: Survey | None = None  # gone by where this is a piece of it

    @classmethod
    def build(cls, settings: Settings, context: StageContext) -> Self:
        """Load the model.

        Raises:
            InvalidInput: a rate or a factor that is none.
            ModelError: the network is missing, damaged, or makes nothing between frames.
        """
        Target.parse(settings.fps, settings.slowmo)
        if settings.model == "flow":
            from restore.interpolation.flowed import FlowInterpolator

            quick = settings.effort == "fast"
            return cls(settings, FlowInterpolator(quick), context.job)
        from restore.models.interpolators import load_interpolator

        network = load_interpolator(
            settings.model,
            store=context.store,
            device=context.device,
            precision="fast" if context.precision == "fast" else "exact",
        )
        return cls(settings, network, context.job)

    @property
    def mflop_per_px(self) -> float:
        """Million operations for each pixel of a new frame, at the size that it has here."""
        return self.model.flops_per_px / 1e6

    def retime(self, clock: Clock) -> Clock:
        """Even times at the wanted rate.

        Raises:
            InvalidInput: a multiple of a rate that is not known beforehand.
        """
        result = self.target.clock(clock)
        self._rate = result.frame_rate
        return result

    def facts(self) -> Mapping[str, str]:
        """What was asked for; after the run, which frames are made up."""
        facts = {"model": self.model.name, "place": self.settings.place}
        if self.settings.model == "flow":
            facts["effort"] = self.settings.effort
        if self._rate is not None:
            facts["rate"] = f"{format_rate(self._rate)} fps"
        if self.target.slow != 1:
            facts["slow motion"] = f"{float(self.target.slow):g} times"
        part = getattr(self.model, "part", None)
        if part is not None:
            facts |= {"sha256": part.sha256, "licence": part.licence}
            # Warps and positions are float32 whatever the convolutions run in.
            facts["format"] = str(getattr(self.model, "dtype", "float32"))
            facts |= {"kernels": said} if (said := getattr(self.model, "kernels", "")) else {}
        if self.survey is not None:
            facts |= self.survey.facts
        elif self._given:
            facts["made up"] = f"{len(self._made)} of {self._given} frames"
            facts |= {name: f"{count} frames" for name, count in self._ways.items()}
            facts["made-up frames"] = self._listed(_LISTED)
        if self._missing and self.survey is None:
            facts["repeats left out"] = f"{self._missing} source frames"
        return facts

    def notes(self) -> tuple[str, ...]:
        """Where in the chain it stands, and why, for the plan."""
        return (self.note,) if self.note else ()

    def sidecars(self) -> Mapping[str, str]:
        """The numbers of all made-up frames, where the report has no room for them."""
        if self.survey is not None:
            return {}  # the plan holds what belongs beside the result
        every = self._listed(None)
        return {} if every == self._listed(_LISTED) else {"interpolated.txt": every + "\n"}

    def _listed(self, most: int | None) -> str:
        spans = [
            str(first)
            if first == last
            else f"{first}..{last}" + (f" every {step}" if step > 1 else "")
            for first, last, step in runs(self._made)
        ]
        shown = spans if most is None else spans[:most]
        more = len(spans) - len(shown)
        return ", ".join(shown) + (f" and {more} more" if more else "") or "none"

    def surveyed(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Work through the whole clip without making pictures between, and write down the rest.

        Frames come out as they will, but new pictures show what they would be made of.
        """
        noted = self._noted = Survey()
        for frame in self.stream(frames):
            noted.shown.append(frame.index)
            yield frame
        noted.facts, noted.sidecars = dict(self.facts()), dict(self.sidecars())

    def found(self) -> Survey:
        """What :meth:`surveyed` wrote down."""
        return self._noted or Survey()

    def along(self, survey: Survey) -> Interpolate:
        """The stage for a piece of the clip, a few frames more on each side (``knots.AHEAD``)."""
        piece = copy(self)
        piece.spec = replace(self.spec, memory=Memory.FRAMES)
        piece.survey = survey
        return piece

    def stream(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """The frames of the result, some 20 source frames late."""
        # Loaded here: recipes are checked without OpenCV.
        from restore.analysis.passages import PassageFinder
        from restore.interpolation.knots import Ending, Knots

        ends = Ending(frames)
        if self.survey is not None:
            judged = self.survey.judged(iter(ends))
        else:
            finder = PassageFinder(repeats=self.settings.repeats == "missing")
            judged = finder.judged(iter(ends))
        judged = self._kept(judged if self._noted is None else self._noted.note(judged))
        first = next(judged, None)
        if first is None:
            return
        knots = Knots(first, judged, self.survey)
        ticks = self._ticks(knots)
        if self._noted is not None:
            self._noted.origin_s, self._noted.grain = ticks.origin_s, knots.found
        unit = ticks.unit(first.frame.time_base)
        number, goes_on = ticks.first(time_s(first.frame)), True
        while goes_on:
            start, until_s = number, knots.next_s
            if until_s is None:
                number = max(number, ticks.count(ends.end_s))
            while until_s is not None and ticks.source_s(number) < until_s:
                number += 1
            wishes = [_Wish(n, ticks.source_s(n)) for n in range(start, number)]
            for wish, frame in zip(wishes, self._shown(wishes, knots), strict=True):
                pts, duration = ticks.pts(wish.number, unit)
                self._given += 1
                if frame.synthetic:
                    self._made.append(wish.number)
                yield replace(frame, pts=pts, time_base=unit, duration=duration)
            goes_on = knots.step()

    def _kept(self, judged: Iterator[Judged]) -> Iterator[Judged]:
        for one in judged:
            if one.repeat:
                self._missing += 1
            else:
                yield one

    def _ticks(self, knots: Knots) -> Ticks:
        first = knots.here.frame
        if self._rate is None:
            # Outside a job nobody has told the clip's rate: the first two frames do.
            own = None if knots.next_s is None else 1 / (knots.next_s - time_s(first))
            self._rate = self.target.rate(own)
        origin_s = time_s(first) if self.survey is None else self.survey.origin_s
        return Ticks(self._rate, self.target.slow, origin_s)

    def _shown(self, wishes: list[_Wish], knots: Knots) -> Iterator[Frame]:
        """What each wish between the current frame and the next one gets."""
        here, after, partner = knots.here, knots.after, knots.partner()
        start_s = time_s(here.frame)
        slack = Fraction(0)
        if knots.next_s is not None:
            length_s = knots.next_s - start_s
            # A source that counts in milliseconds has rounded its times by up to one of them.
            coarse_s = here.frame.time_base if here.frame.time_base < length_s / 8 else Fraction(0)
            slack = max(length_s * _SAME_TIME, coarse_s)
        plain: list[Frame | None] = []
        new: list[tuple[float, int]] = []
        for wish in wishes:
            if wish.source_s - start_s <= slack:
                plain.append(here.frame)
            elif after is not None and time_s(after.frame) - wish.source_s <= slack:
                plain.append(after.frame)
            elif partner is None:
                plain.append(self._held(wish, knots))
            else:
                share = (wish.source_s - start_s) / (time_s(partner.frame) - start_s)
                new.append((float(share), wish.number))
                plain.append(None)
        made = self._new(knots, partner, new) if partner is not None else iter(())
        for frame in plain:
            yield next(made) if frame is None else frame

    def _held(self, wish: _Wish, knots: Knots) -> Frame:
        """Before a cut or the end: the frame moves on as it moved, or stands."""
        here, before = knots.here, knots.before
        if self.settings.at_cuts == "hold" or not knots.may_move_on or before is None:
            return here.frame
        from restore.interpolation.beyond import beyond

        step_s = time_s(here.frame) - time_s(before.frame)
        ahead = (wish.source_s - time_s(here.frame)) / step_s
        if ahead > 1:
            return here.frame
        with torch.inference_mode():
            sheet = beyond(*_sheets(before.frame, here.frame), float(1 + ahead))
        if sheet is None:
            return here.frame
        self._count("moved on before a cut or the end")
        return _picture(here.frame, sheet, here.frame.alpha)

    def _new(
        self, knots: Knots, partner: Judged, wanted: list[tuple[float, int]]
    ) -> Iterator[Frame]:
        """Frames at shares of the way to the partner, with their numbers in the result."""
        first, second = knots.here.frame, partner.frame
        is_mix = knots.here.mixed or partner.mixed
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            with torch.inference_mode():
                if torch.equal(*_sheets(first, second)):
                    yield from [first] * len(some)
                    continue
                if is_mix:
                    self._count("mixed in dissolves", len(some))
                    one, other = _sheets(first, second)
                    pictures = [one.lerp(other, share) for share, _ in some]
                else:
                    pictures = self._moved(knots, partner, some)
            for (share, _), sheet in zip(some, pictures, strict=True):
                alpha = first.alpha
                if first.alpha is not None and second.alpha is not None:
                    alpha = first.alpha.lerp(second.alpha, share)
                yield _picture(first, sheet, alpha)

    def _moved(
        self, knots: Knots, partner: Judged, wanted: list[tuple[float, int]]
    ) -> list[Tensor]:
        """New pictures, ``[3, h, w]``, or ``[4, h, w]`` with the alpha moved along."""
        sheets = _sheets(knots.here.frame, partner.frame)
        if not getattr(self.model, "moves_alpha", False):
            sheets = sheets[0][:3], sheets[1][:3]
        shares = [share for share, _ in wanted]
        grain = knots.grain() if self.settings.grain == "auto" else None
        if self._noted is not None:
            if grain is not None:
                self._count(_OWN_GRAIN, len(shares))
            return [sheets[0]] * len(shares)
        if grain is None:
            return self._between(*sheets, shares)
        from restore.grain.fresh import liveliness

        bare = knots.bare(knots.here, grain), knots.bare(partner, grain)
        first, second = (torch.cat([b, s[3:]]) for b, s in zip(bare, sheets, strict=True))
        made = self._between(first, second, shares)
        ends = liveliness(sheets[0][:3]), liveliness(sheets[1][:3])
        self._count(_OWN_GRAIN, len(shares))
        return [
            torch.cat(
                [
                    grain.put_on(
                        picture[:3],
                        seed_for(self._job, self.spec.name, number, 0),
                        (1 - share) * ends[0] + share * ends[1],
                    ),
                    picture[3:],
                ]
            )
            for picture, (share, number) in zip(made, wanted, strict=True)
        ]

    def _between(self, first: Tensor, second: Tensor, shares: list[float]) -> list[Tensor]:
        """By the model, on its device; what comes back is where the frames are."""
        where = getattr(self.model, "device", first.device)
        made = self.model.between(first.to(where), second.to(where), shares)
        return list(made.to(first.device))

    def _count(self, way: str, frames: int = 1) -> None:
        self._ways[way] = self._ways.get(way, 0) + frames


def _sheets(first: Frame, second: Frame) -> tuple[Tensor, Tensor]:
    """Two frames as ``[3, h, w]``, or ``[4, h, w]`` with their alpha where both have one."""
    if first.alpha is None or second.alpha is None:
        return first.data, second.data
    return torch.cat([first.data, first.alpha]), torch.cat([second.data, second.alpha])


def _picture(like: Frame, sheet: Tensor, alpha: Tensor | None) -> Frame:
    """A made-up frame; ``alpha`` where the sheet brings none of its own."""
    if sheet.shape[0] > 3:
        alpha = sheet[3:].clamp(0, 1)
    return replace(like, data=sheet[:3], alpha=alpha, synthetic=True)
