"""A proposal as a recipe file that people read, change and give to ``restore run --recipe``."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping

from restore.errors import InvalidInput
from restore.proposal.propose import Proposal
from restore.recipe import Recipe

__all__ = ["recipe_toml"]

_WIDTH = 96


def recipe_toml(proposal: Proposal, heading: str) -> str:
    """The recipe as TOML with a comment for every choice.

    Args:
        proposal: the recipe and its reasons.
        heading: lines of text for the file's beginning.
    """
    recipe = proposal.recipe
    lines = [*_comment(heading), ""]
    lines += [f"name = {_value(recipe.name)}", f"description = {_value(recipe.description)}"]
    if recipe.scale is not None:
        lines.append(f"scale = {_value(str(recipe.scale))}")
    lines += [f"quality = {_value(recipe.quality)}", f"seed = {recipe.seed}"]
    if recipe.crop:
        lines += _comment(proposal.why.get("crop", ""))
        lines.append(f"crop = {_value(recipe.crop)}")
    for step in recipe.steps:
        lines += ["", *_comment(proposal.why.get(step.stage, ""))]
        lines += ["[[steps]]", f"stage = {_value(step.stage)}"]
        lines += [f"{name} = {_value(value)}" for name, value in step.settings.items()]
    if proposal.why_not:
        lines += ["", "# Left out:"]
        for stage, why in proposal.why_not.items():
            lines += _comment(f"  {stage}: {why}")
    if recipe.delivery:
        lines += ["", "[delivery]"]
        lines += [f"{name} = {_value(value)}" for name, value in recipe.delivery.items()]
    lines += _shots(recipe, proposal)
    return "\n".join(lines) + "\n"


def _shots(recipe: Recipe, proposal: Proposal) -> list[str]:
    lines: list[str] = []
    if recipe.shots:
        lines += [
            "",
            *_comment("What differs in single shots: frames [start, stop), counted from 0."),
        ]
    for number, shot in enumerate(recipe.shots):
        reasons = proposal.shot_why[number] if number < len(proposal.shot_why) else {}
        lines.append("")
        for stage, why in reasons.items():
            lines += _comment(f"{stage}: {why}")
        lines += ["[[shots]]", f"start = {shot.span.start}"]
        if shot.span.stop is not None:
            lines.append(f"stop = {shot.span.stop}")
        for label, settings in shot.steps.items():
            lines.append(f"{_key(label)} = {'false' if settings is None else _value(settings)}")
    return lines


def _comment(text: str) -> list[str]:
    lines = []
    for line in text.splitlines():
        inset = " " * (len(line) - len(line.lstrip()))
        wrapped = textwrap.wrap(line, _WIDTH, initial_indent="# ", subsequent_indent=f"# {inset}  ")
        lines += wrapped or ["#"]
    return lines


def _key(name: str) -> str:
    return name if name.replace("-", "").replace("_", "").isalnum() else json.dumps(name)


def _value(value: object) -> str:
    """A value as TOML; JSON's strings, numbers and lists are TOML's."""
    if isinstance(value, bool | int | float | str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_key(str(k))} = {_value(v)}" for k, v in value.items())
        return "{ " + pairs + " }" if pairs else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(one) for one in value) + "]"
    raise InvalidInput(f"a setting of type {type(value).__name__} in a recipe", "text or numbers")
