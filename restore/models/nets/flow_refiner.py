"""This project's small interpolation network: an IFNet that begins with a searched flow.

Blocks of the IFNet line (``blocks.FlowBlock``) correct, at half the frame's size and from coarse to
fine, the motion that ``restore.motion.midway`` found by search; three convolutions at full size
then correct the blend. Its last layers begin at zero, so an untrained network gives the searched
result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.errors import UnsupportedModel
from restore.models.nets.blocks import FlowBlock, resized
from restore.motion.warp import warp

__all__ = ["FlowRefiner", "RefinerShape", "refiner_shape"]

_FEATURES = 8
_SHRINK = 2  # blocks see frames of half the size; what is finer is left to the finish
_MOST_LOGIT = 6.0  # keeps the prior of the blend finite at the ends


@dataclass(frozen=True)
class RefinerShape:
    """Sizes of the network.

    Attributes:
        widths: channels of each block's body.
        scales: how many times smaller than half the frame's size each block works.
        layers: convolutions in each body.
        finish: channels of the convolutions at full size.
    """

    widths: tuple[int, ...]
    scales: tuple[int, ...]
    layers: int
    finish: int

    @property
    def multiple_of(self) -> int:
        """What both sides of a frame must be multiples of, px."""
        return 4 * max(self.scales) * _SHRINK


def refiner_shape(shapes: Mapping[str, tuple[int, ...]], facts: Mapping[str, str]) -> RefinerShape:
    """The sizes of the network that a weights file holds.

    Args:
        shapes: shape of each tensor by its name.
        facts: metadata of the file; ``scales`` holds whole numbers with commas between.

    Raises:
        UnsupportedModel: the file does not say.
    """
    scales = facts.get("scales", "").split(",")
    counts = [f"block{number}.conv0.1.0.weight" for number in range(len(scales))]
    if not all(s.isdecimal() and int(s) > 0 for s in scales) or not set(counts) <= set(shapes):
        raise UnsupportedModel(
            f"the weights name the scales {facts.get('scales', '')!r}",
            "as many whole numbers as there are blocks, as the training room writes them",
        )
    layers = sum(k.startswith("block0.convblock.") and k.endswith(".beta") for k in shapes)
    widths = tuple(shapes[name][0] for name in counts)
    return RefinerShape(widths, tuple(map(int, scales)), layers, shapes["finish.0.weight"][0])


class FlowRefiner(nn.Module):
    """Refines searched motion and blends."""

    def __init__(self, shape: RefinerShape) -> None:
        super().__init__()
        self.shape = shape
        outputs = 4 + 1 + _FEATURES
        for number, width in enumerate(shape.widths):
            inputs = 6 + 1 + 2 + 4 + (1 + _FEATURES) * (number > 0)
            block = FlowBlock(inputs, width, outputs, layers=shape.layers)
            self.add_module(f"block{number}", block)
            _silence(block.lastconv[0])  # type: ignore[index]
        self.finish = nn.Sequential(
            nn.Conv2d(6 + 1 + _FEATURES, shape.finish, 3, 1, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(shape.finish, shape.finish, 3, 1, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(shape.finish, 4, 3, 1, 1),
        )
        _silence(self.finish[-1])

    def forward(
        self, first: Tensor, second: Tensor, motion: Tensor, cover: Tensor, time: Tensor
    ) -> Tensor:
        """Frames between pairs.

        Args:
            first: ``[N, 3, h, w]`` float32 R'G'B' 0..1; sides multiples of ``shape.multiple_of``.
            second: of the same shape.
            motion: ``[N, 2, h, w]`` px, first to second, through each pixel at ``time``.
            cover: ``[N, 2, h, w]`` how much of each frame the search brought to each pixel.
            time: ``[N]`` float32, 0 at ``first`` and 1 at ``second``.

        Returns:
            ``[N, 3, h, w]`` float32, not clamped.
        """
        when = time.float().view(-1, 1, 1, 1)
        prior = torch.logit(1 - when).clamp(-_MOST_LOGIT, _MOST_LOGIT)
        small, other, motion, cover = (
            F.avg_pool2d(x, _SHRINK) for x in (first, second, motion / _SHRINK, cover)
        )
        moment = when.expand(-1, 1, *small.shape[-2:])
        flow = torch.cat([-when * motion, (1 - when) * motion], 1)
        belief, extra = torch.zeros_like(moment), moment[:, :0]
        for number, scale in enumerate(self.shape.scales):
            block: FlowBlock = self.get_submodule(f"block{number}")  # type: ignore[assignment]
            seen = [warp(small, flow[:, :2]), warp(other, flow[:, 2:]), moment, cover]
            given = [belief, extra] if number else []
            out = block(torch.cat([*seen, *given], 1), flow, scale)
            flow, belief, extra = flow + out[:, :4], belief + out[:, 4:5], out[:, 5:]
        found = resized(torch.cat([flow * _SHRINK, belief, extra], 1), _SHRINK)
        return self._blend(first, second, found, prior)

    def _blend(self, first: Tensor, second: Tensor, found: Tensor, prior: Tensor) -> Tensor:
        # Cubic: two linear fetches averaged lose 2 dB of fine detail.
        near = warp(first, found[:, :2], "bicubic")
        far = warp(second, found[:, 2:4], "bicubic")
        seen = torch.cat([near, far, found[:, 4:]], 1)
        change = self.finish(seen.to(next(self.finish.parameters()).dtype)).float()
        share = torch.sigmoid(found[:, 4:5] + prior + change[:, :1])
        made: Tensor = near * share + far * (1 - share) + change[:, 1:]
        return made


def _silence(layer: nn.Module) -> None:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
