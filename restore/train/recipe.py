"""A recipe: everything that decides what a training run does, in one TOML file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from restore.errors import InvalidInput
from restore.train.recipe_file import read_table

__all__ = ["Material", "Optimiser", "Recipe", "load_recipe"]


@dataclass(frozen=True)
class Material:
    """One kind of training pair and how much of it goes into the bank.

    Attributes:
        kind: ``clean`` (bicubic shrinking alone), ``leaves`` (the same of drawn scenes),
            ``jpeg``, ``codec`` (real video encoders) or ``film`` (the whole film degradation
            model).
        tiles: number of pairs in the bank.
        strength: ``(least, most)`` of the degradation, 0..1, drawn evenly; unused by ``clean`` and
            ``leaves``.
        dv: share of the ``codec`` tiles coded as DV.
        telecine: share of the ``codec`` tiles combed or blended by a careless transfer.
    """

    kind: Literal["clean", "leaves", "jpeg", "codec", "film"]
    tiles: int
    strength: tuple[float, float] = (0.0, 1.0)
    dv: float = 0.0
    telecine: float = 0.0


@dataclass(frozen=True)
class Optimiser:
    """Adam or Muon with a linear warm-up and a cosine down to ``floor`` of the rate.

    Attributes:
        kind: ``adam``, or ``muon`` for the inner convolutions' weights and Adam for the rest.
        rate: peak learning rate.
        warmup_steps: steps of linear rise.
        floor: last learning rate as a share of the peak.
        beta2: Adam's second moment decay.
        ema: decay of the averaged weights that are exported.
        clip: largest norm of the gradient; 0 for none.
    """

    rate: float = 1e-3
    warmup_steps: int = 200
    floor: float = 0.001
    beta2: float = 0.99
    ema: float = 0.999
    clip: float = 0.0
    kind: Literal["adam", "muon"] = "adam"


@dataclass(frozen=True)
class Recipe:
    """One training run.

    Attributes:
        name: model name; also the stem of the weights file.
        scale: 1 or 4.
        seed: decides the initial weights, the material and every batch.
        steps: optimiser steps over which the rate falls.
        until: step at which the run ends early, for one that another begins with; 0 for ``steps``.
        batch: pairs a step.
        patch_px: side of the input patch, source pixels.
        features: channels of the body.
        convolutions: convolutions in the body, the first and last one aside.
        precision: ``fp32`` or ``bf16`` (mixed precision; weights and sums stay fp32).
        loss: ``l1``, ``l2`` or ``charbonnier``, on R'G'B'; ``luma`` or ``luma2``, absolute or
            squared with three quarters of the weight on luma; ``edges``, absolute on R'G'B' and
            on its differences between neighbours.
        tile_px: side of the input tiles in the bank.
        shrink: factors by which photographs are shrunk before tiles are cut from them.
        bundled: whether scikit-image's bundled CC0 and public-domain photographs join the data.
        busy: share of the tiles that are the busiest of a few instead of any. Busy means textured:
            much of it is noise that no network can bring back, so more is not better.
        leave_out: file names of photographs that this run does without.
        start_from: name of a weights file to begin with, looked for beside the output folder.
        keep_start: share, 0..1, of the weights it began with in those that are written: the mean of
            two models on one path is often better than either (M. Wortsman et al., "Robust
            fine-tuning of zero-shot models", 2022).
        teacher: name of a published network whose results are the targets in place of the
            photographs; it must be in the user's store.
        teacher_denoise: 0..1, for a teacher with a weak-denoise twin.
        teacher_sharpen: amount of unsharp masking of the teacher's results, since a small pupil's
            mean comes out softer than its teacher.
        licence: SPDX identifier of the weights; a teacher's licence goes on to its pupil.
        optimiser: rates.
        material: what the bank holds.
    """

    name: str
    scale: int
    seed: int
    steps: int
    batch: int
    patch_px: int
    features: int
    convolutions: int
    material: tuple[Material, ...]
    precision: Literal["fp32", "bf16"] = "bf16"
    loss: Literal["l1", "l2", "charbonnier", "luma", "luma2", "edges"] = "l1"
    tile_px: int = 64
    shrink: tuple[int, ...] = (2, 3, 4)
    bundled: bool = True
    leave_out: tuple[str, ...] = ()
    until: int = 0
    busy: float = 0.75
    start_from: str = ""
    keep_start: float = 0.0
    teacher: str = ""
    teacher_denoise: float = 1.0
    teacher_sharpen: float = 0.0
    licence: str = "MIT"
    optimiser: Optimiser = field(default_factory=Optimiser)

    def __post_init__(self) -> None:
        if self.scale not in (1, 4):
            raise InvalidInput(f"recipe {self.name}: scale {self.scale}", "1 or 4")
        if self.patch_px > self.tile_px:
            raise InvalidInput(
                f"recipe {self.name}: patches of {self.patch_px} px",
                f"at most tile_px = {self.tile_px}",
            )
        if not 0.0 <= self.keep_start < 1.0 or (self.keep_start and not self.start_from):
            raise InvalidInput(
                f"recipe {self.name}: keep_start {self.keep_start}",
                "a share below 1 of what start_from names",
            )
        if min(self.steps, self.batch, self.patch_px, self.features) < 1 or not self.material:
            raise InvalidInput(f"recipe {self.name}: an empty run", "steps, batch and material")

    @property
    def sha256(self) -> str:
        """Hash over every setting, whatever the file's layout and comments.

        Settings that came later count only where they are used, so that a recipe of before them
        keeps the hash that its weights carry.
        """
        table = asdict(self)
        if table["optimiser"]["kind"] == "adam":
            del table["optimiser"]["kind"]
        if not table["keep_start"]:
            del table["keep_start"]
        if not table["teacher"]:
            del table["teacher"], table["teacher_denoise"]
        if not table["teacher_sharpen"]:
            del table["teacher_sharpen"]
        for entry in table["material"]:
            for name in ("dv", "telecine"):
                if not entry[name]:
                    del entry[name]
        if table["licence"] == "MIT":
            del table["licence"]
        return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()


def _checked(kind: type[Any], table: dict[str, Any], where: str) -> dict[str, Any]:
    known = {entry.name for entry in fields(kind)}
    unknown = sorted(set(table) - known)
    if unknown:
        raise InvalidInput(f"{where}: {', '.join(unknown)}", f"only {', '.join(sorted(known))}")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}


def load_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        InvalidInput: the file is missing, is no TOML, or holds an unknown or missing setting.
    """
    table = read_table(path)
    material = tuple(
        Material(**_checked(Material, entry, f"{path.name}, material"))
        for entry in table.pop("material", [])
    )
    optimiser = Optimiser(**_checked(Optimiser, table.pop("optimiser", {}), path.name))
    try:
        return Recipe(**_checked(Recipe, table, path.name), material=material, optimiser=optimiser)
    except TypeError as error:
        raise InvalidInput(f"{path.name} is incomplete: {error}") from error
