"""Training windows for networks that see several frames: worn moving shots, aligned as in use.

The neighbours are brought to the centre by the very search that the stage uses, on worn frames, so
that training sees its errors, its occlusions and its false trust. Shot number i comes from
(seed, i) alone; what was drawn for it is written beside it, one JSON line a shot.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from restore.degrade.film import degrade
from restore.degrade.seeds import generator
from restore.media.roundtrip import roundtrip
from restore.models.nets.window_compact import FRAMES, PLANES
from restore.motion.aligned import align
from restore.train.moving import draw_shot
from restore.train.pairs import draw_reel
from restore.train.photos import Photo, levels
from restore.train.window_recipe import WindowRecipe

__all__ = ["SCALE", "WindowBank", "build_windows", "draw_windows"]

Picture = NDArray[np.uint8]

SCALE: Final = 4
_SHOT: Final = 7  # frames of a shot: three windows
_MORE_PX: Final = 40  # by which a worn frame is larger than a tile: the search wants whole frames
_EDGE_PX: Final = 4  # of them, at each side, where mirrored borders move
_CANDIDATES: Final = 3  # places looked at before the one with most to see is taken


@dataclass(frozen=True)
class WindowBank:
    """Windows: ``low`` ``[N, t, t, 19]`` and ``high`` ``[N, t*4, t*4, 3]``, both uint8.

    The planes of ``low`` are those of :class:`restore.models.nets.window_compact.WindowCompact`.
    """

    low: Picture
    high: Picture


def build_windows(
    recipe: WindowRecipe, photos: list[Photo], folder: Path, say: Callable[[str], None]
) -> WindowBank:
    """Make the bank, or open the one already in ``folder`` if the recipe's material is the same.

    Args:
        recipe: material and seed.
        photos: clean photographs.
        folder: receives ``low.npy``, ``high.npy``, ``shots.jsonl`` and ``bank.json``.
        say: is told what goes on.
    """
    facts = {**recipe.material, "photos": [[p.name, p.sha256] for p in photos]}
    note = folder / "bank.json"
    if not note.exists() or json.loads(note.read_text(encoding="utf-8")) != facts:
        folder.mkdir(parents=True, exist_ok=True)
        side_px = (recipe.tile_px + _MORE_PX) * SCALE
        sources = [
            (photo.name, level, picture)
            for photo in photos
            for level, picture in enumerate(levels(photo, recipe.shrink, side_px))
        ]
        low: list[Picture] = []
        high: list[Picture] = []
        with (folder / "shots.jsonl").open("w", encoding="utf-8") as notes:
            for index in range(recipe.shots):
                drawn = _shot(recipe, sources, generator(recipe.material_seed, index))
                low += drawn[0]
                high += drawn[1]
                notes.write(json.dumps(drawn[2]) + "\n")
                if (index + 1) % 50 == 0:
                    say(f"{index + 1} shots")
        np.save(folder / "low.npy", np.stack(low))
        np.save(folder / "high.npy", np.stack(high))
        note.write_text(json.dumps(facts), encoding="utf-8")
    return WindowBank(np.load(folder / "low.npy"), np.load(folder / "high.npy"))


def _shot(
    recipe: WindowRecipe, sources: list[tuple[str, int, Picture]], random: np.random.Generator
) -> tuple[list[Picture], list[Picture], dict[str, Any]]:
    """Film, wear, code and align one shot: low and high of its windows, and what was drawn."""
    name, level, picture = sources[int(random.integers(len(sources)))]
    others = [sources[int(random.integers(len(sources)))] for _ in "12"]
    strength = random.uniform(*recipe.strength)
    damage = draw_reel(SCALE, strength, random)
    weave_px = damage.weave_px * SCALE if random.random() < 0.7 else 0.0
    # The gate's weave moves the camera here: sampled once, as everything else.
    damage = replace(
        damage,
        grain_rms=damage.grain_rms * random.uniform(*recipe.grain),
        weave_px=0.0,
        zoom_breathing=0.0,
    )
    side_px = (recipe.tile_px + _MORE_PX) * SCALE
    cut = _place(picture, side_px, random)
    shot = draw_shot(cut, [p for _, _, p in others], _SHOT, side_px, weave_px, damage.seed, random)
    clip = degrade(shot.frames, damage, roundtrip)
    frames = [torch.from_numpy(np.ascontiguousarray(f.transpose(2, 0, 1))) for f in clip.frames]
    low, high = [], []
    for middle in range(FRAMES // 2, _SHOT - FRAMES // 2):
        first = middle - FRAMES // 2
        planes = align(frames[first : first + FRAMES], FRAMES // 2).planes()
        y, x = (int(v) for v in random.integers(_EDGE_PX, _MORE_PX - _EDGE_PX + 1, 2))
        t = recipe.tile_px
        low.append(_rounded(planes.transpose(1, 2, 0)[y : y + t, x : x + t]))
        y, x, t = y * SCALE, x * SCALE, t * SCALE
        high.append(_rounded(clip.target[middle][y : y + t, x : x + t]))
    facts = {"photo": name, "level": level, "pieces": [[n, at] for n, at, _ in others]}
    return low, high, {**facts, "strength": strength, **shot.drawn, "damage": clip.parameters}


def _place(picture: Picture, side_px: int, random: np.random.Generator) -> Picture:
    """A part of the photograph to film, the one with most contrast of a few."""
    wide_px = [min(n, side_px * 5 // 4) for n in picture.shape[:2]]
    found = []
    for _ in range(_CANDIDATES):
        y = int(random.integers(picture.shape[0] - wide_px[0] + 1))
        x = int(random.integers(picture.shape[1] - wide_px[1] + 1))
        found.append(picture[y : y + wide_px[0], x : x + wide_px[1]])
    return max(found, key=lambda part: float(part[::4, ::4].std()))


def _rounded(picture: NDArray[np.float32]) -> Picture:
    return np.asarray(np.clip(np.rint(picture * 255.0), 0, 255), np.uint8)


def draw_windows(
    bank: WindowBank, recipe: WindowRecipe, step: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The windows of one step: turned, mirrored, played backwards, channels exchanged.

    Returns:
        ``[B, 19, p, p]`` and ``[B, 3, p*4, p*4]`` float32, 0..1; the same for the same step,
        whatever ran before.
    """
    random = generator(recipe.seed, "window", step)
    p, room = recipe.patch_px, bank.low.shape[1] - recipe.patch_px + 1
    low = np.empty((recipe.batch, p, p, PLANES), np.uint8)
    high = np.empty((recipe.batch, p * SCALE, p * SCALE, 3), np.uint8)
    for slot in range(recipe.batch):
        tile, y, x = (int(v) for v in random.integers((len(bank.low), room, room)))
        turn, mirror, backwards = (int(v) for v in random.integers((4, 2, 2)))
        # Grain and video codecs treat the channels unlike one another: exchange them sometimes.
        order = random.permutation(3) if random.random() < 0.25 else np.arange(3)
        small = bank.low[tile, y : y + p, x : x + p]
        large = bank.high[tile, y * SCALE : (y + p) * SCALE, x * SCALE : (x + p) * SCALE]
        if mirror:
            small, large = small[:, ::-1], large[:, ::-1]
        times = [0, 4, 3, 2, 1] if backwards else [0, 1, 2, 3, 4]
        planes = [3 * time + int(channel) for time in times for channel in order]
        planes += [3 * FRAMES + time - 1 for time in times[1:]]
        low[slot] = np.rot90(small, turn)[..., planes]
        high[slot] = np.rot90(large, turn)[..., order]
        if random.random() < recipe.missing:
            _take_away(low[slot], int(random.integers(4)))
    return _planes(low), _planes(high)


def _take_away(window: Picture, how: int) -> None:
    """As at a shot's end: no frame after the centre, or one, or none beside it at all."""
    for time in ((3, 4), (4,), (1, 2), (1, 2, 3, 4))[how]:
        window[..., 3 * time : 3 * time + 3] = window[..., :3]
        window[..., 3 * FRAMES + time - 1] = 0


def _planes(pictures: Picture) -> torch.Tensor:
    found = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)).astype(np.float32)
    return torch.from_numpy(found / np.float32(255))
