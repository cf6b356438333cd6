"""Learns a reel's grain from flat pieces of its frames."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restore.grain.profile import BLOCK_PX, LEVELS, GrainProfile
from restore.motion.camera import MotionModel, global_motion

__all__ = ["GrainLearner"]

Doubles = NDArray[np.float64]
Blocks = NDArray[np.float32]

_MOST_BLOCKS: Final = 800  # of a frame
_CELL_PX: Final = 4
_FLAT: Final = 2.5  # times the flattest blocks' structure still counts as flat
_PURE: Final = 1.6  # times the lowest share of coarse structure that a level may show
_FEWEST: Final = 6  # blocks that make a level known
_ENOUGH: Final = 48  # blocks that make a shot known
_LEAST: Final = 0.3 / 255  # standard deviation below which there is only rounding
_UNEVEN: Final = (0.04, 0.1)  # standard deviations of a block's brightness; the first that suffices
_GAMMA: Final = 2.4  # of the display: R'G'B' = transmittance ** (1 / gamma)
_FOG: Final = 0.05  # density of clear film
_BLUR: Final = 0.5  # levels over which strengths are averaged
_OVER: Final = 2.5  # times the change of all blocks, in deviations, that flat ones may show
_FRESH: Final = 0.25  # share of a block's variance that must be new in the next frame


class _Sums:
    """What flat blocks add up to."""

    def __init__(self) -> None:
        self.variance = np.zeros((3, LEVELS))
        self.count = np.zeros((3, LEVELS))
        self.spectrum = np.zeros((BLOCK_PX, BLOCK_PX // 2 + 1, 3, 3))
        self.blocks = 0

    def add(self, other: _Sums) -> None:
        self.variance += other.variance
        self.count += other.count
        self.spectrum += other.spectrum
        self.blocks += other.blocks


class GrainLearner:
    """Collects a shot's flat blocks, and keeps the sums of all shots before.

    What differs between two successive frames, the second brought to the first by whole pixels, is
    grain where the picture stands still, and its variance is twice the grain's; textures go. Blocks
    are 32x32 px of even brightness; a plane (flicker) is taken off the difference. A block counts
    as flat where means over 4x4 px vary no more than in the flattest blocks of the same level: what
    is left of moving things is told from grain by a coarser band than the one where most grain
    lies, so choosing hardly biases what is measured. Blocks that a codec has copied from the frame
    before are left out. Per level the variance is averaged; spectra are averaged windowed
    periodograms (P. D. Welch, 1967) of all three channels together.

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
        pairs = [_blocks(*pair) for pair in pairwise(frames)]
        if pairs and min(self._size_px) >= BLOCK_PX:
            own = _summed(*(np.concatenate(part) for part in zip(*pairs, strict=True)))
            self._reel.add(own)
        return self._profile(own)

    def reel(self) -> GrainProfile | None:
        """The grain of all shots so far together."""
        return self._profile(self._reel)

    def _profile(self, own: _Sums) -> GrainProfile | None:
        if self._reel.blocks < _FEWEST:
            return None
        base = own if own.blocks >= _ENOUGH else self._reel
        lift, spectrum = _filled(base.spectrum / base.blocks)
        strength = np.zeros((3, LEVELS))
        for channel in range(3):
            strength[channel] = _curve(base, self._reel, channel) * lift[channel]
        height, width = self._size_px
        return GrainProfile(height, width, strength, spectrum, base.blocks)


def _blocks(first: Tensor, second: Tensor) -> tuple[Blocks, Blocks]:
    """Blocks of a frame and of the next where they show the same, ``[n, 3, BLOCK_PX, BLOCK_PX]``.

    None with clipped samples among them.
    """
    height, width = first.shape[-2:]
    motion = global_motion(first, second, MotionModel.TRANSLATION)
    across, down = (round(part) for part in motion.at(width / 2, height / 2))
    rows = np.arange(max(0, -down), min(height, height - down) - BLOCK_PX + 1, BLOCK_PX)
    columns = np.arange(max(0, -across), min(width, width - across) - BLOCK_PX + 1, BLOCK_PX)
    corners = [(int(row), int(column)) for row in rows for column in columns]
    if len(corners) > _MOST_BLOCKS:
        keep = np.linspace(0, len(corners) - 1, _MOST_BLOCKS).astype(int)
        corners = [corners[number] for number in keep]
    pairs = [(_cut(first, y, x), _cut(second, y + down, x + across)) for y, x in corners]
    if not pairs:
        none = np.zeros((0, 3, BLOCK_PX, BLOCK_PX), np.float32)
        return none, none
    both = torch.stack([torch.stack(pair) for pair in pairs])
    clipped = ((both <= 0.002) | (both >= 0.998)).float().mean((2, 3, 4)).amax(1)
    out: Blocks = both[clipped <= 0.005].float().cpu().numpy()
    return out[:, 0], out[:, 1]


def _cut(frame: Tensor, top: int, left: int) -> Tensor:
    return frame[:, top : top + BLOCK_PX, left : left + BLOCK_PX]


