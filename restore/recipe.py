"""Recipes: which stages run, with what settings, and how the result is delivered."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from restore.errors import InvalidInput
from restore.stages import check_settings
from restore.time import FrameRange
from restore.validation import refusal

__all__ = [
    "LOOKS",
    "QUALITIES",
    "Recipe",
    "ShotSettings",
    "Step",
    "load_preset",
    "load_recipe",
    "parse_scale",
    "preset_names",
    "recipe_from_canonical",
    "recipe_from_toml",
]

QUALITIES = ("fast", "good", "best")
LOOKS = ("faithful", "vivid")


@dataclass(frozen=True)
class Step:
    """A stage with its settings."""

    stage: str
    settings: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class ShotSettings:
    """What is done otherwise over some source frames.

    Attributes:
        span: the frames; its bounds begin a shot each.
        steps: by the step's label (the stage's name, with ``-2`` where it is used again) the
            settings that differ; None leaves the stage out.
    """

    span: FrameRange
    steps: Mapping[str, Mapping[str, object] | None]


@dataclass(frozen=True)
class Recipe:
    """What is done to a clip.

    Attributes:
        name: for reports.
        description: one line.
        steps: stages in order.
        scale: output size over input size; None leaves it to the stages.
        quality: which models roles get: ``fast``, ``good`` or ``best``.
        look: of the upscaling network that ships: ``faithful`` or ``vivid``.
        crop: what is cut off before anything else: ``LEFT:TOP:RIGHT:BOTTOM`` in pixels, ``auto``
            for the black borders that the clip shows, or empty.
        delivery: settings of the delivery, by the fields of ``restore.media.profiles.Delivery``;
            without a profile the output's name decides.
        seed: changes every random choice.
        shots: what is done otherwise in some shots, in order, none overlapping another.
        side_clips: folder for what each stage changed; it has no part in the result.
    """

    name: str
    description: str
    steps: tuple[Step, ...]
    scale: Fraction | None = None
    quality: str = "fast"
    delivery: Mapping[str, object] = field(default_factory=dict)
    seed: int = 0
    shots: tuple[ShotSettings, ...] = ()
    side_clips: str | None = None
    look: str = "faithful"
    crop: str = ""

    def __post_init__(self) -> None:
        if self.look not in LOOKS:
            raise InvalidInput(f"look {self.look!r}", f"one of {', '.join(LOOKS)}")
        if self.look != "faithful" and all(step.stage != "upscale" for step in self.steps):
            raise InvalidInput(
                f"look {self.look!r} for recipe {self.name!r}, which does not upscale",
                "a recipe with the stage upscale, since the look is that stage's network's",
                "Add --scale 4, or leave the look out.",
            )
        for one, other in pairwise(self.shots):
            if one.span.stop is None or other.span.start < one.span.stop:
                raise InvalidInput(
                    f"recipe {self.name!r} with settings for frames {_span(one.span)} and for "
                    f"{_span(other.span)}",
                    "[[shots]] in order that do not overlap",
                )

    def labels(self) -> tuple[str, ...]:
        """The steps' labels: ``resize``, and ``resize-2`` where the stage comes again."""
        names = [step.stage for step in self.steps]
        counts = [names[: place + 1].count(name) for place, name in enumerate(names)]
        return tuple(
            name if n == 1 else f"{name}-{n}" for name, n in zip(names, counts, strict=True)
        )

    @property
    def cuts(self) -> frozenset[int]:
        """Source frames at which settings may change, and so a shot begins."""
        ends = {end for shot in self.shots for end in (shot.span.start, shot.span.stop)}
        return frozenset(end for end in ends if end)

    def canonical(self) -> str:
        """The recipe as JSON with sorted keys: equal recipes give equal text."""
        table: dict[str, object] = {
            "name": self.name,
            "steps": [{"stage": s.stage, "settings": dict(s.settings)} for s in self.steps],
            "scale": None if self.scale is None else str(self.scale),
            "quality": self.quality,
            "delivery": dict(self.delivery),
            "seed": self.seed,
        }
        if self.shots:
            table["shots"] = [
                {
                    "start": shot.span.start,
                    "stop": shot.span.stop,
                    **{k: False if v is None else dict(v) for k, v in shot.steps.items()},
                }
                for shot in self.shots
            ]
        if self.look != "faithful":
            table["look"] = self.look
        if self.crop:
            table["crop"] = self.crop
        return json.dumps(table, sort_keys=True, default=str)

    def job_name(self) -> str:
        """The name that seeds derive from: of all but the encoder's speed."""
        delivery = {name: value for name, value in self.delivery.items() if name != "speed"}
        text = replace(self, delivery=delivery).canonical()
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def with_settings(self, stage: str, **settings: object) -> Recipe:
        """A copy in which every step of a stage has these settings; None means leave as it is.

        Raises:
            InvalidInput: the recipe has no such stage, or the setting is wrong.
        """
        given = {name: value for name, value in settings.items() if value is not None}
        if not given:
            return self
        if all(step.stage != stage for step in self.steps):
            raise InvalidInput(
                f"{', '.join(given)} for stage {stage!r}, which recipe {self.name!r} does not have",
                f"settings for {', '.join(step.stage for step in self.steps) or 'no stage'}",
            )
        steps = []
        for step in self.steps:
            if step.stage == stage:
                merged = {**step.settings, **given}
                check_settings(stage, merged)
                step = Step(stage, merged)
            steps.append(step)
        # Said of the stage as a whole, it holds in every shot.
        return replace(self, steps=tuple(steps))._with_shots(stage, frozenset(given))

    def without(self, stage: str) -> Recipe:
        """A copy without a stage."""
        kept = tuple(step for step in self.steps if step.stage != stage)
        return replace(self, steps=kept)._with_shots(stage, None)

    def _with_shots(self, stage: str, dropped: frozenset[str] | None) -> Recipe:
        """A copy whose shots do not set these of a stage's settings; with None, none of them."""
        shots = []
        for shot in self.shots:
            steps: dict[str, Mapping[str, object] | None] = {}
            for label, settings in shot.steps.items():
                if _stage_of(label) != stage:
                    steps[label] = settings
                elif dropped is not None:
                    rest = {k: v for k, v in (settings or {}).items() if k not in dropped}
                    if rest or settings is None:
                        steps[label] = None if settings is None else rest
            shots.append(ShotSettings(shot.span, steps))
        return replace(self, shots=tuple(shots))


