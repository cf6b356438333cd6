"""Turns what pydantic found wrong with a person's file or option into this project's words."""

from __future__ import annotations

from pydantic import BaseModel, ValidationError

from restore.errors import InvalidInput

__all__ = ["refusal"]


def refusal(error: ValidationError, model: type[BaseModel], where: str) -> InvalidInput:
    """The typed error for the first thing that is wrong.

    Args:
        error: as pydantic raised it.
        model: what was validated; its fields are named where an unknown one came.
        where: what was read, for people: ``stage 'resize'``, ``recipe 'mine'``.
    """
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or "settings"
    if first["type"] == "extra_forbidden":
        expected = f"one of {', '.join(model.model_fields)}"
    else:
        expected = first["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    return InvalidInput(f"{where}, setting {place!r} = {first.get('input')!r}", expected)
