"""Tile grids: where a frame is cut, what each tile sees, and how results are put together.

All tiles of a frame have one size, so that they stack into batches and compiled shapes are reused:
a tile near the border is moved inwards until it lies inside the frame. A tile's inner sides have at
least ``halo_px`` of context beyond its core; sides on the frame's border need none, since there the
stage sees the same border as with the whole frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product

import torch
from torch import Tensor

from restore.engine.stage import StageSpec, Tiling
from restore.errors import InvalidInput

__all__ = ["Assembler", "Tile", "TileGrid", "plan_grid"]


@dataclass(frozen=True)
class _Span:
    """One axis of a tile: seen ``[start, stop)`` and kept ``[core_start, core_stop)``.

    ``blend_before_px`` and ``blend_after_px`` are half the width of the ramp across each seam; a
    seam's two neighbours hold the same number.
    """

    start: int
    stop: int
    core_start: int
    core_stop: int
    blend_before_px: int = 0
    blend_after_px: int = 0


@dataclass(frozen=True)
class Tile:
    """A rectangle that a stage sees, ``rows`` x ``cols``, numbered in reading order."""

    number: int
    rows: _Span
    cols: _Span

    def cut(self, windows: Tensor) -> Tensor:
        """The tile's part of ``[..., h, w]``."""
        return windows[..., self.rows.start : self.rows.stop, self.cols.start : self.cols.stop]


@dataclass(frozen=True)
class TileGrid:
    """The cut of frames of one size.

    Attributes:
        height_px: height of the frame as the stage is given it (padding included).
        width_px: width, likewise.
        tile_px: height and width of every tile.
        halo_px: context on inner sides, at least.
        tiles: in reading order; one tile is the whole frame.
    """

    height_px: int
    width_px: int
    tile_px: tuple[int, int]
    halo_px: int
    tiles: tuple[Tile, ...]

    @property
    def is_whole(self) -> bool:
        """Whether there is one tile, the frame itself."""
        return len(self.tiles) == 1

    def __str__(self) -> str:
        if self.is_whole:
            return f"whole frame {self.width_px}x{self.height_px}"
        height, width = self.tile_px
        return f"{len(self.tiles)} tiles of {width}x{height} px, halo {self.halo_px} px"