def _summed(first: Blocks, second: Blocks) -> _Sums:
    sums = _Sums()
    if not len(first):
        return sums
    levels = first.mean((2, 3))
    rest = _levelled((second - first) * np.float32(0.5**0.5))
    variance = rest.var((2, 3))
    luma = rest.mean(1)
    spread = luma.var((1, 2))
    fresh = spread >= _FRESH * _levelled(first).mean(1).var((1, 2))
    # Strength bends over brightness: a block must have one.
    uneven = (first.var((2, 3)) - variance).max(1)
    flat = np.zeros(len(first), bool)
    for most in _UNEVEN:
        alive = (spread >= _LEAST**2) & fresh & (uneven <= most**2)
        flat = _flat(levels.mean(1), _coarse(luma), spread, alive)
        if flat.sum() >= _ENOUGH:
            break
    if not flat.any() or _is_passing(spread[flat], spread):
        return sums
    levels, rest, variance = levels[flat], rest[flat], variance[flat]
    bins = np.clip((levels * LEVELS).astype(int), 0, LEVELS - 1)
    for channel in range(3):
        np.add.at(sums.variance[channel], bins[:, channel], variance[:, channel])
        np.add.at(sums.count[channel], bins[:, channel], 1)
    sums.blocks = len(rest)
    # Every block counts alike, whatever its level's strength.
    rest /= np.sqrt(np.maximum(variance, np.float32(_LEAST**2)))[:, :, None, None]
    window = np.hanning(BLOCK_PX + 2)[1:-1]
    plane = np.outer(window, window)
    plane /= np.sqrt(np.square(plane).sum())
    waves = np.fft.rfft2(rest * plane.astype(np.float32))
    sums.spectrum = np.einsum("nchw,ndhw->hwcd", waves, waves.conj(), optimize=True).real
    return sums


def _is_passing(flat: Blocks, everywhere: Blocks) -> bool:
    """Whether what changes in flat blocks is a thing that passes, for the rest stands calmer.

    Grain lies over the whole frame: textured blocks change at least as much as it does.
    """
    changing = everywhere[everywhere >= _LEAST**2]
    return bool(np.median(flat) > _OVER**2 * np.median(changing))


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
    bins = np.clip((level * LEVELS).astype(int), 0, LEVELS - 1)
    chosen = np.zeros(len(level), bool)
    purity: dict[int, float] = {}
    for number in range(LEVELS):
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


def _curve(base: _Sums, reel: _Sums, channel: int) -> Doubles:
    """Standard deviation at each level; over unknown levels the law of film goes on.

    Granularity grows with the square root of density (E. W. H. Selwyn, 1935). What is interpolated
    is the ratio to that law, so that nothing depends on it where the reel shows its grain.
    """
    at = (np.arange(LEVELS) + 0.5) / LEVELS
    law = at * np.sqrt(-_GAMMA * np.log10(at) + _FOG)
    power, worth = np.zeros(LEVELS), np.zeros(LEVELS)
    for sums in (reel, base):
        known = sums.count[channel] >= _FEWEST
        worth[known] = sums.count[channel, known]
        power[known] = sums.variance[channel, known] / worth[known] / np.square(law[known])
    known = worth > 0
    if not known.any():
        seen = base.count[channel]
        return np.asarray(law * np.sqrt(base.variance[channel].sum() / (seen @ np.square(law))))
    # Neighbouring levels, by what they are worth, steady those of few blocks.
    near = np.exp(-0.5 * np.square(np.subtract.outer(range(LEVELS), range(LEVELS)) / _BLUR))
    ratio = np.sqrt((near @ (worth * power))[known] / (near @ worth)[known])
    return np.asarray(law * np.interp(at, at[known], ratio))


def _filled(spectrum: Doubles) -> tuple[Doubles, Doubles]:
    """Put back the coarsest grain, which went with the plane, and scale to mean power 1.

    The lowest frequencies, up to one wave a block, go on as a Gaussian from those above them.

    Returns:
        The gain ``[3]`` that this makes in strength, and the spectrum.
    """
    out = spectrum.copy()
    rows = np.minimum(np.arange(BLOCK_PX), BLOCK_PX - np.arange(BLOCK_PX))
    square = np.add.outer(np.square(rows), np.square(np.arange(BLOCK_PX // 2 + 1)))
    near, far = (square >= 4) & (square <= 5), (square >= 13) & (square <= 20)
    power = np.einsum("hwcc->hw", spectrum)
    fall = np.log(power[near].mean() / power[far].mean())
    slope = np.clip(fall / (square[far].mean() - square[near].mean()), -0.05, 0.15)
    for place in np.argwhere(square <= 2):
        rise = np.exp(slope * (square[near].mean() - square[tuple(place)]))
        out[tuple(place)] = spectrum[near].mean(0) * rise
    double = np.full(BLOCK_PX // 2 + 1, 2.0)
    double[[0, -1]] = 1
    before, after = (np.einsum("hwcc,w->c", part, double) / BLOCK_PX**2 for part in (spectrum, out))
    size = np.sqrt(after)
    return np.sqrt(after / before), out / np.outer(size, size)
