"""From a name or a path to checked tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from restore.errors import ModelNotFound, UnsafeWeights, UnsupportedModel
from restore.models.disk import read_verified, sha256_file
from restore.models.store import ModelStore, StoredModel

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["find_weights", "mix_tensors", "read_tensors"]


def find_weights(ref: str | Path, store: ModelStore) -> StoredModel:
    """Finds a weights file; opens nothing but to hash it.

    Args:
        ref: a model's name or alias, or the path of a ``.safetensors`` file (a ``Path``, or a
            string that ends so or holds a slash).
        store: where named models are.

    Raises:
        ModelNotFound: unknown name, or no such file.
        UnsafeWeights: the path is of a kind that runs code.
        UnsupportedModel: the path is of another kind.
    """
    text = str(ref)
    by_path = isinstance(ref, Path) or "/" in text or text.lower().endswith(".safetensors")
    if not by_path:
        return store.get(text)
    path = Path(ref)
    if path.suffix.lower() in (".pth", ".pt", ".ckpt", ".bin", ".pkl"):
        raise UnsafeWeights(
            f"{path} is a {path.suffix} file, which is a program that builds tensors",
            "a .safetensors file",
            f"Run `restore models import {path.name}` once, then name the model.",
        )
    if path.suffix.lower() != ".safetensors":
        raise UnsupportedModel(f"{path} is no safetensors file", "a .safetensors file")
    if not path.is_file():
        raise ModelNotFound(f"there is no file {path}", "the path of a .safetensors file")
    sha256 = sha256_file(path)
    known = store.catalog.identify(sha256)
    entry = known[0] if known else None
    return StoredModel(
        name=entry.name if entry else path.name,
        path=path,
        sha256=sha256,
        size_bytes=path.stat().st_size,
        source_sha256=sha256,
        role=entry.role if entry else "unknown",
        licence=entry.licence if entry else "unknown",
        attribution=entry.attribution if entry else "",
        verified=entry is not None,
        scale=entry.scale if entry else None,
    )


def read_tensors(stored: StoredModel) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Returns the tensors of a file, floating ones as float32, and its metadata.

    The hash is checked first, over the very bytes that are then parsed.

    Raises:
        HashMismatch: the file is not the one that ``stored`` speaks of.
        UnsupportedModel: it is no safetensors file.
    """
    import safetensors
    import safetensors.torch

    content = read_verified(stored.path, stored.sha256)
    try:
        tensors = safetensors.torch.load(content)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise UnsupportedModel(
            f"{stored.path} is no safetensors file: {error}", "tensors in the safetensors format"
        ) from error
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return (
        {k: t.float() if t.is_floating_point() else t for k, t in tensors.items()},
        header.get("__metadata__", {}),
    )


def mix_tensors(
    a: dict[str, Tensor], b: dict[str, Tensor], share: float, a_name: str, b_name: str
) -> dict[str, Tensor]:
    """Returns ``(1 - share) * a + share * b`` for each floating tensor.

    Raises:
        UnsupportedModel: the two have different tensors.
    """
    if {k: t.shape for k, t in a.items()} != {k: t.shape for k, t in b.items()}:
        raise UnsupportedModel(
            f"{a_name} and {b_name} have different tensors",
            "two models of one architecture and size, such as realesr-general-x4v3 and its twin",
        )
    return {
        k: (1.0 - share) * t + share * b[k] if t.is_floating_point() else t for k, t in a.items()
    }
