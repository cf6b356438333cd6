"""``restore lora``: small additions to a diffusion pipeline's weights, trained here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from restore.commands.options import Debug, Json
from restore.console.guard import Guarded

__all__ = ["lora_app"]

lora_app = typer.Typer(cls=Guarded, no_args_is_help=True, help="LoRAs: train one from images.")


@lora_app.callback()
def _group() -> None:
    """LoRAs: train one from images."""


@lora_app.command("train", no_args_is_help=True)
def train_command(
    images: Annotated[
        Path, typer.Argument(help="Folder of folders 'N_trigger class' with images.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The .safetensors file.")],
    model: Annotated[
        str | None, typer.Option(help="Base pipeline: a folder, or a hub id that is here.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Commit of the hub id.")] = None,
    settings: Annotated[
        Path | None, typer.Option(help="Settings as TOML; options go over them.")
    ] = None,
    regularisation: Annotated[
        Path | None, typer.Option(help="Folder of the same form: the class without the subject.")
    ] = None,
    rank: Annotated[int | None, typer.Option(help="Of every layer; 16.")] = None,
    alpha: Annotated[float | None, typer.Option(help="Scale times rank; the rank.")] = None,
    conv_rank: Annotated[int | None, typer.Option(help="For 3x3 convolutions; none.")] = None,
    rate: Annotated[float | None, typer.Option(help="Learning rate, constant; 3e-5.")] = None,
    text_rate: Annotated[
        float | None, typer.Option(help="Of the text encoders; 0 leaves them alone.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Rounds over all images; 10.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images a step; 1.")] = None,
    resolution: Annotated[int | None, typer.Option(help="Side in pixels; 1024.")] = None,
    bucket: Annotated[int | None, typer.Option(help="Sides are multiples of it; 64.")] = None,
    precision: Annotated[str | None, typer.Option(help="bf16 or fp32.")] = None,
    optimiser: Annotated[str | None, typer.Option(help="adamw or adamw8bit.")] = None,
    checkpointing: Annotated[
        bool | None, typer.Option("--checkpointing", help="Less memory, a third slower.")
    ] = None,
    save_every_epochs: Annotated[
        int | None, typer.Option(help="Also keep the LoRA of every so many epochs.")
    ] = None,
    checkpoint_every: Annotated[int | None, typer.Option(help="Steps; 100.")] = None,
    seed: Annotated[int | None, typer.Option(help="0.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
    stop_after: Annotated[int, typer.Option(help="Stop, resumable, at that step.")] = 0,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a LoRA for Stable Diffusion 1.5/2.1, SDXL or FLUX.1; goes on after a kill.

    An image's caption is in a text file of its name; without one it is its folder's words.
    """
    from restore.engine.device import choose_device
    from restore.lora.loop import Run, train_lora
    from restore.lora.settings import load_lora_recipe

    recipe = load_lora_recipe(
        settings,
        model=model,
        revision=revision,
        rank=rank,
        alpha=alpha,
        conv_rank=conv_rank,
        rate=rate,
        text_rate=text_rate,
        epochs=epochs,
        batch=batch,
        resolution_px=resolution,
        bucket_px=bucket,
        precision=precision,
        optimiser=optimiser,
        checkpointing=checkpointing,
        save_every_epochs=save_every_epochs,
        checkpoint_every=checkpoint_every,
        seed=seed,
    )
    run = Run(images, output, regularisation, choose_device(device), overwrite, stop_after)
    done = train_lora(recipe, run, lambda line: typer.echo(line, err=True))
    if as_json:
        sys.stdout.write(json.dumps(vars(done)) + "\n")
        return
    typer.echo(
        f"{done.steps} of {done.total_steps} steps, {done.layers} layers, "
        f"loss on fixed noise {done.loss_before:.4f} to {done.loss_after:.4f}"
    )
    if done.sha256:
        typer.echo(f"{output}: sha256 {done.sha256}")
    else:
        typer.echo("stopped before its end; the same command goes on")
