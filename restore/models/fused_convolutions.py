"""Compact, SPAN and ESRGAN networks as rows of fused convolutions.

torch runs a convolution, its bias, its activation, the residual and, in a dense block, the joining
of features each by itself, and every one of them reads and writes all features. Here each
convolution is one call that reads its input once and writes its result once, where the next one
wants it.

Source: Wang et al., "ESRGAN", ECCVW 2018 (dense blocks, residual share 0.2); Zhao et al., "Swift
Parameter-free Attention Network", 2023; Wang et al., "Real-ESRGAN", ICCVW 2021 (Compact).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from restore.kernels.convolution import (
    Act,
    Convolution,
    Residual,
    compile_ahead,
    convolve,
    prepared,
)
from restore.kernels.enlarge import enlarge

__all__ = ["fuse_convolutions", "packed", "unpacked"]

_SHARE = 0.2  # of a dense block's result, and of three of them


class _CannotFuse(Exception):
    """There is no kernel for a part of the network."""


def fuse_convolutions(model: nn.Module) -> bool:
    """Lets a network run by fused convolutions.

    Args:
        model: any network, on its device in its format; changed in place. Later changes of its
            weights are not seen.

    Returns:
        Whether it does; False for other networks, and for shapes that there is no kernel for.
    """
    from spandrel.architectures.Compact import Compact
    from spandrel.architectures.ESRGAN import ESRGAN
    from spandrel.architectures.SPAN import SPAN

    changed: Any = model
    try:
        if isinstance(model, Compact):
            changed.forward = _compact(model)
        elif isinstance(model, SPAN):
            changed.forward = _span(model)
        elif isinstance(model, ESRGAN):
            changed.model = _AsOne(_esrgan(list(changed.model.children())))
        else:
            return False
    except _CannotFuse:
        return False
    return True


def _ready(
    module: Any,  # noqa: ANN401
    act: Act = Act.NONE,
    slope: Tensor | float = 0.0,
    enlarge: int = 1,
    residuals: int = 0,
) -> Convolution:
    plain = (
        isinstance(module, nn.Conv2d)
        and (module.kernel_size, module.stride, module.padding) == ((3, 3), (1, 1), (1, 1))
        and (module.dilation, module.groups, module.padding_mode) == ((1, 1), 1, "zeros")
    )
    if not plain:
        raise _CannotFuse
    found = prepared(
        module.weight, module.bias, act=act, slope=slope, enlarge=enlarge, residuals=residuals
    )
    if found is None:
        raise _CannotFuse
    return found


def _with_act(
    conv: nn.Module, activation: nn.Module | None, enlarge: int = 1, residuals: int = 0
) -> Convolution:
    """A convolution and the activation that follows it, if any."""
    if activation is None:
        return _ready(conv, enlarge=enlarge, residuals=residuals)
    if isinstance(activation, nn.ReLU):
        return _ready(conv, Act.SLOPE, 0.0, enlarge, residuals)
    if isinstance(activation, nn.LeakyReLU):
        return _ready(conv, Act.SLOPE, activation.negative_slope, enlarge, residuals)
    if isinstance(activation, nn.PReLU):
        return _ready(conv, Act.SLOPE, activation.weight, enlarge, residuals)
    raise _CannotFuse


def _room(x: Tensor, like: Tensor, channels: int) -> Tensor:
    """Features of pictures as large as those of ``like`` (``[n, h, w, c]``)."""
    return x.new_empty((*like.shape[:3], channels))


def packed(x: Tensor, channels: int) -> Tensor:
    """``[n, c, h, w]`` to ``[n, h, w, channels]`` with zeros behind."""
    n, c, h, w = x.shape
    features = x.new_zeros((n, h, w, channels))
    features[..., :c] = x.permute(0, 2, 3, 1)
    return features


def unpacked(features: Tensor, channels: int) -> Tensor:
    """The way back, as a view."""
    return features.permute(0, 3, 1, 2)[:, :channels]


def _compact(model: Any) -> Callable[[Tensor], Tensor]:  # noqa: ANN401
    layers = [*model.body, None]
    convs, at = [], 0
    while layers[at] is not None:
        follows = layers[at + 1] if not isinstance(layers[at + 1], nn.Conv2d) else None
        convs.append(_with_act(layers[at], follows))
        at += 1 if follows is None else 2
    compile_ahead(convs)

    def forward(convs: Sequence[Convolution], scale: int, channels: int, x: Tensor) -> Tensor:
        features = packed(x, convs[0].inputs)
        for conv in convs:
            features = convolve(conv, features, _room(x, features, conv.kept))
        return enlarge(unpacked(features, channels * scale**2), x, scale)

    return partial(forward, convs, int(model.upscale), int(model.num_out_ch))


def _span(model: Any) -> Callable[[Tensor], Tensor]:  # noqa: ANN401
    first, last = _ready(model.conv_1), _ready(model.conv_2)
    blocks = [
        (_ready(b.c1_r, Act.SILU), _ready(b.c2_r, Act.SILU), _ready(b.c3_r, Act.GATE, residuals=1))
        for b in (getattr(model, f"block_{n}") for n in range(1, 7))
    ]
    end, shuffle = _ready(model.upsampler[0]), model.upsampler[1]
    compile_ahead([first, *blocks[0], last, end])
    f, joint = first.kept, model.conv_cat
    if first.kept != model.conv_1.out_channels or joint.kernel_size != (1, 1):
        raise _CannotFuse
    matrix = joint.weight.flatten(1)
    mean, factor, normed = model.mean, model.img_range, model.is_norm

    def forward(x: Tensor) -> Tensor:
        picture = (x.float() - mean.to(x.device, torch.float32)) * factor if normed else x
        given = packed(picture.to(x.dtype), first.inputs)
        # The first features, the last, the first block's and the last block's inner ones.
        every = _room(x, given, 4 * f)
        features = convolve(first, given, every[..., :f])
        for number, (c1, c2, c3) in enumerate(blocks):
            inner = every[..., 3 * f :] if number == len(blocks) - 1 else _room(x, given, f)
            middle = convolve(c2, convolve(c1, features, inner), _room(x, given, f))
            out = every[..., 2 * f : 3 * f] if number == 0 else _room(x, given, f)
            features = convolve(c3, middle, out, Residual(features))
        convolve(last, features, every[..., f : 2 * f])
        features = linear(every, matrix, joint.bias)
        large = convolve(end, features, _room(x, given, end.kept))
        scale = int(shuffle.upscale_factor)
        return enlarge(unpacked(large, int(model.upsampler[0].out_channels)), None, scale)

    return forward


class _AsOne(nn.Module):
    """In the place of a row of layers."""

    def __init__(self, forward: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.forward = forward


class _Dense:
    """ESRGAN's three dense blocks in a row, in three rooms that change places."""

    def __init__(self, block: Any) -> None:  # noqa: ANN401
        self.convs = [
            [_Dense._conv(getattr(dense, f"conv{n}"), added if n == 5 else 0) for n in range(1, 6)]
            for dense, added in ((block.RDB1, 1), (block.RDB2, 1), (block.RDB3, 2))
        ]
        if any(dense.conv1x1 is not None for dense in (block.RDB1, block.RDB2, block.RDB3)):
            raise _CannotFuse

    @staticmethod
    def _conv(module: nn.Sequential, residuals: int) -> Convolution:
        parts: list[nn.Module | None] = [*module.children(), None]
        if len(parts) > 3:
            raise _CannotFuse
        return _with_act(module[0], parts[1], residuals=residuals)

    def __call__(self, rooms: list[Tensor], features: int) -> list[Tensor]:
        """Features lie first in the first room, and do so in the first one of those given back."""
        first, second, third = rooms
        ways = ((first, second, None), (second, third, None), (third, second, first))
        for convs, (here, there, whole) in zip(self.convs, ways, strict=True):
            at = features
            for conv in convs[:-1]:
                convolve(conv, here, here[..., at : at + conv.kept])
                at += conv.kept
            residuals = [Residual(here[..., :features], _SHARE)]
            if whole is not None:
                residuals.append(Residual(whole[..., :features], _SHARE))
            convolve(convs[-1], here, there[..., :features], *residuals)
        return [second, third, first]


