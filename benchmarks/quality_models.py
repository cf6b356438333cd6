"""The rows of the quality benchmark: plain resampling, our models, published ones."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from spandrel import ImageModelDescriptor, ModelLoader

from restore.degrade.resize import resize
from restore.models.catalog import default_catalog
from restore.models.load import load_model
from restore.models.store import ModelStore

__all__ = ["Row", "milliseconds", "rows_1x", "rows_4x"]

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Row:
    """One way to get from a degraded frame to a better one.

    Attributes:
        name: as printed.
        run: ``[h, w, 3]`` uint8 to ``[h*s, w*s, 3]`` uint8.
        parameters: of the network; 0 without one.
        flop_per_px: operations per input pixel; 0 without a network.
    """

    name: str
    run: Callable[[Picture], Picture]
    parameters: int = 0
    flop_per_px: int = 0


def _resampled(kernel: str) -> Row:
    def run(low: Picture) -> Picture:
        size = (low.shape[0] * 4, low.shape[1] * 4)
        return np.clip(np.rint(resize(low.astype(np.float32), size, kernel)), 0, 255).astype(
            np.uint8
        )

    return Row(kernel, run)


def _runner(net: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Picture], Picture]:
    def run(low: Picture) -> Picture:
        planes = torch.from_numpy(np.ascontiguousarray(low.transpose(2, 0, 1)))[None]
        with torch.inference_mode():
            out = net(planes.float() / 255.0)[0]
        high = (out.clamp(0, 1) * 255.0).round().byte().numpy()
        return np.ascontiguousarray(high.transpose(1, 2, 0))

    return run


def _network(name: str, state: dict[str, torch.Tensor]) -> Row:
    """A convolutional network at one resolution, as all of these are until their last step."""
    loaded = ModelLoader().load_from_state_dict(state)
    if not isinstance(loaded, ImageModelDescriptor):
        raise TypeError(f"{name} takes more than one picture")
    net = loaded.model.eval()
    layers = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    return Row(
        name,
        _runner(net),
        sum(p.numel() for p in net.parameters()),
        sum(2 * layer.weight.numel() for layer in layers),
    )


def _shipped(role: str) -> list[Row]:
    """The single-frame models that ship, in the catalogue's order."""
    entries = [e for e in default_catalog() if e.embedded and e.role == role]
    return [
        _network(e.name, load_file(e.embedded_path)) for e in entries if e.architecture == "Compact"
    ]


def _imported(path: Path, name: str) -> Row:
    """A published network that the store has to convert before it can be loaded."""
    with tempfile.TemporaryDirectory() as folder:
        store = ModelStore(Path(folder))
        model = load_model(store.import_file(path).name, store=store)
        return Row(name, _runner(model), model.parameters, round(model.flops_per_px))


def _mixed(
    plain: dict[str, torch.Tensor], weak: dict[str, torch.Tensor], strength: float
) -> dict[str, torch.Tensor]:
    return {k: strength * plain[k].float() + (1 - strength) * weak[k].float() for k in plain}


def rows_4x(assets: Path | None) -> list[Row]:
    """Every 4x way there is on this machine."""
    rows = [_resampled("bicubic"), _resampled("lanczos3")]
    rows += _shipped("upscale")
    if assets is not None:
        folder = assets / "models"
        plain = load_file(folder / "realesr-general-x4v3.safetensors")
        weak = load_file(folder / "realesr-general-wdn-x4v3.safetensors")
        for strength in (0.0, 0.5, 1.0):
            state = _mixed(plain, weak, strength)
            rows.append(_network(f"realesr-general-x4v3 dn={strength:g}", state))
        rows.append(
            _network("4xLSDIRCompactC3", load_file(folder / "4xLSDIRCompactC3.safetensors"))
        )
        rows.append(_imported(folder / "4xSPANkendata_fp32.onnx", "4xSPANkendata"))
    return rows


def rows_1x() -> list[Row]:
    """Every 1x way: the input itself, and our models."""
    return [Row("input", lambda low: low), *_shipped("deartifact")]


def milliseconds(row: Row, size_px: tuple[int, int]) -> float:
    """Shortest of five runs on a frame of random pixels, after one to warm up.

    The shortest, not the middle one: other work on the machine only ever adds time.
    """
    frame = np.random.default_rng(0).integers(0, 256, (*size_px, 3), dtype=np.uint8)
    row.run(frame)
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        row.run(frame)
        taken.append(1000.0 * (time.perf_counter() - start))
    return min(taken)
