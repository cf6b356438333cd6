"""Trained weights as safetensors with the facts a model card needs."""

from __future__ import annotations

from pathlib import Path

import torch

from restore.train.recipe import Recipe
from restore.train.weights_file import write_weights

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
    return write_weights(weights, facts, path)
