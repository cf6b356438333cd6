"""Grain for frames that are made of others: taken off what they are made of, drawn anew on them.

A frame warped from two grainy ones carries half their grain, dragged along: frames made and frames
filmed would blink in turns. So pictures are made of frames whose grain is averaged away along the
motion, and get grain of their own, as much as makes them as lively as their neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from restore.grain.make import GrainMaker
from restore.grain.profile import LEVELS, GrainProfile
from restore.motion.flow import Effort, optical_flow
from restore.motion.warp import warp

__all__ = ["FreshGrain", "liveliness"]

_LEAST: Final = 1.2 / 255  # strength in mid-tones that counts as grain
_BOX_PX: Final = 7
_AGREE: Final = (1.3, 3.0)  # times what grain makes two frames differ: fully taken, not taken
_HALVED_FROM_PX: Final = 128
_BLOCK_PX: Final = 8
_FLAT: Final = 0.5  # quantile of the blocks that are looked at
_MOST: Final = 1.5


class FreshGrain:
    """The grain of one shot, off and on.

    Args:
        profile: what was learned of the shot.
    """

    def __init__(self, profile: GrainProfile) -> None:
        self._profile = profile
        self._maker: tuple[tuple[int, int], torch.device, GrainMaker] | None = None

    @property
    def is_visible(self) -> bool:
        """Whether there is enough of it to care."""
        return float(self._profile.strength[:, LEVELS // 4 : -LEVELS // 4].mean()) > _LEAST

    def bare(self, frame: Tensor, neighbours: Sequence[Tensor]) -> Tensor:
        """A frame averaged with its neighbours along the motion, as far as grain explains them.

        Args:
            frame: ``[3, h, w]`` float32 R'G'B', 0..1.
            neighbours: frames of the same shot, of the same shape, none of them ``frame``.

        Returns:
            ``[3, h, w]``; the frame itself where nothing fits.
        """
        strength = torch.tensor(self._profile.strength.mean(0), dtype=torch.float32)
        level = _box(frame.mean(0, keepdim=True))
        places = (level * LEVELS).long().clamp(0, LEVELS - 1)
        grain = 2 * strength.to(frame.device)[places].square().clamp(min=(0.5 / 255) ** 2)
        total, weight = frame.clone(), torch.ones_like(level)
        low, high = _AGREE
        factor = 2 if min(frame.shape[-2:]) >= _HALVED_FROM_PX else 1
        for other in neighbours:
            flow = optical_flow(frame[None], other[None], Effort.FAST, factor)
            moved = warp(other[None], flow, "bicubic")[0]
            gap = _box((moved - frame).square().mean(0, keepdim=True))
            share = ((high - gap / grain) / (high - low)).clamp(0, 1)
            total += share * moved
            weight += share
        mean: Tensor = total / weight
        return mean

    def put_on(self, picture: Tensor, seed: int, wanted: float) -> Tensor:
        """Grain on a picture until it is as lively as it should be.

        Args:
            picture: ``[3, h, w]`` float32 R'G'B', with as much of its own as was left.
            seed: names the grain.
            wanted: :func:`liveliness` of the frames around it.

        Returns:
            ``[3, h, w]`` float32, not clipped.
        """
        grained = self._made(picture).put_on(picture, seed)
        grain = liveliness(0.5 + grained - picture)
        missing = max(0.0, wanted - liveliness(picture))
        amount = min(_MOST, (missing / max(grain, 1e-12)) ** 0.5)
        result: Tensor = picture + amount * (grained - picture)
        return result

    def _made(self, picture: Tensor) -> GrainMaker:
        size = (picture.shape[-2], picture.shape[-1])
        if self._maker is None or self._maker[:2] != (size, picture.device):
            made = GrainMaker(self._profile, *size, picture.device)
            self._maker = size, picture.device, made
        return self._maker[2]


def liveliness(picture: Tensor) -> float:
    """Variance of what is finer than four pixels, in the flatter half of the picture.

    Args:
        picture: ``[3, h, w]`` float32.
    """
    grey = picture.mean(0)[None, None]
    fine = grey - F.avg_pool2d(F.pad(grey, (2, 1, 2, 1), mode="replicate"), 4, 1)
    side = min(_BLOCK_PX, *grey.shape[-2:])
    blocks = F.avg_pool2d(fine.square(), side).flatten()
    kept = max(1, int(blocks.numel() * _FLAT))
    return float(blocks.sort().values[:kept].mean())


def _box(plane: Tensor) -> Tensor:
    side = min(_BOX_PX, *(n - 1 + n % 2 for n in plane.shape[-2:]))
    padded = F.pad(plane[None], (side // 2,) * 4, mode="replicate")
    return F.avg_pool2d(padded, side, 1)[0]
