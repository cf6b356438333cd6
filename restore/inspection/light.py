"""Black, white and colour of a shot, from all of its frames."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from restore.analysis.dyes import DyeTally, fit_fade
from restore.inspection.findings import Dyes, Light

__all__ = ["LightMeter"]

_BINS: Final = 512
_BORDER: Final = 0.08  # of each side, where masks and frame lines lie
_TAIL: Final = 0.005
_EVERY: Final = 3  # frames for one whose colours are counted as dyes, as in the stage
_GREY: Final = 0.25  # of the pixels, those with the least colour

Doubles = NDArray[np.float64]


class LightMeter:
    """Adds up small pictures of one shot."""

    def __init__(self) -> None:
        self._counts: NDArray[np.int64] = np.zeros((3, _BINS), np.int64)
        self._middles: list[Doubles] = []
        self._colours: list[float] = []
        self._tally = DyeTally()

    def add(self, small: NDArray[np.float32]) -> None:
        """Count ``[h, w, 3]`` R'G'B' of a frame."""
        down, across = (round(n * _BORDER) for n in small.shape[:2])
        inner = small[down : small.shape[0] - down, across : small.shape[1] - across]
        if len(self._colours) % _EVERY == 0:
            self._tally.add(inner)
        pixels = inner.reshape(-1, 3)
        places = np.clip(pixels * _BINS, 0, _BINS - 1).astype(np.intp)
        for channel in range(3):
            self._counts[channel] += np.bincount(places[:, channel], minlength=_BINS)
        apart = np.ptp(pixels, axis=1)
        grey = pixels[apart <= np.quantile(apart, _GREY)]
        self._middles.append(np.median(grey, axis=0).astype(np.float64))
        self._colours.append(float(apart.mean()))

    def read(self) -> Light | None:
        """What was counted; None where nothing was."""
        if not self._middles:
            return None
        return Light(
            black=self._points(_TAIL),
            white=self._points(1 - _TAIL),
            middle=_three(np.median(self._middles, axis=0)),
            colourful=float(np.mean(self._colours)),
        )

    def dyes(self) -> Dyes | None:
        """What has faded; None where nothing was counted."""
        if not self._tally.pictures:
            return None
        fade = fit_fade(self._tally)
        return Dyes(
            left=_three(fade.power),
            white=_three(np.exp(fade.gain)),
            lifted=round(float(fade.pedestal), 4),
        )

    def _points(self, share: float) -> tuple[float, float, float]:
        sums = np.cumsum(self._counts, axis=1)
        place = (sums < share * sums[:, -1:]).sum(axis=1)
        return _three((place + 0.5) / _BINS)


def _three(values: Doubles) -> tuple[float, float, float]:
    red, green, blue = (round(float(value), 4) for value in values)
    return red, green, blue