def _esrgan(layers: list[Any]) -> Callable[[Tensor], Tensor]:
    first, trunk = _ready(layers[0]), list(layers[1].sub.children())
    blocks, after = [_Dense(block) for block in trunk[:-1]], _ready(trunk[-1], residuals=1)
    rest, channels, at, enlarged = [*layers[2:], None], 0, 0, 1
    tail = []
    while rest[at] is not None:
        if isinstance(rest[at], nn.Upsample):
            enlarged = int(rest[at].scale_factor)
            at += 1
            if enlarged != 2 or rest[at - 1].mode != "nearest":
                raise _CannotFuse
            continue
        follows = rest[at + 1] if not isinstance(rest[at + 1], nn.Conv2d | nn.Upsample) else None
        tail.append(_with_act(rest[at], follows, enlarge=enlarged))
        channels, enlarged = int(rest[at].out_channels), 1
        at += 1 if follows is None else 2
    f = first.kept
    dense = trunk[0].RDB1.conv5[0]
    if f != layers[0].out_channels or dense.in_channels % 32:
        raise _CannotFuse
    wide = int(dense.in_channels)
    compile_ahead([first, *chain.from_iterable(blocks[0].convs), after, *tail])

    def forward(x: Tensor) -> Tensor:
        given = packed(x, first.inputs)
        features = convolve(first, given, _room(x, given, f))
        rooms = [_room(x, given, wide) for _ in range(3)]
        rooms[0][..., :f] = features
        for block in blocks:
            rooms = block(rooms, f)
        features = convolve(after, rooms[0], _room(x, given, f), Residual(features))
        del rooms
        for conv in tail:
            n, h, w, _ = features.shape
            size = (n, h * conv.enlarge, w * conv.enlarge, conv.kept)
            features = convolve(conv, features, x.new_empty(size))
        return unpacked(features, channels)

    return forward
