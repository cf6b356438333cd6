"""Dust, hair and scratches: dark on a print, bright where the negative was dirty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restore.degrade.optics import blur
from restore.degrade.seeds import generator

__all__ = ["Dirt", "draw_dirt"]

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Dirt:
    """How dirty a reel is, for frames of any size.

    Attributes:
        dust_per_mpx: specks on a million pixels of one frame.
        dust_px: typical radius of a speck.
        hairs: mean number of hairs on a frame; each stays for one frame.
        scratches: vertical scratches that run through the whole clip.
        white_share: share of the damage that is bright instead of dark.
        opacity: how much a mark hides, 0..1.
    """

    dust_per_mpx: float = 0.0
    dust_px: float = 1.0
    hairs: float = 0.0
    scratches: int = 0
    white_share: float = 0.5
    opacity: float = 0.9


def draw_dirt(frame: Array, dirt: Dirt, key: tuple[int, int]) -> tuple[Array, NDArray[np.bool_]]:
    """Put one frame's dirt on it.

    Args:
        frame: ``[h, w, 3]`` R'G'B', 0..1.
        dirt: how much.
        key: (seed, frame number). Dust and hair change with every frame, scratches wander slowly.

    Returns:
        The dirty frame, and where it changed by dirt (``[h, w]``, True on a mark).
    """
    height, width = frame.shape[:2]
    dark = np.zeros((height, width), np.float32)
    white = np.zeros((height, width), np.float32)
    random = generator(key[0], "dirt", key[1])
    for _ in range(int(random.poisson(dirt.dust_per_mpx * height * width / 1e6))):
        _speck(white if random.random() < dirt.white_share else dark, dirt.dust_px, random)
    for _ in range(int(random.poisson(dirt.hairs))):
        _hair(white if random.random() < dirt.white_share else dark, random)
    for number in range(dirt.scratches):
        fixed = generator(key[0], "scratch", number)
        _scratch(white if fixed.random() < dirt.white_share else dark, fixed, key, number)
    if not (dark.any() or white.any()):
        return frame, np.zeros((height, width), np.bool_)
    soft = blur(np.stack([dark, white], axis=-1), (0.4, 0.4)) * np.float32(dirt.opacity)
    out = frame * (1.0 - soft[..., :1])
    out = out + (np.float32(0.97) - out) * soft[..., 1:]
    return out.astype(np.float32), soft.max(axis=-1) > 0.08


def _speck(plane: Array, typical_px: float, random: np.random.Generator) -> None:
    """A speck: a few overlapping ellipses, so that its outline is ragged."""
    height, width = plane.shape
    cy, cx = random.random() * height, random.random() * width
    radius = typical_px * float(random.lognormal(0.0, 0.55))
    reach = int(np.ceil(3 * radius)) + 1
    y0, y1 = max(0, int(cy) - reach), min(height, int(cy) + reach + 1)
    x0, x1 = max(0, int(cx) - reach), min(width, int(cx) + reach + 1)
    if y0 >= y1 or x0 >= x1:
        return
    yy, xx = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    for _ in range(int(random.integers(1, 5))):
        dy, dx = random.normal(0.0, 0.6 * radius, 2)
        angle, ratio = random.random() * np.pi, 0.4 + 0.6 * random.random()
        u = (xx - cx - dx) * np.cos(angle) + (yy - cy - dy) * np.sin(angle)
        v = -(xx - cx - dx) * np.sin(angle) + (yy - cy - dy) * np.cos(angle)
        inside = 1.0 - np.sqrt((u / radius) ** 2 + (v / (ratio * radius)) ** 2)
        part = np.clip(inside * radius + 0.5, 0.0, 1.0)
        np.maximum(plane[y0:y1, x0:x1], part, out=plane[y0:y1, x0:x1])


def _stroke(plane: Array, points: NDArray[np.float64], weight: float) -> None:
    """Marks points (y, x), spread over their four neighbours."""
    height, width = plane.shape
    low = np.floor(points).astype(np.intp)
    part = points - low
    for oy in (0, 1):
        for ox in (0, 1):
            y, x = low[:, 0] + oy, low[:, 1] + ox
            share = np.abs(1 - oy - part[:, 0]) * np.abs(1 - ox - part[:, 1])
            keep = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            np.maximum.at(plane, (y[keep], x[keep]), (weight * share[keep]).astype(np.float32))


def _hair(plane: Array, random: np.random.Generator) -> None:
    """A hair: a curve whose direction drifts, 5 to 35 % of the frame's height long."""
    height, width = plane.shape
    steps = max(8, int(height * (0.05 + 0.3 * random.random()) * 2))
    bend = random.normal(0.0, 0.06) + np.cumsum(random.normal(0.0, 0.012, steps))
    angle = random.random() * 2 * np.pi + np.cumsum(bend)
    start = random.random(2) * (height, width)
    points = start + 0.5 * np.cumsum(np.stack([np.sin(angle), np.cos(angle)], axis=1), axis=0)
    _stroke(plane, points, 1.0)
    if random.random() < 0.5:
        _stroke(plane, points + np.array([0.0, 0.6]), 0.8)


def _scratch(plane: Array, fixed: np.random.Generator, key: tuple[int, int], number: int) -> None:
    """A scratch: a vertical line that keeps its place and sways a little."""
    height, width = plane.shape
    place, sway_px = fixed.random() * width, 0.5 + 1.5 * fixed.random()
    period, phase = fixed.uniform(12, 60), fixed.random() * 2 * np.pi
    moved = place + sway_px * np.sin(2 * np.pi * key[1] / period + phase)
    random = generator(key[0], "scratch", number, key[1])
    if random.random() < 0.1:
        return
    rows = np.arange(height, dtype=np.float64)
    lean = moved + (rows / height - 0.5) * fixed.normal(0.0, 1.0)
    weight = 0.35 + 0.45 * fixed.random()
    _stroke(plane, np.stack([rows, lean], axis=1), weight)
