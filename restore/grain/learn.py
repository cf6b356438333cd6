"""Learns a reel's grain from flat pieces of its frames."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from restore.grain.profile import BLOCK_PX, LEVELS, GrainProfile
from restore.grain.spectrum import completed, window
from restore.grain.strength import Strengths, shares
from restore.motion.camera import MotionModel, global_motion

__all__ = ["GrainLearner"]

Doubles = NDArray[np.float64]
Blocks = NDArray[np.float32]

_MOST_BLOCKS: Final = 800  # of a frame
_MOST_CLIPPED_PX: Final = 5  # of a block
_CELL_PX: Final = 4
_FLAT: Final = 2.5  # times the flattest blocks' structure still counts as flat
_PURE: Final = 1.6  # times the lowest share of coarse structure that a level may show
_STEPS: Final = 2 * LEVELS  # of brightness, at each of which the flattest blocks are looked for
_FEWEST: Final = 6  # blocks that make a level known
_ENOUGH: Final = 48  # blocks that make a shot known
_LEAST: Final = 0.3 / 255  # standard deviation below which there is only rounding
_UNEVEN: Final = (0.04, 0.1)  # standard deviations of a block's brightness; the first that suffices
_OVER: Final = 2.5  # times the change of all blocks, in deviations, that flat ones may show
_LEAN: Final = 0.5  # of the logarithm of upright over level detail, beyond the evenest blocks'
_COPY: Final = 0.15  # times the usual change from frame to frame, below which one is a copy
_WHITE: Final = 1.5  # times the change from frame to frame, that of frames two apart
_RARE: Final = np.float32(4)  # deviations beyond which a sample is no grain
_FRESH: Final = 0.25  # share of a block's variance that must be new in the next frame


class _Sums:
    """What flat blocks add up to."""

    def __init__(self) -> None:
        self.strengths = [Strengths() for _ in range(3)]
        self.spectrum = np.zeros((BLOCK_PX, BLOCK_PX // 2 + 1, 3, 3))
        self.blocks = 0

    def add(self, other: _Sums) -> None:
        for own, more in zip(self.strengths, other.strengths, strict=True):
            own.gather(more)
        self.spectrum += other.spectrum
        self.blocks += other.blocks


class GrainLearner:
    """Collects a shot's flat blocks, and keeps the sums of all shots before.

    What differs between two successive frames, the second brought to the first by whole pixels, is
    grain where the picture stands still, and its variance is twice the grain's; textures go. Blocks
    are 32x32 px of even brightness; a plane (flicker) is taken off the difference. A block counts
    as flat where means over 4x4 px vary no more than in the flattest blocks of the same level: what
    is left of moving things is told from grain by a coarser band than the one where most grain
    lies, so choosing hardly biases what is measured. Left out are blocks that a codec has copied
    from the frame before, blocks that change more over two frames than over one (smoke, movers),
    and blocks with more upright than level detail, where others have as much of both (scratches);
    specks are cut down to what grain reaches. A curve over level is fitted to the variances
    (:class:`~restore.grain.strength.Strengths`); spectra are averaged windowed periodograms
    (P. D. Welch, 1967) of all three channels together.

    A shot that shows too little flat picture uses what the shots before it have shown: the reel is
    one stock. One object serves one job.
    """

    def __init__(self) -> None:
        self._reel = _Sums()
        self._size_px = (0, 0)

    def shot(self, frames: list[Tensor]) -> GrainProfile | None:
        """Learn from a shot.

        Args:
            frames: ``[3, h, w]`` float32 R'G'B', 0..1, successive, all of one size; a dozen is
                enough, and of a single one nothing is learned.

        Returns:
            The grain of the shot; None where neither it nor any shot before shows any.
        """
        self._size_px = (frames[0].shape[-2], frames[0].shape[-1])
        own = _Sums()
        new = _distinct(frames)
        if len(new) > 1 and min(self._size_px) >= BLOCK_PX:
            own = _summed(np.concatenate(_runs(new), 1))
            self._reel.add(own)
        return self._profile(own)

    def reel(self) -> GrainProfile | None:
        """The grain of all shots so far together."""
        return self._profile(self._reel)

    @property
    def evidence(self) -> Doubles:
        """``[LEVELS]`` flat blocks of all shots so far, by green's level."""
        return self._reel.strengths[1].count.copy()

    def _profile(self, own: _Sums) -> GrainProfile | None:
        if self._reel.blocks < _FEWEST:
            return None
        base = own if own.blocks >= _ENOUGH else self._reel
        lift, spectrum = completed(base.spectrum / base.blocks)
        pairs = zip(base.strengths, self._reel.strengths, strict=True)
        curves = np.stack([own.filled(reel).curve() for own, reel in pairs])
        height, width = self._size_px
        return GrainProfile(height, width, curves * lift[:, None], spectrum, base.blocks)


