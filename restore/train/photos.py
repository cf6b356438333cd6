"""Training photographs: found in a folder, held against the evaluation set, shrunk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from restore.degrade.resize import shrink
from restore.errors import InvalidInput
from restore.train.holdout import held_out

__all__ = ["BUNDLED", "Photo", "levels", "load_photos", "read_rgb"]

SUFFIXES: Final = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp"}

# Only what scikit-image's documentation names as CC0 or public domain; four photographs of the same
# kind (astronaut, chelsea, coffee, rocket) are left to the demonstration and the benchmarks.
BUNDLED: Final = (
    "brick.png",
    "camera.png",
    "clock_motion.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "retina.jpg",
    "text.png",
)


@dataclass(frozen=True)
class Photo:
    """A training photograph.

    Attributes:
        name: file name.
        sha256: of the file's bytes.
        pixels: ``[H, W, 3]`` uint8 R'G'B', full range.
        whole: True where the file is small and sharp, so that it is also used unshrunk.
    """

    name: str
    sha256: str
    pixels: NDArray[np.uint8]
    whole: bool


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """A picture file as ``[H, W, 3]`` uint8 R'G'B', full range."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"), dtype=np.uint8)


def load_photos(folder: Path, bundled: bool, leave_out: tuple[str, ...] = ()) -> list[Photo]:
    """Every photograph under ``folder``, in the order of their names, without held-out ones.

    Args:
        folder: searched recursively for PNG, JPEG, TIFF and WebP files.
        bundled: add scikit-image's free photographs.
        leave_out: names of files not to take.

    Raises:
        InvalidInput: the folder holds no usable photograph.
    """
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    photos = list(_read(paths, whole=False))
    if not photos:
        raise InvalidInput(
            f"{folder} holds no training photograph", "at least one picture not held out"
        )
    if bundled:
        root = Path(str(files("skimage") / "data"))
        photos += _read([root / name for name in BUNDLED], whole=True)
    return [photo for photo in photos if photo.name not in leave_out]


def _read(paths: Iterable[Path], whole: bool) -> Iterable[Photo]:
    for path in paths:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        pixels = read_rgb(path)
        if not held_out(digest, pixels):
            yield Photo(path.name, digest, pixels, whole)


def levels(photo: Photo, factors: tuple[int, ...], least_px: int) -> list[NDArray[np.uint8]]:
    """The photograph at each shrinking factor whose shorter side keeps ``least_px`` pixels.

    Shrinking hides what the camera's JPEG and demosaicing did, and makes detail dense.
    """
    chosen = ((1, *factors) if photo.whole else factors) if factors else (1,)
    pictures = (photo.pixels if f == 1 else shrink(photo.pixels, f) for f in dict.fromkeys(chosen))
    return [picture for picture in pictures if min(picture.shape[:2]) >= least_px]
