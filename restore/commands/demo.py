"""``restore demo``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from restore.api import RunOptions
from restore.commands.options import Debug, Json
from restore.console.interrupt import interruptible
from restore.console.tables import stage_times
from restore.console.words import duration_text
from restore.engine.settings import CancelToken

if TYPE_CHECKING:
    from restore.demo.show import DemoReport

__all__ = ["demo_command", "show_report"]

_RATE = 24


def demo_command(
    out: Annotated[Path, typer.Option(help="Folder for the clips, picture and numbers.")] = Path(
        "demo"
    ),
    frames: Annotated[
        int | None, typer.Option(min=3, max=2400, help="Length of the reel in frames; 24 if none.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.125, max=100, help="Length of the reel instead.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another reel.")] = 0,
    preset: Annotated[str, typer.Option(help="What restores it.")] = "default",
    model: Annotated[str | None, typer.Option(help="Network that upscales.")] = None,
    no_deartifact: Annotated[
        bool, typer.Option("--no-deartifact", help="Drop the de-artifact stage.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[str, typer.Option(help="exact or fast.")] = "exact",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Make a worn reel from photographs, restore it, and measure it against the clean truth."""
    if frames is not None and seconds is not None:
        raise typer.BadParameter("--frames and --seconds exclude each other")
    count = frames or (round(seconds * _RATE) if seconds else _RATE)
    options: RunOptions = {
        "model": model,
        "deartifact_model": "none" if no_deartifact else None,
        "device": device,
        "precision": precision,
    }
    notes = Console(stderr=True, highlight=False)
    cancel = CancelToken()

    def work() -> DemoReport:
        from restore.demo.show import run_demo

        return run_demo(
            out,
            frames=count,
            seed=seed,
            preset=preset,
            options=options,
            on_step=lambda text: notes.print(f"{text} ..."),
            cancel=cancel,
        )

    report = interruptible(work, cancel, lambda: notes.print("stopping"))
    if as_json:
        sys.stdout.write((report.folder / "numbers.json").read_text(encoding="utf-8") + "\n")
        return
    show_report(report)


def show_report(report: DemoReport) -> None:
    """Print the figures, and by name each stage that made things worse."""
    from restore.demo.show import FILES

    console = Console(highlight=False)
    table = Table(title="how near to the truth (means over all frames)", title_justify="left")
    table.add_column("clip")
    for name in ("PSNR", "SSIM", "change", "PSNR to clean", "SSIM to clean"):
        table.add_column(name, justify="right")
    styles = {"better": "green", "worse": "bold red", "mixed": "yellow", "as before": "dim"}
    for each, verdict in zip(report.scores, ("", *report.verdicts), strict=True):
        table.add_row(
            each.name,
            f"{each.psnr_db:.2f} dB",
            f"{each.ssim:.4f}",
            Text(verdict, style=styles.get(verdict, "")),
            f"{each.truth_psnr_db:.2f} dB",
            f"{each.truth_ssim:.4f}",
        )
    console.print(table)
    console.print(
        "PSNR and SSIM are of luma, against the sharp and clean clip with the reel's own weave, "
        "fading and flicker, which stages that look at one frame at a time leave in place; the "
        'columns "to clean" are against the clip before anything happened to it.'
    )
    first, last = report.scores[0], report.scores[-1]
    gain, likeness = last.psnr_db - first.psnr_db, last.ssim - first.ssim
    worse = [
        each.name
        for each, verdict in zip(report.scores[1:], report.verdicts, strict=True)
        if verdict == "worse"
    ]
    style = "bold green" if gain > 0 and likeness > 0 else "bold red"
    console.print(
        Text(f"together: {gain:+.2f} dB PSNR, {likeness:+.4f} SSIM against Lanczos", style=style)
    )
    for name in worse:
        console.print(Text(f"{name}: worse than what it was given", style="bold red"))
    console.print(stage_times([report.job]))
    for what in ("film", "restored", "truth", "picture", "clip", "numbers"):
        console.print(f"{what}: {report.folder / FILES[what]}", soft_wrap=True)
    console.print(f"{duration_text(report.elapsed_s)} in all")
