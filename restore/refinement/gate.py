"""What a stage may invent: its output, reduced again, must be what the source shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["TILE_PX", "Gate", "GateTally", "Outside", "tolerance_of"]

KERNEL: Final = "bicubic, antialiased"
TILE_PX: Final = 16  # side of what is judged as one, in pixels of the reduced picture
LISTED: Final = 1000  # tiles of a shot that are named; a long clip's list must not fill memory
_EXACT: Final = 0.5 / 255  # half a step of 8 bit: not to be told from equal
_WIDEST: Final = 8 / 255
_ROUNDS: Final = 12
_INSIDE: Final = 0.9  # of the tolerance: where tiles that went too far are brought to


def tolerance_of(invent: float) -> float:
    """How far a tile may be from the source, RMS of R'G'B' 0..1, for ``invent`` 0..1.

    0 holds it to half an 8 bit step, 1 lets it go by 8 of them.
    """
    return _EXACT + invent * (_WIDEST - _EXACT)


@dataclass(frozen=True)
class Outside:
    """A tile that went too far and was pulled back.

    Attributes:
        frame: source number of the frame; -1 where the stage is not told.
        left_px: of the tile, in pixels of the output.
        top_px: likewise.
        before: RMS distance from the source as the stage gave it.
        after: as it went on.
    """

    frame: int
    left_px: int
    top_px: int
    before: float
    after: float


@dataclass
class GateTally:
    """What a gate saw of one shot.

    Attributes:
        frames: that it looked at.
        tiles: that it judged.
        pulled: of those, what went too far and was pulled back.
        worst: RMS distance of the worst of them, as the stage gave it.
        outside: the first of them, ``LISTED`` at most.
        unsupported: energy of what is finer than the source shows, summed.
        energy: of the output about its mean, summed.
    """

    frames: int = 0
    tiles: int = 0
    pulled: int = 0
    worst: float = 0.0
    outside: list[Outside] = field(default_factory=list)
    unsupported: float = 0.0
    energy: float = 0.0

    @property
    def share(self) -> float:
        """Share of the output's energy that the source does not support."""
        return self.unsupported / self.energy if self.energy else 0.0

    def __str__(self) -> str:
        told = f"{self.pulled} of {self.tiles} tiles pulled back"
        if self.pulled:
            told += f", the worst from {self.worst * 255:.1f}/255"
        share = f"{self.share:.2%} of the energy not supported by the source"
        return f"{self.frames} frames or tiles of them: {share}; {told}"

    def add(self, one: Outside) -> None:
        """Count a tile that was pulled back."""
        self.pulled += 1
        self.worst = max(self.worst, one.before)
        if len(self.outside) < LISTED:
            self.outside.append(one)


class Gate:
    """Iterated back-projection of tiles that went too far.

    The output is reduced with the recorded kernel; where a tile's RMS distance from what the source
    shows is above the tolerance, the difference is enlarged and added until it is not (M. Irani and
    S. Peleg, "Improving resolution by image registration", 1991). A tile that cannot be brought
    back is replaced by the enlarged source.

    Args:
        factor: whole factor from what the source shows to the output.
        invent: 0..1, see :func:`tolerance_of`.
    """

    def __init__(self, factor: int, invent: float) -> None:
        self.factor = factor
        self.tolerance = tolerance_of(invent)

    def __str__(self) -> str:
        return (
            f"reduced by {self.factor} ({KERNEL}) within {self.tolerance * 255:.1f}/255 RMS of the "
            f"source in every tile of {TILE_PX * self.factor} px"
        )

    def held(self, source: Tensor, output: Tensor, tally: GateTally, frame: int = -1) -> Tensor:
        """Pull back what went too far.

        Args:
            source: the stage's input ``[3, h, w]`` R'G'B', as large as the output, or as the output
                reduced by the factor.
            output: ``[3, H, W]`` of the stage.
            tally: added to.
            frame: its source number.

        Returns:
            ``[3, H, W]``.
        """
        size = output.shape[-2:]
        is_same = source.shape == output.shape
        target = self._reduced(source) if is_same else source
        base = source if is_same else _sized(source, (size[0], size[1]))
        out, gap = output, target - self._reduced(output)
        first = last = _rms(gap)
        for _ in range(_ROUNDS):
            if not bool((last > self.tolerance).any()):
                break
            # Each goes back a little farther than it must, and not all the way to the source.
            share = (1 - _INSIDE * self.tolerance / last.clamp(min=1e-9)).clamp(0, 1)
            share = share * (last > self.tolerance)
            out = out + _sized(gap * _weight(share, gap), (size[0], size[1]))
            gap = target - self._reduced(out)
            last = _rms(gap)
        far = last > self.tolerance
        if bool(far.any()):
            share = _sized(_weight(far.float(), target).expand(3, -1, -1), (size[0], size[1]))
            out = out.lerp(base, share.clamp(0, 1))
            last = _rms(target - self._reduced(out))
        self._count(base, out, tally)
        tally.tiles += first.numel()
        self._list(first, last, tally, frame)
        return out

    def _list(self, first: Tensor, last: Tensor, tally: GateTally, frame: int) -> None:
        side = TILE_PX * self.factor
        for row, col in (first > self.tolerance).nonzero().tolist():
            before, after = float(first[row, col]), float(last[row, col])
            tally.add(Outside(frame, col * side, row * side, before, after))

    def _count(self, base: Tensor, out: Tensor, tally: GateTally) -> None:
        change = out - base
        size = (out.shape[-2], out.shape[-1])
        finer = change - _sized(self._reduced(change), size)
        tally.frames += 1
        tally.unsupported += float(finer.double().square().sum())
        tally.energy += float((out - out.mean((1, 2), keepdim=True)).double().square().sum())

    def _reduced(self, picture: Tensor) -> Tensor:
        if self.factor == 1:
            return picture
        height, width = (max(1, side // self.factor) for side in picture.shape[-2:])
        return _sized(picture, (height, width))


def _sized(picture: Tensor, size: tuple[int, int]) -> Tensor:
    if picture.shape[-2:] == size:
        return picture
    return F.interpolate(picture[None], size, mode="bicubic", align_corners=False, antialias=True)[
        0
    ]


def _rms(gap: Tensor) -> Tensor:
    """Of each tile, ``[rows, cols]``."""
    mean = F.avg_pool2d(
        gap.square().mean(0)[None, None], TILE_PX, ceil_mode=True, count_include_pad=False
    )
    return mean[0, 0].sqrt()


def _weight(tiles: Tensor, like: Tensor) -> Tensor:
    """``[h, w]``: each tile's share over the tile, falling to 0 over its neighbours."""
    wide = F.max_pool2d(tiles[None, None], 3, stride=1, padding=1)
    rows, cols = tiles.shape
    full = F.interpolate(
        wide, (rows * TILE_PX, cols * TILE_PX), mode="bilinear", align_corners=False
    )
    smooth = full[0, 0, : like.shape[-2], : like.shape[-1]]
    marked = tiles.repeat_interleave(TILE_PX, 0).repeat_interleave(TILE_PX, 1)
    return torch.maximum(smooth, marked[: like.shape[-2], : like.shape[-1]]).to(like)
