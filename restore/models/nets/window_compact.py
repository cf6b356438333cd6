"""Compact with a window of aligned frames in: what a grainy film holds several times is used.

The body is that of Compact (SRVGGNetCompact; X. Wang et al., "Real-ESRGAN", 2021). What it sees is
the mean of the frames as far as they can be trusted, what each frame differs from that mean, and
the trust. With weights on the mean alone it is the single-frame network on a denoised frame, which
is where training begins. Convolutions only: the receptive field is bounded.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["FRAMES", "PLANES", "WindowCompact"]

FRAMES = 5  # the centre, then its neighbours in time's order
PLANES = 3 * FRAMES + FRAMES - 1  # R'G'B' of each frame, and each neighbour's trust
_SEEN = 3 * (FRAMES + 1) + 3  # mean, differences, three sums of trust


class WindowCompact(nn.Module):
    """The network.

    Args:
        features: channels of the body.
        convolutions: convolutions in the body, the first and last one aside.
        scale: output size over input size.
    """

    def __init__(self, features: int = 32, convolutions: int = 14, scale: int = 4) -> None:
        super().__init__()
        self.scale = scale
        layers: list[nn.Module] = [nn.Conv2d(_SEEN, features, 3, 1, 1), nn.PReLU(features)]
        for _ in range(convolutions):
            layers += [nn.Conv2d(features, features, 3, 1, 1), nn.PReLU(features)]
        layers.append(nn.Conv2d(features, 3 * scale**2, 3, 1, 1))
        self.body = nn.ModuleList(layers)

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> WindowCompact:
        """The network that a state dict belongs to, with its weights.

        Raises:
            KeyError: the state is that of another network.
            RuntimeError: the same.
        """
        last = max(int(name.split(".")[1]) for name in state if name.startswith("body."))
        outputs = state[f"body.{last}.weight"].shape[0]
        net = cls(state["body.0.weight"].shape[0], last // 2 - 1, round((outputs / 3) ** 0.5))
        net.load_state_dict(state)
        return net

    @property
    def flops_per_px(self) -> int:
        """Operations for one input pixel; a multiply-add counts two."""
        return sum(2 * m.weight.numel() for m in self.body if isinstance(m, nn.Conv2d))

    @property
    def radius_px(self) -> int:
        """How far an output pixel looks, in input pixels: one for each 3x3 convolution."""
        return sum(isinstance(layer, nn.Conv2d) for layer in self.body)

    def forward(self, window: Tensor) -> Tensor:
        """Enlarge the centre.

        Args:
            window: ``[N, 19, h, w]`` float32: the centre's R'G'B', that of four aligned neighbours
                (two before, two after), the trust of each, 0..1.

        Returns:
            ``[N, 3, h * scale, w * scale]`` float32 R'G'B', not clipped.
        """
        # The mean in float32: in half precision, what the frames differ by would drown.
        frames, trust = window[:, : 3 * FRAMES], window[:, 3 * FRAMES :]
        weights = torch.cat([torch.ones_like(trust[:, :1]), trust], 1)
        parts = frames.reshape(len(window), FRAMES, 3, *window.shape[2:])
        mean = (parts * weights[:, :, None]).sum(1) / weights.sum(1, keepdim=True)
        apart = (parts - mean[:, None]).flatten(1, 2)
        before2, before1, after1, after2 = trust.unbind(1)
        sums = [before1 + after1, before2 + after2, after1 + after2 - before1 - before2]
        seen = torch.cat([mean, apart, torch.stack(sums, 1) / 2], 1)
        weight = next(self.parameters())
        x = seen.to(dtype=weight.dtype, memory_format=torch.channels_last)
        for layer in self.body:
            x = layer(x)
        large = F.interpolate(mean, scale_factor=self.scale, mode="nearest")
        return F.pixel_shuffle(x, self.scale).float() + large
