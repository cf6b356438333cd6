"""The recipe of a network that sees several frames: all that decides what its training does."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as checked

from restore.errors import InvalidInput
from restore.train.recipe_file import read_recipe

__all__ = ["WindowRecipe", "load_window_recipe"]


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class WindowRecipe:
    """One training run of ``restore.models.nets.window_compact``.

    Attributes:
        name: model name; also the stem of the weights file.
        start_from: name of a weights file to begin with, of this network or of the single-frame one
            of the same body; looked for in the output folder.
        seed: decides every batch.
        material_seed: decides the bank.
        shots: shots in the bank; each gives three windows.
        steps: optimiser steps, over which the rate falls.
        batch: patches a step.
        patch_px: side of a patch, source pixels.
        tile_px: side of the windows in the bank.
        features: channels of the body.
        convolutions: convolutions in the body, the first and last one aside.
        rate: peak learning rate.
        precision: ``fp32``, or ``bf16`` (mixed; weights and sums stay fp32) where the CPU has it.
        loss: ``l2``, or ``log`` for its logarithm over patches.
        warmup_steps: steps of linear rise; a cosine down to a thousandth follows.
        ema: decay of the averaged weights that are exported.
        clip: largest norm of the gradient.
        missing: share of the patches from which neighbours are taken away, as at a shot's ends.
        strength: ``(least, most)`` of the damage, 0..1, drawn evenly.
        grain: ``(least, most)`` factor on the grain of a usual reel, drawn evenly.
        shrink: factors by which photographs are shrunk before shots are filmed off them.
        leave_out: file names of photographs that this run does without.
    """

    name: str
    start_from: str
    seed: int
    material_seed: int
    shots: int
    steps: int
    batch: int
    patch_px: int
    rate: float
    precision: Literal["fp32", "bf16"] = "fp32"
    loss: Literal["l2", "log"] = "l2"
    tile_px: int = 64
    features: int = 32
    convolutions: int = 14
    warmup_steps: int = 100
    ema: float = 0.999
    clip: float = 1.0
    missing: float = 0.2
    strength: tuple[float, float] = (0.1, 0.9)
    grain: tuple[float, float] = (0.8, 2.5)
    shrink: tuple[int, ...] = (2, 3, 4)
    leave_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.patch_px <= self.tile_px:
            raise InvalidInput(
                f"recipe {self.name}: patches of {self.patch_px} px",
                f"at most tile_px = {self.tile_px}",
            )
        if min(self.steps, self.batch, self.shots) < 1:
            raise InvalidInput(f"recipe {self.name}: an empty run", "steps, batch and shots")

    @property
    def sha256(self) -> str:
        """Hash over every setting, whatever the file's layout and comments."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def material(self) -> dict[str, object]:
        """The settings that the bank depends on."""
        parts = ("material_seed", "shots", "tile_px", "strength", "grain", "shrink", "leave_out")
        table = json.loads(json.dumps(asdict(self)))
        return {name: table[name] for name in parts}


def load_window_recipe(path: Path) -> WindowRecipe:
    """Read a recipe.

    Raises:
        InvalidInput: the file is missing, is no TOML, or holds an unknown or missing setting.
    """
    return read_recipe(path, WindowRecipe)
