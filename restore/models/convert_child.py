"""The child process that turns one published file into one safetensors file, within limits.

Run as ``python -m restore.models.convert_child SOURCE TARGET SHA256 NAME``; its one line of
output is JSON: what was made, or which error. It imports no torch and calls no unpickler.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np

from restore.errors import HashMismatch, ModelError, UnsafeWeights, UnsupportedModel
from restore.models.archive import Archive, open_archive
from restore.models.convert import CONVERTER
from restore.models.onnx_reader import looks_like_onnx, open_onnx
from restore.models.pickle_reader import TensorSpec

__all__ = ["main", "state_of", "write_safetensors"]

_NESTED = (
    *("params_ema", "params-ema", "params", "model_state_dict", "state_dict"),
    *("state_dict_Model", "model", "net"),
)
_PREFIXES = ("module.", "netG.")
_ITEM_FORMATS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def set_limits(source_bytes: int) -> None:
    """Limits memory, processor time, file size and the rest before the file is looked at."""
    memory = (1 << 30) + 6 * source_bytes
    seconds = 60 + source_bytes // (2 << 20)
    for kind, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 2 * source_bytes + (1 << 20)),
        (resource.RLIMIT_NOFILE, 32),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (limit, limit))


def state_of(archive: Archive) -> dict[str, TensorSpec]:
    """Finds the state dict in what a file holds; averaged weights come before plain ones.

    Raises:
        UnsupportedModel: there is none, or there are several without a known name.
    """
    value = archive.value
    for _ in range(4):
        if not isinstance(value, dict):
            break
        tensors = {str(k): v for k, v in value.items() if isinstance(v, TensorSpec)}
        inner = {str(k): v for k, v in value.items() if isinstance(v, dict) and v}
        named = next((k for k in _NESTED if k in inner), None)
        if named is not None:
            value = inner[named]
        elif tensors:
            return _without_prefix(tensors)
        elif len(inner) == 1:
            value = next(iter(inner.values()))
        else:
            break
    found = sorted(map(str, value))[:8] if isinstance(value, dict) else type(value).__name__
    raise UnsupportedModel(f"the file holds no state dict but {found}", "a dictionary of tensors")


def _without_prefix(tensors: dict[str, TensorSpec]) -> dict[str, TensorSpec]:
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): spec for key, spec in tensors.items()}
    return tensors


def _bytes_of(archive: Archive, spec: TensorSpec) -> bytes:
    """Returns a tensor's numbers in row-major order, little-endian."""
    item_bytes = spec.storage.item_bytes
    flat = np.frombuffer(archive.storage(spec.storage), dtype=_ITEM_FORMATS[item_bytes])
    if 0 in spec.shape:
        return b""
    # Offset, shape and strides were held against the storage's length when they were read.
    view = np.lib.stride_tricks.as_strided(
        flat[spec.offset :],
        spec.shape,
        tuple(stride * item_bytes for stride in spec.strides),
        writeable=False,
    )
    return np.ascontiguousarray(view).tobytes()


def write_safetensors(
    target: Path, archive: Archive, state: dict[str, TensorSpec], metadata: dict[str, str]
) -> None:
    """Writes tensors in a fixed order, so that one source always gives the same bytes.

    The format is an 8-byte little-endian length, a JSON header and the numbers; wide formats come
    first so that each tensor is aligned.
    """
    order = sorted(state, key=lambda name: (-state[name].storage.item_bytes, name))
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    position = 0
    for name in order:
        spec = state[name]
        size = spec.storage.item_bytes
        for n in spec.shape:
            size *= n
        header[name] = {
            "dtype": spec.storage.dtype,
            "shape": list(spec.shape),
            "data_offsets": [position, position + size],
        }
        position += size
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    with target.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for name in order:
            file.write(_bytes_of(archive, state[name]))
        file.flush()
        os.fsync(file.fileno())


def _convert(source: Path, target: Path, sha256: str, name: str) -> dict[str, Any]:
    set_limits(source.stat().st_size)
    content = source.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise HashMismatch(f"{source} has sha256 {found}", sha256, "It changed meanwhile.")
    archive = open_onnx(content) if looks_like_onnx(content, name) else open_archive(content)
    state = state_of(archive)
    total = sum(
        int(np.prod(spec.shape, dtype=object)) * spec.storage.item_bytes for spec in state.values()
    )
    if total > 2 * len(content):
        raise UnsafeWeights(f"the tensors take {total} bytes, the file {len(content)}")
    write_safetensors(
        target,
        archive,
        state,
        {**archive.facts, "converter": CONVERTER, "source_file": name, "source_sha256": sha256},
    )
    return {"tensors": len(state), "bytes": total}


def main(arguments: list[str]) -> int:
    """Converts one file; see the module's description."""
    source, target, sha256, name = arguments
    try:
        answer: dict[str, Any] = {"made": _convert(Path(source), Path(target), sha256, name)}
    except ModelError as error:
        answer = {"error": [type(error).__name__, error.came, error.expected, error.fix]}
    except MemoryError:
        answer = {"error": ["UnsafeWeights", "reading the file took too much memory", "", ""]}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0 if "made" in answer else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
