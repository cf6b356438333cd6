"""The realesrgan package as a peer to be held against, behind one shim.

basicsr imports ``torchvision.transforms.functional_tensor``, which torchvision 0.17 removed; the
one function that it wants from there lives on in ``functional``. Extra ``parity``; never imported
by the project itself.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import tempfile
import types
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

__all__ = ["degradations", "is_installed", "realesrganer"]


def is_installed() -> bool:
    """Whether the extra ``parity`` is there."""
    return all(importlib.util.find_spec(name) for name in ("basicsr", "realesrgan"))


def _shim() -> None:
    from torchvision.transforms import functional

    name = "torchvision.transforms.functional_tensor"
    if name not in sys.modules:
        module = types.ModuleType(name)
        module.rgb_to_grayscale = functional.rgb_to_grayscale  # type: ignore[attr-defined]
        sys.modules[name] = module


def degradations() -> types.ModuleType:
    """``basicsr.data.degradations``: their blur kernels, noise and JPEG."""
    _shim()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("basicsr.data.degradations")


def realesrganer(weights: Path, *, tile_px: int = 0, half: bool = False) -> Any:  # noqa: ANN401
    """Their upsampler with the SRVGGNetCompact weights of realesr-general-x4v3.

    Args:
        weights: safetensors file; handed over as the ``.pth`` that they read.
        tile_px: their tile size, 0 for none.
        half: their half-precision switch.
    """
    _shim()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # their imports warn about libraries of their own
        from realesrgan import RealESRGANer
        from realesrgan.archs.srvgg_arch import SRVGGNetCompact
    network = SRVGGNetCompact(3, 3, num_feat=64, num_conv=32, upscale=4, act_type="prelu")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"
        torch.save({"params": load_file(weights)}, path)
        return RealESRGANer(
            scale=4, model_path=str(path), model=network, tile=tile_px, pre_pad=0, half=half
        )
