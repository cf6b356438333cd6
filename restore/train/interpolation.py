"""``python -m restore.train.interpolation RECIPE --data DIR --out DIR``: the interpolation net.

Adam, linear warm-up, cosine, averaged weights, L1 on R'G'B'. A batch depends on its step alone and
a checkpoint holds all the rest, so on the CPU, with the same number of threads, a run that was
killed and resumed gives the same weights bit for bit as one that was not.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from restore.errors import InvalidInput
from restore.models.nets.flow_refiner import FlowRefiner, RefinerShape
from restore.train.command import ended, options, say
from restore.train.interpolation_recipe import InterpolationRecipe, load_interpolation_recipe
from restore.train.photos import load_photos
from restore.train.triplets import TripletBank, build_triplets, draw_triplets
from restore.train.weights_file import write_weights

__all__ = ["Schedule", "export_interpolator", "train_interpolator"]


@dataclass(frozen=True)
class Schedule:
    """How far and how often; none of it changes the result.

    Attributes:
        checkpoint_every: steps between checkpoints and log lines.
        stop_after: stop, checkpointed, once this step is reached; 0 for the recipe's end.
    """

    checkpoint_every: int = 100
    stop_after: int = 0


def _rate_at(recipe: InterpolationRecipe, step: int) -> float:
    if step < recipe.warmup_steps:
        return recipe.rate * (step + 1) / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return recipe.rate * (0.001 + 0.999 * 0.5 * (1 + math.cos(math.pi * done)))


class _State:
    """Weights, their average and the optimiser, saved and loaded as one."""

    def __init__(self, recipe: InterpolationRecipe) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        shape = RefinerShape(recipe.widths, recipe.scales, recipe.layers, recipe.finish)
        self.net = FlowRefiner(shape)
        self.mean = {k: v.detach().clone() for k, v in self.net.state_dict().items()}
        self.adam = torch.optim.Adam(self.net.parameters(), lr=recipe.rate, betas=(0.9, 0.99))
        self.step = 0
        self.seconds = 0.0

    def save(self, path: Path) -> None:
        aside = path.with_suffix(".new")
        held = {"net": self.net.state_dict(), "mean": self.mean, "adam": self.adam.state_dict()}
        counts = {"step": self.step, "seconds": self.seconds, "recipe": self.recipe.sha256}
        torch.save({**held, **counts}, aside)
        aside.replace(path)

    def load(self, path: Path) -> None:
        saved: dict[str, Any] = torch.load(path, weights_only=True)
        if saved["recipe"] != self.recipe.sha256:
            raise InvalidInput(
                f"{path} belongs to another recipe",
                f"one of {self.recipe.name} as it is now",
                "Name another output folder, or take the recipe back to what it was.",
            )
        self.net.load_state_dict(saved["net"])
        self.adam.load_state_dict(saved["adam"])
        self.mean, self.step, self.seconds = saved["mean"], saved["step"], saved["seconds"]

    def advance(self, bank: TripletBank) -> float:
        """One optimiser step; returns the loss."""
        inputs, truth = draw_triplets(bank, self.recipe, self.step)
        for group in self.adam.param_groups:
            group["lr"] = _rate_at(self.recipe, self.step)
        loss = (self.net(*inputs) - truth).abs().mean()
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.recipe.clip)
        self.adam.step()
        self.step += 1
        # Early on a short memory, so that the average is not held back by the initial weights.
        keep = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.net.state_dict().items():
                self.mean[name].lerp_(value, 1 - keep)
        return float(loss.detach())


def train_interpolator(
    recipe: InterpolationRecipe,
    bank: TripletBank,
    folder: Path,
    schedule: Schedule,
    say: Callable[[str], None],
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Runs a recipe, or goes on with one that was stopped.

    Args:
        recipe: what to do.
        bank: triplets to draw from.
        folder: receives ``checkpoint.pt`` and ``log.jsonl``.
        schedule: how far and how often.
        say: is told each log line.

    Returns:
        The averaged weights, and facts: steps and seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state, checkpoint = _State(recipe), folder / "checkpoint.pt"
    if checkpoint.exists():
        state.load(checkpoint)
    end = min(recipe.steps, schedule.stop_after or recipe.steps)
    began, before, total = time.monotonic(), state.seconds, 0.0
    with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
        while state.step < end:
            total += state.advance(bank)
            state.seconds = before + time.monotonic() - began
            if state.step % schedule.checkpoint_every == 0:
                loss = total / schedule.checkpoint_every
                line = json.dumps(
                    {"step": state.step, "loss": round(loss, 6), "s": round(state.seconds, 1)}
                )
                log.write(line + "\n")
                log.flush()
                say(line)
                total = 0.0
                state.save(checkpoint)
    state.save(checkpoint)
    return state.mean, {"steps": state.step, "seconds": round(state.seconds, 1)}


def export_interpolator(
    weights: dict[str, Tensor], recipe: InterpolationRecipe, steps: int, path: Path
) -> tuple[str, int]:
    """Writes a weights file in float16; the same weights and recipe give the same bytes.

    Args:
        weights: averaged weights, float32.
        recipe: what they were trained by.
        steps: optimiser steps done.
        path: the ``.safetensors`` file, replaced whole.

    Returns:
        sha256 and size in bytes of the file.
    """
    facts = {
        "name": recipe.name,
        "architecture": "FlowRefiner",
        "scales": ",".join(str(scale) for scale in recipe.scales),
        "licence": "MIT",
        "recipe_sha256": recipe.sha256,
        "seed": str(recipe.seed),
        "steps": str(steps),
    }
    halves = {name: value.half() for name, value in weights.items()}
    return write_weights(halves, facts, path)


def _trained(arguments: argparse.Namespace) -> tuple[dict[str, Any], tuple[str, int]]:
    recipe = load_interpolation_recipe(arguments.recipe)
    folder = arguments.out / recipe.name
    photos = load_photos(arguments.data, recipe.bundled, recipe.leave_out)
    bank = build_triplets(recipe, photos, arguments.bank or folder / "bank", say)
    schedule = Schedule(stop_after=arguments.stop_after)
    weights, facts = train_interpolator(recipe, bank, folder, schedule, say)
    path = arguments.out / f"{recipe.name}.safetensors"
    return facts, export_interpolator(weights, recipe, facts["steps"], path)


def main() -> int:
    """Trains; returns the process exit code."""
    parser = options(
        "python -m restore.train.interpolation",
        "restore/train/recipes",
        "triplets; default OUT/NAME/bank",
    )
    return ended(parser.parse_args(), _trained)


if __name__ == "__main__":
    sys.exit(main())
