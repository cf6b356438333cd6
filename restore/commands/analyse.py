"""``restore analyse``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich import progress as bars
from rich.console import Console
from rich.text import Text

from restore.api import analyse
from restore.commands.options import Debug, Json
from restore.commands.run_options import Range, Rate
from restore.console.findings import analysis_tables
from restore.media.atomic import AtomicPath

__all__ = ["analyse_command"]


def analyse_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="A clip, an image, a folder of images, or a printf pattern."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="RECIPE",
            help="Write the recipe that follows, with its reasons, for restore run --recipe.",
        ),
    ] = None,
    range_: Range = None,
    rate: Rate = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what has the recipe's name.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure a reel shot by shot, and say which settings follow and why."""
    # Known before the long part: the recipe's place.
    file = None if output is None else AtomicPath(str(output), overwrite=overwrite)
    with _progress() as bar:
        analysis = analyse(source, range=range_, rate=rate, on_frame=bar)
    if file is not None:
        with file.open() as out:
            out.write(analysis.recipe_toml().encode())
        file.commit()
    if as_json:
        sys.stdout.write(json.dumps(analysis.to_dict(), indent=2) + "\n")
        return
    console = Console(highlight=False)
    for part in analysis_tables(analysis):
        console.print(part)
    if output is not None:
        console.print(Text("recipe ", style="bold green") + Text(str(output), style="default"))


@contextmanager
def _progress() -> Iterator[Callable[[int, int | None], None] | None]:
    """A bar on standard error where that is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with bars.Progress(console=console, transient=True) as progress:
        task = progress.add_task("reading", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
