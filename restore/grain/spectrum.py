"""The spectrum of grain, cleared of what is no grain."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from restore.grain.profile import BLOCK_PX

__all__ = ["completed"]

Doubles = NDArray[np.float64]

_RIDGE: Final = 1.3  # times what its neighbours say, that a line's power may be
_STEEPEST: Final = 0.25  # of the logarithm of power over frequency squared, at a ridge


def completed(spectrum: Doubles) -> tuple[Doubles, Doubles]:
    """Take lines out, put the coarsest grain back, and scale to mean power 1.

    Args:
        spectrum: ``[BLOCK_PX, BLOCK_PX // 2 + 1, 3, 3]`` of windowed blocks without their plane.

    Returns:
        The gain ``[3]`` that this makes in strength, and the spectrum.
    """
    out = _filled(_smoothed(spectrum))
    double = np.full(BLOCK_PX // 2 + 1, 2.0)
    double[[0, -1]] = 1
    before, after = (np.einsum("hwcc,w->c", part, double) / BLOCK_PX**2 for part in (spectrum, out))
    size = np.sqrt(after)
    return np.sqrt(after / before), out / np.outer(size, size)


def _smoothed(spectrum: Doubles) -> Doubles:
    """Without ridges along both axes, where upright and level lines have their power.

    Scratches change from frame to frame as grain does. Lines longer than a block lie at frequency
    nought along themselves, and by the window at one wave to each side. Grain has no such
    direction: where that is more than what goes on as a Gaussian from the next two frequencies,
    this is what it becomes.
    """
    out = spectrum.copy()
    for near in (0, 1, -1):
        # Upright lines: rows of the plane.
        second = (spectrum[2] + spectrum[-2]) / 2
        third = (spectrum[3] + spectrum[-3]) / 2
        _lower(out[near], second, third, near)
    for near in (0, 1):
        _lower(out[:, near], spectrum[:, 2], spectrum[:, 3], near)
    return out


def _lower(line: Doubles, second: Doubles, third: Doubles, near: int) -> None:
    """Lower a line ``[n, 3, 3]`` of the plane in place to what two beside it say."""
    ratio = _trace(second) / np.maximum(_trace(third), 1e-12)
    slope = np.clip(np.log(np.maximum(ratio, 1e-12)) / 5, 0, _STEEPEST)
    wanted = second * np.exp(slope * (4 - near * near))[:, None, None]
    over = _trace(line) > _RIDGE * _trace(wanted)
    line[over] = wanted[over]


def _trace(line: Doubles) -> Doubles:
    return np.asarray(np.einsum("ncc->n", line))


def _filled(spectrum: Doubles) -> Doubles:
    """With the coarsest grain, which went with the plane.

    The lowest frequencies, up to one wave a block, go on as a Gaussian from those above them.
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
    return out
