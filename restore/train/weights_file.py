"""Writes trained weights as safetensors with the facts that a model card needs."""

from __future__ import annotations

import hashlib
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from restore.models.header import in_order

__all__ = ["write_weights"]


def write_weights(weights: dict[str, Tensor], facts: dict[str, str], path: Path) -> tuple[str, int]:
    """Write a weights file; the same weights and facts give the same bytes.

    Args:
        weights: state dict, in the format that is to be written.
        facts: for its header.
        path: the ``.safetensors`` file, replaced whole.

    Returns:
        sha256 and size in bytes of the file.
    """
    aside = path.with_suffix(".new")
    save_file({name: value.contiguous() for name, value in weights.items()}, aside, facts)
    data = in_order(aside.read_bytes())
    aside.write_bytes(data)
    aside.replace(path)
    return hashlib.sha256(data).hexdigest(), len(data)