class _StepRow(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)

    stage: str


class _ShotRow(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)

    start: int = Field(ge=0)
    stop: int | None = Field(default=None, gt=0)

    def inside(self, recipe: Recipe) -> ShotSettings:
        span = FrameRange(self.start, self.stop)
        labels = dict(zip(recipe.labels(), recipe.steps, strict=True))
        steps: dict[str, Mapping[str, object] | None] = {}
        for label, given in (self.model_extra or {}).items():
            what = f"[[shots]] of frames {_span(span)}: {label}"
            if label not in labels:
                raise InvalidInput(what, f"one of the steps {', '.join(labels) or '(none)'}")
            if given is False:
                steps[label] = None
            elif isinstance(given, dict):
                check_settings(labels[label].stage, {**labels[label].settings, **given})
                steps[label] = given
            else:
                raise InvalidInput(
                    f"{what} = {given!r}", "a table of settings, or false to leave the stage out"
                )
        return ShotSettings(span, steps)


class _RecipeFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    description: str = ""
    scale: str | int | None = None
    quality: str = "fast"
    seed: int = Field(default=0, ge=0)
    steps: list[_StepRow] = Field(default_factory=list)
    delivery: dict[str, Any] = Field(default_factory=dict)
    shots: list[_ShotRow] = Field(default_factory=list)
    side_clips: str | None = None
    look: str = "faithful"
    crop: str = ""

    def inside(self, name: str) -> Recipe:
        steps = []
        for row in self.steps:
            settings = dict(row.model_extra or {})
            check_settings(row.stage, settings)
            steps.append(Step(row.stage, settings))
        if self.quality not in QUALITIES:
            raise InvalidInput(f"quality {self.quality!r}", f"one of {', '.join(QUALITIES)}")
        recipe = Recipe(
            name=self.name or name,
            description=self.description,
            steps=tuple(steps),
            scale=None if self.scale is None else parse_scale(str(self.scale)),
            quality=self.quality,
            delivery=self.delivery,
            seed=self.seed,
            side_clips=self.side_clips,
            look=self.look,
            crop=self.crop,
        )
        shots = sorted((row.inside(recipe) for row in self.shots), key=lambda s: s.span.start)
        return replace(recipe, shots=tuple(shots))


def _span(span: FrameRange) -> str:
    return f"[{span.start}, {'end' if span.stop is None else span.stop})"


def _stage_of(label: str) -> str:
    """The stage that a step's label names: the label less its number."""
    name, dash, number = label.rpartition("-")
    return name if dash and number.isdigit() else label


def parse_scale(text: str) -> Fraction:
    """Read a size factor: ``4``, ``2.5``, ``3/2``, ``2x``.

    Raises:
        InvalidInput: not a number above 0 and up to 16.
    """
    try:
        scale = Fraction(text.strip().lower().removesuffix("x"))
    except (ValueError, ZeroDivisionError):
        scale = Fraction(0)
    if not 0 < scale <= 16:
        raise InvalidInput(f"scale {text!r}", "a number above 0 and up to 16, such as 4 or 3/2")
    return scale


def recipe_from_toml(text: str, name: str) -> Recipe:
    """Read a recipe's text.

    Args:
        text: TOML.
        name: of the recipe where the text has none.

    Raises:
        InvalidInput: not TOML, or wrong in a field or a stage's setting.
    """
    try:
        return _RecipeFile.model_validate(tomllib.loads(text)).inside(name)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"recipe {name!r} is not TOML: {error}") from error
    except ValidationError as error:
        raise refusal(error, _RecipeFile, f"recipe {name!r}") from error


def recipe_from_canonical(text: str) -> Recipe:
    """The recipe that :meth:`Recipe.canonical` wrote, less its description.

    Raises:
        InvalidInput: the text is no such recipe, or names what is not there any more.
    """
    table = json.loads(text)
    table["steps"] = [{"stage": step["stage"], **step["settings"]} for step in table["steps"]]
    try:
        return _RecipeFile.model_validate(table).inside(table["name"])
    except ValidationError as error:
        raise refusal(error, _RecipeFile, f"recipe {table['name']!r}") from error


def load_recipe(path: Path) -> Recipe:
    """Read a recipe file.

    Raises:
        InvalidInput: missing, not TOML, or wrong in a field or a stage's setting.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"recipe {str(path)!r} cannot be read: {error}") from error
    return recipe_from_toml(text, path.stem)


def _preset_folder() -> resources.abc.Traversable:
    return resources.files("restore") / "presets"


def preset_names() -> tuple[str, ...]:
    """Names of the presets that ship with the package."""
    files = (entry.name for entry in _preset_folder().iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml")))


def load_preset(name: str) -> Recipe:
    """A preset by name.

    Raises:
        InvalidInput: there is none of that name.
    """
    if name not in preset_names():
        raise InvalidInput(f"preset {name!r}", f"one of {', '.join(preset_names())}")
    return recipe_from_toml((_preset_folder() / f"{name}.toml").read_text(encoding="utf-8"), name)
