"""fLDR-VFI: flow from a few principal components of 8x8 blocks, softmax splatting, a small U-Net.

M. Nottebaum, S. Roth and S. Schaub-Meyer, "Efficient Feature Extraction for High-resolution Video
Frame Interpolation", BMVC 2022 (code and weights Apache-2.0). Written after the paper and what its
code does, with splatting in plain torch in place of CUDA kernels. Peculiarities that the weights
were trained with are kept, and said where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.motion.splat import splat

__all__ = ["FLdrNet", "fldr_keys"]

_BLOCK_PX: Final = 8
_COMPONENTS: Final = 16
_PLANES: Final = 6  # three channels of two frames
_WIDTH: Final = 3 * _COMPONENTS
_LEVELS: Final = 4

# Copies, components of other levels (the published settings use the first level's for all) and two
# layers that nothing calls.
_UNUSED: Final = ("base_modules.", "vfinet.refine_unet.conv1.", "vfinet.refine_unet.conv2.")
_OTHER_LEVELS: Final = frozenset(
    f"{name}{block}" for name in ("EV", "Mean", "meanVec") for block in (16, 32, 64)
)


def fldr_keys(keys: Mapping[str, object]) -> dict[str, str]:
    """Which tensors of a published file the network takes: name in the file by name in it."""
    kept = (k for k in keys if not k.startswith(_UNUSED) and k not in _OTHER_LEVELS)
    return {key: key for key in kept}


def _row(*channels: int, last_relu: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(channels):
        layers += [nn.Conv2d(inputs, outputs, 3, 1, 1), nn.ReLU()]
    return nn.Sequential(*(layers if last_relu else layers[:-1]))


class _Refiner(nn.Module):
    """A U-Net of three levels that weighs six candidates for each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.enc1 = nn.Conv2d(26, 16, 4, 2, 1)
        self.enc2 = nn.Conv2d(16, 32, 4, 2, 1)
        self.enc3 = nn.Conv2d(32, 64, 4, 2, 1)
        self.dec0 = nn.Conv2d(64, 64, 3, 1, 1)
        self.dec1 = nn.Conv2d(96, 32, 3, 1, 1)
        self.dec2 = nn.Conv2d(48, 16, 3, 1, 1)
        self.dec3 = nn.Conv2d(16, 6, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, 26, h, w]`` to ``[N, 6, h, w]``, before the softmax; sides multiples of 8."""
        half = F.relu(self.enc1(x))
        quarter = F.relu(self.enc2(half))
        out = F.relu(self.dec0(F.relu(self.enc3(quarter))))
        out = F.relu(self.dec1(torch.cat([_doubled(out), quarter], 1)))
        out = F.relu(self.dec2(torch.cat([_doubled(out), half], 1)))
        found: Tensor = self.dec3(_doubled(out))
        return found


class _FlowNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        wide = 2 * _WIDTH
        self.conv_flow_bottom = _row(wide, wide, wide, wide, _WIDTH, 6, last_relu=False)
        self.conv_flow1 = nn.Conv2d(wide, _WIDTH, 3, 1, 1)
        self.conv_flow2 = _row(wide + 4, wide, wide, _WIDTH, _WIDTH, 4, last_relu=False)
        self.refine_unet = _Refiner()
        self.T_param = nn.Parameter(torch.ones(1))
        self.z_alpha = nn.Parameter(torch.ones(2))

    def flow(self, features: Tensor, above: Tensor | None) -> Tensor:
        """``[N, 4, h, w]`` in px of this level: second to first frame, then first to second."""
        first, second = features[:, :_WIDTH], features[:, _WIDTH:]
        found: Tensor
        if above is None:
            found = self.conv_flow_bottom(features)[:, :4]
            return found
        ratio = features.shape[3] / above.shape[3]
        known = _sized(above, features.shape[-2:]) * ratio
        to_first = _splatted(second, known[:, :2])
        to_second = _splatted(first, known[:, 2:])
        seen = [
            self.conv_flow1(torch.cat([first, to_first], 1)),
            self.conv_flow1(torch.cat([second, to_second], 1)),
            known,
        ]
        found = known + self.conv_flow2(torch.cat(seen, 1))
        return found

    def blend(self, first: Tensor, second: Tensor, flow: Tensor, time: Tensor) -> Tensor:
        """The frame at ``time``, -1..1, from frames in -1..1 and flows at their size."""
        back, ahead = flow[:, :2], flow[:, 2:]
        ahead_t, back_t = time * ahead, (1 - time) * back
        doubt = [
            (self.z_alpha[0] * (first - _fetched(second, ahead)).abs()).mean(1, keepdim=True),
            (self.z_alpha[1] * (second - _fetched(first, back)).abs()).mean(1, keepdim=True),
        ]
        thrown = [_splatted(first, ahead_t, doubt[0]), _splatted(second, back_t, doubt[1])]
        returning = [
            _fetched(back * time, (1 - time) * ahead),
            _fetched(ahead * (1 - time), time * back),
        ]
        fetched = [_fetched(first, returning[0]), _fetched(second, returning[1])]
        seen = [first, second, *thrown, ahead_t, back_t, *returning, *fetched]
        share = torch.softmax(self.refine_unet(torch.cat(seen, 1)) / self.T_param, 1)
        # Of each kind, the first frame's candidate counts by 1 - t and the second's by t.
        share = share * torch.cat([1 - time, time], 1).repeat(1, 3, 1, 1)
        share = share / share.sum(1, keepdim=True)
        candidates = torch.stack([*thrown, *fetched, first, second], 1)
        return (share[:, :, None] * candidates).sum(1)


class FLdrNet(nn.Module):
    """The network as its weights were published (levels as in training)."""

    multiple_of: Final = _BLOCK_PX * 2 ** (_LEVELS - 1)

    def __init__(self) -> None:
        super().__init__()
        self.EV8 = nn.Parameter(torch.zeros(_COMPONENTS, _BLOCK_PX**2))
        self.Mean8 = nn.Parameter(torch.zeros(_BLOCK_PX**2))
        self.meanVec8 = nn.Parameter(torch.ones(_COMPONENTS))
        wide = _PLANES * _COMPONENTS
        self.rec_ctx_ds = _row(wide, wide, wide, last_relu=True)
        self.vfinet = _FlowNet()

    def begin(self, first: Tensor, second: Tensor) -> Callable[[float], Tensor]:
        """Prepares pairs of frames: one flow serves every time between them.

        Args:
            first: ``[N, 3, h, w]`` float32 R'G'B' 0..1; sides multiples of ``multiple_of``.
            second: of the same shape.

        Returns:
            What makes the frames ``[N, 3, h, w]`` float32, not clamped, at a time: 0 is ``first``
            and 1 is ``second``.
        """
        # It was trained on frames as OpenCV reads them: B'G'R'.
        near, far = first.flip(1) * 2 - 1, second.flip(1) * 2 - 1
        flow = self._flow(near, far, _LEVELS - 1, None)
        for level in reversed(range(_LEVELS - 1)):
            flow = self._flow(near, far, level, flow)
        full = _sized(flow, near.shape[-2:]) * _BLOCK_PX

        def moment(time: float) -> Tensor:
            when = near.new_full((len(near), 1, 1, 1), time)
            return (self.vfinet.blend(near, far, full, when).flip(1) + 1) / 2

        return moment

    def _flow(self, first: Tensor, second: Tensor, level: int, above: Tensor | None) -> Tensor:
        """Flows of a level (frames ``2**level`` times smaller), at an eighth of its size."""
        features = self._components(_shrunk(first, 2**level), _shrunk(second, 2**level))
        return self.vfinet.flow(self.rec_ctx_ds(features) + features, above)

    def _components(self, first: Tensor, second: Tensor) -> Tensor:
        """``[N, 96, h/8, w/8]`` in -1..1: 16 components for each plane.

        Planes lie channel by channel, both frames beside each other; the network halves these
        channels as if frames lay apart. It was trained so.
        """
        planes = torch.stack([first, second], 2).flatten(1, 2)
        kernel = self.EV8.view(_COMPONENTS, 1, _BLOCK_PX, _BLOCK_PX)
        kernel = kernel.repeat(_PLANES, 1, 1, 1)
        blocks = F.conv2d(planes, kernel, stride=_BLOCK_PX, groups=_PLANES)
        blocks = blocks.view(-1, _PLANES, _COMPONENTS, *blocks.shape[-2:])
        blocks = blocks - (self.EV8 @ self.Mean8)[:, None, None]
        blocks = (blocks / self.meanVec8[:, None, None]).flatten(1, 2)
        least, most = (edge.view(-1, 1, 1, 1) for edge in blocks.flatten(1).aminmax(dim=1))
        scaled: Tensor = (blocks - least) / (most - least).clamp(min=1e-12) * 2 - 1
        return scaled


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def _sized(x: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def _shrunk(frame: Tensor, factor: int) -> Tensor:
    if factor == 1:
        return frame
    return F.interpolate(frame, scale_factor=1 / factor, mode="bicubic", align_corners=False)


def _splatted(values: Tensor, flow: Tensor, doubt: Tensor | None = None) -> Tensor:
    """Softmax splatting; -1 where nothing lands."""
    weight = None if doubt is None else doubt.exp()
    sums, weights = splat((values + 1) / 2, flow, weight)
    return sums / torch.where(weights == 0, torch.ones_like(weights), weights) * 2 - 1


def _fetched(picture: Tensor, flow: Tensor) -> Tensor:
    """Backward warping as it was trained: 0 beyond the frame.

    Its grid is normalised by ``size - 1`` and read by half-pixel centres, so that it fetches up to
    half a pixel off; the weights know that.
    """
    height, width = picture.shape[-2:]
    columns = torch.arange(width, device=flow.device, dtype=torch.float32) + flow[:, 0]
    rows = torch.arange(height, device=flow.device, dtype=torch.float32)[:, None] + flow[:, 1]
    grid = torch.stack([2 * columns / max(width - 1, 1) - 1, 2 * rows / max(height - 1, 1) - 1], -1)
    ones = torch.ones_like(picture[:, :1])
    both = F.grid_sample(torch.cat([picture, ones], 1), grid, mode="bilinear", align_corners=False)
    return both[:, :-1] * (both[:, -1:] >= 0.999)
