"""``restore presets`` and ``restore stages``."""

from __future__ import annotations

import json
import sys
import tomllib
from importlib import resources
from typing import Annotated

import typer
from rich.console import Console

from restore.api import AUTO
from restore.commands.options import Debug, Json
from restore.console.tables import facts_table
from restore.errors import InvalidInput
from restore.recipe import preset_names
from restore.stages import STAGES, stage_class

__all__ = ["presets_command", "stages_command"]


def _preset_text(name: str) -> str:
    if name not in preset_names():
        raise InvalidInput(f"preset {name!r}", f"one of {', '.join(preset_names())}")
    return (resources.files("restore") / "presets" / f"{name}.toml").read_text(encoding="utf-8")


def presets_command(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Print this preset as a recipe file.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the presets, or print one to start a recipe of your own from."""
    if name is not None:
        text = _preset_text(name)
        sys.stdout.write(json.dumps(tomllib.loads(text), indent=2) + "\n" if as_json else text)
        return
    # Read as text: checking the stages' settings would load every stage, and torch with it.
    lines = {
        each: str(tomllib.loads(_preset_text(each)).get("description", ""))
        for each in preset_names()
    }
    lines = {AUTO: "What restore analyse proposes for the clip, shot by shot.", **lines}
    if as_json:
        sys.stdout.write(json.dumps(lines, indent=2) + "\n")
    else:
        Console(highlight=False).print(facts_table(lines.items()))


def stages_command(as_json: Json = False, debug: Debug = False) -> None:
    """List the stages that a recipe can have, with their settings."""
    schemas = {name: stage_class(name).Settings.model_json_schema() for name in sorted(STAGES)}
    if as_json:
        sys.stdout.write(json.dumps(schemas, indent=2) + "\n")
        return
    rows = []
    for name, schema in schemas.items():
        settings = []
        for setting, facts in schema.get("properties", {}).items():
            default = facts.get("default")
            settings.append(setting if default is None else f"{setting} = {default}")
        summary = (stage_class(name).__doc__ or "").strip().splitlines()[0]
        rows.append((name, "\n".join([summary, *(f"  {line}" for line in settings)])))
    Console(highlight=False).print(facts_table(rows))
