"""Turns a published ``.pth`` (or a SPAN network's ``.onnx``) into safetensors.

Once, on explicit command, in a child process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import restore.errors
from restore.errors import ModelError, UnsafeWeights, UnsupportedModel
from restore.models.disk import sha256_file
from restore.models.onnx_reader import looks_like_onnx

__all__ = ["CONVERTER", "check_safetensors", "convert", "kind_of"]

CONVERTER = "restore-1"

_LARGEST_HEADER_BYTES = 32 << 20


def kind_of(path: Path, name: str, *, vouched: bool = False) -> str:
    """Says what a file is by its first bytes: ``safetensors``, ``pth`` or ``onnx``.

    Args:
        path: the file.
        name: the name that it was published under; ``path`` may be a download in progress.
        vouched: whether the catalogue knows the file by its hash, so that ``.pt`` says nothing.

    Raises:
        UnsafeWeights: the name says ``.pt``, which is TorchScript's.
        UnsupportedModel: it is something else.
    """
    if not vouched and Path(name).suffix.lower() == ".pt":
        raise UnsafeWeights(
            f"{name} is a .pt file, the kind that TorchScript programs come in",
            "a .safetensors or .pth file",
            "If its author says that it holds a state dict only, give it the name .pth: it is then "
            "read without running anything, and refused if it holds more.",
        )
    with path.open("rb") as file:
        head = file.read(512)
    if head[:4] == b"PK\x03\x04" or head[:1] == b"\x80" or head[257:262] == b"ustar":
        return "pth"
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and 2 <= length <= _LARGEST_HEADER_BYTES:
        return "safetensors"
    if looks_like_onnx(head, name):
        return "onnx"
    raise UnsupportedModel(
        f"{name} begins with {head[:8]!r}", "a .safetensors file, or a .pth of torch.save"
    )


def check_safetensors(path: Path) -> int:
    """Checks that a file is well-formed safetensors and returns how many tensors it holds.

    Raises:
        UnsupportedModel: it is not, or it is empty.
    """
    import safetensors

    try:
        with safetensors.safe_open(path, framework="np") as file:
            count = len(list(file.keys()))
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise UnsupportedModel(f"{path.name} is no safetensors file: {error}") from error
    if count == 0:
        raise UnsupportedModel(f"{path.name} holds no tensors")
    return count


def convert(source: Path, target: Path, sha256: str, name: str) -> str:
    """Converts a ``.pth`` in a child process with limits on memory, time and file size.

    The child interprets the file without an unpickler (see ``pickle_reader``); this process never
    opens it. The same source always gives the same bytes.

    Args:
        source: the ``.pth``.
        target: file to write; its folder exists. It is only there after success.
        sha256: hash of the source; the child checks it over the bytes that it reads.
        name: file name to record.

    Returns:
        The sha256 of the target.

    Raises:
        UnsafeWeights: the file could run code, or broke the limits.
        UnsupportedModel: it holds no state dict.
        HashMismatch: it changed meanwhile.
    """
    command = [sys.executable, "-m", "restore.models.convert_child"]
    command += [str(source.resolve()), str(target.resolve()), sha256, name]
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    wait_s = 120 + source.stat().st_size // (1 << 20)
    try:
        child = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=wait_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        target.unlink(missing_ok=True)
        raise UnsafeWeights(f"reading {name} took longer than {wait_s} s") from None
    try:
        answer: dict[str, Any] = json.loads(child.stdout)
        if "error" in answer:
            raise _error(name, answer["error"])
        check_safetensors(target)
    except ValueError:
        target.unlink(missing_ok=True)
        last = child.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise UnsafeWeights(
            f"reading {name} ended with status {child.returncode}: {' '.join(last) or 'no word'}",
            "a state dict that stays within limits of memory and time",
        ) from None
    except ModelError:
        target.unlink(missing_ok=True)
        raise
    return sha256_file(target)


def _error(name: str, parts: list[str]) -> ModelError:
    kind: type[ModelError] = getattr(restore.errors, parts[0], UnsafeWeights)
    came, expected, fix = parts[1:]
    return kind(f"{name}: {came}", expected, fix)
