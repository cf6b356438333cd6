"""Moving pictures for tests of stages: real film, photographs that pan, spliced and weathered."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch

from restore.color import ColorSpec, Matrix, Primaries, Range, Transfer
from restore.degrade.grain import add_grain
from restore.degrade.scene import moving_clip
from restore.degrade.transport import flicker_gains, weave, weave_path_px
from restore.frames import Frame

RGB = ColorSpec(Matrix.RGB, Primaries.BT709, Transfer.SRGB, Range.FULL)
FILMS = (
    "a_trip_down_market_street_before_the_fire",
    "san_francisco_earthquake_and_fire",
    "the_great_train_robbery",
)


def picture(path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """R'G'B' ``[h, w, 3]`` uint8."""
    read = cv2.imread(str(path))
    assert read is not None, path
    read = read[..., ::-1]
    if size:
        read = cv2.resize(read, size[::-1], interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(read)


@cache
def film(assets: Path, name: str, size: tuple[int, int], frames: int = 60) -> np.ndarray:
    """Consecutive frames of a real film, ``[T, h, w, 3]`` float32."""
    paths = sorted((assets / "media" / "film" / name).glob("*.png"))[:frames]
    return np.stack([picture(path, size) for path in paths]).astype(np.float32) / 255


def photos(assets: Path) -> list[Path]:
    return sorted((assets / "media" / "photos").glob("*.jpg"))


@cache
def pan(assets: Path, number: int, frames: int, size: tuple[int, int]) -> np.ndarray:
    """A camera and an object that move over a photograph, ``[T, h, w, 3]`` float32."""
    photo = cv2.imread(str(photos(assets)[number]), cv2.IMREAD_REDUCED_COLOR_4)[..., ::-1]
    return moving_clip(np.ascontiguousarray(photo), frames, size, number)


def weathered(
    clip: np.ndarray, seed: int, *, flicker: float = 0.0, weave_px: float = 0.0, grain: float = 0.0
) -> np.ndarray:
    """What transport and stock do, every frame by itself."""
    gains = flicker_gains(len(clip), flicker, seed)
    path = weave_path_px(len(clip), weave_px, seed)
    out = np.empty_like(clip)
    for number, one in enumerate(clip):
        moved = weave(one, (float(path[number][0]), float(path[number][1])), 1.0)
        lit = np.clip(moved * np.float32(gains[number]), 0, 1)
        out[number] = add_grain(lit, grain, 0.5, 0.3, (seed, number)) if grain else lit
    return out


def frames_of(clip: np.ndarray, rate: Fraction = Fraction(25), start: int = 0) -> list[Frame]:
    return [
        Frame(
            torch.from_numpy(np.ascontiguousarray(one.transpose(2, 0, 1))),
            start + number,
            1 / rate,
            RGB,
            start + number,
            duration=1,
        )
        for number, one in enumerate(clip)
    ]


def array_of(frame: Frame) -> np.ndarray:
    return frame.data.permute(1, 2, 0).numpy()


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return 10 * float(np.log10(1 / max(error, 1e-12)))
