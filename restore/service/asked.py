"""What clients ask for, made into recipes; no path of theirs is ever opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction

from restore.api import RunOptions
from restore.errors import InvalidInput
from restore.models.store import ModelStore
from restore.recipe import Recipe, Step, load_preset, recipe_from_toml
from restore.service.v1 import common_pb2

__all__ = ["delivery_of", "recipe_of"]

_DELIVERY = ("codec", "crf", "speed", "bit_depth", "encoder")
_OPTIONS = (
    *("scale", "model", "deartifact_model", "quality", "seed", "precision"),
    *("backend", "invent", "look", "fps", "slowmo"),
)
_MOST_TEXT = 256 << 10


def recipe_of(asked: common_pb2.Recipe) -> tuple[Recipe, RunOptions]:
    """The recipe that a client names or sends, and what departs from it.

    Raises:
        InvalidInput: neither a preset nor a text, wrong in a stage or setting, or one that names a
            file.
    """
    kind = asked.WhichOneof("source")
    if kind is None:
        raise InvalidInput("no recipe", "the name of a preset, or a recipe's text")
    if kind == "preset":
        recipe = load_preset(asked.preset)
    else:
        if len(asked.toml) > _MOST_TEXT:
            raise InvalidInput(f"a recipe of {len(asked.toml)} characters", f"<= {_MOST_TEXT}")
        recipe = recipe_from_toml(asked.toml, "recipe")
    _check_no_files(recipe)
    options: RunOptions = {}
    for name in _OPTIONS:
        if asked.HasField(name):
            options[name] = getattr(asked, name)  # type: ignore[literal-required]
    for model in (options.get("model"), options.get("deartifact_model")):
        if model is not None and model.lower() != "none":
            _check_model(model)
    # Cut lists are put beside results; on a server nobody would find them there.
    steps = [_quiet(step) for step in recipe.steps]
    return replace(recipe, steps=tuple(steps)), options


def delivery_of(asked: common_pb2.Delivery) -> RunOptions:
    """What a client says of the delivery, beside its container."""
    options: RunOptions = {}
    for name in _DELIVERY:
        if asked.HasField(name):
            options[name] = getattr(asked, name)  # type: ignore[literal-required]
    return options


def _quiet(step: Step) -> Step:
    if step.stage != "shots" or "cuts" in step.settings:
        return step
    return Step(step.stage, {**step.settings, "save": False})


def _check_no_files(recipe: Recipe) -> None:
    if recipe.side_clips is not None:
        raise InvalidInput("side_clips in a recipe for a server", "a recipe without")
    steps = [(step.stage, step.settings) for step in recipe.steps]
    for shot in recipe.shots:
        steps += [(label, given) for label, given in shot.steps.items() if given is not None]
    for stage, settings in steps:
        if stage == "refine":
            raise InvalidInput(
                "stage 'refine' in a recipe for a server",
                "stages whose models the server lists",
                "Its pipelines are folders of one machine: run it there with `restore run`.",
            )
        for name, value in settings.items():
            if name.endswith("model") and isinstance(value, str):
                _check_model(value)
            elif any(_may_be_path(text) for text in _texts(value)) or (
                name == "cuts" and isinstance(value, str)
            ):
                raise InvalidInput(
                    f"{name} = {str(value)[:80]!r} for stage {stage!r}, which names a file",
                    "names of models and plain values; lists of cuts as numbers",
                )


def _texts(value: object) -> Iterator[str]:
    """All texts inside a setting."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _texts([*value.keys(), *value.values()])
    elif isinstance(value, Iterable):
        for item in value:
            yield from _texts(item)


def _may_be_path(text: str) -> bool:
    if not set(text) & set("/\\~\0") and not text.startswith("."):
        return False
    try:
        Fraction(text)  # a ratio such as 24000/1001
    except (ValueError, ZeroDivisionError):
        return True
    return False


def _check_model(name: str) -> None:
    """Refuse models that the store does not know by name; a file's name is no model's."""
    store = ModelStore()
    if name not in store.names() and store.catalog.find(name) is None:
        raise InvalidInput(f"model {name[:80]!r}", "the name of a model that ListModels gives")
