"""The bank: training pairs made once from photographs, kept in a folder, drawn from at random.

Tile number i comes from (seed, kind, i) alone, so a bank is the same wherever and in whatever order
it is made. What was drawn for each tile is written beside it, one JSON line a tile.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from restore.degrade.seeds import generator
from restore.train.pairs import MAKERS, MARGINS_PX, Transfers
from restore.train.photos import Photo, levels
from restore.train.recipe import Material, Recipe
from restore.train.teacher import taught

__all__ = ["Bank", "Tile", "build_bank", "draw_batch"]

Picture = NDArray[np.uint8]
CANDIDATES: Final = 4  # tiles looked at before the busiest is taken: flat sky teaches little


@dataclass(frozen=True)
class Tile:
    """A clean tile: where it lies and its pixels ``[h, w, 3]`` uint8."""

    photo: str
    level: int
    y_px: int
    x_px: int
    pixels: Picture


@dataclass(frozen=True)
class Bank:
    """Pairs: ``low`` ``[N, t, t, 3]`` and ``high`` ``[N, t*s, t*s, 3]``, both uint8 R'G'B'."""

    low: Picture
    high: Picture


def _busy(pixels: Picture) -> float:
    luma = pixels[::2, ::2].mean(axis=2)
    return float(np.abs(np.diff(luma, axis=0)).mean() + np.abs(np.diff(luma, axis=1)).mean())


def _pick(
    sources: list[tuple[str, int, Picture]],
    size_px: int,
    busy: float,
    random: np.random.Generator,
) -> Tile:
    """The busiest of a few random tiles in a share ``busy`` of all cases, else any."""
    found: list[Tile] = []
    for _ in range(CANDIDATES if random.random() < busy else 1):
        name, level, picture = sources[int(random.integers(len(sources)))]
        y = int(random.integers(picture.shape[0] - size_px + 1))
        x = int(random.integers(picture.shape[1] - size_px + 1))
        found.append(Tile(name, level, y, x, picture[y : y + size_px, x : x + size_px]))
    return max(found, key=lambda tile: _busy(tile.pixels))


def _sources(photos: list[Photo], recipe: Recipe, size_px: int) -> list[tuple[str, int, Picture]]:
    found = []
    for photo in photos:
        for level, picture in enumerate(levels(photo, recipe.shrink, size_px)):
            found.append((photo.name, level, picture))
    return found


def build_bank(
    recipe: Recipe, photos: list[Photo], folder: Path, say: Callable[[str], None]
) -> Bank:
    """Make the bank, or open the one already in ``folder`` if the recipe's material is the same.

    Args:
        recipe: material, tile size, seed.
        photos: clean photographs.
        folder: receives ``low.npy``, ``high.npy``, ``tiles.jsonl`` and ``bank.json``.
        say: is told what goes on.
    """
    facts: dict[str, Any] = {
        "seed": recipe.seed,
        "scale": recipe.scale,
        "tile_px": recipe.tile_px,
        "shrink": list(recipe.shrink),
        "busy": recipe.busy,
        "material": [[m.kind, m.tiles, list(m.strength)] for m in recipe.material],
        "photos": [[p.name, p.sha256] for p in photos],
    }
    if any(m.dv or m.telecine for m in recipe.material):
        facts["transfers"] = [[m.dv, m.telecine] for m in recipe.material]
    if recipe.teacher:
        facts["teacher"] = [recipe.teacher, recipe.teacher_denoise, recipe.teacher_sharpen]
    note = folder / "bank.json"
    if note.exists() and json.loads(note.read_text(encoding="utf-8")) == facts:
        return Bank(np.load(folder / "low.npy"), np.load(folder / "high.npy"))
    folder.mkdir(parents=True, exist_ok=True)
    size_px = recipe.tile_px * recipe.scale
    most_px = size_px + 2 * recipe.scale * max(MARGINS_PX[m.kind] for m in recipe.material)
    sources = _sources(photos, recipe, most_px)
    low: list[Picture] = []
    high: list[Picture] = []
    with (folder / "tiles.jsonl").open("w", encoding="utf-8") as notes:
        for place, material in enumerate(recipe.material):
            for index in range(material.tiles):
                random = generator(recipe.seed, place, index)
                pair, facts_of_tile = _pair(recipe, material, sources, size_px, random)
                low.append(pair[0])
                high.append(pair[1])
                notes.write(json.dumps(facts_of_tile) + "\n")
            say(f"{material.tiles} tiles of {material.kind}")
    bank = Bank(np.stack(low), np.stack(high))
    if recipe.teacher:
        say(f"targets by {recipe.teacher}")
        denoise, sharpening = recipe.teacher_denoise, recipe.teacher_sharpen
        high_taught = taught(bank.low, recipe.scale, recipe.teacher, denoise, sharpening)
        bank = Bank(bank.low, high_taught)
    np.save(folder / "low.npy", bank.low)
    np.save(folder / "high.npy", bank.high)
    note.write_text(json.dumps(facts), encoding="utf-8")
    return bank


def _pair(
    recipe: Recipe,
    material: Material,
    sources: list[tuple[str, int, Picture]],
    size_px: int,
    random: np.random.Generator,
) -> tuple[tuple[Picture, Picture], dict[str, Any]]:
    margin_px = MARGINS_PX[material.kind] * recipe.scale
    tile = _pick(sources, size_px + 2 * margin_px, recipe.busy, random)
    least, most = material.strength
    strength = least + (most - least) * random.random()
    transfers = Transfers(material.dv, material.telecine)
    low, high, parameters = MAKERS[material.kind](
        tile.pixels, recipe.scale, strength, transfers, random
    )
    facts = {"photo": tile.photo, "level": tile.level, "y_px": tile.y_px, "x_px": tile.x_px}
    return (low, high), {**facts, "kind": material.kind, "strength": strength, **parameters}


def draw_batch(
    bank: Bank, recipe: Recipe, step: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The pairs of one step: patches turned, mirrored and with colour channels exchanged.

    Returns:
        ``[B, 3, p, p]`` and ``[B, 3, p*s, p*s]`` float32, 0..1; the same for the same step,
        whatever ran before.
    """
    random = generator(recipe.seed, -1, step)
    p, s = recipe.patch_px, recipe.scale
    room = bank.low.shape[1] - p + 1
    low = np.empty((recipe.batch, p, p, 3), np.uint8)
    high = np.empty((recipe.batch, p * s, p * s, 3), np.uint8)
    for slot in range(recipe.batch):
        tile, y, x = (int(v) for v in random.integers((bank.low.shape[0], room, room)))
        turn, mirror = int(random.integers(4)), bool(random.integers(2))
        # Grain and JPEG treat the channels unlike one another, so exchange them only sometimes.
        order = random.permutation(3) if random.random() < 0.25 else np.arange(3)
        small = bank.low[tile, y : y + p, x : x + p]
        large = bank.high[tile, y * s : (y + p) * s, x * s : (x + p) * s]
        if mirror:
            small, large = small[:, ::-1], large[:, ::-1]
        low[slot] = np.rot90(small, turn)[..., order]
        high[slot] = np.rot90(large, turn)[..., order]
    return _planes(low), _planes(high)


def _planes(pictures: Picture) -> NDArray[np.float32]:
    return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)).astype(np.float32) / 255.0
