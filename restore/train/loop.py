"""The training loop: Adam or Muon, cosine, averaged weights, mixed precision, resume after a kill.

On the CPU, with the same number of threads, a run that was killed and resumed gives the same
weights bit for bit as one that was not: a batch depends on its step alone, and a checkpoint holds
all the rest.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file

from restore.errors import InvalidInput
from restore.train.bank import Bank, draw_batch
from restore.train.muon import Muon
from restore.train.net import build, level
from restore.train.recipe import Recipe

__all__ = ["Run", "rate_at", "train"]


@dataclass(frozen=True)
class Run:
    """Where and how a recipe is run; none of it may change the recipe's result but by rounding.

    Attributes:
        folder: receives ``checkpoint.pt`` and ``log.jsonl``.
        device: ``cpu`` or ``cuda``.
        checkpoint_every: steps between checkpoints.
        log_every: steps between log lines.
        stop_after: stop, checkpointed, once this step is reached; 0 for the recipe's end.
        limit_s: stop, checkpointed, after so many seconds; 0 for no limit.
    """

    folder: Path
    device: str = "cpu"
    checkpoint_every: int = 500
    log_every: int = 100
    stop_after: int = 0
    limit_s: float = 0.0


def rate_at(recipe: Recipe, step: int) -> float:
    """Learning rate of a step: linear rise, then a cosine down to the floor."""
    o = recipe.optimiser
    if step < o.warmup_steps:
        return o.rate * (step + 1) / o.warmup_steps
    done = (step - o.warmup_steps) / max(1, recipe.steps - o.warmup_steps)
    return o.rate * (o.floor + (1 - o.floor) * 0.5 * (1 + math.cos(math.pi * done)))


LUMA: Final = (0.299, 0.587, 0.114)
LUMA_SHARE: Final = 0.75  # of the losses that weigh luma more; the rest is R'G'B' as it is


def _loss(kind: str, out: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    difference = out.float() - truth
    if kind in ("luma", "luma2"):
        weights = torch.tensor(LUMA, device=difference.device).view(1, 3, 1, 1)
        grey = (difference * weights).sum(dim=1)
        measure = torch.abs if kind == "luma" else torch.square
        return LUMA_SHARE * measure(grey).mean() + (1 - LUMA_SHARE) * measure(difference).mean()
    if kind == "edges":
        across, down = difference.diff(dim=3), difference.diff(dim=2)
        return difference.abs().mean() + across.abs().mean() + down.abs().mean()
    if kind == "l2":
        return difference.square().mean()
    if kind == "charbonnier":
        return (difference.square() + 1e-4).sqrt().mean()
    return difference.abs().mean()


def _optimisers(recipe: Recipe, net: torch.nn.Module) -> list[torch.optim.Optimizer]:
    """Adam for all, or Muon for the inner convolutions' weights and Adam for the rest."""
    o = recipe.optimiser
    layers = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    wide = {id(m.weight) for m in layers if m.in_channels == recipe.features and o.kind == "muon"}
    inner = [p for p in net.parameters() if id(p) in wide]
    rest = [p for p in net.parameters() if id(p) not in wide]
    found: list[torch.optim.Optimizer] = [torch.optim.Adam(rest, lr=o.rate, betas=(0.9, o.beta2))]
    return [*found, Muon(inner, lr=o.rate)] if inner else found


