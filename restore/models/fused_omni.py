"""OmniSR as few passes over its features as its operations allow, for GPUs.

Features stay a picture with the channels of a pixel together; spandrel's form moves them to and
from windows, and norms and gates are passes of their own.

Source: Wang et al., "Omni Aggregation Networks for Lightweight Image Super-Resolution", CVPR 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, linear, max_pool2d

from restore.kernels.convolution import Residual, compile_ahead, convolve, prepared
from restore.kernels.enlarge import enlarge
from restore.kernels.omni import (
    HEADS,
    SIDE,
    WIDTH,
    Rows,
    attend_channels,
    attend_spread,
    attend_windows,
    depthwise,
    gated,
    rows,
    shone,
)
from restore.models.fused_convolutions import packed, unpacked

__all__ = ["fuse_omni"]

_ESA = 16  # channels of the gate over the picture


def fuse_omni(model: nn.Module) -> bool:
    """Lets an OmniSR run so.

    Args:
        model: any network, on its device in its format, its attention fused already
            (``fuse_attention``); changed in place. Later changes of its weights are not seen.

    Returns:
        Whether it does; False for other networks, and for shapes that there is no kernel for.
    """
    from spandrel.architectures.OmniSR import OmniSR

    if not isinstance(model, OmniSR) or not _suits(model):
        return False
    changed: Any = model
    changed.forward = _forward(model)
    return True


def _suits(model: Any) -> bool:  # noqa: ANN401
    block = model.residual_layer[0].residual_layer[0]
    attention = block.layer[2].fn
    return bool(
        model.input.out_channels == WIDTH
        and model.window_size == SIDE
        and attention.heads == HEADS
        and attention.with_pe
        and model.residual_layer[0].esa.conv1.out_channels == _ESA
        and model.up[0].out_channels <= WIDTH
    )


def _float(values: Tensor) -> Tensor:
    return values.detach().float().contiguous()


def _norm(layer: Any) -> Tensor:  # noqa: ANN401
    return torch.stack([_float(layer.weight), _float(layer.bias)])


def _product(conv: Any, norm: Any = None, *, gelu: bool = False) -> Rows:  # noqa: ANN401
    weight = conv.weight.detach().flatten(1).contiguous()
    bias = None if conv.bias is None else _float(conv.bias)
    if norm is None:
        return Rows(weight, bias, gelu=gelu)
    return Rows(weight, bias, _norm(norm), float(norm.eps), gelu)


def _taps(conv: Any) -> Tensor:  # noqa: ANN401
    """``[9, channels]`` of a depthwise convolution."""
    return _float(conv.weight.flatten(1).T)


class _Mobile:
    """1x1, depthwise, squeeze and excitation, 1x1, and the features added."""

    def __init__(self, block: Any) -> None:  # noqa: ANN401
        first, _, middle, _, excitation, last = block.fn
        self._first, self._last = _product(first, gelu=True), _product(last)
        self._taps, self._bias = _taps(middle), _float(middle.bias)
        _, self._squeeze, _, self._excite, *_ = excitation.gate

    def __call__(self, x: Tensor) -> Tensor:
        inner, mean = depthwise(rows(self._first, x), self._taps, self._bias, with_gelu=True)
        share = self._squeeze(mean.to(x.dtype))
        share = self._excite(torch.nn.functional.silu(share)).sigmoid()
        return rows(self._last, inner, share.float(), x)


class _Windows:
    """Attention within windows."""

    def __init__(self, block: Any, *, grid: bool) -> None:  # noqa: ANN401
        attention = block.fn
        self._qkv = _product(attention.to_qkv, block.norm)
        self._out = attention.to_out[0].weight.detach().contiguous()
        bias = attention.rel_pos_bias(attention.rel_pos_indices)
        self._bias = bias.detach().permute(2, 0, 1).contiguous()
        self._scale, self._grid = float(attention.scale), grid

    def __call__(self, x: Tensor) -> Tensor:
        return attend_windows(x, self._qkv, self._out, self._bias, self._scale, grid=self._grid)


class _Gated:
    """The gated feed-forward part."""

    def __init__(self, block: Any) -> None:  # noqa: ANN401
        self._first = _product(block.fn.project_in, block.norm)
        self._taps = _taps(block.fn.dwconv)
        self._out = block.fn.project_out.weight.detach().flatten(1).contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        return gated(rows(self._first, x), self._taps, self._out, x)


class _Channels:
    """Attention of channels to each other."""

    def __init__(self, block: Any, *, spread: bool) -> None:  # noqa: ANN401
        self._qkv, self._taps = _product(block.fn.qkv, block.norm), _taps(block.fn.qkv_dwconv)
        self._warmth = _float(block.fn.temperature.flatten())
        self._out = block.fn.project_out.weight.detach().flatten(1).contiguous()
        self._spread = spread

    def __call__(self, x: Tensor) -> Tensor:
        qkv, taps = rows(self._qkv, x), self._taps
        if not self._spread:
            return attend_channels(qkv, taps, self._warmth, self._out, x)
        return attend_spread(depthwise(qkv, taps)[0], self._warmth, self._out, x)


def _block(block: Any) -> list[Callable[[Tensor], Tensor]]:  # noqa: ANN401
    mobile, _, near, _, *rest = block.layer
    first, channels, second, _, far, _, third, spread, fourth = rest
    return [
        _Mobile(mobile),
        _Windows(near, grid=False),
        _Gated(first),
        _Channels(channels, spread=False),
        _Gated(second),
        _Windows(far, grid=True),
        _Gated(third),
        _Channels(spread, spread=True),
        _Gated(fourth),
    ]


class _Group:
    """Blocks, a product, the features added, and a gate over the picture."""

    def __init__(self, group: Any) -> None:  # noqa: ANN401
        *blocks, last = group.residual_layer
        self._steps = [step for block in blocks for step in _block(block)]
        self._last, self._esa = _product(last), group.esa
        self._first, self._second = _product(group.esa.conv_f), _product(group.esa.conv4)

    def __call__(self, x: Tensor) -> Tensor:
        value = x
        for step in self._steps:
            value = step(value)
        value = rows(self._last, value, None, x)
        esa = self._esa
        inner = linear(value, esa.conv1.weight.flatten(1), esa.conv1.bias)
        coarse = max_pool2d(esa.conv2(inner.permute(0, 3, 1, 2)), kernel_size=7, stride=3)
        size = value.shape[1:3]
        coarse = interpolate(esa.conv3(coarse), size, mode="bilinear", align_corners=False)
        return shone(value, inner, coarse.permute(0, 2, 3, 1), self._first, self._second)


def _forward(model: Any) -> Callable[[Tensor], Tensor]:  # noqa: ANN401
    made = [
        prepared(layer.weight, layer.bias, residuals=added)
        for layer, added in ((model.input, 0), (model.output, 1), (model.up[0], 0))
    ]
    convs = [conv for conv in made if conv is not None]
    compile_ahead(convs)
    groups = [_Group(group) for group in model.residual_layer]
    return partial(_whole, model, convs, groups)


def _whole(model: Any, convs: Sequence[Any], groups: Sequence[_Group], x: Tensor) -> Tensor:  # noqa: ANN401
    height, width = x.shape[2:]
    scale = int(model.up_scale)
    first, last, end = convs
    given = packed(model.check_image_size(x), first.inputs)
    early = convolve(first, given, given.new_empty((*given.shape[:3], first.kept)))
    value = early
    for group in groups:
        value = group(value)
    value = convolve(last, value, torch.empty_like(early), Residual(early))
    value = convolve(end, value, value.new_empty((*value.shape[:3], end.kept)))
    large = enlarge(unpacked(value, int(model.up[0].out_channels)), None, scale)
    return large[:, :, : height * scale, : width * scale]
