"""Which gauge a reel probably was, from what small and large film do to pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from restore.inspection.findings import ReelFindings

__all__ = ["GaugeGuess", "guess_gauge"]

_GAUGES: Final = ("8mm", "super8", "16mm", "35mm")
_NAMES: Final = {"8mm": "8 mm", "super8": "Super 8", "16mm": "16 mm", "35mm": "35 mm"}
# Log odds for each gauge, in that order. Silent 8 mm and 35 mm ran at about 16, Super 8 at 18.
_RATES: Final = (
    ((Fraction(15), Fraction(17)), (1.0, -0.5, 0.3, 0.5)),
    ((Fraction(35, 2), Fraction(37, 2)), (0.5, 1.6, -0.2, -0.2)),
    ((Fraction(47, 2), Fraction(51, 2)), (-1.0, -0.3, 0.8, 0.8)),
)
_HOLES: Final = {
    "super8": (-4.0, 5.0, -4.0, -4.0),
    "8mm": (4.0, -4.0, 0.0, -4.0),
    "16mm": (0.0, -4.0, 4.0, -4.0),
}
# A clump's spread over the height of the camera aperture, as in the model of film damage.
_CLUMPS: Final = (0.00136, 0.00118, 0.00073, 0.00038)
_CLUMP_SPREAD: Final = 0.35  # of the logarithm
_RESOLVED_PX: Final = 0.6  # smaller clumps are the pixels' own
_SMEARED: Final = 1.5  # times the largest: clumps that a codec or a blur has made
_UNSTEADY: Final = 0.0025  # of the height
_STEADY: Final = 0.0008
_LIKELY, _PERHAPS = 0.8, 0.55


@dataclass(frozen=True)
class GaugeGuess:
    """A guess in words.

    Attributes:
        text: ``probably Super 8``, ``not to be told from the pictures`` ...
        gauge: ``8mm``, ``super8``, ``16mm``, ``35mm``, or None where it is open.
        reasons: what speaks for it.
    """

    text: str
    gauge: str | None
    reasons: tuple[str, ...]


def guess_gauge(found: ReelFindings) -> GaugeGuess:
    """Weigh perforation, film rate, unsteadiness and clump size."""
    odds = np.zeros(len(_GAUGES))
    reasons: list[str] = []
    hole = next((s.perforation for s in found.shots if s.perforation), None)
    if hole is not None:
        odds += _HOLES[hole]
        reasons.append(f"the scan shows a perforation as {_NAMES[hole]} film has it")
    for (low, high), given in _RATES:
        if found.film_fps is not None and low <= found.film_fps <= high:
            odds += given
            reasons.append(f"about {float(found.film_fps):.4g} film frames a second")
    weave = _median([s.weave_rms_px for s in found.shots])
    if weave is not None and weave >= _UNSTEADY * found.height_px:
        odds += (0.7, 0.7, 0.2, -0.7)
        reasons.append(f"an unsteady gate ({weave / found.height_px:.2%} of the height)")
    elif weave is not None and weave <= _STEADY * found.height_px:
        odds += (-0.5, -0.5, 0.2, 0.5)
    size_px = _median([s.grain_size_px for s in found.shots])
    largest_px = _SMEARED * max(_CLUMPS) * found.height_px
    if size_px is not None and _RESOLVED_PX < size_px <= largest_px:
        away = np.log(size_px / found.height_px / np.array(_CLUMPS)) / _CLUMP_SPREAD
        odds += np.maximum(-0.5 * np.square(away), -3)
        reasons.append(f"grain clumps of {size_px / found.height_px:.2%} of the height")
    return _worded(odds, tuple(reasons))


def _worded(odds: NDArray[np.float64], reasons: Sequence[str]) -> GaugeGuess:
    open_ = GaugeGuess("not to be told from the pictures", None, tuple(reasons))
    if not reasons:
        return open_
    share = np.exp(odds - odds.max())
    share /= share.sum()
    best = int(share.argmax())
    name = _GAUGES[best]
    if share[best] >= _PERHAPS:
        sure = "probably" if share[best] >= _LIKELY else "perhaps"
        return GaugeGuess(f"{sure} {_NAMES[name]}", name, tuple(reasons))
    if share[0] + share[1] >= _LIKELY:
        return GaugeGuess("probably 8 mm or Super 8", None, tuple(reasons))
    return open_


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None
