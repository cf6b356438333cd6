"""The parts that the IFNets share: stems, bodies and the block that estimates flow at one scale.

RIFE: Z. Huang et al., "Real-Time Intermediate Flow Estimation for Video Frame Interpolation",
ECCV 2022, and its successors 4.0 to 4.26 (Practical-RIFE, MIT). Module names are those of the
published state dicts.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Body", "FlowBlock", "ResidualConv", "resized"]

Body = Literal["prelu", "leaky", "residual"]


def resized(picture: Tensor, factor: float) -> Tensor:
    """Bilinear resizing by a factor, half-pixel centres; the picture itself at factor 1."""
    if factor == 1:
        return picture
    return F.interpolate(picture, scale_factor=factor, mode="bilinear", align_corners=False)


class ResidualConv(nn.Module):
    """A 3x3 convolution weighted by ``beta`` per channel, added to its input, leaky ReLU."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, 1, 1, groups=groups)
        self.beta = nn.Parameter(torch.ones(1, width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """``[N, width, h, w]`` to the same."""
        return F.leaky_relu(self.conv(x) * self.beta + x, 0.2)


def _unit(inputs: int, outputs: int, stride: int, body: Body) -> nn.Sequential:
    last = nn.PReLU(outputs) if body == "prelu" else nn.LeakyReLU(0.2)
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), last)


class FlowBlock(nn.Module):
    """Estimates what to add to both flows, and the mask, at one scale.

    Args:
        inputs: channels of pictures, features, time and mask together with the 4 of the flows.
        width: channels of the body, which runs at a quarter of the block's size.
        outputs: channels that come out: 4 of flow, 1 of mask, then features.
        body: ``prelu`` (plain convolutions, skip around the body, no pixel shuffle), ``leaky``
            (the same without skip) or ``residual``.
        shuffles: whether the last layer ends in a pixel shuffle.
        layers: convolutions in the body.
        groups: of the body's convolutions.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        outputs: int,
        body: Body = "residual",
        *,
        shuffles: bool = True,
        layers: int = 8,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.conv0 = nn.Sequential(
            _unit(inputs, width // 2, 2, body), _unit(width // 2, width, 2, body)
        )
        self.convblock = nn.Sequential(
            *(
                ResidualConv(width, groups) if body == "residual" else _unit(width, width, 1, body)
                for _ in range(layers)
            )
        )
        self.lastconv: nn.Module = nn.ConvTranspose2d(
            width, 4 * outputs if shuffles else outputs, 4, 2, 1
        )
        if shuffles:
            self.lastconv = nn.Sequential(self.lastconv, nn.PixelShuffle(2))
        self._skips = body == "prelu"
        self._coarseness = 1 if shuffles else 2

    def forward(self, x: Tensor, flow: Tensor | None, scale: float) -> Tensor:
        """Runs the block.

        Args:
            x: ``[N, C, h, w]``, everything but the flows, full size.
            flow: ``[N, 4, h, w]`` px so far, or None in the first block.
            scale: how many times smaller the block works.

        Returns:
            float32 ``[N, outputs, h, w]``: change of both flows in px, mask, features. Convolutions
            run in the number format of the weights; sizes in px are computed in float32.
        """
        dtype = next(self.parameters()).dtype
        x = resized(x, 1 / scale)
        if flow is not None:
            x = torch.cat([x, resized(flow, 1 / scale) / scale], 1)
        x = self.conv0(x.to(dtype))
        body = self.convblock(x)
        out: Tensor = self.lastconv(body + x if self._skips else body)
        out = resized(out.float(), scale * self._coarseness)
        return torch.cat([out[:, :4] * (scale * self._coarseness), out[:, 4:]], 1)
