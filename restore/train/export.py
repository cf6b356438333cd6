"""Trained weights as safetensors with the facts a model card needs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors.torch import save_file

from restore.models.header import in_order
from restore.train.recipe import Recipe

__all__ = ["export"]


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
