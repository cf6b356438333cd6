"""``restore run``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from restore.commands.options import Debug
from restore.commands.work import Request, work

__all__ = ["run_command"]

_RECIPE, _CLIP, _OUTPUT, _ENGINE = "What is done", "Which frames", "Delivery", "How it is computed"


def run_command(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="IN...",
            help="Clips, images, folders, printf patterns (scan_%05d.png), or - for YUV4MPEG2 on "
            "standard input. Several inputs, or a folder of clips, are a batch.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="File, folder, printf pattern, or - for YUV4MPEG2 on standard output; a folder "
            "for a batch, whose results are numbered 0001_name.mp4 and so on.",
            show_default=False,
        ),
    ],
    preset: Annotated[
        str,
        typer.Option(
            help="One of `restore presets`.", rich_help_panel=_RECIPE, show_default="default"
        ),
    ] = "",
    recipe: Annotated[
        Path | None,
        typer.Option(help="A recipe file (TOML) in place of a preset.", rich_help_panel=_RECIPE),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            help="Output size over input size, such as 4 or 3/2; 1 drops the upscaling.",
            rich_help_panel=_RECIPE,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Network that upscales: a name of `restore models list` or a .safetensors file.",
            rich_help_panel=_RECIPE,
        ),
    ] = None,
    deartifact_model: Annotated[
        str | None,
        typer.Option(
            help="Network that removes compression artifacts; none drops the stage.",
            rich_help_panel=_RECIPE,
        ),
    ] = None,
    no_deartifact: Annotated[
        bool,
        typer.Option(
            "--no-deartifact", help="Drop the de-artifact stage.", rich_help_panel=_RECIPE
        ),
    ] = False,
    denoise_strength: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="0 keeps noise, 1 takes it out: mixes realesr-general-x4v3 with its weak-denoise "
            "twin.",
            rich_help_panel=_RECIPE,
        ),
    ] = None,
    quality: Annotated[
        str | None,
        typer.Option(
            help="fast, good or best: which of the models on this machine are taken.",
            rich_help_panel=_RECIPE,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Changes every random choice.", rich_help_panel=_RECIPE),
    ] = None,
    range_: Annotated[
        str | None,
        typer.Option(
            "--range",
            metavar="START:END",
            help="Frames 100:250 (250 not included), 100:, :50, or timecodes joined by a dash: "
            "01:00:04:00-01:00:10:00.",
            rich_help_panel=_CLIP,
        ),
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(help="Frame rate of an image sequence.", rich_help_panel=_CLIP),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Fail on damage instead of doing what can be read.",
            rich_help_panel=_CLIP,
        ),
    ] = False,
    codec: Annotated[
        str | None,
        typer.Option(
            help="Delivery profile: h264, h265, av1, prores422hq, prores4444, dnxhr_hqx, ffv1, "
            "png, tiff, exr, dpx, y4m. The output's name decides where it is not given.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    crf: Annotated[
        int | None,
        typer.Option(
            help="Constant rate factor; lower is better and larger.", rich_help_panel=_OUTPUT
        ),
    ] = None,
    speed: Annotated[
        str | None,
        typer.Option(help="Encoder speed, such as medium or slow.", rich_help_panel=_OUTPUT),
    ] = None,
    bit_depth: Annotated[
        int | None, typer.Option(help="Bits of a sample.", rich_help_panel=_OUTPUT)
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace what has the output's name.", rich_help_panel=_OUTPUT
        ),
    ] = False,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="Leave out inputs whose result is there already.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=_ENGINE)
    ] = "auto",
    precision: Annotated[
        str,
        typer.Option(
            help="exact (32-bit) or fast (16-bit where a network allows it).",
            rich_help_panel=_ENGINE,
        ),
    ] = "exact",
    tile: Annotated[
        int | None,
        typer.Option(
            help="Side of tiles in pixels; 0 for whole frames. Chosen by memory if not given.",
            rich_help_panel=_ENGINE,
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(help="Tiles in one network call.", rich_help_panel=_ENGINE),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(help="What one network call may take, such as 2GiB.", rich_help_panel=_ENGINE),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the plan (sizes, stages, models, tiles, memory, time) and write nothing.",
        ),
    ] = False,
    json_lines: Annotated[
        bool,
        typer.Option(
            "--json",
            help="One JSON object a line: plan, progress, warning, done, error. On standard "
            "output, or on standard error where that carries frames.",
        ),
    ] = False,
    debug: Debug = False,
) -> None:
    """Restore clips: take IN through the stages of a recipe and write OUT.

    Exit codes: 0 done, 1 failed (for a batch: at least one input), 2 wrong usage, 130 interrupted.
    """
    if no_deartifact and deartifact_model is not None:
        raise typer.BadParameter("--no-deartifact and --deartifact-model exclude each other")
    if preset and recipe is not None:
        raise typer.BadParameter("--preset and --recipe exclude each other")
    if overwrite and skip_existing:
        raise typer.BadParameter("--overwrite and --skip-existing exclude each other")
    code = work(
        Request(
            inputs=tuple(inputs),
            output=output,
            preset=preset or "default",
            recipe=recipe,
            options={
                "scale": scale,
                "model": model,
                "deartifact_model": "none" if no_deartifact else deartifact_model,
                "denoise_strength": denoise_strength,
                "quality": quality,
                "codec": codec,
                "crf": crf,
                "speed": speed,
                "bit_depth": bit_depth,
                "seed": seed,
                "device": device,
                "precision": precision,
                "tile_px": tile,
                "batch": batch,
                "range": range_,
                "rate": rate,
                "strict": strict,
                "overwrite": overwrite,
            },
            memory=memory,
            skip_existing=skip_existing,
            dry_run=dry_run,
            json_lines=json_lines,
        )
    )
    if code:
        raise typer.Exit(code)
