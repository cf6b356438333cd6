"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from restore.console.guard import set_debug

__all__ = ["Debug", "Json"]

Debug = Annotated[
    bool,
    typer.Option("--debug", callback=set_debug, help="Print the traceback of an error."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
