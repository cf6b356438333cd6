"""Synthetic motion with its truth: layers cut from photographs, each moving on its own.

The ground and up to four pieces before it move, turn, grow and bend, so that there are occlusions,
parallax, thin structures and large motion. Every moment is rendered at twice the size with cubic
interpolation and then averaged down: each has edges as a lens would give them, and none is a
resampled version of another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from restore.degrade.seeds import generator

__all__ = ["MARGIN_PX", "Triplet", "render_triplet"]

Array = NDArray[np.float32]
Picture = NDArray[np.uint8]

_FINE: Final = 2  # samples a side for each pixel
MARGIN_PX: Final = 48  # photograph kept around the tile for motion to bring in
_MOST_PIECES: Final = 4
_SHUTTER_STEPS: Final = 5


@dataclass(frozen=True)
class Triplet:
    """Two frames, and the truth between them.

    Attributes:
        first: ``[h, w, 3]`` uint8 R'G'B'.
        second: of the same shape.
        truth: of the same shape, without noise.
        time: of the truth, 0 at the first frame and 1 at the second.
        drawn: what was drawn, for the record.
    """

    first: Picture
    second: Picture
    truth: Picture
    time: float
    drawn: dict[str, Any]


@dataclass(frozen=True)
class _Layer:
    """A piece of photograph that moves; lengths in fine samples."""

    colour: Array
    alpha: Array
    speed: NDArray[np.float64]
    turn: float
    growth: float
    bend: Array


def render_triplet(sources: list[tuple[str, int, Picture]], tile_px: int, seed: int) -> Triplet:
    """Draws and renders one triplet; the same seed gives the same pixels.

    Args:
        sources: name, shrinking level and pixels ``[h, w, 3]`` of photographs.
        tile_px: side of the result.
        seed: decides everything.
    """
    random = generator(seed, "layered")
    side = _FINE * (tile_px + 2 * MARGIN_PX)
    large = random.random() < 0.25
    reach_px = random.uniform(8, 30) if large else random.uniform(0.5, 9)
    pieces = int(random.integers(0, _MOST_PIECES + 1))
    names, layers = [], []
    drift = random.normal(0, 0.4, 2) * reach_px
    for number in range(1 + pieces):
        name, level, photo = sources[int(random.integers(len(sources)))]
        colour = _cut(photo, side, random)
        alpha = np.ones((side, side), np.float32) if number == 0 else _shape(side, random)
        layers.append(_layer(colour, alpha, drift, reach_px, random))
        names.append(f"{name}/{level}")
    time = 0.5 if random.random() < 0.6 else float(random.uniform(0.1, 0.9))
    shutter = random.uniform(0.2, 0.5) if random.random() < 0.1 else 0.0
    frames = [_moment(layers, when, shutter, tile_px) for when in (0.0, 1.0, time)]
    if random.random() < 0.2:
        gain = random.uniform(0.96, 1.04)
        frames = [f * (1 + (gain - 1) * w) for f, w in zip(frames, (0.0, 1.0, time), strict=True)]
    noise = random.uniform(0.5, 3.0) / 255 if random.random() < 0.4 else 0.0
    for index in (0, 1):
        grain = random.standard_normal(frames[index].shape, np.float32)
        frames[index] = frames[index] + grain * np.float32(noise)
    done = [np.clip(np.rint(f * 255), 0, 255).astype(np.uint8) for f in frames]
    drawn = {"sources": names, "time": round(time, 4), "reach_px": round(float(reach_px), 2)}
    drawn |= {"shutter": round(float(shutter), 3), "noise": round(float(noise), 5)}
    return Triplet(done[0], done[1], done[2], time, drawn)


def _cut(photo: Picture, side: int, random: np.random.Generator) -> Array:
    """A square of a photograph, mirrored at its border where the photograph is too small."""
    missing = [max(0, side - n) for n in photo.shape[:2]]
    if any(missing):
        photo = np.pad(photo, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric")
    y = int(random.integers(photo.shape[0] - side + 1))
    x = int(random.integers(photo.shape[1] - side + 1))
    return photo[y : y + side, x : x + side].astype(np.float32) / np.float32(255)


def _shape(side: int, random: np.random.Generator) -> Array:
    """How much of a piece is there, 0..1: a blob, a polygon or a bundle of thin bars."""
    canvas = np.zeros((side, side), np.uint8)
    centre = random.uniform(0.2, 0.8, 2) * side
    kind = random.random()
    if kind < 0.2:
        for _ in range(int(random.integers(1, 6))):
            angle, length = random.uniform(0, np.pi), random.uniform(0.2, 1.0) * side
            middle = centre + random.normal(0, 0.12, 2) * side
            along = np.array([np.cos(angle), np.sin(angle)]) * length / 2
            ends = [tuple(int(v) for v in middle + sign * along) for sign in (-1, 1)]
            cv2.line(canvas, ends[0], ends[1], 255, int(random.integers(1, 7)) * _FINE, cv2.LINE_AA)
    else:
        corners = int(random.integers(3, 12))
        angles = np.sort(random.uniform(0, 2 * np.pi, corners))
        if kind < 0.6:
            angles, corners = np.linspace(0, 2 * np.pi, 64, endpoint=False), 64
        radius = side * random.uniform(0.06, 0.25)
        waves = sum(
            random.normal(0, 0.35 / n) * np.cos(n * angles + random.uniform(0, 2 * np.pi))
            for n in range(1, 6)
        )
        radii = radius * np.clip(1 + waves, 0.2, 2.5)
        ring = centre + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
        cv2.fillPoly(canvas, [ring.astype(np.int32)], 255, cv2.LINE_AA)
    soft = random.uniform(2.0, 6.0) if random.random() < 0.2 else 0.7
    return cv2.GaussianBlur(canvas, (0, 0), soft).astype(np.float32) / np.float32(255)


def _layer(
    colour: Array,
    alpha: Array,
    drift: NDArray[np.float64],
    reach_px: float,
    random: np.random.Generator,
) -> _Layer:
    """Gives a piece its motion: the scene's drift, some of its own, a turn, growth and bending."""
    if random.random() < 0.3:
        colour = cv2.GaussianBlur(colour, (0, 0), random.uniform(0.5, 2.0)).astype(np.float32)
    own = random.normal(0, 0.45, 2) * reach_px
    coarse = random.normal(0, 1, (4, 4, 2)) * random.choice([0.0, 0.04, 0.12]) * reach_px * _FINE
    bend = cv2.resize(coarse.astype(np.float32), alpha.shape[::-1], interpolation=cv2.INTER_CUBIC)
    turning = min(1.0, reach_px / 10)
    return _Layer(
        colour,
        alpha,
        np.clip(drift + own, -40, 40) * _FINE,
        float(random.normal(0, 0.025) * turning),
        float(random.normal(0, 0.015) * turning),
        bend.astype(np.float32),
    )


