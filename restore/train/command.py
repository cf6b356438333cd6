"""What the commands that train have in common: their options, what they say, how they end."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from restore.errors import InvalidInput, RestoreError

__all__ = ["ended", "options", "say", "weights_before"]


def options(program: str, recipes: str, bank: str) -> argparse.ArgumentParser:
    """The options of all of them.

    Args:
        program: as it is called.
        recipes: folder of its recipes.
        bank: what the bank holds and where it lies if nothing is said.
    """
    parser = argparse.ArgumentParser(prog=program)
    parser.add_argument("recipe", type=Path, help=f"a .toml file of {recipes}")
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--out", type=Path, required=True, help="checkpoints, log and weights")
    parser.add_argument("--bank", type=Path, help=f"folder of the {bank}")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves it to torch")
    parser.add_argument("--stop-after", type=int, default=0, help="stop, resumable, at that step")
    return parser


def say(line: str) -> None:
    """Tell how far it is."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def weights_before(name: str, out: Path) -> Path:
    """The weights that a training starts from.

    Raises:
        InvalidInput: they are not there yet.
    """
    path = out / f"{name}.safetensors"
    if not path.exists():
        raise InvalidInput(f"{path} is missing", fix=f"Train {name} first, with the same --out.")
    return path


def ended(
    arguments: argparse.Namespace,
    trained: Callable[[argparse.Namespace], tuple[dict[str, Any], tuple[str, int]]],
) -> int:
    """Train, print what came of it, and give the exit code of the process.

    Args:
        arguments: of :func:`options`.
        trained: gives the facts of the run, and hash and size in bytes of the weights.
    """
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    try:
        facts, (digest, size) = trained(arguments)
    except RestoreError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps({**facts, "sha256": digest, "bytes": size}) + "\n")
    return 0
