"""``restore run``."""

from __future__ import annotations

import typer

from restore.commands import run_options as choice
from restore.commands.options import Debug
from restore.commands.work import Request, work

__all__ = ["run_command"]


def run_command(
    inputs: choice.Inputs,
    output: choice.Output,
    preset: choice.Preset = "",
    recipe: choice.RecipeFile = None,
    scale: choice.Scale = None,
    model: choice.Model = None,
    deartifact_model: choice.DeartifactModel = None,
    no_deartifact: choice.NoDeartifact = False,
    denoise_strength: choice.DenoiseStrength = None,
    quality: choice.Quality = None,
    look: choice.Look = None,
    invent: choice.Invent = None,
    crop: choice.Crop = None,
    seed: choice.Seed = None,
    no_networks: choice.NoNetworks = False,
    fps: choice.Fps = None,
    slowmo: choice.Slowmo = None,
    range_: choice.Range = None,
    rate: choice.Rate = None,
    strict: choice.Strict = False,
    codec: choice.Codec = None,
    crf: choice.Crf = None,
    speed: choice.Speed = None,
    encoder: choice.Encoder = None,
    bit_depth: choice.BitDepth = None,
    side_clips: choice.SideClips = None,
    overwrite: choice.Overwrite = False,
    skip_existing: choice.SkipExisting = False,
    device: choice.Device = "auto",
    precision: choice.Precision = "exact",
    backend: choice.Backend = "auto",
    tile: choice.Tile = None,
    batch: choice.Batch = None,
    memory: choice.Memory = None,
    resume: choice.Resume = False,
    dry_run: choice.DryRun = False,
    json_lines: choice.JsonLines = False,
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
                "look": look,
                "invent": invent,
                "crop": crop,
                "codec": codec,
                "crf": crf,
                "speed": speed,
                "encoder": encoder,
                "bit_depth": bit_depth,
                "seed": seed,
                "fps": fps,
                "slowmo": slowmo,
                "no_networks": no_networks,
                "device": device,
                "precision": precision,
                "backend": backend,
                "tile_px": tile,
                "batch": batch,
                "range": range_,
                "rate": rate,
                "strict": strict,
                "overwrite": overwrite,
                "side_clips": side_clips,
            },
            memory=memory,
            skip_existing=skip_existing,
            dry_run=dry_run,
            json_lines=json_lines,
            resume=resume,
        )
    )
    if code:
        raise typer.Exit(code)
