"""``python -m restore.train RECIPE --data DIR --out DIR``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from restore.errors import InvalidInput, RestoreError
from restore.train.bank import build_bank
from restore.train.export import export
from restore.train.loop import Run, train
from restore.train.net import flop_per_px, parameters
from restore.train.photos import load_photos
from restore.train.recipe import load_recipe


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m restore.train", description=__doc__)
    parser.add_argument("recipe", type=Path, help="a .toml file of restore/train/recipes")
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--out", type=Path, required=True, help="checkpoints, log and weights")
    parser.add_argument("--bank", type=Path, help="folder of the pairs; default OUT/bank")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves it to torch")
    parser.add_argument("--limit-s", type=float, default=0.0, help="stop, resumable, after that")
    parser.add_argument("--stop-after", type=int, default=0, help="stop, resumable, at that step")
    parser.add_argument("--checkpoint-every", type=int, default=500, help="steps")
    return parser.parse_args()


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def main() -> int:
    """Train; returns the process exit code."""
    arguments = _arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    try:
        recipe = load_recipe(arguments.recipe)
        _say(f"{recipe.name}: {parameters(recipe)} parameters, {flop_per_px(recipe)} FLOP per px")
        folder = arguments.out / recipe.name
        start = arguments.out / f"{recipe.start_from}.safetensors" if recipe.start_from else None
        if start is not None and not start.exists():
            raise InvalidInput(
                f"{start} is missing", fix=f"Train {recipe.start_from} first, with the same --out."
            )
        photos = load_photos(arguments.data, recipe.bundled, recipe.leave_out)
        bank = build_bank(recipe, photos, arguments.bank or folder / "bank", _say)
        run = Run(
            folder,
            arguments.device,
            checkpoint_every=arguments.checkpoint_every,
            log_every=min(100, arguments.checkpoint_every),
            stop_after=arguments.stop_after,
            limit_s=arguments.limit_s,
        )
        weights, facts = train(recipe, bank, run, _say, start)
        path = arguments.out / f"{recipe.name}.safetensors"
        digest, size = export(weights, recipe, facts["steps"], path)
    except RestoreError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps({**facts, "sha256": digest, "bytes": size}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
