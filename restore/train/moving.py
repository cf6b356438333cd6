"""Moving shots cut from photographs, for models that look at several frames.

A camera pans, turns and zooms over a photograph with a gate's weave on top, and up to two pieces of
other photographs cross it on paths of their own, so that there are occlusions and parallax. Every
frame is sampled from the photographs themselves, none is a resampled version of another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from restore.degrade.transport import weave_path_px

__all__ = ["Shot", "draw_shot"]

Array = NDArray[np.float32]
Picture = NDArray[np.uint8]

_MOST_PIECES: Final = 2


@dataclass(frozen=True)
class Shot:
    """A clean moving shot.

    Attributes:
        frames: ``[T, size, size, 3]`` float32 R'G'B', 0..1.
        drawn: what was drawn, as JSON values.
    """

    frames: Array
    drawn: dict[str, Any]


@dataclass(frozen=True)
class _Path:
    """Where a layer is at each frame: an affine map from the frame to the layer."""

    start: NDArray[np.float64]
    speed: NDArray[np.float64]
    bend: NDArray[np.float64]
    turn: float
    growth: float

    def matrix(self, since: float, shift: NDArray[np.float64], size_px: int) -> Array:
        zoom, angle = np.exp(self.growth * since), self.turn * since
        c, s = zoom * np.cos(angle), zoom * np.sin(angle)
        middle = (size_px - 1) / 2
        place = self.start + self.speed * since + self.bend * since * abs(since) - shift
        y, x = place + middle - np.array([c * middle + s * middle, c * middle - s * middle])
        return np.array([[c, -s, x], [s, c, y]], np.float32)


def draw_shot(
    picture: Picture,
    pieces: list[Picture],
    count: int,
    size_px: int,
    weave_px: float,
    weave_seed: int,
    random: np.random.Generator,
) -> Shot:
    """Film a photograph.

    Args:
        picture: ``[h, w, 3]`` uint8, larger than ``size_px`` at each side; mirrored beyond.
        pieces: photographs that pieces are cut from; as many or fewer cross the shot.
        count: frames.
        size_px: side of a frame.
        weave_px: root mean square of the gate's weave.
        weave_seed: decides its path.
        random: decides everything else.
    """
    # Mostly slow: grain is averaged best there, and a fast shot looks the same to the search.
    reach_px = float(random.choice([0.0, 0.004, 0.01, 0.02, 0.05], p=[0.1, 0.2, 0.3, 0.3, 0.1]))
    room = np.array(picture.shape[:2]) - size_px
    start = random.random(2) * np.maximum(room, 0)
    ground = _path(start, reach_px * size_px, random)
    gate = weave_path_px(count, weave_px, weave_seed)
    layers = [
        (_piece(p, size_px, random), _path(np.zeros(2), 2 * reach_px * size_px, random))
        for p in pieces[: int(random.integers(_MOST_PIECES + 1))]
    ]
    source = picture.astype(np.float32) / np.float32(255)
    frames = np.empty((count, size_px, size_px, 3), np.float32)
    for number in range(count):
        since = number - (count - 1) / 2
        scene = _seen(source, ground.matrix(since, gate[number], size_px), size_px, mirrored=True)
        for (colour, cover), path in layers:
            matrix = path.matrix(since, gate[number], size_px)
            share = _seen(cover, matrix, size_px, mirrored=False)[..., None]
            above = _seen(colour, matrix, size_px, mirrored=True)
            scene = scene + share * (above - scene)
        frames[number] = np.clip(scene, 0, 1)
    drawn = {"reach": reach_px, "pieces": len(layers), "weave_px": round(weave_px, 3)}
    return Shot(frames, drawn)


def _path(start: NDArray[np.float64], reach_px: float, random: np.random.Generator) -> _Path:
    calm = min(1.0, reach_px / 4)
    return _Path(
        start,
        random.normal(0, 1, 2) * reach_px,
        random.normal(0, 0.1, 2) * reach_px,
        float(random.normal(0, 0.003)) * calm,
        float(random.normal(0, 0.003)) * calm,
    )


def _seen(layer: Array, matrix: Array, size_px: int, *, mirrored: bool) -> Array:
    border = cv2.BORDER_REFLECT_101 if mirrored else cv2.BORDER_CONSTANT
    kernel = cv2.INTER_CUBIC if mirrored else cv2.INTER_LINEAR
    seen = cv2.warpAffine(
        layer, matrix, (size_px, size_px), flags=kernel | cv2.WARP_INVERSE_MAP, borderMode=border
    )
    return np.asarray(seen, np.float32)


def _piece(photo: Picture, size_px: int, random: np.random.Generator) -> tuple[Array, Array]:
    """A square of a photograph and the outline, 0..1, of what of it is there."""
    y, x = (int(random.integers(max(1, n - size_px))) for n in photo.shape[:2])
    colour = photo[y : y + size_px, x : x + size_px].astype(np.float32) / np.float32(255)
    side = colour.shape[0]
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    waves = sum(
        random.normal(0, 0.3 / n) * np.cos(n * angles + random.uniform(0, 2 * np.pi))
        for n in range(1, 5)
    )
    radii = side * random.uniform(0.08, 0.3) * np.clip(1 + waves, 0.3, 2.0)
    middle = random.uniform(0.15, 0.85, 2) * side
    ring = middle + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    canvas = np.zeros(colour.shape[:2], np.uint8)
    cv2.fillPoly(canvas, [ring.astype(np.int32)], 255, cv2.LINE_AA)
    soft = random.uniform(0.7, 3.0)
    cover = cv2.GaussianBlur(canvas, (0, 0), soft).astype(np.float32) / np.float32(255)
    return colour, cover
