"""Trained weights as safetensors with the facts a model card needs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from restore.train.recipe import Recipe

__all__ = ["export", "in_order"]


def in_order(data: bytes) -> bytes:
    """The same safetensors file with its header's keys sorted: the library's order is random."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def export(
    weights: dict[str, torch.Tensor], recipe: Recipe, steps: int, path: Path
) -> tuple[str, int]:
    """Write a weights file; the same weights and recipe give the same bytes.

    Args:
        weights: state dict, fp32.
        recipe: what it was trained by.
        steps: optimiser steps done.
        path: the ``.safetensors`` file, replaced whole.

    Returns:
        sha256 and size in bytes of the file.
    """
    facts = {
        "name": recipe.name,
        "architecture": "Compact",
        "scale": str(recipe.scale),
        "licence": recipe.licence,
        "recipe_sha256": recipe.sha256,
        "seed": str(recipe.seed),
        "steps": str(steps),
    }
    if recipe.teacher:
        facts["teacher"] = recipe.teacher
    aside = path.with_suffix(".new")
    save_file({name: value.contiguous() for name, value in weights.items()}, aside, facts)
    data = in_order(aside.read_bytes())
    aside.write_bytes(data)
    aside.replace(path)
    return hashlib.sha256(data).hexdigest(), len(data)
