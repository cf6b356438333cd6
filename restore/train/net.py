"""The networks: small instances of Compact, which spandrel loads from their state dict alone.

Compact (SRVGGNetCompact) is X. Wang et al., "Real-ESRGAN", 2021: 3x3 convolutions at the input's
size, PReLU between them, one pixel shuffle at the end, the nearest-neighbour input added. It is
made of convolutions only, so its receptive field is bounded and tiling is exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from spandrel.architectures.Compact import Compact

if TYPE_CHECKING:
    from restore.train.recipe import Recipe

__all__ = ["build", "flop_per_px", "level", "parameters", "receptive_radius_px"]


def build(recipe: Recipe) -> torch.nn.Module:
    """A freshly initialised network; the same recipe gives the same weights.

    Every body convolution begins as the identity plus noise, and the last one small, so that a deep
    thin stack without skips starts near the nearest-neighbour picture and trains at a high rate.
    """
    net: torch.nn.Module = Compact(  # type: ignore[no-untyped-call]
        num_in_ch=3,
        num_out_ch=3,
        num_feat=recipe.features,
        num_conv=recipe.convolutions,
        upscale=recipe.scale,
        act_type="prelu",
    )
    source = torch.Generator().manual_seed(recipe.seed)
    convolutions = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    with torch.no_grad():
        for place, layer in enumerate(convolutions):
            fan_in = layer.weight[0].numel()
            noise = torch.randn(layer.weight.shape, generator=source) / fan_in**0.5
            inner = 0 < place < len(convolutions) - 1
            if inner:
                noise *= 0.5
                channels = torch.arange(recipe.features)
                noise[channels, channels, 1, 1] += 1.0
            elif place:
                noise *= 0.1
            layer.weight.copy_(noise)
            if layer.bias is not None:
                layer.bias.zero_()
    return net


def level(net: torch.nn.Module, recipe: Recipe) -> None:
    """Even mid grey out: the last bias takes up what differs between the places of a pixel.

    A teacher's slight grid, sharpened, would show on skies and walls.
    """
    side = 2 * receptive_radius_px(recipe) + 1
    with torch.no_grad():
        grey = net(torch.full((1, 3, side, side), 0.5))
        at = (side // 2) * recipe.scale
        cell = grey[0, :, at : at + recipe.scale, at : at + recipe.scale]
        uneven = cell - cell.mean(dim=(1, 2), keepdim=True)
        last = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d)][-1]
        assert last.bias is not None  # noqa: S101  Compact's convolutions have one
        last.bias.sub_(uneven.reshape(-1))


def parameters(recipe: Recipe) -> int:
    """Number of weights, biases and PReLU slopes."""
    f, n, out = recipe.features, recipe.convolutions, 3 * recipe.scale**2
    return (27 * f + f) + f + n * (9 * f * f + f + f) + (9 * f * out + out)


def flop_per_px(recipe: Recipe) -> int:
    """Operations per input pixel; a multiplication and an addition count as two."""
    f, n, out = recipe.features, recipe.convolutions, 3 * recipe.scale**2
    return 2 * 9 * (3 * f + n * f * f + f * out)


def receptive_radius_px(recipe: Recipe) -> int:
    """How far an output pixel looks, in input pixels: one per 3x3 convolution."""
    return recipe.convolutions + 2
