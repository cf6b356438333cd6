"""``python -m restore.train RECIPE --data DIR --out DIR``."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from restore.train.bank import build_bank
from restore.train.command import ended, options, say, weights_before
from restore.train.export import export
from restore.train.loop import Run, train
from restore.train.net import flop_per_px, parameters
from restore.train.photos import load_photos
from restore.train.recipe import load_recipe


def _trained(arguments: argparse.Namespace) -> tuple[dict[str, Any], tuple[str, int]]:
    recipe = load_recipe(arguments.recipe)
    say(f"{recipe.name}: {parameters(recipe)} parameters, {flop_per_px(recipe)} FLOP per px")
    folder = arguments.out / recipe.name
    start = weights_before(recipe.start_from, arguments.out) if recipe.start_from else None
    photos = load_photos(arguments.data, recipe.bundled, recipe.leave_out)
    bank = build_bank(recipe, photos, arguments.bank or folder / "bank", say)
    run = Run(
        folder,
        arguments.device,
        checkpoint_every=arguments.checkpoint_every,
        log_every=min(100, arguments.checkpoint_every),
        stop_after=arguments.stop_after,
        limit_s=arguments.limit_s,
    )
    weights, facts = train(recipe, bank, run, say, start)
    path = arguments.out / f"{recipe.name}.safetensors"
    return facts, export(weights, recipe, facts["steps"], path)


def main() -> int:
    """Train; returns the process exit code."""
    parser = options(
        "python -m restore.train", "restore/train/recipes", "pairs; default OUT/NAME/bank"
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--limit-s", type=float, default=0.0, help="stop, resumable, after that")
    parser.add_argument("--checkpoint-every", type=int, default=500, help="steps")
    return ended(parser.parse_args(), _trained)


if __name__ == "__main__":
    sys.exit(main())
