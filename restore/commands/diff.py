"""``restore diff``."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from restore.commands.options import Debug, Json
from restore.console.interrupt import interruptible
from restore.console.tables import facts_table
from restore.engine.settings import CancelToken

if TYPE_CHECKING:
    from restore.comparison.compare import Comparison

__all__ = ["diff_command"]


class _How(Enum):
    SIDE = "side"
    STACK = "stack"
    WIPE = "wipe"
    DIFFERENCE = "difference"


def diff_command(
    first: Annotated[str, typer.Argument(metavar="A", help="Clip, picture, folder or pattern.")],
    second: Annotated[str, typer.Argument(metavar="B", help="What it is held against.")],
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="OUT", help="A picture (.png) or a clip (.mp4, .mkv)."
        ),
    ],
    how: Annotated[
        _How, typer.Option(help="Side by side, one above the other, by a wipe, or difference.")
    ] = _How.SIDE,
    gain: Annotated[float, typer.Option(help="Of the difference.")] = 8.0,
    frame: Annotated[
        int | None,
        typer.Option(min=0, help="Frame of A for a picture; the one that differs most if none."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what has the output's name.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Hold two clips or pictures against each other, and say how alike they are.

    Frames are matched by their time. B is brought to A's colour, the smaller one to the larger
    one's size.
    """
    cancel = CancelToken()
    notes = Console(stderr=True, highlight=False)

    def work() -> Comparison:
        from restore.comparison.compare import compare

        return compare(
            first,
            second,
            output,
            how=how.value,
            gain=gain,
            frame=frame,
            overwrite=overwrite,
            cancel=cancel,
        )

    found = interruptible(work, cancel, lambda: notes.print("stopping"))
    if as_json:
        table = asdict(found)
        for name in ("psnr_db", "worst_psnr_db"):
            table[name] = table[name] if math.isfinite(table[name]) else None
        sys.stdout.write(json.dumps(table, indent=2) + "\n")
        return
    Console(highlight=False).print(facts_table(_told(found)))


def _told(found: Comparison) -> list[tuple[str, str]]:
    lines = [
        ("compared", f"{found.pairs} frame{'s' * (found.pairs != 1)} of the same time"),
        ("PSNR", _db(found.psnr_db)),
        ("SSIM", f"{found.ssim:.4f}"),
        ("differs most", f"frame {found.worst_frame}, {_db(found.worst_psnr_db)}"),
    ]
    for name, alone in (("A", found.first_alone), ("B", found.second_alone)):
        if alone:
            lines.append((f"only in {name}", f"{alone} frames"))
    lines += [("note", note) for note in found.notes]
    shown = "" if found.shown_frame is None else f", frame {found.shown_frame}"
    return [*lines, ("written", f"{found.output}{shown}")]


def _db(value: float) -> str:
    return f"{value:.2f} dB" if math.isfinite(value) else "equal"
