"""Training images with their captions, in the folder form of kohya's scripts."""

from __future__ import annotations

import hashlib
import re
import warnings
from dataclasses import dataclass
from io import BytesIO
from itertools import cycle, islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from restore.errors import InvalidInput

__all__ = ["Picture", "Shown", "bucket_for", "find_images", "read_cropped"]

_FOLDER: Final = re.compile(r"(?P<repeats>[1-9]\d{0,4})_(?P<words>.+)")
_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
_FORMATS: Final = ("PNG", "JPEG", "WEBP", "BMP")
_CAPTIONS: Final = (".txt", ".caption")
_MOST_PIXELS: Final = 200_000_000
_LONGEST: Final = 2  # a bucket's longer side over its shorter one


@dataclass(frozen=True)
class Picture:
    """One file.

    Attributes:
        name: path inside the folder of images, with ``/``.
        path: where it is.
        caption: what the text encoders are told.
        sha256: over the file's bytes and the caption.
        size_px: ``(width, height)``, upright.
        regularisation: whether it is there to keep what the model knew of the class.
    """

    name: str
    path: Path
    caption: str
    sha256: str
    size_px: tuple[int, int]
    regularisation: bool


@dataclass(frozen=True)
class Shown:
    """A picture and how often an epoch shows it."""

    picture: Picture
    repeats: int


def find_images(folder: Path, regularisation: Path | None = None) -> tuple[Shown, ...]:
    """Every image of an epoch.

    Args:
        folder: holds folders named ``N_trigger class``: each of their images is shown N times. An
            image's caption is in a file of its name that ends in ``.txt`` or ``.caption``; without
            one it is the folder's words.
        regularisation: the same form; its images are gone through, again from the first where they
            run out, until there are as many as training images.

    Raises:
        InvalidInput: no such folder, no image in it, or a file that is none.
    """
    found = [*_in_folder(folder, is_regularisation=False)]
    if regularisation is None:
        return tuple(found)
    held = [one.picture for one in _in_folder(regularisation, is_regularisation=True)]
    wanted = sum(one.repeats for one in found)
    counts = dict.fromkeys(range(len(held)), 0)
    for index in islice(cycle(range(len(held))), wanted):
        counts[index] += 1
    return (*found, *(Shown(held[index], times) for index, times in counts.items() if times))


def _in_folder(folder: Path, *, is_regularisation: bool) -> list[Shown]:
    if not folder.is_dir():
        raise InvalidInput(f"there is no folder {folder}", "a folder of training images")
    found = []
    for inner in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        match = _FOLDER.fullmatch(inner.name)
        if match is None:
            continue
        paths = sorted(p for p in inner.iterdir() if p.suffix.lower() in _SUFFIXES)
        for path in paths:
            name = f"{inner.name}/{path.name}"
            caption = _caption(path) or match["words"].strip()
            picture = _examined(name, path, caption, is_regularisation)
            found.append(Shown(picture, int(match["repeats"])))
    if not found:
        raise InvalidInput(
            f"{folder} holds no training image",
            "folders named 'N_trigger class' (10_sks tram) with PNG, JPEG, WebP or BMP files",
            "N is how often an epoch shows each image; the rest of the name is their caption.",
        )
    return found


def _caption(path: Path) -> str:
    for suffix in _CAPTIONS:
        beside = path.with_suffix(suffix)
        if beside.is_file():
            try:
                return " ".join(beside.read_text(encoding="utf-8-sig").split())
            except UnicodeDecodeError as error:
                raise InvalidInput(f"{beside} is no UTF-8 text", "a caption in UTF-8") from error
    return ""


def _opened(data: bytes, name: str) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(BytesIO(data), formats=_FORMATS)
            if picture.width * picture.height > _MOST_PIXELS:
                raise InvalidInput(
                    f"{name} has {picture.width}x{picture.height} px", f"at most {_MOST_PIXELS} px"
                )
            return ImageOps.exif_transpose(picture)
    except (
        UnidentifiedImageError,
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise InvalidInput(
            f"{name} cannot be read as a picture: {error}", "PNG, JPEG, WebP or BMP"
        ) from error


def _examined(name: str, path: Path, caption: str, is_regularisation: bool) -> Picture:
    data = path.read_bytes()
    picture = _opened(data, name)
    digest = hashlib.sha256(hashlib.sha256(data).digest() + caption.encode()).hexdigest()
    return Picture(name, path, caption, digest, picture.size, is_regularisation)


def bucket_for(size_px: tuple[int, int], resolution_px: int, step_px: int) -> tuple[int, int]:
    """The size that a picture is trained at: nearest in shape among those of about equal area.

    Args:
        size_px: ``(width, height)`` of the picture.
        resolution_px: no bucket has more pixels than a square of it.
        step_px: sides are multiples of it.

    Raises:
        InvalidInput: the resolution is smaller than the step.
    """
    most = resolution_px * resolution_px
    if resolution_px < step_px:
        raise InvalidInput(
            f"a resolution of {resolution_px} px", f"at least bucket_px = {step_px} px"
        )
    longest = min(_LONGEST * resolution_px, most // step_px)
    square = resolution_px // step_px * step_px
    buckets = [(square, square)]
    for width in range(step_px, longest + 1, step_px):
        height = min(most // width // step_px * step_px, longest // step_px * step_px)
        if height >= step_px:
            buckets.append((width, height))
    shape = np.log(size_px[0] / size_px[1])
    return min(buckets, key=lambda b: (round(abs(np.log(b[0] / b[1]) - shape), 9), -b[0] * b[1], b))


def read_cropped(
    picture: Picture, bucket_px: tuple[int, int]
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """A picture, resized to cover its bucket and cut to it about the middle.

    Returns:
        ``[H, W, 3]`` uint8 R'G'B', full range, and ``(left, top)`` of the cut in resized pixels.

    Raises:
        InvalidInput: the file has changed since.
    """
    data = picture.path.read_bytes()
    digest = hashlib.sha256(hashlib.sha256(data).digest() + picture.caption.encode()).hexdigest()
    if digest != picture.sha256:
        raise InvalidInput(f"{picture.name} changed while the training was prepared")
    rgb = _flattened(_opened(data, picture.name))
    width, height = bucket_px
    scale = max(width / rgb.width, height / rgb.height)
    size = (max(width, round(rgb.width * scale)), max(height, round(rgb.height * scale)))
    rgb = rgb.resize(size, Image.Resampling.LANCZOS)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    cut = rgb.crop((left, top, left + width, top + height))
    return np.asarray(cut, dtype=np.uint8).copy(), (left, top)


def _flattened(picture: Image.Image) -> Image.Image:
    """Without transparency, which is shown on white."""
    if "A" in picture.getbands() or "transparency" in picture.info:
        whole = picture.convert("RGBA")
        ground = Image.new("RGBA", whole.size, (255, 255, 255, 255))
        return Image.alpha_composite(ground, whole).convert("RGB")
    return picture.convert("RGB")
