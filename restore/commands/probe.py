"""``restore probe``."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.console import Console

from restore.api import probe
from restore.commands.options import Debug, Json
from restore.console.lines import clip_record
from restore.console.tables import clip_table

__all__ = ["probe_command"]


def probe_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="A clip, an image, a folder of images, or a printf pattern."
        ),
    ],
    as_json: Json = False,
    count: Annotated[
        bool, typer.Option("--count", help="Decode everything to count the frames.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Describe a clip: size, timing, colour, streams, and what had to be guessed."""
    info = probe(source, count_frames=count)
    if as_json:
        sys.stdout.write(json.dumps(clip_record(info), indent=2) + "\n")
    else:
        Console(highlight=False).print(clip_table(info))
