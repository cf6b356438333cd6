"""The bank of triplets: synthetic motion made once, with what a flow search finds in it.

Triplet i comes from (seed, i) alone; a bank is the same in whatever order it is made. What was
drawn for each lies beside it, one JSON line a triplet.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restore.degrade.seeds import generator
from restore.errors import InvalidInput
from restore.motion.midway import midway, passage
from restore.train.interpolation_recipe import InterpolationRecipe
from restore.train.layered import MARGIN_PX, Triplet, render_triplet
from restore.train.photos import Photo, levels

__all__ = ["TripletBank", "build_triplets", "draw_triplets"]


@dataclass(frozen=True)
class TripletBank:
    """Triplets as they are kept.

    Attributes:
        frames: ``[N, 3, t, t, 3]`` uint8 R'G'B': first, second, truth.
        motion: ``[N, 4, t, t]`` float16: the motion in px and the cover of ``midway``.
        times: ``[N]`` float32.
    """

    frames: NDArray[np.uint8]
    motion: NDArray[np.float16]
    times: NDArray[np.float32]


def build_triplets(
    recipe: InterpolationRecipe, photos: list[Photo], folder: Path, say: Callable[[str], None]
) -> TripletBank:
    """Makes the bank, or reads the one that was made by the same recipe.

    Args:
        recipe: what to make.
        photos: where layers are cut from.
        folder: where the bank lies or will lie.
        say: is told how far it is.

    Raises:
        InvalidInput: no photograph is large enough.
    """
    marker, count, side = folder / "bank.json", recipe.tiles, recipe.tile_px
    paths = [folder / f"{name}.npy" for name in ("frames", "motion", "times")]
    facts = {"material": recipe.material_sha256, "photos": [p.sha256 for p in photos]}
    if not marker.exists() or json.loads(marker.read_text("utf-8")) != facts:
        folder.mkdir(parents=True, exist_ok=True)
        marker.unlink(missing_ok=True)
        frames = np.lib.format.open_memmap(paths[0], "w+", np.uint8, (count, 3, side, side, 3))
        motion = np.lib.format.open_memmap(paths[1], "w+", np.float16, (count, 4, side, side))
        times = np.zeros(count, np.float32)
        sources = _sources(recipe, photos)
        with (folder / "triplets.jsonl").open("w", encoding="utf-8") as record:
            for index in range(count):
                seed = int(generator(recipe.seed, "triplet", index).integers(1 << 62))
                made = render_triplet(sources, side, seed)
                frames[index] = made.first, made.second, made.truth
                motion[index], times[index] = _searched(made), made.time
                record.write(json.dumps(made.drawn) + "\n")
                if index % 200 == 199:
                    say(f"{index + 1} of {count} triplets")
        frames.flush()
        motion.flush()
        np.save(paths[2], times)
        marker.write_text(json.dumps(facts), "utf-8")
    return TripletBank(
        np.load(paths[0], mmap_mode="r"), np.load(paths[1], mmap_mode="r"), np.load(paths[2])
    )


def _sources(
    recipe: InterpolationRecipe, photos: list[Photo]
) -> list[tuple[str, int, NDArray[np.uint8]]]:
    least_px = recipe.tile_px + 2 * MARGIN_PX
    found = [
        (photo.name, level, picture)
        for photo in photos
        for level, picture in enumerate(levels(photo, recipe.shrink, least_px))
    ]
    if not found:
        raise InvalidInput("no photograph is large enough", f"sides of {least_px} px or more")
    return found


def _searched(made: Triplet) -> NDArray[np.float16]:
    first, second = (
        torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255
        for frame in (made.first, made.second)
    )
    motion, cover = midway(passage(first, second), made.time)
    return torch.cat([motion, cover], 1)[0].numpy().astype(np.float16)


def draw_triplets(
    bank: TripletBank, recipe: InterpolationRecipe, step: int
) -> tuple[tuple[Tensor, ...], Tensor]:
    """The batch of a step: the network's inputs and the truth, all float32.

    Patches are turned, mirrored, run backwards and have their channels exchanged at random; the
    motion follows. A batch depends on the recipe and the step alone.
    """
    random = generator(recipe.seed, "batch", step)
    size = recipe.patch_px
    rows = []
    for _ in range(recipe.batch):
        index = int(random.integers(len(bank.times)))
        y, x = (int(v) for v in random.integers(recipe.tile_px - size + 1, size=2))
        cut = bank.frames[index, :, y : y + size, x : x + size]
        frames = torch.from_numpy(np.ascontiguousarray(cut)).permute(0, 3, 1, 2).float() / 255
        moved = bank.motion[index, :, y : y + size, x : x + size]
        motion = torch.from_numpy(np.ascontiguousarray(moved)).float()
        rows.append(_varied(frames, motion, float(bank.times[index]), random))
    frames, motion = torch.stack([r[0] for r in rows]), torch.stack([r[1] for r in rows])
    times = torch.tensor([r[2] for r in rows])
    inputs = frames[:, 0], frames[:, 1], motion[:, :2], motion[:, 2:], times
    return inputs, frames[:, 2]


def _varied(
    frames: Tensor, motion: Tensor, time: float, random: np.random.Generator
) -> tuple[Tensor, Tensor, float]:
    backwards, turned, flips = random.random() < 0.5, random.random() < 0.5, random.random(2) < 0.5
    frames = frames[:, torch.from_numpy(random.permutation(3))]
    if backwards:
        frames, time = frames[[1, 0, 2]], 1 - time
        motion = torch.cat([-motion[:2], motion[[3, 2]]])
    if turned:
        frames = frames.transpose(-1, -2)
        motion = motion.transpose(-1, -2)[[1, 0, 2, 3]]
    for axis, flipped in ((-1, flips[0]), (-2, flips[1])):
        if flipped:
            frames, motion = frames.flip(axis), motion.flip(axis)
            sign = torch.ones(4, 1, 1)
            sign[0 if axis == -1 else 1] = -1
            motion = motion * sign
    return frames, motion, time
