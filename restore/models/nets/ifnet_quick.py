"""IFNets of RIFE 4.7 and later once more, arranged so that little memory moves.

The same weights and the same arithmetic as in :mod:`restore.models.nets.ifnet`, but: what a block
sees is made in one pass at the block's own size (:mod:`restore.kernels.brought`), flows and
features stay at the size at which they were estimated, ``beta`` and the sum around each convolution
are folded into its weights in float32, convolutions run in channels_last with channels filled up to
eights, and the last block makes no features, which nobody reads. Positions stay in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.kernels.activation import bias_prelu, bias_prelu_trouble
from restore.kernels.brought import (
    Found,
    blended,
    blended_plain,
    brought,
    brought_plain,
    brought_trouble,
)
from restore.kernels.choose import can_run
from restore.models.nets.blocks import resized

if TYPE_CHECKING:
    from restore.models.nets.ifnet import IFNet
    from restore.models.nets.ifnet_variants import Variant

__all__ = ["Passes", "QuickFlow", "proven"]

_SLOPE = 0.2


@dataclass(frozen=True)
class Passes:
    """What does the work between the convolutions.

    Attributes:
        activates: whether bias and leaky ReLU are one kernel.
        bring: as ``kernels.brought.brought``.
        blend: as ``kernels.brought.blended``.
        said: which kernels run and which were left out and why; empty for none.
    """

    activates: bool = False
    bring: Callable[[tuple[Tensor, Tensor], Sequence[Found], float, int], Tensor] = brought_plain
    blend: Callable[[Tensor, Tensor, Sequence[Found]], Tensor] = blended_plain
    said: str = ""


def proven(device: torch.device, dtype: torch.dtype) -> Passes:
    """Kernels where they run on a device and give what their twins give there."""
    if not can_run(device):
        return Passes()
    troubles = {
        "activation": bias_prelu_trouble(device, dtype),
        "warping": brought_trouble(device, dtype),
    }
    said = ", ".join(f"the {name}'s {why}" if why else name for name, why in troubles.items())
    if troubles["warping"]:
        return Passes(not troubles["activation"], said=said)
    return Passes(not troubles["activation"], brought, blended, said)


@dataclass(frozen=True)
class _Conv:
    """A 3x3 convolution and the leaky ReLU after it."""

    weight: Tensor
    bias: Tensor
    slope: Tensor | None
    stride: int = 1
    groups: int = 1
    adds: bool = False

    def __call__(self, x: Tensor, kernel: bool) -> Tensor:
        given = (self.stride, 1, 1, self.groups)
        if kernel and self.slope is not None and not self.adds:
            return bias_prelu(F.conv2d(x, self.weight, None, *given), self.bias, self.slope)
        y = F.conv2d(x, self.weight, self.bias, *given)
        y = y.add_(x) if self.adds else y
        return y if self.slope is None else F.leaky_relu_(y, _SLOPE)


@dataclass(frozen=True)
class _Block:
    """Convolutions down to a quarter and through the body, and back to half of the block's size."""

    layers: tuple[_Conv, ...]
    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor, kernel: bool) -> Tensor:
        for layer in self.layers:
            x = layer(x, kernel)
        return F.conv_transpose2d(x, self.weight, self.bias, 2, 1)


class QuickFlow:
    """An IFNet's weights on their device in a number format.

    Args:
        net: the network in float32, in inference mode, where it is to run; it stays as it is.
        dtype: of the convolutions.
        passes: what does the work between convolutions; what is proven there where None.
    """

    def __init__(self, net: IFNet, dtype: torch.dtype, passes: Passes | None = None) -> None:
        variant, self.dtype = net.variant, dtype
        self.scales = variant.scales
        place = next(net.parameters())
        self.passes = passes or proven(place.device, dtype)
        # The twin fetches in float32; from half precision it would widen whole frames every time.
        self._held = torch.float32 if self.passes.bring is brought_plain else dtype
        slope = place.new_tensor([_SLOPE], dtype=dtype)
        packed = self._width = 1 << (2 + variant.head_outputs).bit_length()
        self._head = _head(net, packed, dtype, slope)
        last = len(variant.widths) - 1
        self._blocks = tuple(
            _block(
                net,
                number,
                packed,
                dtype,
                slope,
                finds=5 + (0 if number == last else variant.features),
            )
            for number in range(last + 1)
        )

    @staticmethod
    def takes(variant: Variant, scale: float, *, ensemble: bool) -> bool:
        """Whether this arrangement holds for a network and a share of the size for its flow."""
        steps = [each / scale for each in variant.scales]
        even = all(each == 1 or (each >= 2 and each % 2 == 0) for each in steps)
        plain = not (ensemble or variant.mask_adds or variant.restarts)
        return even and plain and variant.shuffles and variant.body == "residual"

    def begin(self, first: Tensor, second: Tensor, scale: float = 1.0) -> Callable[[float], Tensor]:
        """As :meth:`restore.models.nets.ifnet.IFNet.begin`, without ensemble."""
        pair = first.clamp(0, 1), second.clamp(0, 1)
        ends = self._packed(pair[0]), self._packed(pair[1])
        steps = [int(each / scale) for each in self.scales]
        seen = [resized(end, 1 / steps[0]) for end in ends]

        def moment(time: float) -> Tensor:
            when = seen[0].new_zeros(len(first), 8, *seen[0].shape[-2:])
            when[:, 0] = time
            x = torch.cat([*seen, when], 1).to(self.dtype, memory_format=torch.channels_last)
            found: list[Found] = []
            for block, step in zip(self._blocks, steps, strict=True):
                if found:
                    x = self.passes.bring((ends[0], ends[1]), found, time, step).to(self.dtype)
                found.append(Found(block(x, self.passes.activates), step))
            return self.passes.blend(pair[0], pair[1], found)

        return moment

    def _packed(self, frame: Tensor) -> Tensor:
        """A frame with its features, channels_last, filled up with zeros."""
        n, _, height, width = frame.shape
        packed = frame.new_zeros(n, height, width, self._width, dtype=self._held)
        packed = packed.permute(0, 3, 1, 2)
        packed[:, :3] = frame
        if self._head:
            # The first convolution takes the zeros along: eight channels are quicker than three.
            x = packed.to(self.dtype)
            for layer in self._head[0]:
                x = layer(x, self.passes.activates)
            found = F.conv_transpose2d(x, *self._head[1], 2, 1)
            packed[:, 3 : 3 + found.shape[1]] = found
        return packed


