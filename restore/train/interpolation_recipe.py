"""The recipe of an interpolation network: everything that decides what its training does."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as checked

from restore.errors import InvalidInput
from restore.train.recipe_file import read_recipe

__all__ = ["InterpolationRecipe", "load_interpolation_recipe"]


@dataclass(frozen=True)
class _Material:
    seed: int
    tiles: int
    tile_px: int
    shrink: tuple[int, ...]
    leave_out: tuple[str, ...]
    bundled: bool


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class InterpolationRecipe:
    """One training run of ``restore.models.nets.flow_refiner``.

    Attributes:
        name: model name; also the stem of the weights file.
        seed: decides the initial weights, the material and every batch.
        steps: optimiser steps, over which the rate falls.
        batch: patches a step.
        patch_px: side of a patch.
        tile_px: side of the triplets in the bank.
        tiles: triplets in the bank.
        widths: channels of each block's body.
        scales: how many times smaller than half the frame's size each block works.
        layers: convolutions in each body.
        finish: channels of the convolutions at full size.
        rate: peak learning rate of Adam.
        warmup_steps: steps of linear rise; a cosine down to a thousandth follows.
        ema: decay of the averaged weights that are exported.
        clip: largest norm of the gradient.
        shrink: factors by which photographs are shrunk before layers are cut from them.
        leave_out: file names of photographs that this run does without.
        bundled: whether scikit-image's free photographs join the data.
    """

    name: str
    seed: int
    steps: int
    batch: int
    patch_px: int
    tile_px: int
    tiles: int
    widths: tuple[int, ...]
    scales: tuple[int, ...]
    layers: int
    finish: int
    rate: float
    warmup_steps: int = 200
    ema: float = 0.999
    clip: float = 1.0
    shrink: tuple[int, ...] = (2, 3, 4, 6)
    leave_out: tuple[str, ...] = ()
    bundled: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.patch_px <= self.tile_px:
            raise InvalidInput(
                f"recipe {self.name}: patches of {self.patch_px} px",
                f"at most tile_px = {self.tile_px}",
            )
        if min(self.steps, self.batch, self.tiles) < 1 or len(self.widths) != len(self.scales):
            raise InvalidInput(
                f"recipe {self.name}: an empty run, or widths and scales that differ in number",
                "steps, batch and tiles of 1 or more, one width for each scale",
            )

    @property
    def sha256(self) -> str:
        """Hash over every setting, whatever the file's layout and comments."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def material_sha256(self) -> str:
        """Hash over what the bank of triplets depends on."""
        part = _Material(
            self.seed, self.tiles, self.tile_px, self.shrink, self.leave_out, self.bundled
        )
        return hashlib.sha256(json.dumps(asdict(part), sort_keys=True).encode()).hexdigest()


def load_interpolation_recipe(path: Path) -> InterpolationRecipe:
    """Reads a recipe.

    Raises:
        InvalidInput: the file is missing, is no TOML, or holds an unknown or missing setting.
    """
    return read_recipe(path, InterpolationRecipe)
