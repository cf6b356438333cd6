"""How a stage is laid out on a device, and the ladder down when memory runs out."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import torch

from restore.engine.device import memory_budget_bytes
from restore.engine.footprint import peak_bytes_per_px
from restore.engine.settings import EngineSettings
from restore.engine.stage import Stage, StageSpec, Tiling
from restore.engine.tiles import TileGrid, plan_grid, smallest_tile_px
from restore.precision import choose_dtype

__all__ = ["Layout", "choose_layout", "is_out_of_memory", "next_rung", "padded_px"]

_MOST_TILES_AT_ONCE = 24  # the batch of the workflow that this project starts from
# A call of so many pixels fills any GPU; more only keeps frames waiting for each other.
_ENOUGH_PX = 1_600_000
_MORE_FRAMES = 3
_TILE_STEP_PX = 32
# Deep residual networks reach hundreds of pixels, of which all but the nearest count for little.
_SHORT_HALO_PX = 64


@dataclass(frozen=True)
class Layout:
    """Where and in which pieces a stage computes.

    Attributes:
        device: of the network calls.
        dtype: number format inside the stage.
        tile_px: side of tiles, halo included; 0 for whole frames.
        batch: tiles in one call.
        halo_px: context of tiles on inner sides. Less than the stage declares where its own halo
            leaves no tile that fits into memory; tiles are then feathered, and no longer exact.
        bytes_per_px: measured memory for each input pixel in float32; 0 where it was not needed.
    """

    device: torch.device
    dtype: torch.dtype
    tile_px: int
    batch: int
    halo_px: int
    bytes_per_px: int = 0

    def grid(self, spec: StageSpec, height_px: int, width_px: int) -> TileGrid:
        """The cut of frames of that size, padding included."""
        size = padded_px(spec, height_px, width_px)
        return plan_grid(spec, *size, self.tile_px, self.halo_px)

    def tiling(self, spec: StageSpec) -> Tiling:
        """How tiles of this layout relate to the whole frame."""
        is_short = spec.tiling is Tiling.EXACT and self.halo_px < spec.halo_px
        return Tiling.APPROXIMATE if is_short else spec.tiling

    def frames_at_once(self, tiles: int) -> int:
        """Frames whose tiles are computed together, so that calls are as full as they can be.

        Args:
            tiles: of each frame.
        """
        least = max(1, self.batch // tiles)
        if self.batch == 1:
            return 1

        def fill(frames: int) -> Fraction:
            count = frames * tiles
            return Fraction(count, -(-count // self.batch) * self.batch)

        # Frames wait for each other and take memory: a few more, and only where calls gain by it.
        return max(range(least, least + _MORE_FRAMES + 1), key=lambda n: (fill(n), -n))

    def calls(self, count: int) -> list[range]:
        """Which of ``count`` tiles go into each call; no call is much smaller than the others."""
        number = -(-count // self.batch)
        ends = [count * n // number for n in range(number + 1)]
        return [range(start, stop) for start, stop in pairwise(ends)]

    def __str__(self) -> str:
        tile = f"tiles of {self.tile_px} px" if self.tile_px else "whole frames"
        dtype = str(self.dtype).removeprefix("torch.")
        return f"{self.device}, {dtype}, {tile}, batch {self.batch}"


def padded_px(spec: StageSpec, height_px: int, width_px: int) -> tuple[int, int]:
    """Height and width of what the stage is given: at least its minimum, on its multiple."""
    height, width = (
        -(-max(length, spec.minimum_px) // spec.multiple_of) * spec.multiple_of
        for length in (height_px, width_px)
    )
    return height, width


def choose_layout(
    stage: Stage, settings: EngineSettings, device: torch.device, height_px: int, width_px: int
) -> Layout:
    """Lay a stage out for frames of one size, within the memory that the settings allow.

    What the settings name is taken; the rest follows from the stage's measured memory for each
    pixel, so the same settings give the same tiles on every machine of a kind.
    """
    spec = stage.spec
    dtype = choose_dtype(settings.precision, device.type, spec.dtypes)
    height, width = padded_px(spec, height_px, width_px)
    tile, batch = settings.tile_px, settings.batch
    if spec.tiling is Tiling.NEVER:
        tile = 0
    bytes_per_px, halo = 0, spec.halo_px
    if tile:
        halo = _halo_for(spec, tile, max(height, width))
    if tile is None or batch is None:
        stage.place(torch.device("cpu"), torch.float32)
        bytes_per_px = peak_bytes_per_px(stage)
        budget_px = (settings.memory_bytes or memory_budget_bytes(device)) // bytes_per_px
        if tile is None:
            tile, halo = _tile_for(spec, height, width, budget_px // (batch or 1))
        if batch is None:
            area = min(tile or height, height) * min(tile or width, width)
            # On a CPU a second tile in the same call costs cache and gains nothing.
            enough = min(_MOST_TILES_AT_ONCE, -(-_ENOUGH_PX // area))
            most = enough if device.type == "cuda" else 1
            batch = max(1, min(most, budget_px // area))
    return Layout(device, dtype, tile, batch, halo, bytes_per_px)


def _halo_for(spec: StageSpec, tile_px: int, longest_px: int) -> int:
    """The stage's own halo, or a short one where a tile of that side leaves no room for it."""
    if tile_px >= longest_px or tile_px >= smallest_tile_px(spec):
        return spec.halo_px
    return min(spec.halo_px, _SHORT_HALO_PX)


def _tile_for(spec: StageSpec, height_px: int, width_px: int, budget_px: int) -> tuple[int, int]:
    """Tile and halo for a number of pixels that fit into memory; tile 0 for whole frames."""
    if height_px * width_px <= budget_px:
        return 0, spec.halo_px
    step = math.lcm(_TILE_STEP_PX, spec.multiple_of)
    side = math.isqrt(budget_px) // step * step
    halo = _halo_for(spec, side, max(height_px, width_px))
    return max(side, smallest_tile_px(spec, halo)), halo


def next_rung(spec: StageSpec, layout: Layout, height_px: int, width_px: int) -> Layout | None:
    """The layout to try after ``layout`` ran out of memory; None at the bottom.

    Half the batch, down to one; then half the tile, with a short halo where the stage's own leaves
    no room, down to the smallest; then the CPU.
    """
    if layout.batch > 1:
        return replace(layout, batch=layout.batch // 2)
    if spec.tiling is not Tiling.NEVER:
        side = layout.tile_px or max(padded_px(spec, height_px, width_px))
        half = side // 2 // spec.multiple_of * spec.multiple_of
        halo = min(layout.halo_px, _halo_for(spec, half, max(height_px, width_px)))
        smaller = max(half, smallest_tile_px(spec, halo))
        if smaller < side:
            return replace(layout, tile_px=smaller, halo_px=halo)
    if layout.device.type != "cpu":
        return replace(layout, device=torch.device("cpu"), dtype=torch.float32)
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, on a GPU or on the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # The CPU allocator raises a plain RuntimeError.
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in text or "not enough memory" in text
    )
