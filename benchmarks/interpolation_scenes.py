"""Triplets to interpolate: Middlebury's, every second frame of clips, and drawn scenes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from restore.engine.pixels import to_frame
from restore.media.reader import ClipReader

__all__ = ["SCENES", "Triplet", "clip_triplets", "drawn", "middlebury"]

Picture = NDArray[np.uint8]
#: What is drawn, and the middle of where it is hard, (x, y) px.
SCENES = {
    "title": (330, 160),
    "small and fast": (140, 105),
    "occlusion": (120, 180),
    "thin": (110, 180),
    "repeated": (240, 150),
    "large": (60, 250),
}
_FILMS = {"Market Street": "a_trip_down_market_street_before_the_fire"}
_FILMS |= {"Train Robbery": "the_great_train_robbery"}
_CLIPS = {"bikes": "bikes.mp4", "carphone": "carphone_pristine.mp4"}
_EACH = 5
_SPACING = 8
_SIZE_PX = (360, 480)


@dataclass(frozen=True, eq=False)
class Triplet:
    """Two frames and the true one between them, ``[h, w, 3]`` uint8 R'G'B'."""

    name: str
    first: Picture
    truth: Picture
    second: Picture


def middlebury(assets: Path) -> list[Triplet]:
    """The triplets that are shared."""
    folders = sorted((assets / "media" / "vfi").iterdir())
    return [
        Triplet(
            folder.name, *(_read(folder / f"frame{part}.png") for part in ("10", "10i11", "11"))
        )
        for folder in folders
    ]


def clip_triplets(assets: Path, each: int = _EACH) -> dict[str, list[Triplet]]:
    """Frames n and n + 2 of clips, with n + 1 as the truth, at ``each`` places of a clip."""
    import torch

    found = {}
    for name, file in _CLIPS.items():
        with ClipReader(str(assets / "media" / "clips" / file)) as reader:
            frames = [
                to_frame(raw, torch.device("cpu"), 0).data.clamp(0, 1).mul(255).round()
                for raw in islice(reader, _SPACING * each + 3)
            ]
        pictures = [f.permute(1, 2, 0).to(torch.uint8).numpy() for f in frames]
        found[name] = _every(name, pictures, each)
    for name, folder in _FILMS.items():
        paths = sorted((assets / "media" / "film" / folder).glob("*.png"))
        pictures = [_read(path) for path in paths[: _SPACING * each + 3]]
        found[name] = _every(name, pictures, each)
    return found


def _every(name: str, pictures: list[Picture], each: int) -> list[Triplet]:
    starts = range(0, len(pictures) - 2, _SPACING)
    return [Triplet(f"{name} {n}", *pictures[n : n + 3]) for n in starts][:each]


def _read(path: Path) -> Picture:
    return np.asarray(Image.open(path).convert("RGB"))


def drawn(assets: Path, scene: str) -> Triplet:
    """A scene whose middle frame is known, over a photograph."""
    photos = sorted((assets / "media" / "photos").glob("*.jpg"))
    height, width = _SIZE_PX
    ground = _photo(photos[1], height + 80, width + 160)
    patch = _photo(photos[4], 160, 160)
    shots = [_scene(scene, ground, patch, time) for time in (0.0, 0.5, 1.0)]
    return Triplet(scene, *(np.rint(np.clip(s, 0, 1) * 255).astype(np.uint8) for s in shots))


def _photo(path: Path, height: int, width: int) -> NDArray[np.float32]:
    large = _read(path).astype(np.float32) / 255
    return np.asarray(cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def _scene(
    scene: str, ground: NDArray[np.float32], patch: NDArray[np.float32], time: float
) -> NDArray[np.float32]:
    height, width = _SIZE_PX
    steps = {"title": (12, 0), "small and fast": (2, 0), "occlusion": (4, 0), "large": (40, 8)}
    across, down = steps.get(scene, (0, 0))
    move = np.array([[1, 0, -40 - across * time], [0, 1, -20 - down * time]], np.float32)
    seen = cv2.warpAffine(ground, move, (width, height), flags=cv2.INTER_LANCZOS4)
    over = np.zeros((4 * height, 4 * width), np.uint8)
    color: tuple[float, ...] = (0.95, 0.95, 0.95)
    if scene == "title":
        for row in (80, 160, 240):
            size, face = 4.8, cv2.FONT_HERSHEY_DUPLEX
            cv2.putText(over, "RESTORE THE FILM", (120, 4 * row), face, size, 255, 8 + row // 8)
    elif scene == "small and fast":
        color = (0.9, 0.8, 0.1)
        cv2.circle(over, (round(4 * (120 + 40 * time)), round(4 * (100 + 10 * time))), 56, 255, -1)
        cv2.circle(over, (1200, round(4 * (150 + 60 * time))), 80, 255, -1)
    elif scene == "thin":
        color = (0.1, 0.1, 0.1)
        for number in range(5):
            x = 4 * (60 + 80 * number + 8 * time)
            ends = (round(x), 0), (round(x + 120), 4 * height)
            cv2.line(over, *ends, 255, 4 * (number + 1))
    elif scene == "repeated":
        wave = 0.5 + 0.4 * np.sin(2 * np.pi * (np.arange(width) - 5 * time) / 12)
        seen[120:240] = wave[None, :, None]
    elif scene == "occlusion":
        shift = np.array([[1, 0, 100 + 24 * time], [0, 1, 100]], np.float32)
        mask = cv2.warpAffine(np.ones((160, 160), np.float32), shift, (width, height))[..., None]
        seen = seen * (1 - mask) + cv2.warpAffine(patch, shift, (width, height)) * mask
    share = cv2.resize(over, (width, height), interpolation=cv2.INTER_AREA)[..., None] / 255
    return np.asarray(seen * (1 - share) + np.float32(color) * share, np.float32)