def _distinct(frames: list[Tensor]) -> list[Tensor]:
    """Frames without those that repeat the one before, as a codec copies it."""
    grey = [frame.mean(0, keepdim=True) for frame in frames]
    changes = [_change(one, other) for one, other in pairwise(grey)]
    if not changes:
        return frames
    usual = sorted(changes)[len(changes) * 3 // 4]
    fresh = (change >= _COPY * usual for change in changes)
    return [frames[0], *(frame for frame, new in zip(frames[1:], fresh, strict=True) if new)]


def _change(one: Tensor, other: Tensor) -> float:
    """How much half of all cells change, as a variance."""
    cells = F.avg_pool2d((other - one).square(), min(BLOCK_PX, *one.shape[-2:]))
    return float(cells.median())


def _runs(frames: list[Tensor]) -> list[Blocks]:
    """Each frame with the next and one more beside them: the one after, or else the one before."""
    places = np.zeros((len(frames), 2), int)  # across, down: where what the first shows stands
    height, width = frames[0].shape[-2:]
    for number, (first, second) in enumerate(pairwise(frames)):
        motion = global_motion(first, second, MotionModel.TRANSLATION)
        step = np.rint(motion.at(width / 2, height / 2)).astype(int)
        places[number + 1] = places[number] + step
    if len(frames) == 2:
        return [_blocks(frames, places)]
    starts = range(len(frames) - 2)
    runs = [_blocks(frames[n : n + 3], places[n : n + 3]) for n in starts]
    return [*runs, _blocks(frames[:-4:-1], places[:-4:-1])]


def _blocks(frames: list[Tensor], places: NDArray[np.int_]) -> Blocks:
    """Blocks of a frame and of the others where they show the same.

    Returns:
        ``[frames, n, 3, BLOCK_PX, BLOCK_PX]``; none with clipped samples among them.
    """
    height, width = frames[0].shape[-2:]
    moved = places - places[0]
    low, high = -moved.min(0), (width, height) - moved.max(0) - BLOCK_PX + 1
    across, down = (len(range(a, b, BLOCK_PX)) for a, b in zip(low, high, strict=True))
    if not across * down:
        return np.zeros((len(frames), 0, 3, BLOCK_PX, BLOCK_PX), np.float32)
    every = torch.stack([
        _tiled(frame, left, top, across, down)
        for frame, (left, top) in zip(frames, (low + moved).tolist(), strict=True)
    ])  # fmt: skip
    if every.shape[1] > _MOST_BLOCKS:
        every = every[:, np.linspace(0, every.shape[1] - 1, _MOST_BLOCKS).astype(int)]
    # Counted as floats, which is several times quicker than truths.
    clipped = ((every <= 0.002) | (every >= 0.998)).float().sum((3, 4)).amax((0, 2))
    out: Blocks = every[:, clipped <= _MOST_CLIPPED_PX].float().cpu().numpy()
    return out


def _tiled(frame: Tensor, left: int, top: int, across: int, down: int) -> Tensor:
    """Blocks side by side, ``[down * across, 3, BLOCK_PX, BLOCK_PX]``, from a corner on."""
    part = frame[:, top : top + down * BLOCK_PX, left : left + across * BLOCK_PX]
    cells = part.reshape(3, down, BLOCK_PX, across, BLOCK_PX)
    return cells.permute(1, 3, 0, 2, 4).flatten(0, 1)


def _summed(blocks: Blocks) -> _Sums:
    sums = _Sums()
    if not blocks.shape[1]:
        return sums
    first, second = blocks[:2]
    rest = _levelled((second - first) * np.float32(0.5**0.5))
    flat = _chosen(blocks, rest)
    if not flat.any():
        return sums
    first, second, rest = first[flat], second[flat], _clean(rest[flat])
    variance = rest.var((2, 3))
    # Every block counts alike, whatever its level's strength.
    even = rest / np.sqrt(np.maximum(variance, np.float32(_LEAST**2)))[:, :, None, None]
    plane = np.outer(window(), window())
    waves = np.fft.rfft2(even * plane.astype(np.float32))
    kept = _without_lines(waves)
    if kept.sum() < _ENOUGH:
        kept[:] = True
    waves, variance = waves[kept], variance[kept].astype(np.float64)
    brightness = (first[kept] + second[kept]).reshape(len(waves), 3, -1) / 2
    for channel, strengths in enumerate(sums.strengths):
        strengths.add(shares(brightness[:, channel]), variance[:, channel])
    sums.blocks = len(waves)
    sums.spectrum = np.einsum("nchw,ndhw->hwcd", waves, waves.conj(), optimize=True).real
    return sums


def _chosen(blocks: Blocks, rest: Blocks) -> NDArray[np.bool_]:
    """Which blocks show grain alone, by what differs from the first frame to the second."""
    flat = np.zeros(len(rest), bool)
    first = blocks[0]
    luma = rest.mean(1)
    spread = luma.var((1, 2))
    grey = _levelled(first.mean(1, keepdims=True))[:, 0]
    fresh = spread - _coarse(luma) >= _FRESH * (grey.var((1, 2)) - _coarse(grey))
    if len(blocks) > 2:
        fresh &= _is_white(blocks, spread)
    # Strength bends over brightness: a block must have one.
    uneven = (first.var((2, 3)) - rest.var((2, 3))).max(1)
    for most in _UNEVEN:
        alive = (spread >= _LEAST**2) & fresh & (uneven <= most**2)
        flat = _flat(first.mean((1, 2, 3)), _coarse(luma), spread, alive)
        if flat.sum() >= _ENOUGH:
            break
    if flat.any() and _is_passing(spread[flat], spread):
        flat[:] = False
    return flat


def _without_lines(waves: NDArray[np.complexfloating]) -> NDArray[np.bool_]:
    """Which blocks have no more upright than level detail, nor less, than the evenest have.

    Scratches run upright; grain has no direction, or one and the same everywhere.
    """
    power = np.square(np.abs(waves)).sum(1)
    near = [-2, -1, 0, 1, 2]
    upright = power[:, near, 4:13].sum((1, 2))
    level = power[:, 4:13, :3].sum((1, 2)) + power[:, -12:-3, 1:3].sum((1, 2))
    lean = np.abs(np.log(np.maximum(upright, 1e-12) / np.maximum(level, 1e-12)))
    return np.asarray(lean <= np.quantile(lean, 0.25) + _LEAN)


def _is_white(blocks: Blocks, spread: Blocks) -> NDArray[np.bool_]:
    """Whether frames two apart differ no more than frames one apart, ``[n]``.

    Grain of each frame is its own. Smoke, and what else moves slowly, goes on changing.
    """
    first, second, third = (part.mean(1, keepdims=True) for part in blocks)
    after, apart = (_levelled(third - part).var((1, 2, 3)) / 2 for part in (second, first))
    return np.asarray(apart <= _WHITE * (spread + after) / 2)


def _is_passing(flat: Blocks, everywhere: Blocks) -> bool:
    """Whether what changes in flat blocks is a thing that passes, for the rest stands calmer.

    Grain lies over the whole frame: textured blocks change at least as much as it does.
    """
    changing = everywhere[everywhere >= _LEAST**2]
    return bool(np.median(flat) > _OVER**2 * np.median(changing))


def _clean(rest: Blocks) -> Blocks:
    """Differences drawn in to what grain usually reaches where specks and hairs lie."""
    usual, kept = np.zeros(0, np.float32), rest
    for _ in range(3):
        # Of a Gaussian, the mean of the absolute values is 0.8 of the standard deviation.
        usual = np.float32((np.pi / 2) ** 0.5) * np.abs(kept).mean((2, 3), keepdims=True)
        kept = np.clip(rest, -_RARE * usual, _RARE * usual)
    beyond = torch.from_numpy((np.abs(rest) > _RARE * usual).any(1)).float()
    soiled = F.max_pool2d(beyond, 3, 1, 1).numpy() > 0
    return np.asarray(np.where(soiled[:, None], np.clip(rest, -usual, usual), rest))


def _levelled(blocks: Blocks) -> Blocks:
    """Blocks without their plane."""
    y, x = np.mgrid[-1 : 1 : BLOCK_PX * 1j, -1 : 1 : BLOCK_PX * 1j]
    terms = np.stack([np.ones_like(x), x, y]).reshape(3, -1)
    basis = np.linalg.qr(terms.T)[0].astype(np.float32)
    flat = blocks.reshape(*blocks.shape[:2], -1)
    return np.asarray((flat - (flat @ basis) @ basis.T).reshape(blocks.shape))


def _coarse(luma: Blocks) -> Blocks:
    """Variance of the means over cells, ``[n]``."""
    cells = BLOCK_PX // _CELL_PX
    means = luma.reshape(-1, cells, _CELL_PX, cells, _CELL_PX).mean((2, 4))
    return np.asarray(means.var((1, 2)))


def _flat(
    level: Blocks, coarse: Blocks, variance: Blocks, alive: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which blocks show grain alone."""
    bins = np.clip((level * _STEPS).astype(int), 0, _STEPS - 1)
    chosen = np.zeros(len(level), bool)
    purity: dict[int, float] = {}
    for number in range(_STEPS):
        here = np.flatnonzero((bins == number) & alive)
        if len(here) < 3:
            continue
        least = float(np.sort(coarse[here])[min(len(here) - 1, max(1, len(here) // 20))])
        here = here[coarse[here] <= _FLAT * least]
        # Fine texture without coarse structure still has more variance than grain.
        here = here[variance[here] <= _FLAT * float(np.median(variance[here]))]
        chosen[here] = True
        purity[number] = float(coarse[here].mean() / variance[here].mean())
    if purity:
        # Grain looks alike at all levels: one with more coarse structure has no flat blocks.
        best = min(purity.values())
        for number, share in purity.items():
            if share > _PURE * best:
                chosen &= bins != number
    return chosen