def _last(weight: Tensor, dtype: torch.dtype) -> Tensor:
    return weight.detach().to(dtype, memory_format=torch.channels_last)


def _numbers(layer: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    """Weight and bias of a convolution in float32."""
    return layer.weight.detach().float(), layer.bias.detach().float()


def _conv(layer: nn.Conv2d, dtype: torch.dtype, slope: Tensor | None) -> _Conv:
    weight, bias = _numbers(layer)
    return _Conv(_last(weight, dtype), bias.to(dtype), slope, layer.stride[0])


def _head(
    net: IFNet, packed: int, dtype: torch.dtype, slope: Tensor
) -> tuple[list[_Conv], tuple[Tensor, Tensor]] | None:
    """Convolutions of the head and what enlarges their result; None where it has no head."""
    if net.encode is None:
        return None
    modules = [*net.encode.modules()]
    # The oldest head has nothing between its two layers.
    after = None if net.variant.head == "two layers" else slope
    layers = [_conv(each, dtype, after) for each in modules if isinstance(each, nn.Conv2d)]
    entry = layers[0].weight
    wide = F.pad(entry, (0, 0, 0, 0, 0, packed - entry.shape[1]))
    layers[0] = replace(layers[0], weight=_last(wide, dtype))
    (up,) = (_numbers(each) for each in modules if isinstance(each, nn.ConvTranspose2d))
    return layers, (_last(up[0], dtype), up[1].to(dtype))


def _block(
    net: IFNet, number: int, packed: int, dtype: torch.dtype, slope: Tensor, *, finds: int
) -> _Block:
    """A block that reads what ``brought`` writes; ``finds`` channels come out."""
    block: Any = net.get_submodule(f"block{number}")
    entry, second = block.conv0[0][0], block.conv0[1][0]
    weight, bias = _numbers(entry)
    weight = _rearranged(weight, net.variant, packed, number == 0)
    layers = [_Conv(_last(weight, dtype), bias.to(dtype), slope, 2), _conv(second, dtype, slope)]
    # A weight of 1 more would cost bfloat16 most of what the convolution adds.
    folds = dtype != torch.bfloat16
    for unit in block.convblock:
        beta = unit.beta.detach().float().view(-1)
        weight, bias = _numbers(unit.conv)
        weight = weight * beta.view(-1, 1, 1, 1)
        if folds:
            rows = torch.arange(len(weight), device=weight.device)
            weight[rows, rows % weight.shape[1], 1, 1] += 1
        bias = (bias * beta).to(dtype)
        layers.append(_Conv(_last(weight, dtype), bias, slope, 1, unit.conv.groups, not folds))
    weight, bias = _numbers(block.lastconv[0])
    return _Block(tuple(layers), _last(weight[:, : 4 * finds], dtype), bias[: 4 * finds].to(dtype))


def _rearranged(weight: Tensor, variant: Variant, packed: int, is_first: bool) -> Tensor:
    """Input channels in the order that they come in here, with zeros for what is filled up.

    Published: both frames, both heads' features, time, mask, features, flow. Here: frame and
    features of the first end, of the second, flow, mask, features, time.
    """
    head, features = variant.head_outputs, variant.features
    used = 5 + features
    rest = 8 if is_first else 1 << used.bit_length()
    out = weight.new_zeros(len(weight), 2 * packed + rest, *weight.shape[2:])
    for side in (0, 1):
        at = side * packed
        out[:, at : at + 3] = weight[:, 3 * side : 3 * side + 3]
        felt = 6 + side * head
        out[:, at + 3 : at + 3 + head] = weight[:, felt : felt + head]
    when = 6 + 2 * head
    at = 2 * packed
    if is_first:
        out[:, at] = weight[:, when]
        return out
    out[:, at : at + 4] = weight[:, when + 2 + features :]
    out[:, at + 4 : at + used] = weight[:, when + 1 : when + 2 + features]
    out[:, at + used] = weight[:, when]
    return out
