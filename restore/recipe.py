"""Recipes: which stages run, with what settings, and how the result is delivered."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from restore.errors import InvalidInput
from restore.stages import check_settings
from restore.validation import refusal

__all__ = [
    "QUALITIES",
    "Recipe",
    "Step",
    "load_preset",
    "load_recipe",
    "parse_scale",
    "preset_names",
    "recipe_from_canonical",
]

QUALITIES = ("fast", "best")


@dataclass(frozen=True)
class Step:
    """A stage with its settings."""

    stage: str
    settings: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """What is done to a clip.

    Attributes:
        name: for reports.
        description: one line.
        steps: stages in order.
        scale: output size over input size; None leaves it to the stages.
        quality: which models roles get: ``fast`` or ``best``.
        delivery: settings of the delivery, by the fields of ``restore.media.profiles.Delivery``;
            without a profile the output's name decides.
        seed: changes every random choice.
    """

    name: str
    description: str
    steps: tuple[Step, ...]
    scale: Fraction | None = None
    quality: str = "fast"
    delivery: Mapping[str, object] = field(default_factory=dict)
    seed: int = 0

    def canonical(self) -> str:
        """The recipe as JSON with sorted keys: equal recipes give equal text."""
        return json.dumps(
            {
                "name": self.name,
                "steps": [{"stage": s.stage, "settings": dict(s.settings)} for s in self.steps],
                "scale": None if self.scale is None else str(self.scale),
                "quality": self.quality,
                "delivery": dict(self.delivery),
                "seed": self.seed,
            },
            sort_keys=True,
            default=str,
        )

    def job_name(self) -> str:
        """The name that seeds derive from."""
        return hashlib.blake2b(self.canonical().encode(), digest_size=16).hexdigest()

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
        return replace(self, steps=tuple(steps))

    def without(self, stage: str) -> Recipe:
        """A copy without a stage."""
        return replace(self, steps=tuple(step for step in self.steps if step.stage != stage))


class _StepRow(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)

    stage: str


class _RecipeFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    description: str = ""
    scale: str | int | None = None
    quality: str = "fast"
    seed: int = Field(default=0, ge=0)
    steps: list[_StepRow] = Field(default_factory=list)
    delivery: dict[str, Any] = Field(default_factory=dict)

    def inside(self, name: str) -> Recipe:
        steps = []
        for row in self.steps:
            settings = dict(row.model_extra or {})
            check_settings(row.stage, settings)
            steps.append(Step(row.stage, settings))
        if self.quality not in QUALITIES:
            raise InvalidInput(f"quality {self.quality!r}", f"one of {', '.join(QUALITIES)}")
        return Recipe(
            name=self.name or name,
            description=self.description,
            steps=tuple(steps),
            scale=None if self.scale is None else parse_scale(str(self.scale)),
            quality=self.quality,
            delivery=self.delivery,
            seed=self.seed,
        )


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


def _read(text: str, name: str) -> Recipe:
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
    return _read(text, path.stem)


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
    return _read((_preset_folder() / f"{name}.toml").read_text(encoding="utf-8"), name)
