"""What computes the networks: torch, its compiler, or OpenVINO or TensorRT where installed."""

from __future__ import annotations

import importlib.util
import os
import shutil
from importlib import metadata

from restore.errors import InvalidInput, MissingExtra

__all__ = ["BACKENDS", "backend_version", "choose_backend"]

BACKENDS = ("auto", "torch", "openvino", "tensorrt", "compile")


def choose_backend(wanted: str, device_type: str) -> str:
    """What stages shall compute their networks with.

    Args:
        wanted: one of ``BACKENDS``.
        device_type: ``cpu``, ``cuda`` ...

    Returns:
        ``torch``, ``openvino``, ``tensorrt`` or ``compile``; ``auto`` where each network shall go
        by what pays for it.

    Raises:
        InvalidInput: another name, OpenVINO for a GPU, TensorRT for anything else, torch's compiler
            for neither.
        MissingExtra: one was named that is not installed.
    """
    if wanted not in BACKENDS:
        raise InvalidInput(f"backend {wanted!r}", f"one of {', '.join(BACKENDS)}")
    if wanted == "tensorrt":
        return _tensorrt(device_type)
    if wanted == "compile":
        return _compile(device_type)
    can = device_type == "cpu" and importlib.util.find_spec("openvino") is not None
    if wanted == "auto":
        return "auto" if can else "torch"
    if wanted == "openvino" and device_type != "cpu":
        raise InvalidInput(
            f"backend 'openvino' on device {device_type!r}",
            "the CPU, which is what it speeds up here",
            "Use --device cpu, or leave --backend out.",
        )
    if wanted == "openvino" and not can:
        raise MissingExtra(
            "backend 'openvino', which is not installed",
            "the extra openvino",
            "pip install 'restore-film[openvino]', or leave --backend out.",
        )
    return wanted


def _tensorrt(device_type: str) -> str:
    if device_type != "cuda":
        raise InvalidInput(
            f"backend 'tensorrt' on device {device_type!r}",
            "an NVIDIA GPU, which is what it compiles for",
            "Use --device cuda, or leave --backend out.",
        )
    if importlib.util.find_spec("torch_tensorrt") is None:
        raise MissingExtra(
            "backend 'tensorrt', which is not installed",
            "the extra tensorrt",
            "pip install 'restore-film[tensorrt]', or leave --backend out.",
        )
    return "tensorrt"


def _compile(device_type: str) -> str:
    if device_type not in ("cpu", "cuda"):
        raise InvalidInput(
            f"backend 'compile' on device {device_type!r}",
            "the CPU or an NVIDIA GPU, which torch.compile is tried on",
            "Leave --backend out.",
        )
    # On a GPU torch brings what it needs along.
    if device_type == "cpu" and not any(map(shutil.which, (os.environ.get("CXX") or "c++", "g++"))):
        raise InvalidInput(
            "backend 'compile' on a machine without a C++ compiler",
            "a c++ or g++ in the search path, which torch.compile calls",
            "Install g++, or leave --backend out.",
        )
    return "compile"


def backend_version(name: str) -> str:
    """The backend with its installed version, such as ``openvino 2026.4.1``."""
    return f"{name} {metadata.version('torch' if name == 'torch.compile' else name)}"
