"""Moving pictures made from a photograph: a camera that pans and zooms, and an object before it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates  # type: ignore[attr-defined]

from restore.degrade.optics import blur
from restore.degrade.resize import resize
from restore.degrade.seeds import generator
from restore.errors import InvalidInput

__all__ = ["moving_clip"]

Array = NDArray[np.float32]


def moving_clip(photo: NDArray[np.generic], frames: int, size: tuple[int, int], seed: int) -> Array:
    """A clip filmed off a photograph.

    The camera pans and zooms along a smooth path; a soft-edged piece of the same photograph moves
    across at its own speed, so that there are occlusions and parallax. Every sample lies at its
    exact sub-pixel place (cubic interpolation in a photograph shrunk so that a source pixel is
    never smaller than about a frame's pixel, so nothing aliases).

    Args:
        photo: ``[h, w, 3]``, uint8 0..255 or float 0..1, R'G'B'.
        frames: number of frames.
        size: ``(height, width)`` of a frame.
        seed: the same seed gives the same path.

    Returns:
        ``[frames, height, width, 3]`` float32 R'G'B', 0..1.

    Raises:
        InvalidInput: a photo of another shape, no frames, or no size.
    """
    if photo.ndim != 3 or photo.shape[2] != 3:
        raise InvalidInput(f"a photo of shape {photo.shape}", "[h, w, 3]")
    if frames < 1 or min(size) < 1:
        raise InvalidInput(f"{frames} frames of {size[1]}x{size[0]} px", "at least one of 1x1")
    source = photo.astype(np.float32)
    if photo.dtype == np.uint8:
        source /= 255.0
    height, width = size
    random = generator(seed, "scene")
    ground = _cover(source, size, 1.25 + 0.2 * random.random())
    paths = _camera(frames, ground.shape[:2], size, random)
    layer, alpha = _object(source, size, random)
    start, speed = random.random(2) * (height, width), random.normal(0.0, 0.006 * width, 2)
    out = np.empty((frames, height, width, 3), np.float32)
    for number in range(frames):
        y, x, zoom = paths[number]
        picture = _sample(ground, (y, x), zoom, size)
        ly, lx = start + speed * number - np.array(alpha.shape[:2]) / 2.0
        cover = _sample(alpha, (-ly, -lx), 1.0, size, outside=0.0)
        above = _sample(layer, (-ly, -lx), 1.0, size)
        out[number] = picture + cover * (above - picture)
    return np.clip(out, 0.0, 1.0)


def _cover(source: Array, size: tuple[int, int], margin: float) -> Array:
    """The photograph resampled to just cover ``margin`` times the frame."""
    ratio = max(size[0] * margin / source.shape[0], size[1] * margin / source.shape[1])
    target = (int(np.ceil(source.shape[0] * ratio)), int(np.ceil(source.shape[1] * ratio)))
    return resize(source, target, "bicubic")


def _camera(
    frames: int, ground: tuple[int, int], size: tuple[int, int], random: np.random.Generator
) -> NDArray[np.float64]:
    """Top left corner (y, x) and zoom (source pixels per pixel, about 1) of each frame."""
    room = np.array([ground[0] - 1 - 1.04 * (size[0] - 1), ground[1] - 1 - 1.04 * (size[1] - 1)])
    room = np.maximum(room, 0.0)
    first, heading = random.random(2) * room, random.normal(0.0, 1.0, 2)
    heading /= max(float(np.hypot(*heading)), 1e-6)
    speed_px = size[1] * random.uniform(0.002, 0.008)
    period, depth = random.uniform(40, 120), 0.04 * random.random()
    time = np.arange(frames)
    zoom = 1.0 + depth * np.sin(2 * np.pi * time / period) ** 2
    place = first + np.outer(time * speed_px, heading)
    # Folded back at the edges, so that a long pan stays inside the photograph.
    span = np.maximum(room, 1e-6)
    place = span - np.abs(np.mod(place, 2 * span) - span)
    return np.concatenate([np.minimum(place, room), zoom[:, None]], axis=1)


def _object(
    source: Array, size: tuple[int, int], random: np.random.Generator
) -> tuple[Array, Array]:
    """A piece of the photograph and its soft round outline, ``[h, w, 3]`` and ``[h, w, 1]``."""
    side = max(8, int(0.35 * min(size)))
    small = _cover(source, size, 1.0)
    y = int(random.integers(max(1, small.shape[0] - side)))
    x = int(random.integers(max(1, small.shape[1] - side)))
    piece = small[y : y + side, x : x + side]
    yy, xx = np.mgrid[: piece.shape[0], : piece.shape[1]].astype(np.float32)
    cy, cx = (piece.shape[0] - 1) / 2.0, (piece.shape[1] - 1) / 2.0
    distance = np.sqrt(((yy - cy) / (0.42 * side)) ** 2 + ((xx - cx) / (0.34 * side)) ** 2)
    outline = np.clip((1.0 - distance) * 0.34 * side + 0.5, 0.0, 1.0)[..., None]
    return piece, blur(outline.astype(np.float32), (0.7, 0.7))


def _sample(
    picture: Array,
    corner: tuple[float, float],
    zoom: float,
    size: tuple[int, int],
    outside: float | None = None,
) -> Array:
    """A window of the picture at a sub-pixel place; beyond it mirrored, or ``outside``."""
    rows = corner[0] + np.arange(size[0]) * zoom
    columns = corner[1] + np.arange(size[1]) * zoom
    grid = np.meshgrid(rows, columns, indexing="ij")
    mode, value = ("mirror", 0.0) if outside is None else ("constant", outside)
    planes = [
        map_coordinates(picture[..., c], grid, order=3, mode=mode, cval=value)
        for c in range(picture.shape[2])
    ]
    return np.stack(planes, axis=-1).astype(np.float32)
