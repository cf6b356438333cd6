"""The test sets of the quality benchmark, none of which any shipped model was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restore.degrade.film import STRENGTHS, FilmDamage, degrade
from restore.degrade.jpeg import jpeg_roundtrip
from restore.degrade.resize import shrink
from restore.media.roundtrip import roundtrip
from restore.train.photos import read_rgb

__all__ = ["PAN_PX", "Case", "coded", "film", "set5"]

Picture = NDArray[np.uint8]
BUNDLED = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
PHOTOS = ("oakland-zoo-otters.jpg", "piazza-gae-aulenti.jpg")
PAN_PX = (1, 2)  # of the film clips' camera, in pixels of the degraded frame
FILM_SIZE_PX = (96, 128)  # of a degraded frame
CLIP_FRAMES = 3


@dataclass(frozen=True)
class Case:
    """One input and what it should become.

    Attributes:
        name: which picture.
        low: ``[T, h, w, 3]`` uint8.
        high: ``[T, h*s, w*s, 3]`` uint8.
    """

    name: str
    low: Picture
    high: Picture


def held_out_pictures(assets: Path | None) -> list[tuple[str, Picture]]:
    """The pictures kept from training, about 0.2 to 2 megapixels."""
    root = Path(str(files("skimage") / "data"))
    found = [(name, read_rgb(root / name)) for name in BUNDLED]
    if assets is not None:
        folder = assets / "media" / "photos"
        found += [(name, shrink(read_rgb(folder / name), 3)) for name in PHOTOS]
    return found


def set5(assets: Path) -> list[Case]:
    """Set5, shrunk by four with antialiased bicubic."""
    cases = []
    for path in sorted((assets / "media" / "eval").glob("*.png")):
        picture = read_rgb(path)
        high = picture[: picture.shape[0] // 4 * 4, : picture.shape[1] // 4 * 4]
        cases.append(Case(path.stem, shrink(high, 4)[None], high[None]))
    return cases


def _pan(picture: Picture, size: tuple[int, int], step: tuple[int, int]) -> Picture:
    """Frames cut out along a pan by whole pixels, about the picture's middle."""
    reach = [CLIP_FRAMES * abs(s) for s in step]
    if any(have < want + r for have, want, r in zip(picture.shape, size, reach, strict=False)):
        raise ValueError(f"a picture of {picture.shape} is too small for {size} and a pan")
    y = (picture.shape[0] - size[0] - reach[0]) // 2
    x = (picture.shape[1] - size[1] - reach[1]) // 2
    places = [(y + n * step[0], x + n * step[1]) for n in range(CLIP_FRAMES)]
    return np.stack([picture[y : y + size[0], x : x + size[1]] for y, x in places])


def film(assets: Path | None, strength: str, steady: bool) -> list[Case]:
    """Panned clips through the film model and H.264, gauges in turn.

    Args:
        assets: adds two photographs where given.
        strength: a key of ``STRENGTHS``.
        steady: without weave, breathing and flicker, for the warp error along the pan.
    """
    cases = []
    for number, (name, picture) in enumerate(held_out_pictures(assets)):
        size = tuple(
            min(4 * want, (have - 4 * CLIP_FRAMES * step) // 4 * 4)
            for want, have, step in zip(FILM_SIZE_PX, picture.shape, PAN_PX, strict=False)
        )
        frames = _pan(picture, (size[0], size[1]), (4 * PAN_PX[0], 4 * PAN_PX[1]))
        gauge = ("super8", "16mm", "8mm", "35mm")[number % 4]
        table = FilmDamage.preset(gauge, strength, 1000 + number).to_json()
        # A preset counts hairs and scratches on a whole frame of 640x480; these are pieces of one.
        table["dirt"]["hairs"] *= FILM_SIZE_PX[0] * FILM_SIZE_PX[1] / (640 * 480)
        table["dirt"]["scratches"] = int(number % 5 < table["dirt"]["scratches"])
        if steady:
            still = ("weave_px", "zoom_breathing", "flicker", "flicker_uneven", "focus_breathing")
            table |= dict.fromkeys(still, 0.0)
        crf = round(16 + 14 * STRENGTHS[strength])
        table["compressions"] = [{"codec": "h264", "quality": crf}]
        clip = degrade(frames.astype(np.float32) / 255, FilmDamage.from_json(table), roundtrip)
        low, high = (np.rint(a * 255).astype(np.uint8) for a in (clip.frames, clip.target))
        cases.append(Case(f"{name} {gauge}", low, high))
    return cases


def coded(assets: Path | None, codec: str, quality: int) -> list[Case]:
    """Held-out pictures after JPEG, or a panned clip's frames after H.264; scale 1."""
    cases = []
    for name, picture in held_out_pictures(assets):
        if codec == "jpeg":
            y, x = (picture.shape[0] - 256) // 2, (picture.shape[1] - 320) // 2
            cut = picture[y : y + 256, x : x + 320][None]
            low = jpeg_roundtrip(cut[0], quality, True)[None]
        else:
            size = (256, 320)
            cut = _pan(picture, size, PAN_PX)
            low = roundtrip(cut, codec, quality)
        cases.append(Case(name, low, cut))
    return cases
