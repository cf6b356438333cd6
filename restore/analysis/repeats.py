"""Which frames of a video show a film frame again: film at its own rate in faster video.

A repeat differs from the frame before by the video's noise and compression alone; a new film frame
differs by motion, weave and fresh grain too. How large either is depends on the scene, and key
frames of a codec make repeats look new, so that one pair of frames decides nothing. Film runs
through at a steady pace, though: at a rate of p film frames in q video frames the repeats follow a
pattern with q phases. A hidden Markov model whose states are the phases of all such rates carries
the evidence along and decides each frame with a few frames of hindsight (forward filtering, and
backward smoothing over a fixed lag: L. Rabiner, "A tutorial on hidden Markov models", 1989).
"""

from __future__ import annotations

import math
from collections import deque
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["LOOKAHEAD", "RepeatFinder"]

LOOKAHEAD: Final = 12
"""Frames after a frame that are seen before it is decided."""

_NEAR: Final = 6
_LAG: Final = LOOKAHEAD - _NEAR
_MOST_PHASES: Final = 30
_RATES: Final = (Fraction(2, 5), Fraction(29, 30))
# Film in video as it is met: 16, 16 2/3, 18, 20 and 24 in 24, 25 and 30, and every other frame.
_USUAL: Final = frozenset(
    Fraction(film) / video
    for video in (24, 25, 30)
    for film in (12, 15, 16, Fraction(50, 3), 18, 20, 24)
    if film < video
)
_STEADY: Final = 0.8
_JUMP: Final = 3e-5
_SLIP: Final = 1e-3
_LEAST: Final = 1e-6
_CONTRADICTS: Final = -1.5  # log odds of a frame that is new by itself

Array = NDArray[np.float64]


class RepeatFinder:
    """Takes how much each frame differs from the one before; says which are repeats.

    Args:
        ratio: film frames for each video frame, where it is known.
    """

    def __init__(self, ratio: Fraction | None = None) -> None:
        self._states = _States(ratio)
        self._forward = self._states.prior.copy()
        self._levels: deque[float] = deque(maxlen=2 * _NEAR + 1)
        self._odds: deque[float] = deque()
        self._arrived = 0
        self._weighed = 0

    def push(self, difference: float) -> bool | None:
        """Take the next frame.

        Args:
            difference: mean square difference to the frame before, in units of the full range;
                of pictures that are averaged down a little, so that fine noise counts for less.

        Returns:
            Whether the frame ``LOOKAHEAD`` places before is a repeat; None while there is none.
        """
        self._levels.append(math.log(max(difference, _LEAST)))
        self._arrived += 1
        if self._arrived > _NEAR:
            self._weigh()
        return self._decide() if len(self._odds) > _LAG else None

    def finish(self) -> list[bool]:
        """Say it of the frames that are still undecided, after the last one came."""
        while self._weighed < self._arrived:
            self._weigh()
        return [self._decide() for _ in range(len(self._odds))]

    def _weigh(self) -> None:
        """Log odds of a repeat for the oldest frame that was not weighed, from its surroundings."""
        position = self._weighed - (self._arrived - len(self._levels))
        near = np.array(self._levels)[max(0, position - _NEAR) : position + _NEAR + 1]
        self._odds.append(_log_odds(self._levels[position], near))
        self._weighed += 1

    def _decide(self) -> bool:
        states = self._states
        own = self._odds.popleft()
        self._forward = states.step(self._forward) * states.likelihood(own)
        self._forward /= self._forward.sum()
        later = np.ones_like(self._forward)
        for odds in reversed(list(self._odds)[:_LAG]):
            later = states.step_back(later * states.likelihood(odds))
            later /= later.mean()
        smoothed = self._forward * later
        # Whatever the pattern wants: who differs as new frames do may be one, and is kept.
        likely = smoothed[states.repeats].sum() > 0.5 * smoothed.sum()
        return bool(likely and own > _CONTRADICTS)


def _log_odds(level: float, near: Array) -> float:
    """Evidence of one frame: how far it lies below what new frames differ by around it.

    Where nothing stands out, a still scene for instance, it says next to nothing.
    """
    low, new_level = (float(x) for x in (near.min(), np.quantile(near, 0.7)))
    depth, spread = level - new_level, new_level - low
    again = 0.97 * (1 / 8 if depth < -0.9 else 0.0) + 0.03 * _normal(depth + 0.3, 1.0)
    new = 0.97 * _normal(min(depth, 0.0), 0.7) + 0.03 / 10
    weight = min(1.0, max(0.1, (max(spread, -depth) - 0.7) / 1.2))
    return weight * math.log((again + 1e-4) / new)


def _normal(x: float, deviation: float) -> float:
    return math.exp(-0.5 * (x / deviation) ** 2) / (deviation * math.sqrt(2 * math.pi))


class _States:
    """Phases of every rate, one after another; the last state is video without repeats.

    Phase k of rate p/q is followed by phase (k + p) mod q, and shows a repeat where adding p did
    not pass q.
    """

    def __init__(self, ratio: Fraction | None) -> None:
        rates = _rates() if ratio is None else [ratio.limit_denominator(2 * _MOST_PHASES)]
        follows, before, repeats, prior = [], [], [], []
        self.starts: list[tuple[int, int]] = []
        offset = 0
        for rate in rates:
            p, q = rate.numerator, rate.denominator
            phases = np.arange(q)
            follows.append(offset + (phases + p) % q)
            before.append(offset + (phases - p) % q)
            repeats.append(phases >= p)
            weight = 1.0 if rate in _USUAL or len(rates) == 1 else 0.02
            prior.append(np.full(q, weight / q))
            self.starts.append((offset, q))
            offset += q
        self.before = np.concatenate([*before, [offset]])
        self.follows = np.concatenate([*follows, [offset]])
        self.repeats = np.concatenate([*repeats, [False]])
        weights = np.concatenate(prior)
        self.prior: Array = np.append(weights / weights.sum() * (1 - _STEADY), _STEADY)
        earlier, later = np.arange(offset + 1), np.arange(offset + 1)
        for start, q in self.starts:
            earlier[start : start + q] = start + (np.arange(q) - 1) % q
            later[start : start + q] = start + (np.arange(q) + 1) % q
        self._earlier, self._later = earlier, later

    def step(self, weights: Array) -> Array:
        """One frame on: phases advance, slip by one now and then, and seldom all is new."""
        moved = weights[self.before]
        slipped = 0.5 * (moved[self._earlier] + moved[self._later])
        mixed = (1 - _SLIP) * moved + _SLIP * slipped
        return np.asarray((1 - _JUMP) * mixed + _JUMP * weights.sum() * self.prior)

    def step_back(self, weights: Array) -> Array:
        """The transpose of :meth:`step`."""
        slipped = 0.5 * (weights[self._earlier] + weights[self._later])
        mixed = ((1 - _SLIP) * weights + _SLIP * slipped)[self.follows]
        return np.asarray((1 - _JUMP) * mixed + _JUMP * float(weights @ self.prior))

    def likelihood(self, odds: float) -> Array:
        """Of one frame's evidence in every state."""
        return np.where(self.repeats, math.exp(odds), 1.0)


def _rates() -> list[Fraction]:
    found = {
        Fraction(p, q)
        for q in range(2, _MOST_PHASES + 1)
        for p in range(1, q)
        if _RATES[0] <= Fraction(p, q) <= _RATES[1]
    }
    return sorted(found)
