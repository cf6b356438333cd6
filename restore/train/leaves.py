"""Dead leaves: scenes of overlapping shapes of every size, the simplest pictures with real edges.

A. Lee, D. Mumford, J. Huang, "Occlusion models for natural images", 2001; that networks for
restoration learn from them is R. Achddou, Y. Gousseau, S. Ladjal, "Synthetic images as a regularity
prior for image restoration neural networks", 2021. Radii follow a power law of exponent 2,
which leaves large shapes uncovered in part; colours come from photographs.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from restore.degrade.resize import resize

__all__ = ["dead_leaves"]

Picture = NDArray[np.uint8]
OVERSAMPLING = 2  # drawn larger and shrunk, so that edges have no staircase


def dead_leaves(size_px: int, colours: Picture, random: np.random.Generator) -> Picture:
    """A square scene.

    Args:
        size_px: its side.
        colours: ``[h, w, 3]`` uint8 R'G'B' of a photograph, where the colours are taken from.
        random: decides everything else.

    Returns:
        ``[size_px, size_px, 3]`` uint8 R'G'B'.
    """
    side = size_px * OVERSAMPLING
    palette = colours.reshape(-1, 3)
    scene = np.empty((side, side, 3), np.float32)
    scene[:] = palette[int(random.integers(len(palette)))]
    least, most = 2.0 * OVERSAMPLING, 0.5 * side
    count = int(random.integers(100, 400))
    # The inverse of the power law's distribution, largest first so that small ones are seen.
    spread = random.random(count)
    radii = 1.0 / (1.0 / most + spread * (1.0 / least - 1.0 / most))
    for radius in np.sort(radii)[::-1]:
        _draw(scene, float(radius), palette, random)
    small = resize(scene, (size_px, size_px), "bicubic")
    return np.clip(np.rint(small), 0, 255).astype(np.uint8)


def _draw(
    scene: NDArray[np.float32], radius: float, palette: Picture, random: np.random.Generator
) -> None:
    """One leaf, plain or shaded: an ellipse, a polygon, or the outline or a stripe of one."""
    side = scene.shape[0]
    y, x = random.uniform(-0.2 * side, 1.2 * side, 2)
    mask = np.zeros((side, side), np.uint8)
    kind, turn = random.random(), float(random.uniform(0, 360))
    width = -1 if random.random() < 0.8 else int(random.integers(2, 12))
    if kind < 0.45:
        axes = (max(1, round(radius)), max(1, round(radius * random.uniform(0.3, 1.0))))
        cv2.ellipse(mask, (round(x), round(y)), axes, turn, 0, 360, 1, width)
    elif kind < 0.85:
        angles = np.sort(random.uniform(0, 2 * np.pi, int(random.integers(3, 7))))
        reach = radius * random.uniform(0.6, 1.3, len(angles))
        corners = np.stack([x + reach * np.cos(angles), y + reach * np.sin(angles)], axis=1)
        points = np.rint(corners).astype(np.int32)[None]
        if width < 0:
            cv2.fillPoly(mask, [points], 1)
        else:
            cv2.polylines(mask, [points], True, 1, width)
    else:
        far = radius * 4 * np.array([np.cos(turn), np.sin(turn)])
        ends = np.rint([x - far[0], y - far[1], x + far[0], y + far[1]]).astype(int).tolist()
        cv2.line(mask, tuple(ends[:2]), tuple(ends[2:]), 1, int(random.integers(2, 10)))
    inside = mask.astype(bool)
    colour = palette[int(random.integers(len(palette)))].astype(np.float32)
    if random.random() < 0.5:
        scene[inside] = colour
        return
    other = palette[int(random.integers(len(palette)))].astype(np.float32)
    rows, columns = np.nonzero(inside)
    along = (rows - y) * np.sin(turn) + (columns - x) * np.cos(turn)
    share = np.clip(0.5 + 0.25 * along / radius, 0.0, 1.0)[:, None].astype(np.float32)
    scene[rows, columns] = colour + share * 0.6 * (other - colour)