class _State:
    """Weights, their average and the optimiser, saved and loaded as one."""

    def __init__(self, recipe: Recipe, device: str, start: Path | None) -> None:
        self.recipe = recipe
        self.device = device
        self.net = build(recipe).to(device).to(memory_format=torch.channels_last)
        if start is not None:
            self.net.load_state_dict(load_file(start, device=device))
        self.mean = {k: v.detach().clone() for k, v in self.net.state_dict().items()}
        self.optimisers = _optimisers(recipe, self.net)
        self.step = 0
        self.seconds = 0.0
        self.starts = 0

    def save(self, path: Path) -> None:
        """Write aside, then rename: a kill leaves the earlier checkpoint whole."""
        aside = path.with_suffix(".new")
        torch.save(
            {
                "recipe": self.recipe.sha256,
                "net": self.net.state_dict(),
                "mean": self.mean,
                "optimisers": [each.state_dict() for each in self.optimisers],
                "step": self.step,
                "seconds": self.seconds,
                "starts": self.starts,
            },
            aside,
        )
        aside.replace(path)

    def load(self, path: Path) -> None:
        saved: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        if saved["recipe"] != self.recipe.sha256:
            raise InvalidInput(
                f"{path} belongs to another recipe",
                f"one of {self.recipe.name} as it is now",
                "Name another output folder, or take the recipe back to what it was.",
            )
        self.net.load_state_dict(saved["net"])
        self.mean = saved["mean"]
        for each, state in zip(self.optimisers, saved["optimisers"], strict=True):
            each.load_state_dict(state)
        self.step, self.seconds = saved["step"], saved["seconds"]
        self.starts = saved["starts"]

    def advance(self, bank: Bank) -> float:
        """One optimiser step; returns the loss."""
        recipe, o = self.recipe, self.recipe.optimiser
        low, high = (
            torch.from_numpy(a).to(self.device) for a in draw_batch(bank, recipe, self.step)
        )
        low = low.contiguous(memory_format=torch.channels_last)
        for each in self.optimisers:
            each.zero_grad(set_to_none=True)
            for group in each.param_groups:
                group["lr"] = rate_at(recipe, self.step)
        with torch.autocast(self.device, torch.bfloat16, enabled=recipe.precision == "bf16"):
            out = self.net(low)
        loss = _loss(recipe.loss, out, high)
        loss.backward()  # type: ignore[no-untyped-call]
        if o.clip:
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), o.clip)
        for each in self.optimisers:
            each.step()
        self.step += 1
        # Early on a short memory, so that the average is not held back by the initial weights.
        keep = min(o.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.net.state_dict().items():
                self.mean[name].lerp_(value, 1 - keep)
        return float(loss.detach())


def train(
    recipe: Recipe, bank: Bank, run: Run, say: Callable[[str], None], start: Path | None = None
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Run a recipe, or go on with one that was stopped.

    Args:
        recipe: what to do.
        bank: pairs to draw from.
        run: where and how long.
        say: is told each log line.
        start: weights to begin with, where the recipe names some.

    Returns:
        The averaged weights (fp32, on the CPU), and facts: steps, seconds, starts.
    """
    torch.manual_seed(recipe.seed)
    run.folder.mkdir(parents=True, exist_ok=True)
    state = _State(recipe, run.device, start)
    checkpoint = run.folder / "checkpoint.pt"
    if checkpoint.exists():
        state.load(checkpoint)
    state.starts += 1
    last = recipe.until or recipe.steps
    end = min(last, run.stop_after or last)
    began, before, total = time.monotonic(), state.seconds, 0.0
    with (run.folder / "log.jsonl").open("a", encoding="utf-8") as log:
        while state.step < end:
            total += state.advance(bank)
            state.seconds = before + time.monotonic() - began
            if state.step % run.log_every == 0:
                line = json.dumps(
                    {
                        "step": state.step,
                        "loss": round(total / run.log_every, 6),
                        "rate": round(rate_at(recipe, state.step - 1), 8),
                        "seconds": round(state.seconds, 1),
                    }
                )
                log.write(line + "\n")
                log.flush()
                say(line)
                total = 0.0
            if state.step % run.checkpoint_every == 0:
                state.save(checkpoint)
            if run.limit_s and time.monotonic() - began > run.limit_s:
                break
    state.save(checkpoint)
    weights = {name: value.detach().float().cpu() for name, value in state.mean.items()}
    if recipe.keep_start and start is not None:
        before_all = load_file(start)
        weights = {k: v.lerp(before_all[k].float(), recipe.keep_start) for k, v in weights.items()}
    if recipe.teacher:
        even = build(recipe)
        even.load_state_dict(weights)
        level(even, recipe)
        weights = {name: value.detach() for name, value in even.state_dict().items()}
    facts = {"steps": state.step, "seconds": round(state.seconds, 1), "starts": state.starts}
    return weights, facts
