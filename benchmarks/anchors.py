"""The networks that speed is measured on, in the shapes that people use.

Where the published weights are at hand they are taken; otherwise the same shape with seeded random
weights, which costs the same operations and the same bytes.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from restore.models.load import LoadedModel, load_model
from restore.models.store import ModelStore

__all__ = ["ANCHORS", "Anchor", "loaded", "weights_of"]


@dataclass(frozen=True)
class Anchor:
    """A network to measure.

    Attributes:
        name: for tables and the command line.
        file: published weights, by their file's name among the test assets; empty without.
        make: the same shape with random weights.
        network_mark: share of the operations limit that the network alone shall reach on a GPU.
        job_mark: times that a whole job shall be faster than the peer named in ``peer``.
        peer: the peer of that mark.
    """

    name: str
    file: str
    make: Callable[[], nn.Module]
    network_mark: float
    job_mark: float
    peer: str


def _general() -> nn.Module:
    from spandrel.architectures.Compact import Compact

    return Compact(num_in_ch=3, num_out_ch=3, num_feat=64, num_conv=32, upscale=4)


def _span() -> nn.Module:
    from spandrel.architectures.SPAN import SPAN

    return SPAN(num_in_ch=3, num_out_ch=3, feature_channels=48, upscale=4)


def _esrgan() -> nn.Module:
    from spandrel.architectures.ESRGAN import ESRGAN

    return ESRGAN(in_nc=3, out_nc=3, num_filters=64, num_blocks=23, scale=4)


def _omnisr() -> nn.Module:
    from spandrel.architectures.OmniSR import OmniSR

    return OmniSR(num_feat=64, block_num=1, window_size=8, res_num=5, up_scale=1)


def _hat_l() -> nn.Module:
    from spandrel.architectures.HAT import HAT

    return HAT(
        img_size=64,
        embed_dim=180,
        depths=(6,) * 12,
        num_heads=(6,) * 12,
        window_size=16,
        compress_ratio=3,
        squeeze_factor=30,
        overlap_ratio=0.5,
        mlp_ratio=2,
        upscale=4,
        num_feat=64,
        upsampler="pixelshuffle",
        resi_connection="1conv",
    )


ANCHORS = {
    anchor.name: anchor
    for anchor in (
        Anchor("general-x4v3", "realesr-general-x4v3.safetensors", _general, 0.45, 5, "realesrgan"),
        Anchor("span-48", "", _span, 0.30, 5, "spandrel"),
        Anchor("esrgan-rrdb23", "", _esrgan, 0.45, 2, "spandrel"),
        Anchor("omnisr-1x", "", _omnisr, 0.10, 2, "spandrel"),
        Anchor("hat-l", "", _hat_l, 0.25, 1.5, "spandrel"),
    )
}


def weights_of(anchor: Anchor, folder: Path) -> Path:
    """The published file, or one with seeded random weights in ``folder``."""
    assets = os.environ.get("RESTORE_TEST_ASSETS")
    if anchor.file and assets and (Path(assets) / "models" / anchor.file).exists():
        return Path(assets) / "models" / anchor.file
    path = folder / f"{anchor.name}.safetensors"
    if not path.exists():
        torch.manual_seed(7)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.meshgrid's note on its own future
            state = anchor.make().state_dict()
        save_file({key: value.contiguous().clone() for key, value in state.items()}, path)
    return path


def loaded(anchor: Anchor, folder: Path) -> LoadedModel:
    """The network as every job loads it: float32, on the CPU."""
    empty = tempfile.mkdtemp(dir=folder)
    return load_model(weights_of(anchor, folder), store=ModelStore(Path(empty)))