def _spans(length: int, tile: int, halo: int, multiple: int) -> list[_Span]:
    """Cut one axis; ``length`` and ``tile`` are multiples of ``multiple``, starts are too."""
    if tile >= length:
        return [_Span(0, length, 0, length)]
    step = (tile - 2 * halo) // multiple * multiple
    starts = [0]
    while starts[-1] + tile < length:
        starts.append(min(starts[-1] + step, length - tile))
    # A seam lies in the middle of what two neighbours both see: each keeps at least its halo.
    seams = [0, *((a + tile + b) // 2 for a, b in pairwise(starts)), length]
    # A ramp stays within what both neighbours see and does not run into the next seam's ramp.
    blends = [0, *(0 for _ in starts)]
    for n in range(1, len(starts)):
        reach = (seams[n] - starts[n], starts[n - 1] + tile - seams[n])
        room = ((seams[n] - seams[n - 1]) // 2, (seams[n + 1] - seams[n]) // 2)
        blends[n] = min(*reach, *room)
    return [
        _Span(start, start + tile, seams[n], seams[n + 1], blends[n], blends[n + 1])
        for n, start in enumerate(starts)
    ]


def plan_grid(
    spec: StageSpec, height_px: int, width_px: int, tile_px: int, halo_px: int | None = None
) -> TileGrid:
    """Plan the cut of frames of one size.

    Args:
        spec: the stage's facts.
        height_px: frame height, already a multiple of ``spec.multiple_of``.
        width_px: frame width, likewise.
        tile_px: side of the tiles including their halo; 0 for whole frames.
        halo_px: context on inner sides; the stage's own where None.

    Raises:
        InvalidInput: the tile is too small for the stage's halo.
    """
    multiple = spec.multiple_of
    halo = spec.halo_px if halo_px is None else halo_px
    if tile_px == 0 or spec.tiling is Tiling.NEVER:
        tile_px = max(height_px, width_px)
    side = max(tile_px // multiple * multiple, multiple)
    smallest = smallest_tile_px(spec, halo)
    if side < smallest and side < max(height_px, width_px):
        raise InvalidInput(
            f"tile of {tile_px} px for stage {spec.name!r}",
            f"at least {smallest} px (halo {halo} px on both sides and a core)",
        )
    rows = _spans(height_px, side, halo, multiple)
    cols = _spans(width_px, side, halo, multiple)
    tiles = tuple(Tile(n, r, c) for n, (r, c) in enumerate(product(rows, cols)))
    size = (min(side, height_px), min(side, width_px))
    return TileGrid(height_px, width_px, size, halo, tiles)


def smallest_tile_px(spec: StageSpec, halo_px: int | None = None) -> int:
    """The smallest useful tile: both halos and a core of at least 16 px, on the stage's grid."""
    halo = spec.halo_px if halo_px is None else halo_px
    wanted = max(spec.minimum_px, 2 * halo + max(16, spec.multiple_of))
    return -(-wanted // spec.multiple_of) * spec.multiple_of


class Assembler:
    """Puts the tiles of one frame together, side by side or feathered.

    Feathering weighs every tile with a linear ramp over what it shares with its neighbour (a
    partition of unity), so that a small disagreement becomes a slope and not an edge.
    """

    def __init__(self, grid: TileGrid, scale: int, *, feather: bool) -> None:
        self.grid = grid
        self.scale = scale
        self.feather = feather and not grid.is_whole
        self._canvas: Tensor | None = None
        self._left = len(grid.tiles)

    def add(self, tile: Tile, result: Tensor) -> Tensor | None:
        """Place a tile's result ``[C, th * scale, tw * scale]``; the frame once it is complete."""
        grid, scale = self.grid, self.scale
        if grid.is_whole:
            return result
        if self._canvas is None:
            size = (result.shape[0], grid.height_px * scale, grid.width_px * scale)
            self._canvas = result.new_zeros(size) if self.feather else result.new_empty(size)
        rows, cols = tile.rows, tile.cols
        if self.feather:
            weight = _ramp(rows, grid.height_px, scale, result).unsqueeze(1) * _ramp(
                cols, grid.width_px, scale, result
            )
            place = self._canvas[
                :, rows.start * scale : rows.stop * scale, cols.start * scale : cols.stop * scale
            ]
            place += result * weight
        else:
            top, left = rows.core_start - rows.start, cols.core_start - cols.start
            height = rows.core_stop - rows.core_start
            width = cols.core_stop - cols.core_start
            self._canvas[
                :,
                rows.core_start * scale : rows.core_stop * scale,
                cols.core_start * scale : cols.core_stop * scale,
            ] = result[
                :, top * scale : (top + height) * scale, left * scale : (left + width) * scale
            ]
        self._left -= 1
        return self._canvas if self._left == 0 else None


def _ramp(span: _Span, length: int, scale: int, like: Tensor) -> Tensor:
    """Weights of one tile along one axis, ``[(stop - start) * scale]``.

    The two ramps across a seam add to one at every sample. Without any overlap they are a step.
    """
    position = torch.arange(span.start * scale, span.stop * scale, device=like.device) + 0.5
    weight = torch.ones_like(position)
    if span.start > 0:
        width = max(2 * span.blend_before_px * scale, 1e-3)
        weight = weight * ((position - span.core_start * scale) / width + 0.5).clamp(0, 1)
    if span.stop < length:
        width = max(2 * span.blend_after_px * scale, 1e-3)
        weight = weight * ((span.core_stop * scale - position) / width + 0.5).clamp(0, 1)
    return weight.to(like.dtype)
