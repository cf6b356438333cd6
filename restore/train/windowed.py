"""``python -m restore.train.windowed RECIPE --data DIR --out DIR``: trains the window network.

Muon for the inner convolutions and Adam for the rest, linear warm-up, cosine, averaged weights,
squared error with most weight on luma. A batch depends on its step alone and a checkpoint holds all
the rest, so on the CPU, with the same number of threads, a run that was killed and resumed gives
the same weights bit for bit as one that was not.
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
from typing import Any, Final

import torch
from safetensors.torch import load_file
from torch import Tensor

from restore.errors import InvalidInput
from restore.models.nets.window_compact import WindowCompact
from restore.train.command import ended, options, say, weights_before
from restore.train.muon import Muon
from restore.train.photos import load_photos
from restore.train.weights_file import write_weights
from restore.train.window_recipe import WindowRecipe, load_window_recipe
from restore.train.windows import SCALE, WindowBank, build_windows, draw_windows

__all__ = ["Schedule", "begin", "export_windowed", "train_windowed"]

_LUMA: Final = (0.299, 0.587, 0.114)
_LUMA_SHARE: Final = 0.75  # of the loss; the rest is R'G'B' as it is
_LEAST: Final = 3e-5  # squared error, 45 dB, below which a patch is good enough


@dataclass(frozen=True)
class Schedule:
    """How far and how often; none of it changes the result.

    Attributes:
        checkpoint_every: steps between checkpoints and log lines.
        stop_after: stop, checkpointed, once this step is reached; 0 for the recipe's end.
    """

    checkpoint_every: int = 100
    stop_after: int = 0


def begin(recipe: WindowRecipe, start: dict[str, Tensor]) -> WindowCompact:
    """The network as training finds it.

    Weights of the single-frame network go on the trusted mean, with nothing on all else: the first
    step sees what that network makes of a denoised frame.

    Args:
        recipe: shape of the network.
        start: state dict of this network, or of the single-frame one of the same body.
    """
    net = WindowCompact(recipe.features, recipe.convolutions, SCALE)
    name = "body.0.weight"
    fresh = net.state_dict()[name]
    if start[name].shape != fresh.shape:
        wide = torch.zeros_like(fresh)
        wide[:, :3] = start[name]
        start = {**start, name: wide}
    net.load_state_dict(start)
    return net


def _loss(kind: str, out: Tensor, truth: Tensor) -> Tensor:
    """Squared error, averaged plainly or as its logarithm over patches, as mean PSNR does.

    The plain mean leaves all say to the few patches that no network can bring back.
    """
    apart = out.float() - truth
    weights = torch.tensor(_LUMA, device=apart.device).view(1, 3, 1, 1)
    luma = (apart * weights).sum(1).square().mean((1, 2))
    each = _LUMA_SHARE * luma + (1 - _LUMA_SHARE) * apart.square().mean((1, 2, 3))
    return (each + _LEAST).log().mean() if kind == "log" else each.mean()


def _rate_at(recipe: WindowRecipe, step: int) -> float:
    if step < recipe.warmup_steps:
        return recipe.rate * (step + 1) / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return recipe.rate * (0.001 + 0.999 * 0.5 * (1 + math.cos(math.pi * done)))


def _optimisers(recipe: WindowRecipe, net: WindowCompact) -> list[torch.optim.Optimizer]:
    known = {
        id(layer.weight)
        for layer in net.body
        if isinstance(layer, torch.nn.Conv2d) and layer.in_channels == recipe.features
    }
    inner = [weight for weight in net.parameters() if id(weight) in known]
    rest = [weight for weight in net.parameters() if id(weight) not in known]
    return [torch.optim.Adam(rest, lr=recipe.rate, betas=(0.9, 0.99)), Muon(inner, lr=recipe.rate)]


class _State:
    """Weights, their average and the optimiser, saved and loaded as one."""

    def __init__(self, recipe: WindowRecipe, start: dict[str, Tensor]) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.net = begin(recipe, start).to(memory_format=torch.channels_last)
        self.mean = {k: v.detach().clone() for k, v in self.net.state_dict().items()}
        self.optimisers = _optimisers(recipe, self.net)
        self.step = 0
        self.seconds = 0.0

    def save(self, path: Path) -> None:
        """Write aside, then rename: a kill leaves the earlier checkpoint whole."""
        aside = path.with_suffix(".new")
        held: dict[str, Any] = {"net": self.net.state_dict(), "mean": self.mean}
        held["optimisers"] = [each.state_dict() for each in self.optimisers]
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
        for each, held in zip(self.optimisers, saved["optimisers"], strict=True):
            each.load_state_dict(held)
        self.mean, self.step, self.seconds = saved["mean"], saved["step"], saved["seconds"]

    def advance(self, bank: WindowBank) -> float:
        """One optimiser step; returns the loss."""
        low, high = draw_windows(bank, self.recipe, self.step)
        for each in self.optimisers:
            each.zero_grad(set_to_none=True)
            for group in each.param_groups:
                group["lr"] = _rate_at(self.recipe, self.step)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            out = self.net(low.contiguous(memory_format=torch.channels_last))
        loss = _loss(self.recipe.loss, out, high)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.recipe.clip)
        for each in self.optimisers:
            each.step()
        self.step += 1
        # Early on a short memory, so that the average is not held back by the initial weights.
        keep = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.net.state_dict().items():
                self.mean[name].lerp_(value, 1 - keep)
        return float(loss.detach())


def train_windowed(
    recipe: WindowRecipe,
    bank: WindowBank,
    start: dict[str, Tensor],
    folder: Path,
    schedule: Schedule,
    say: Callable[[str], None],
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Run a recipe, or go on with one that was stopped.

    Args:
        recipe: what to do.
        bank: windows to draw from.
        start: weights to begin with.
        folder: receives ``checkpoint.pt`` and ``log.jsonl``.
        schedule: how far and how often.
        say: is told each log line.

    Returns:
        The averaged weights, and facts: steps and seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state, checkpoint = _State(recipe, start), folder / "checkpoint.pt"
    if checkpoint.exists():
        state.load(checkpoint)
    end = min(recipe.steps, schedule.stop_after or recipe.steps)
    began, before, total = time.monotonic(), state.seconds, 0.0
    with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
        while state.step < end:
            total += state.advance(bank)
            state.seconds = before + time.monotonic() - began
            if state.step % schedule.checkpoint_every == 0:
                loss = round(total / schedule.checkpoint_every, 7)
                line = json.dumps(
                    {"step": state.step, "loss": loss, "seconds": round(state.seconds, 1)}
                )
                log.write(line + "\n")
                log.flush()
                say(line)
                total = 0.0
                state.save(checkpoint)
    state.save(checkpoint)
    weights = {name: value.detach().contiguous() for name, value in state.mean.items()}
    return weights, {"steps": state.step, "seconds": round(state.seconds, 1)}


def export_windowed(
    weights: dict[str, Tensor], recipe: WindowRecipe, steps: int, path: Path
) -> tuple[str, int]:
    """Write a weights file; the same weights and recipe give the same bytes.

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
        "architecture": "WindowCompact",
        "scale": str(SCALE),
        "licence": "MIT",
        "recipe_sha256": recipe.sha256,
        "seed": str(recipe.seed),
        "steps": str(steps),
    }
    return write_weights(weights, facts, path)


def _trained(arguments: argparse.Namespace) -> tuple[dict[str, Any], tuple[str, int]]:
    recipe = load_window_recipe(arguments.recipe)
    start = load_file(weights_before(recipe.start_from, arguments.out))
    folder = arguments.out / recipe.name
    photos = load_photos(arguments.data, bundled=False, leave_out=recipe.leave_out)
    bank = build_windows(recipe, photos, arguments.bank or folder / "bank", say)
    schedule = Schedule(stop_after=arguments.stop_after)
    weights, facts = train_windowed(recipe, bank, start, folder, schedule, say)
    path = arguments.out / f"{recipe.name}.safetensors"
    return facts, export_windowed(weights, recipe, facts["steps"], path)


def main() -> int:
    """Train; returns the process exit code."""
    parser = options(
        "python -m restore.train.windowed",
        "restore/train/recipes/windowed",
        "windows; default OUT/NAME/bank",
    )
    return ended(parser.parse_args(), _trained)


if __name__ == "__main__":
    sys.exit(main())
