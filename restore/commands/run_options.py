"""The options of ``restore run``, by what they are about."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_RECIPE, _CLIP, _OUTPUT, _ENGINE = "What is done", "Which frames", "Delivery", "How it is computed"

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="IN...",
        help="Clips, images, folders, printf patterns (scan_%05d.png), or - for YUV4MPEG2 on "
        "standard input. Several inputs, or a folder of clips, are a batch.",
        show_default=False,
    ),
]
Output = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        metavar="OUT",
        help="File, folder, printf pattern, or - for YUV4MPEG2 on standard output; a folder "
        "for a batch, whose results are numbered 0001_name.mp4 and so on.",
        show_default=False,
    ),
]
Preset = Annotated[
    str,
    typer.Option(
        help="One of `restore presets`, or auto for what `restore analyse` finds.",
        rich_help_panel=_RECIPE,
        show_default="default",
    ),
]
RecipeFile = Annotated[
    Path | None,
    typer.Option(help="A recipe file (TOML) in place of a preset.", rich_help_panel=_RECIPE),
]
Scale = Annotated[
    str | None,
    typer.Option(
        help="Output size over input size, such as 4 or 3/2; 1 drops the upscaling.",
        rich_help_panel=_RECIPE,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        help="Network that upscales: a name of `restore models list` or a .safetensors file.",
        rich_help_panel=_RECIPE,
    ),
]
DeartifactModel = Annotated[
    str | None,
    typer.Option(
        help="Network that removes compression artifacts; none drops the stage.",
        rich_help_panel=_RECIPE,
    ),
]
NoDeartifact = Annotated[
    bool,
    typer.Option("--no-deartifact", help="Drop the de-artifact stage.", rich_help_panel=_RECIPE),
]
DenoiseStrength = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="0 keeps noise, 1 takes it out: mixes realesr-general-x4v3 with its weak-denoise "
        "twin.",
        rich_help_panel=_RECIPE,
    ),
]
Quality = Annotated[
    str | None,
    typer.Option(
        help="fast (the models that ship), good (the strongest small published one on this "
        "machine) or best (the strongest on this machine).",
        rich_help_panel=_RECIPE,
    ),
]
Look = Annotated[
    str | None,
    typer.Option(
        help="Upscaling network that ships: faithful (nothing invented) or vivid (crisper, made "
        "to please the eye).",
        rich_help_panel=_RECIPE,
    ),
]
Invent = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="How far upscaling and refinement may go from what the source shows: 0 holds their "
        "result, reduced again, to the source within half an 8 bit step, 1 within 8 of them.",
        rich_help_panel=_RECIPE,
    ),
]
Crop = Annotated[
    str | None,
    typer.Option(
        help="Cut off before anything else: LEFT:TOP:RIGHT:BOTTOM in pixels, or auto for the black "
        "borders that the clip shows.",
        rich_help_panel=_RECIPE,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(min=0, help="Changes every random choice.", rich_help_panel=_RECIPE),
]
NoNetworks = Annotated[
    bool,
    typer.Option(
        "--no-networks",
        help="Drop every stage that needs weights; the size stays.",
        rich_help_panel=_RECIPE,
    ),
]
Fps = Annotated[
    str | None,
    typer.Option(
        help="Frame rate of the result: 24, 29.97, 60000/1001, or 2x for twice the clip's; "
        "frames between are made.",
        rich_help_panel=_RECIPE,
    ),
]
Slowmo = Annotated[
    str | None,
    typer.Option(
        help="Slow motion: 4 takes four times as long, with frames made between.",
        rich_help_panel=_RECIPE,
    ),
]
Range = Annotated[
    str | None,
    typer.Option(
        "--range",
        metavar="START:END",
        help="Frames 100:250 (250 not included), 100:, :50, or timecodes joined by a dash: "
        "01:00:04:00-01:00:10:00.",
        rich_help_panel=_CLIP,
    ),
]
Rate = Annotated[
    str | None,
    typer.Option(help="Frame rate of an image sequence.", rich_help_panel=_CLIP),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Fail on damage instead of doing what can be read.",
        rich_help_panel=_CLIP,
    ),
]
Codec = Annotated[
    str | None,
    typer.Option(
        help="Delivery profile: h264, h265, av1, prores422hq, prores4444, dnxhr_hqx, ffv1, "
        "png, tiff, exr, dpx, y4m. The output's name decides where it is not given.",
        rich_help_panel=_OUTPUT,
    ),
]
Crf = Annotated[
    int | None,
    typer.Option(help="Constant rate factor; lower is better and larger.", rich_help_panel=_OUTPUT),
]
Speed = Annotated[
    str | None,
    typer.Option(
        help="Encoder speed, such as medium or slow; auto keeps up with the rest of the job.",
        rich_help_panel=_OUTPUT,
    ),
]
Encoder = Annotated[
    str | None,
    typer.Option(
        help="software, or hardware: a GPU's own encoder for h264 and h265 where there is one.",
        rich_help_panel=_OUTPUT,
    ),
]
BitDepth = Annotated[int | None, typer.Option(help="Bits of a sample.", rich_help_panel=_OUTPUT)]
SideClips = Annotated[
    str | None,
    typer.Option(
        metavar="DIR",
        help="Write what each stage changed into this folder: masks, residuals and tables.",
        rich_help_panel=_OUTPUT,
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Replace what has the output's name.", rich_help_panel=_OUTPUT
    ),
]
SkipExisting = Annotated[
    bool,
    typer.Option(
        "--skip-existing",
        help="Leave out inputs whose result is there already.",
        rich_help_panel=_OUTPUT,
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=_ENGINE)]
Precision = Annotated[
    str,
    typer.Option(
        help="exact (32-bit) or fast (16-bit where a network allows it).",
        rich_help_panel=_ENGINE,
    ),
]
Backend = Annotated[
    str,
    typer.Option(
        help="torch, openvino or tensorrt (the extras of those names, on the CPU and on a GPU), "
        "compile (torch.compile; the first job of a size starts slowly), or auto: OpenVINO where "
        "it is installed and quicker.",
        rich_help_panel=_ENGINE,
    ),
]
Tile = Annotated[
    int | None,
    typer.Option(
        help="Side of tiles in pixels; 0 for whole frames. Chosen by memory if not given.",
        rich_help_panel=_ENGINE,
    ),
]
Batch = Annotated[
    int | None,
    typer.Option(help="Tiles in one network call.", rich_help_panel=_ENGINE),
]
Memory = Annotated[
    str | None,
    typer.Option(help="What one network call may take, such as 2GiB.", rich_help_panel=_ENGINE),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Keep what is done in a hidden folder beside the output, and go on from there when "
        "the same command is given again after a crash or a stop. The bytes are the same.",
        rich_help_panel=_OUTPUT,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Print the plan (sizes, stages, models, tiles, memory, time) and write nothing.",
    ),
]
JsonLines = Annotated[
    bool,
    typer.Option(
        "--json",
        help="One JSON object a line: plan, progress, warning, done, error. On standard "
        "output, or on standard error where that carries frames.",
    ),
]
