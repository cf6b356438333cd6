"""Reads recipes of trainings."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from restore.errors import InvalidInput

__all__ = ["read_recipe", "read_table"]

Recipe = TypeVar("Recipe")


def read_table(path: Path) -> dict[str, Any]:
    """What a TOML file holds.

    Raises:
        InvalidInput: the file is missing or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"the recipe {path} cannot be read: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"the recipe {path} is no TOML: {error}") from error


def read_recipe(path: Path, kind: type[Recipe]) -> Recipe:
    """The recipe that a TOML file holds.

    Args:
        path: of the file.
        kind: a pydantic dataclass.

    Raises:
        InvalidInput: the file is missing, is no TOML, or holds an unknown or missing setting.
    """
    table = read_table(path)
    try:
        return TypeAdapter(kind).validate_python(table)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"{path.name}, {where}: {first['msg']}") from error
