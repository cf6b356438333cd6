"""IFNet of RIFE 4.0 to 4.26, one module for all of its forms.

Every block sees both frames already brought to the wanted time by the flows so far, and adds to the
flows; the last one's mask says how the two warped frames are blended. Warping and everything that
counts in pixels stays in float32: in half precision a flow of some hundred pixels is known to
half a pixel only, which shows as wobbling lines.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.models.nets.blocks import FlowBlock
from restore.motion.warp import warp

if TYPE_CHECKING:
    from restore.models.nets.ifnet_variants import Variant

__all__ = ["IFNet"]

_FAR_PX = 32

_Pair = tuple[Tensor, Tensor]
_State = tuple[Tensor, Tensor, Tensor]  # flows, mask, features of the block before


class _Head(nn.Module):
    """Features of one frame, RIFE 4.13 and later."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.cnn0 = nn.Conv2d(3, width, 3, 2, 1)
        self.cnn1 = nn.Conv2d(width, width, 3, 1, 1)
        self.cnn2 = nn.Conv2d(width, width, 3, 1, 1)
        self.cnn3 = nn.ConvTranspose2d(width, outputs, 4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, 3, h, w]`` to ``[N, outputs, h, w]``."""
        for layer in (self.cnn0, self.cnn1, self.cnn2):
            x = F.leaky_relu(layer(x), 0.2)
        out: Tensor = self.cnn3(x)
        return out


def _head(variant: Variant) -> nn.Module | None:
    width, outputs = variant.head_width, variant.head_outputs
    if variant.head == "none":
        return None
    if variant.head == "named":
        return _Head(width, outputs)
    first, last = nn.Conv2d(3, width, 3, 2, 1), nn.ConvTranspose2d(width, outputs, 4, 2, 1)
    if variant.head == "two layers":
        return nn.Sequential(first, last)
    inner = [nn.Conv2d(width, width, 3, 1, 1) for _ in range(2)]
    rows = [layer for each in (first, *inner) for layer in (each, nn.LeakyReLU(0.2))]
    return nn.Sequential(*rows, last)


class IFNet(nn.Module):
    """One network of the RIFE 4 line; ``variant`` says which, see ``ifnet_variants``."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.variant = variant
        first = 6 + 1 + 2 * variant.head_outputs
        later = first + 1 + 4 + variant.features
        for number, width in enumerate(variant.widths):
            block = FlowBlock(
                later if number else first,
                width,
                variant.outputs,
                variant.body,
                shuffles=variant.shuffles,
                groups=variant.groups,
            )
            self.add_module(f"block{number}", block)
        self.encode = _head(variant)

    def begin(
        self, first: Tensor, second: Tensor, scale: float = 1.0, ensemble: bool = False
    ) -> Callable[[float], Tensor]:
        """Prepares a pair of frames.

        Args:
            first: ``[N, 3, h, w]`` float32 R'G'B' 0..1; sides multiples of
                ``variant.multiple_of(scale)``.
            second: of the same shape.
            scale: share of the frame's size at which flow is estimated, 0.25 .. 4; 0.5 for 4K.
            ensemble: run each block from both ends and average (``variant.ensembles``).

        Returns:
            What makes the frames ``[N, 3, h, w]`` float32, not clamped, at a time: 0 is ``first``
            and 1 is ``second``.
        """
        pair = first.clamp(0, 1), second.clamp(0, 1)
        ends = self._features(pair[0]), self._features(pair[1])
        scales = [each / scale for each in self.variant.scales]

        def moment(time: float) -> Tensor:
            when = first.new_full((len(first), 1, *first.shape[-2:]), time)
            flow, mask = self._estimate(pair, ends, when, scales, ensemble)
            near, far = _brought(pair, flow)
            share = torch.sigmoid(mask)
            return near * share + far * (1 - share)

        return moment

    def _features(self, frame: Tensor) -> Tensor:
        """``[N, head_outputs, h, w]`` float32; no channels where the variant has no head."""
        if self.encode is None:
            return frame[:, :0]
        found: Tensor = self.encode(frame.to(next(self.encode.parameters()).dtype))
        return found.float()

    def _estimate(
        self, pair: _Pair, ends: _Pair, when: Tensor, scales: list[float], ensemble: bool
    ) -> tuple[Tensor, Tensor]:
        """Both flows ``[N, 4, h, w]`` px and the mask before its sigmoid."""
        state = self._block(0, pair, ends, when, None, scales[0], ensemble)
        for number in range(1, len(self.variant.widths)):
            if self.variant.restarts and number == 1:
                # RIFE 4.0 and 4.1 begin again more coarsely where the second block adds much.
                step, _, _ = self._later(1, pair, ends, when, state, scales[1], False)
                if step[:, :2].abs().max() > _FAR_PX and step[:, 2:].abs().max() > _FAR_PX:
                    scales = [2 * each for each in scales]
                    state = self._block(0, pair, ends, when, None, scales[0], False)
            step, mask, found = self._later(
                number, pair, ends, when, state, scales[number], ensemble
            )
            mask = state[1] + mask if self.variant.mask_adds else mask
            state = state[0] + step, mask, found
        return state[0], state[1]

    def _later(
        self,
        number: int,
        pair: _Pair,
        ends: _Pair,
        when: Tensor,
        state: _State,
        scale: float,
        ensemble: bool,
    ) -> _State:
        """A block that sees what the flows so far bring."""
        seen, felt = _brought(pair, state[0]), _brought(ends, state[0])
        return self._block(number, seen, felt, when, state, scale, ensemble)

    def _block(
        self,
        number: int,
        seen: _Pair,
        felt: _Pair,
        when: Tensor,
        state: _State | None,
        scale: float,
        ensemble: bool,
    ) -> _State:
        """What a block adds to the flows, its mask and its features."""
        block = self.get_submodule(f"block{number}")
        flow, carried = (None, []) if state is None else (state[0], [state[1], state[2]])
        out = block(torch.cat([*seen, *felt, when, *carried], 1), flow, scale)
        step, mask = out[:, :4], out[:, 4:5]
        if ensemble:
            if state is not None:
                flow, carried = _turned(state[0]), [-state[1]]
            back = block(torch.cat([*seen[::-1], *felt[::-1], 1 - when, *carried], 1), flow, scale)
            step, mask = (step + _turned(back)) / 2, (mask - back[:, 4:5]) / 2
        return step, mask, out[:, 5 : 5 + self.variant.features]


def _turned(flow: Tensor) -> Tensor:
    """The flows of a pair seen from its other end."""
    return torch.cat([flow[:, 2:4], flow[:, :2]], 1)


def _brought(pair: _Pair, flow: Tensor) -> _Pair:
    """Both of a pair fetched along their flows, in float32."""
    if pair[0].shape[1] == 0:
        return pair
    return warp(pair[0], flow[:, :2]), warp(pair[1], flow[:, 2:4])