def _moment(layers: list[_Layer], when: float, shutter: float, tile_px: int) -> Array:
    """The scene at a moment, or averaged over the time that the shutter is open."""
    if not shutter:
        return _still(layers, when, tile_px)
    moments = when + np.linspace(-shutter / 2, shutter / 2, _SHUTTER_STEPS)
    stills = [_still(layers, float(m), tile_px) for m in moments]
    return np.asarray(np.mean(stills, axis=0), np.float32)


def _still(layers: list[_Layer], when: float, tile_px: int) -> Array:
    fine = tile_px * _FINE
    scene = np.zeros((fine, fine, 3), np.float32)
    for layer in layers:
        columns, rows = _places(layer, when - 0.5, fine)
        colour = cv2.remap(
            layer.colour, columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
        )
        outside = cv2.BORDER_CONSTANT if layer is not layers[0] else cv2.BORDER_REPLICATE
        alpha = cv2.remap(layer.alpha, columns, rows, cv2.INTER_LINEAR, borderMode=outside)
        scene += alpha[..., None] * (colour - scene)
    small = cv2.resize(scene, (tile_px, tile_px), interpolation=cv2.INTER_AREA)
    return np.clip(small, 0, 1).astype(np.float32)


def _places(layer: _Layer, since: float, fine: int) -> tuple[Array, Array]:
    """Where in a layer each fine sample lies, ``since`` the middle of the two frames."""
    middle = (layer.alpha.shape[0] - 1) / 2
    axis = np.arange(fine, dtype=np.float32) - np.float32((fine - 1) / 2)
    columns, rows = np.meshgrid(axis, axis)
    columns = columns - np.float32(layer.speed[0] * since)
    rows = rows - np.float32(layer.speed[1] * since)
    zoom = np.exp(-layer.growth * since)
    cosine = np.float32(np.cos(layer.turn * since) * zoom)
    sine = np.float32(np.sin(layer.turn * since) * zoom)
    x = columns * cosine + rows * sine
    y = rows * cosine - columns * sine
    inner = slice((layer.alpha.shape[0] - fine) // 2, (layer.alpha.shape[0] + fine) // 2)
    bend = layer.bend[inner, inner] * np.float32(since)
    return x + bend[..., 0] + np.float32(middle), y + bend[..., 1] + np.float32(middle)
