"""How each stage of a job will run: laid out, and tried on small pictures."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
import torch.nn.functional as F

from restore.color import ChromaSite, ColorSpec, Matrix, Primaries, Range, Transfer
from restore.engine.layout import Layout, choose_layout
from restore.engine.links import LINK_SHARE
from restore.engine.run import pipeline_labels
from restore.engine.settings import CancelToken, EngineSettings
from restore.engine.stage import AnyStage, Stage, StreamStage
from restore.engine.stream import StreamRunner
from restore.engine.varied import VariedStage
from restore.errors import RestoreError
from restore.frames import Frame

__all__ = ["StagePlan", "job_memory_bytes", "plan_stage", "streams_s"]

_TILE_PX = 128
_GPU_TILE_PX = 512  # a smaller one measures how fast calls are made
_WIDTH_PX, _HEIGHT_PX = 160, 128
_FRAMES = 12
_RGB = ColorSpec(Matrix.RGB, Primaries.BT709, Transfer.BT709, Range.FULL, ChromaSite.UNSPECIFIED)
# torch, the libraries and a decoder, before the first frame; measured on Linux.
_PROGRAM_BYTES = 600 << 20


@dataclass(frozen=True)
class StagePlan:
    """How a stage will run.

    Attributes:
        label: name in the pipeline.
        input_px: width and height in.
        output_px: width and height out.
        layout: device, number format, tiles and batch.
        grid: the tile grid.
        memory_bytes: what one call is expected to take.
        frame_s: time a frame that comes in is expected to take, tried on a small picture; None
            where it was not tried.
        facts: the stage's own words.
    """

    label: str
    input_px: tuple[int, int]
    output_px: tuple[int, int]
    layout: str
    grid: str
    memory_bytes: int
    frame_s: float | None
    facts: Mapping[str, str]


def plan_stage(
    stage: AnyStage | VariedStage,
    label: str,
    settings: EngineSettings,
    device: torch.device,
    size: tuple[int, int],
    tried: Mapping[str, float] | None,
) -> StagePlan:
    """Lay a stage out.

    Args:
        stage: what will run.
        label: name in the pipeline.
        settings: of the run.
        device: of the network calls.
        size: width and height of what comes in.
        tried: from :func:`streams_s`; None where no time is to be measured.
    """
    if isinstance(stage, VariedStage):
        return _plan_varied(stage, label, settings, device, size, tried)
    width, height = size
    if isinstance(stage, StreamStage):
        held = (stage.spec.delay + 1) * width * height * 3 * 4
        facts = dict(stage.facts())
        pixel_s = (tried or {}).get(label)
        frame_s = None if pixel_s is None else pixel_s * width * height
        return StagePlan(label, size, size, "stream", "whole frames", held, frame_s, facts)
    layout = choose_layout(stage, settings, device, height, width)
    grid = layout.grid(stage.spec, height, width)
    spec = stage.spec
    tile_area = grid.tile_px[0] * grid.tile_px[1]
    frame_s = None
    if tried is not None:
        frame_s = _network_s(stage, layout) * len(grid.tiles) * tile_area
    return StagePlan(
        label=label,
        input_px=size,
        output_px=(spec.output_px(width), spec.output_px(height)),
        layout=str(layout),
        grid=str(grid),
        memory_bytes=layout.bytes_per_px * tile_area * layout.batch,
        frame_s=frame_s,
        facts=dict(stage.facts()),
    )


def _plan_varied(
    stage: VariedStage,
    label: str,
    settings: EngineSettings,
    device: torch.device,
    size: tuple[int, int],
    tried: Mapping[str, float] | None,
) -> StagePlan:
    """The plan of the stage that is used elsewhere, with what is said and taken by all of them."""
    every = [plan_stage(one, label, settings, device, size, tried) for one in stage.stages]
    # One variant works at a time.
    most = max(plan.memory_bytes for plan in every)
    return replace(every[0], memory_bytes=most, facts=dict(stage.facts()))


def job_memory_bytes(stages: Sequence[StagePlan], settings: EngineSettings) -> int:
    """Upper estimate for program, stages and queues together.

    Stages run side by side, those that hold frames as well as the one that computes. There is a
    queue before and one behind all of them, and smaller ones between.
    """
    queues = 2 * settings.queue_bytes + len(stages) * (settings.queue_bytes // LINK_SHARE)
    return _PROGRAM_BYTES + queues + sum(stage.memory_bytes for stage in stages)


def _network_s(stage: Stage, layout: Layout) -> float:
    """Seconds for each input pixel, measured on a small tile after one run to warm up."""
    spec = stage.spec
    usual = (
        _TILE_PX
        if layout.device.type == "cpu"
        else min(_GPU_TILE_PX, layout.tile_px or _GPU_TILE_PX)
    )
    side = -(-max(usual, spec.minimum_px) // spec.multiple_of) * spec.multiple_of
    window = torch.full((1, spec.window, 3, side, side), 0.5, device=layout.device)
    stage.place(layout.device, layout.dtype)
    spent = 0.0
    with torch.inference_mode():
        for _ in range(2):
            began = time.perf_counter()
            stage.run(window, [0])
            if layout.device.type == "cuda":
                torch.cuda.synchronize(layout.device)
            spent = time.perf_counter() - began
    return spent / (side * side)


def streams_s(pipeline: Sequence[AnyStage], device: torch.device) -> dict[str, float]:
    """Seconds for each pixel of each frame taken, by label, of the stages that work on the stream.

    They get a short film of grain and detail that pans, one after the other, and are not fit for a
    job after that. The time of what is learned once for a shot is spread over few frames: an upper
    estimate.

    Args:
        pipeline: stages that have seen no frame.
        device: where frames are.

    Returns:
        Nothing where one of them refuses such frames.
    """
    runners = [
        StreamRunner(stage, label, CancelToken())
        for stage, label in zip(pipeline, pipeline_labels(pipeline), strict=True)
        if isinstance(stage, StreamStage)
    ]
    frames: Iterator[Frame] = _film(device)
    for runner in runners:
        frames = runner.stream(frames)
    try:
        with torch.inference_mode():
            for _ in frames:
                pass
    except RestoreError:
        return {}
    area = _WIDTH_PX * _HEIGHT_PX
    return {runner.label: runner.elapsed_s / (_FRAMES * area) for runner in runners}


def _film(device: torch.device) -> Iterator[Frame]:
    """A pan over detail of several sizes, with flicker and grain; R'G'B', 0..1."""
    random = torch.Generator().manual_seed(0)
    wide = _WIDTH_PX + 4 * _FRAMES
    ground = torch.zeros(3, _HEIGHT_PX, wide)
    for shrink in (4, 16):
        coarse = torch.rand(1, 3, _HEIGHT_PX // shrink, wide // shrink, generator=random)
        ground += F.interpolate(coarse, size=(_HEIGHT_PX, wide), mode="bicubic")[0] / 2
    for number in range(_FRAMES):
        shown = ground[:, :, 3 * number : 3 * number + _WIDTH_PX] * (0.95 + 0.01 * (number % 5))
        grain = torch.randn(shown.shape, generator=random) * 0.03
        picture = (0.2 + 0.6 * shown + grain).clamp(0, 1).to(device)
        yield Frame(picture, number, Fraction(1, 25), _RGB, number, duration=1)
