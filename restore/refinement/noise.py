"""Noise that lies on the things in the picture and moves with them, of unit variance everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from restore.motion.warp import warp

__all__ = ["SceneNoise", "white"]

Words = NDArray[np.uint64]


class SceneNoise:
    """The noise of one shot.

    Each latent's noise is the normed sum of fine noise, one sample for each pixel under it. Fine
    noise is fixed in the scene: a map holds, for every pixel, the place of the scene that it shows.
    The map is carried along the motion from frame to frame, exactly, so that motion of a fraction
    of a latent moves the noise by as much; what comes into view gets places of its own. A block in
    which a place shows twice is normed by how often each shows, so that the variance is one always
    and neighbours share nothing but places that both show (the aim of P. Chang et al., "How I
    Warped Your Noise", ICLR 2024, and R. Burgert et al., "Go-with-the-Flow", CVPR 2025).

    Args:
        channels: of the latents.
        size: rows and columns of the latents.
        cell_px: pixels that a latent covers, on a side.
        seed: of the shot.
    """

    def __init__(self, channels: int, size: tuple[int, int], cell_px: int, seed: int) -> None:
        self._channels = channels
        self._size = size
        self._cell = cell_px
        self._seed = seed
        rows, cols = size
        generator = torch.Generator().manual_seed(seed)
        #: What a pipeline would draw by itself from this seed.
        self._first = torch.randn(1, channels, rows, cols, generator=generator)
        height, width = rows * cell_px, cols * cell_px
        self._x = torch.arange(width, dtype=torch.float32).expand(height, width).clone()
        self._y = torch.arange(height, dtype=torch.float32)[:, None].expand(height, width).clone()
        self._born = torch.zeros(height, width, dtype=torch.int64)
        self._frame = 0
        self._shift = self._first_shift()

    def first(self) -> Tensor:
        """The noise of the shot's first frame: ``[1, C, rows, cols]`` float32."""
        return self._first

    def moved(self, flow: Tensor, hidden: Tensor) -> Tensor:
        """The noise of the next frame.

        Args:
            flow: ``[1, 2, h, w]`` px: where each pixel of the next frame lies in the one before. As
                large as the frame; what the latents cover beyond it moves as its edge.
            hidden: ``[1, 1, h, w]`` bool: what the frame before does not show.

        Returns:
            ``[1, C, rows, cols]`` float32.
        """
        self._frame += 1
        height, width = self._x.shape
        below, right = height - flow.shape[-2], width - flow.shape[-1]
        edge = (0, right, 0, below)
        flow = F.pad(flow.cpu().float(), edge, mode="replicate")
        new = F.pad(hidden.cpu().float(), edge, mode="replicate")[0, 0] > 0.5
        rows = torch.arange(height, dtype=torch.float32)[:, None]
        cols = torch.arange(width, dtype=torch.float32)
        # The layer of the nearest pixel; places are fetched between pixels of that layer only.
        near_y = (rows + flow[0, 1]).round().clamp(0, height - 1).long()
        near_x = (cols + flow[0, 0]).round().clamp(0, width - 1).long()
        born = self._born[near_y, near_x]
        rest = torch.stack([self._x - cols, self._y - rows])[None]
        fetched = warp(rest, flow)[0]
        layers = warp(self._born[None, None].float(), flow)[0, 0]
        mixed = (layers - born.float()).abs() > 1e-3
        x = torch.where(mixed, self._x[near_y, near_x], fetched[0] + cols + flow[0, 0])
        y = torch.where(mixed, self._y[near_y, near_x], fetched[1] + rows + flow[0, 1])
        self._x = torch.where(new, cols.expand_as(x), x)
        self._y = torch.where(new, rows.expand_as(y), y)
        self._born = torch.where(new, torch.full_like(born, self._frame), born)
        return self._gathered()

    def _gathered(self) -> Tensor:
        """Sum of the fine noise under each latent, normed by how often each place counts."""
        rows, cols = self._size
        x = self._x.round().long()
        y = self._y.round().long()
        place = self._blocks(_mixed(self._seed, self._born.numpy(), y.numpy(), x.numpy()))
        norm = torch.from_numpy(1 / np.sqrt(_squares(place))).float().reshape(rows, cols)
        fine = torch.from_numpy(white(place, self._channels)).sum(2)
        fine = fine.reshape(self._channels, rows, cols)
        # The first frame's noise is what the pipeline drew: its blocks are shifted to that sum.
        fine = fine + self._anchor(x, y)
        return (fine * norm)[None]

    def _anchor(self, x: Tensor, y: Tensor) -> Tensor:
        """What is added to fine noise that was there from the first frame, summed by latent."""
        rows, cols = self._size
        height, width = rows * self._cell, cols * self._cell
        inside = (self._born == 0) & (x >= 0) & (y >= 0) & (x < width) & (y < height)
        row, col = y.clamp(0, height - 1) // self._cell, x.clamp(0, width - 1) // self._cell
        here = self._shift[:, row, col]
        here = here * inside
        blocks = here.reshape(self._channels, rows, self._cell, cols, self._cell)
        return blocks.sum((2, 4))

    def _first_shift(self) -> Tensor:
        """For each latent of the first frame: what brings its fine noise to the sum it drew."""
        rows, cols = self._size
        y, x = np.mgrid[0 : rows * self._cell, 0 : cols * self._cell]
        place = self._blocks(_mixed(self._seed, np.zeros_like(x), y, x))
        mean = torch.from_numpy(white(place, self._channels)).mean(2)
        return self._first[0] / self._cell - mean.reshape(self._channels, rows, cols)

    def _blocks(self, plane: Words) -> Words:
        """``[rows * cell, cols * cell]`` to ``[rows * cols, cell * cell]``."""
        (rows, cols), cell = self._size, self._cell
        parts = plane.reshape(rows, cell, cols, cell).transpose(0, 2, 1, 3)
        return np.ascontiguousarray(parts.reshape(rows * cols, cell * cell))


def _squares(places: Words) -> NDArray[np.float64]:
    """For each row: the sum over its distinct values of how often each occurs, squared."""
    ordered = np.sort(places, axis=1)
    width = ordered.shape[1]
    total = np.full(len(ordered), float(width))
    # Each pair of equal values counts twice in the sum of squares.
    for step in range(1, width):
        same = (ordered[:, step:] == ordered[:, :-step]).sum(1)
        if not same.any():
            break
        total += 2 * same
    return total


def _mixed(seed: int, *numbers: NDArray[Any]) -> Words:
    """One 64 bit word for each place, by the finaliser of SplitMix64."""
    shape = np.broadcast_shapes(*(number.shape for number in numbers))
    word = np.full(shape, np.uint64(seed & (2**64 - 1)))
    for number in numbers:
        word = _stirred(word ^ number.astype(np.int64).view(np.uint64))
    return word


def _stirred(word: Words) -> Words:
    word = word + np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(word ^ (word >> np.uint64(31)), np.uint64)


def white(words: Words, channels: int) -> NDArray[np.float32]:
    """Normal samples ``[channels, *words.shape]`` of unit variance, each from its word alone.

    G. Box and M. Muller's transform of hashed words (G. Steele et al., "Fast splittable
    pseudorandom number generators", 2014): any place's noise is known without its neighbours'.
    """
    out = np.empty((channels, *words.shape), np.float32)
    for pair in range(0, channels, 2):
        word = _stirred(words ^ np.uint64(pair + 1))
        upper = (word >> np.uint64(32)).astype(np.float64)
        lower = (word & np.uint64(0xFFFFFFFF)).astype(np.float64)
        radius = np.sqrt(-2 * np.log((upper + 1) / 2**32))
        angle = lower * (2 * np.pi / 2**32)
        out[pair] = radius * np.cos(angle)
        if pair + 1 < channels:
            out[pair + 1] = radius * np.sin(angle)
    return out
