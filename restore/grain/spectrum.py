"""The spectrum of grain, cleared of what is no grain."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from restore.grain.profile import BLOCK_PX

__all__ = ["completed", "window"]

Doubles = NDArray[np.float64]

_RIDGE: Final = 1.3  # times what its neighbours say, that a line's power may be
_SHARPER: Final = (0.6, 1.5)  # times its power that a frequency may become
_STEEPEST: Final = 0.25  # of the logarithm of power over frequency squared, at a ridge


def window() -> Doubles:
    """What blocks are multiplied by before their spectrum is taken, ``[BLOCK_PX]``, of power 1."""
    hann = np.hanning(BLOCK_PX + 2)[1:-1]
    return np.asarray(hann / np.sqrt(np.square(hann).sum()))


def completed(spectrum: Doubles) -> tuple[Doubles, Doubles]:
    """Take lines out, put the coarsest grain back, undo the window, and scale to mean power 1.

    Args:
        spectrum: ``[BLOCK_PX, BLOCK_PX // 2 + 1, 3, 3]`` of windowed blocks without their plane.

    Returns:
        The gain ``[3]`` that this makes in strength, and the spectrum.
    """
    out = _sharpened(_filled(_smoothed(spectrum)))
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


def _sharpened(spectrum: Doubles) -> Doubles:
    """With the slopes that the window has made gentler, of the same power as a whole.

    A window mixes each frequency with its neighbours. How much that is, mixing once more shows.
    """
    # Mixing frequencies is to weigh lags by how much of the window overlaps with itself; that
    # power between the profile's frequencies is linear counts as mixing, too.
    lags = np.fft.rfft(window(), 2 * BLOCK_PX)
    overlap = np.fft.irfft(np.square(np.abs(lags)))[: BLOCK_PX // 2 + 1]
    even = np.concatenate([overlap, overlap[-2:0:-1]])
    weight = even * np.square(np.sinc(np.fft.fftfreq(BLOCK_PX)))
    weight /= weight[0]
    power = np.einsum("hwcc->hw", spectrum)
    whole = np.concatenate([power, np.roll(power[::-1], 1, 0)[:, -2:0:-1]], 1)
    mixed = np.fft.ifft2(np.fft.fft2(whole) * np.outer(weight, weight)).real
    gain = np.clip(power / np.maximum(mixed[:, : power.shape[1]], 1e-12), *_SHARPER)
    out = spectrum * gain[..., None, None]
    double = np.full(BLOCK_PX // 2 + 1, 2.0)
    double[[0, -1]] = 1
    return np.asarray(out * (power @ double).sum() / ((power * gain) @ double).sum())
