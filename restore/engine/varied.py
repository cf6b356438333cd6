"""Stages whose settings differ from shot to shot: each frame goes to the variant of its own shot.

The stages know nothing of it. Every bound between variants has to begin a shot, so that windows,
statistics and delays end there by themselves: a variant gives its frames exactly what they would
get if they were a clip of their own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from restore.engine.report import StageReport
from restore.engine.runner import StageRunner
from restore.engine.stage import AnyStage, Memory, StageSpec, StreamSpec
from restore.engine.stream import StreamRunner
from restore.errors import InvalidInput
from restore.frames import Frame
from restore.time import FrameRange

__all__ = ["Variant", "VariedRunner", "VariedStage", "base_of"]


@dataclass(frozen=True)
class Variant:
    """A stage with other settings.

    Attributes:
        span: source frames that it is for.
        stage: the stage; None lets the frames pass as they are.
    """

    span: FrameRange
    stage: AnyStage | None


@dataclass(frozen=True, eq=False)
class VariedStage:
    """A stage and what stands in for it over some ranges of source frames.

    Attributes:
        base: for all other frames.
        variants: in order, none overlapping another.

    Raises:
        InvalidInput: the stage looks across shots, a variant gives frames of another size or
            number or needs more of them, or two variants claim a frame.
    """

    base: AnyStage
    variants: tuple[Variant, ...]

    def __post_init__(self) -> None:
        spec = self.base.spec
        for variant in self.variants:
            what = f"stage {spec.name!r} with settings of its own for {_frames(variant.span)}"
            if isinstance(spec, StreamSpec) and spec.memory is Memory.CLIP:
                raise InvalidInput(
                    what,
                    "one setting for the whole clip",
                    "This stage looks across shots; take it out of the [[shots]] table.",
                )
            if variant.stage is None:
                if _shape(spec) != (1, 1):
                    raise InvalidInput(
                        f"stage {spec.name!r} left out for {_frames(variant.span)}",
                        "a stage that keeps size and number of the frames",
                        "All frames of a clip leave it with one size and rate.",
                    )
            elif (_shape(variant.stage.spec), _window(variant.stage.spec)) != (
                _shape(spec),
                _window(spec),
            ):
                raise InvalidInput(
                    what,
                    "settings that give frames of the same size and number, from as many frames",
                    "Size, rate and radius of a stage hold for the whole clip.",
                )
        for one, other in zip(self.variants, self.variants[1:], strict=False):
            if one.span.stop is None or other.span.start < one.span.stop:
                raise InvalidInput(
                    f"settings of stage {spec.name!r} for {_frames(one.span)} and for "
                    f"{_frames(other.span)}",
                    "ranges in order that do not overlap",
                )

    @property
    def spec(self) -> StageSpec | StreamSpec:
        """The base's."""
        return self.base.spec

    @property
    def stages(self) -> tuple[AnyStage, ...]:
        """Every stage that is in it, the base first, each once."""
        every = (self.base, *(one.stage for one in self.variants if one.stage is not None))
        return tuple({id(stage): stage for stage in every}.values())

    def at(self, index: int) -> AnyStage | None:
        """What a source frame goes to; None where it passes."""
        place = bisect_right([one.span.start for one in self.variants], index) - 1
        if place >= 0 and index in self.variants[place].span:
            return self.variants[place].stage
        return self.base

    def facts(self) -> Mapping[str, str]:
        """The base's, and for every range what differs there."""
        facts = dict(self.base.facts())
        for variant in self.variants:
            told = "left out"
            if variant.stage is not None:
                other = variant.stage.facts()
                differs = (f"{k}: {v}" for k, v in other.items() if facts.get(k) != v)
                told = ", ".join(differs) or "as elsewhere"
            facts[_frames(variant.span)] = told
        return facts

    def sidecars(self) -> Mapping[str, str]:
        """What the stages put beside the result."""
        return {k: v for one in self.stages for k, v in getattr(one, "sidecars", dict)().items()}


def base_of(stages: Sequence[AnyStage | VariedStage]) -> list[AnyStage]:
    """The stages as they are for frames without settings of their own."""
    return [stage.base if isinstance(stage, VariedStage) else stage for stage in stages]


class VariedRunner:
    """A varied stage at work. One object serves one run.

    Args:
        stage: what to run.
        label: unique name in the pipeline; variants share it, and so their seeds.
        runner_of: makes the runner of one plain stage under that label.
    """

    def __init__(
        self,
        stage: VariedStage,
        label: str,
        runner_of: Callable[[AnyStage], StageRunner | StreamRunner],
    ) -> None:
        self.stage = stage
        self.label = label
        self._runners = {id(one): runner_of(one) for one in stage.stages}

    def stream(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Give the frames in order; what a variant holds back comes before the next one begins."""
        for stage, group in groupby(frames, key=lambda frame: self.stage.at(frame.index)):
            if stage is None:
                yield from group
            else:
                yield from self._runners[id(stage)].stream(group)

    def report(self) -> StageReport:
        """What was done so far, by all variants together."""
        reports = [runner.report() for runner in self._runners.values()]
        ran = [one for one in reports if one.frames] or reports
        return StageReport(
            stage=self.label,
            facts=dict(self.stage.facts()),
            layout=" / ".join(dict.fromkeys(one.layout for one in ran)),
            grid=" / ".join(dict.fromkeys(one.grid for one in ran)),
            tiling=ran[0].tiling,
            frames=sum(one.frames for one in reports),
            elapsed_s=self.elapsed_s,
            ladder=tuple(step for one in reports for step in one.ladder),
            repeats=sum(one.repeats for one in reports),
        )

    @property
    def elapsed_s(self) -> float:
        """Time spent in the variants' code."""
        return sum(runner.elapsed_s for runner in self._runners.values())


def _shape(spec: StageSpec | StreamSpec) -> tuple[object, object]:
    """Size and number of the frames that come out, relative to those that go in."""
    return (1, spec.rate) if isinstance(spec, StreamSpec) else (spec.scale, spec.rate)


def _window(spec: StageSpec | StreamSpec) -> tuple[int, int]:
    """Frames seen before and after: chunks of a job are cut by what the base needs."""
    return (0, 0) if isinstance(spec, StreamSpec) else (spec.radius_past, spec.radius_future)


def _frames(span: FrameRange) -> str:
    return f"frames [{span.start}, {'end' if span.stop is None else span.stop})"
