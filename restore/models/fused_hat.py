"""HAT as few passes over its features as its operations allow, for GPUs.

Features stay a picture, ``[n, h, w, 192]``, with zeros behind the network's own 180 (or fewer)
channels, so that every pixel begins where vector loads and tensor cores want it; heads are padded
from 30 channels to 32. Windows are addressed and never cut out; the second half of each block is
one call.

Source: Chen et al., "Activating More Pixels in Image Super-Resolution Transformer", CVPR 2023.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from restore.kernels.block_end import HIDDEN, WIDTH, BlockEnd, end_block
from restore.kernels.convolution import Act, Residual, compile_ahead, convolve, prepared
from restore.kernels.features import mean, norm
from restore.kernels.image_windows import HEAD, Windows, attend_picture
from restore.models.fused_convolutions import packed, unpacked

__all__ = ["fuse_hat"]

_SPLIT = 64  # outputs of one convolution


def fuse_hat(model: nn.Module) -> bool:
    """Lets a HAT run so.

    Args:
        model: any network, on its device in its format, its attention fused already
            (``fuse_attention``); changed in place. Later changes of its weights are not seen.

    Returns:
        Whether it does; False for other networks, and for shapes that there is no kernel for.
    """
    from spandrel.architectures.HAT import HAT

    if not isinstance(model, HAT) or not _suits(model):
        return False
    changed: Any = model
    changed.forward = _forward(model)
    return True


def _suits(model: Any) -> bool:  # noqa: ANN401
    """Whether the shapes are those that the kernels are made for."""
    first = model.layers[0].residual_group
    block = first.blocks[0]
    channels, heads = model.embed_dim, block.attn.num_heads
    return bool(
        WIDTH - 64 < channels <= WIDTH
        and heads * HEAD == WIDTH
        and channels // heads <= HEAD
        and block.mlp.fc1.out_features <= HIDDEN
        and block.conv_block.cab[0].out_channels <= _SPLIT
        and model.window_size == 16
        and first.overlap_attn.around_px == 24
        and model.upsampler == "pixelshuffle"
        and not model.ape
        and isinstance(model.conv_after_body, nn.Conv2d)
        and model.conv_before_upsample[0].out_channels == _SPLIT
        and all(isinstance(part, nn.Conv2d | nn.PixelShuffle) for part in model.upsample)
    )


def _padded(values: Tensor, *sizes: int) -> Tensor:
    """Zeros behind every axis, up to those sizes."""
    grown = [(0, full - has) for full, has in zip(sizes, values.shape, strict=True)]
    return pad(values.detach(), [edge for pair in reversed(grown) for edge in pair])


class _Wide:
    """A 3x3 convolution with more outputs than the kernel has at once."""

    def __init__(
        self,
        conv: Any,  # noqa: ANN401
        outputs: int,
        inputs: int,
        act: Act = Act.NONE,
        slope: float = 0.0,
        residuals: int = 0,
    ) -> None:
        weight = _padded(conv.weight, outputs, inputs, 3, 3)
        bias = _padded(conv.bias, outputs)
        made = [
            prepared(
                weight[at : at + _SPLIT],
                bias[at : at + _SPLIT],
                act=act,
                slope=slope,
                residuals=residuals,
            )
            for at in range(0, outputs, _SPLIT)
        ]
        self._parts = [part for part in made if part is not None]
        compile_ahead(self._parts)
        self._outputs = sum(part.kept for part in self._parts)

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """``[n, h, w, inputs]`` to ``[n, h, w, outputs]``, with the residual added."""
        out = x.new_empty((*x.shape[:3], self._outputs))
        for number, part in enumerate(self._parts):
            held = slice(number * _SPLIT, number * _SPLIT + part.kept)
            more = [] if residual is None else [Residual(residual[..., held])]
            convolve(part, x, out[..., held], *more)
        return out


class _Norm:
    """A norm over the network's own channels."""

    def __init__(self, norm_layer: Any) -> None:  # noqa: ANN401
        self._by = _pair(norm_layer)
        self._channels, self._eps = int(norm_layer.normalized_shape[0]), float(norm_layer.eps)

    def __call__(self, x: Tensor) -> Tensor:
        return norm(x, self._by, self._channels, self._eps)


def _pair(norm_layer: Any) -> Tensor:  # noqa: ANN401
    """A norm's weight and bias, ``[2, WIDTH]`` float32."""
    both = torch.stack([norm_layer.weight, norm_layer.bias]).float()
    return _padded(both, 2, WIDTH).contiguous()


class _Attention:
    """Queries, keys, values and what is found, for windows of one kind."""

    def __init__(self, qkv: Any, bias: Tensor, scale: float, windows: Windows) -> None:  # noqa: ANN401
        heads = bias.shape[0]
        weight = qkv.weight.unflatten(0, (3, heads, -1))
        self._weight = _padded(weight, 3, heads, HEAD, WIDTH).flatten(0, 2).contiguous()
        self._weight_bias = _padded(qkv.bias.unflatten(0, (3, heads, -1)), 3, heads, HEAD).flatten()
        self._bias, self._scale, self._windows = bias.contiguous(), scale, windows

    def __call__(self, normed: Tensor) -> Tensor:
        qkv = linear(normed, self._weight, self._weight_bias)
        return attend_picture(qkv, self._bias, self._scale, self._windows)


