"""Tiny instances of the architectures that published models use, with seeded weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn


def _span(**changes: int) -> nn.Module:
    from spandrel.architectures.SPAN import SPAN

    return SPAN(**{"num_in_ch": 3, "num_out_ch": 3, "feature_channels": 16, "upscale": 4} | changes)


def _hat() -> nn.Module:
    from spandrel.architectures.HAT import HAT

    return HAT(
        img_size=64,
        embed_dim=24,
        depths=(2,),
        num_heads=(2,),
        window_size=8,
        upscale=4,
        num_feat=16,
        compress_ratio=3,
        squeeze_factor=8,
        overlap_ratio=0.5,
        mlp_ratio=2,
        upsampler="pixelshuffle",
        resi_connection="1conv",
    )


def _omnisr() -> nn.Module:
    from spandrel.architectures.OmniSR import OmniSR

    return OmniSR(num_feat=16, block_num=1, window_size=8, res_num=1, up_scale=1)


def _esrgan(scale: int = 4, shuffle: int | None = None) -> nn.Module:
    from spandrel.architectures.ESRGAN import ESRGAN

    channels = 3 * (shuffle or 1) ** 2
    return ESRGAN(in_nc=channels, num_filters=8, num_blocks=1, scale=scale, shuffle_factor=shuffle)


def _realplksr(*, dysample: bool) -> nn.Module:
    from spandrel.architectures.PLKSR import RealPLKSR

    return RealPLKSR(
        dim=16,
        n_blocks=2,
        upscaling_factor=4,
        kernel_size=9,
        dysample=dysample,
        layer_norm=not dysample,
        use_ea=dysample,
    )


def _compact(convs: int = 4, scale: int = 4) -> nn.Module:
    from spandrel.architectures.Compact import Compact

    return Compact(num_in_ch=3, num_out_ch=3, num_feat=16, num_conv=convs, upscale=scale)


def _dncnn() -> nn.Module:
    from spandrel.architectures.DnCNN import DnCNN

    return DnCNN(in_nc=1, out_nc=1, nc=8, nb=20, act_mode="R")


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "span": _span,
    "hat": _hat,
    "omnisr": _omnisr,
    "esrgan": _esrgan,
    "esrgan_x2": lambda: _esrgan(shuffle=2),
    "realplksr_dysample": lambda: _realplksr(dysample=True),
    "realplksr_layernorm": lambda: _realplksr(dysample=False),
    "compact": _compact,
    "dncnn": _dncnn,
}


def seeded_network(name: str, seed: int = 7) -> nn.Module:
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.meshgrid's note on its own future
        return NETWORKS[name]().eval()


def network_with_strong_bias(name: str) -> nn.Module:
    """A network whose position tables matter: initial ones are all but zero."""
    network = seeded_network(name)
    generator = torch.Generator().manual_seed(3)
    for key, weight in network.named_parameters():
        if "bias_table" in key or "rel_pos_bias" in key:
            weight.data = torch.randn(weight.shape, generator=generator)
    return network.requires_grad_(False)


def save_network(model: nn.Module, path: Path) -> Path:
    save_file({k: t.contiguous().clone() for k, t in model.state_dict().items()}, path)
    return path