class _Near:
    """The convolutions beside the attention, and how much of each channel is taken."""

    def __init__(self, block: Any) -> None:  # noqa: ANN401
        first, _, second, attention = block.conv_block.cab
        _, self._squeeze, _, self._excite, _ = attention.attention
        self._first = _Wide(first, _SPLIT, WIDTH, Act.GELU)
        self._second = _Wide(second, WIDTH, _SPLIT)
        self._scale = float(block.conv_scale)

    def __call__(self, normed: Tensor) -> tuple[Tensor, Tensor]:
        near = self._second(self._first(normed))
        squeeze, excite = self._squeeze, self._excite
        middle = mean(near)[:, : squeeze.in_channels].to(near.dtype)
        inner = linear(middle, squeeze.weight.flatten(1), squeeze.bias).relu()
        share = linear(inner, excite.weight.flatten(1), excite.bias).sigmoid()
        return near, pad(share.float() * self._scale, (0, WIDTH - share.shape[1]))


def _end(block: Any, proj: Any, after: Any) -> BlockEnd:  # noqa: ANN401
    up, down = block.mlp.fc1, block.mlp.fc2
    channels = proj.out_features
    heads = proj.weight.unflatten(1, (WIDTH // HEAD, -1))
    return BlockEnd(
        channels,
        _padded(heads, WIDTH, WIDTH // HEAD, HEAD).flatten(1).contiguous(),
        _padded(proj.bias.float(), WIDTH),
        _pair(block.norm2),
        _padded(up.weight, HIDDEN, WIDTH).contiguous(),
        _padded(up.bias.float(), HIDDEN),
        _padded(down.weight, WIDTH, HIDDEN).contiguous(),
        _padded(down.bias.float(), WIDTH),
        None if after is None else _pair(after),
        float(block.norm2.eps),
    )


def _table(table: Tensor, index: Tensor, queries: int) -> Tensor:
    return table[index.reshape(-1)].view(queries, -1, table.shape[1]).permute(2, 0, 1)


class _Group:
    """Six hybrid blocks, one with larger windows of keys, a convolution, and all that again."""

    def __init__(self, layer: Any, near: Tensor, far: Tensor) -> None:  # noqa: ANN401
        group = layer.residual_group
        blocks, last = list(group.blocks), group.overlap_attn
        self._norm, self._blocks = _Norm(blocks[0].norm1), []
        for block, after in zip(blocks, [*blocks[1:], last], strict=True):
            side, attn = block.side_px, block.attn
            bias = _table(attn.relative_position_bias_table, near, side**2)
            cut = Windows(side, side, block.shift_px)
            self._blocks.append(
                (
                    _Near(block),
                    _Attention(attn.qkv, bias, float(attn.scale), cut),
                    _end(block, attn.proj, after.norm1),
                )
            )
        bias = _table(last.relative_position_bias_table, far, last.side_px**2)
        self._overlapping = _Attention(
            last.qkv, bias, last.scale, Windows(last.side_px, last.around_px)
        )
        self._end, self._conv = (
            _end(last, last.proj, None),
            _Wide(layer.conv, WIDTH, WIDTH, residuals=1),
        )

    def __call__(self, start: Tensor) -> Tensor:
        x, normed = start, self._norm(start)
        for beside, attention, end in self._blocks:
            near, share = beside(normed)
            x, normed = end_block(end, x, attention(normed), near, share)
        x, _ = end_block(self._end, x, self._overlapping(normed), None, None)
        return self._conv(x, start)


def _forward(model: Any) -> Callable[[Tensor], Tensor]:  # noqa: ANN401
    first = _Wide(model.conv_first, WIDTH, 16)
    early = None if model.patch_embed.norm is None else _Norm(model.patch_embed.norm)
    tables = model.relative_position_index_SA, model.relative_position_index_OCA
    groups = [_Group(layer, *tables) for layer in model.layers]
    last_norm, after = _Norm(model.norm), _Wide(model.conv_after_body, WIDTH, WIDTH, residuals=1)
    conv, activation = model.conv_before_upsample
    before = _Wide(conv, _SPLIT, WIDTH, Act.SLOPE, activation.negative_slope)
    enlarging = [
        _Wide(part, part.out_channels, _SPLIT) if isinstance(part, nn.Conv2d) else part
        for part in model.upsample
    ]
    end = _Wide(model.conv_last, 8, _SPLIT)
    colour, factor, scale = model.mean, float(model.img_range), int(model.upscale)
    channels = int(model.conv_last.out_channels)

    def forward(x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        centre = colour.to(x.device, torch.float32)
        picture = model.check_image_size(((x.float() - centre) * factor).to(x.dtype))
        shallow = first(packed(picture, 16))
        features = shallow if early is None else early(shallow)
        for group in groups:
            features = group(features)
        features = before(after(last_norm(features), shallow))
        for part in enlarging:
            if isinstance(part, _Wide):
                features = part(features)
            else:
                features = _shuffled(features, int(part.upscale_factor))
        large = unpacked(end(features), channels).float() / factor + centre
        whole: Tensor = large[:, :, : height * scale, : width * scale]
        return whole

    return forward


def _shuffled(x: Tensor, factor: int) -> Tensor:
    """Pixel shuffle of ``[n, h, w, c * factor * factor]``."""
    n, h, w, c = x.shape
    parts = x.view(n, h, w, c // factor**2, factor, factor).permute(0, 1, 4, 2, 5, 3)
    return parts.reshape(n, h * factor, w * factor, c // factor**2)
