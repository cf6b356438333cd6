"""How strong grain is at every level, fitted to pieces of picture."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from restore.grain.profile import LEVELS

__all__ = ["Strengths", "shares"]

Doubles = NDArray[np.float64]

_GAMMA: Final = 2.4  # of the display: R'G'B' = transmittance ** (1 / gamma)
_FOG: Final = 0.05  # density of clear film
_SURE: Final = 6.0  # pieces that make a level known
_STEP: Final = 0.3  # deviation, from level to level, of the logarithm of power over the law's
_SPREAD: Final = 0.3  # least relative deviation of a piece's variance
_ROUNDS: Final = 12
_AT: Final = (np.arange(LEVELS) + 0.5) / LEVELS
# Granularity grows with the square root of density (E. W. H. Selwyn, 1935).
_LAW: Final = np.square(_AT) * (-_GAMMA * np.log10(_AT) + _FOG)


class Strengths:
    """Variances of pieces of one channel, as sums that can be added up.

    A piece spreads over levels, and levels lie apart: its variance is a mean of those of the levels
    around it (:func:`shares`), and what the levels have follows by least squares. A whole level's
    mean would mix the strengths on its two sides, twice as strong on one as on the other.

    Attributes:
        count: ``[LEVELS]`` pieces by the level of their mean.
    """

    def __init__(self) -> None:
        self.count = np.zeros(LEVELS)
        # By the level of the pieces, for a piece counts by how strong its level's grain is.
        self._square = np.zeros((LEVELS, LEVELS, LEVELS))
        self._product = np.zeros((LEVELS, LEVELS))
        self._variance = np.zeros(LEVELS)  # squared

    def add(self, spread: Doubles, variance: Doubles) -> None:
        """Count pieces in.

        Args:
            spread: ``[n, LEVELS]`` from :func:`shares`, mean over each piece.
            variance: ``[n]`` of each piece's grain.
        """
        bins = np.clip((spread @ _AT * LEVELS).astype(int), 0, LEVELS - 1)
        np.add.at(self.count, bins, 1)
        np.add.at(self._square, bins, spread[:, :, None] * spread[:, None, :])
        np.add.at(self._product, bins, spread * variance[:, None])
        np.add.at(self._variance, bins, np.square(variance))

    def gather(self, other: Strengths, weight: Doubles | None = None) -> None:
        """Add another's sums, each level's by a weight ``[LEVELS]``, or whole."""
        each = np.ones(LEVELS) if weight is None else weight
        self.count += each * other.count
        self._square += each[:, None, None] * other._square
        self._product += each[:, None] * other._product
        self._variance += each * other._variance

    def filled(self, reel: Strengths) -> Strengths:
        """These, with as much of the reel's at each level as lacks to make it known."""
        out = Strengths()
        out.gather(self)
        out.gather(reel, np.clip(_SURE - self.count, 0, None) / np.maximum(reel.count, _SURE))
        return out

    def curve(self) -> Doubles:
        """Standard deviation at each level, ``[LEVELS]``.

        Least squares of each piece's variance relative to its level's. What a level has relative
        to the law of film differs little from its neighbour's: that steadies levels of few pieces,
        the more so the more pieces disagree, and carries on over those of none.
        """
        seen = self.count > 0
        mean = self._product.sum(1)[seen] / (self._square.sum(2)[seen] @ _LAW)
        # Where the pieces are, in the logarithm, for strength is positive.
        log = np.interp(_AT, _AT[seen], np.log(mean))
        apart = _differences() / _STEP**2
        for _ in range(_ROUNDS):
            power = _LAW * np.exp(log)
            weight = 1 / np.square(power)
            square = np.einsum("b,bnm->nm", weight, self._square) * np.outer(power, power)
            push = (weight @ self._product) * power - square.sum(1)
            wrong = weight @ self._variance - 2 * push.sum() - square.sum()
            noise = max(_SPREAD**2, wrong / self.count.sum())
            step = np.linalg.solve(square + noise * apart, push - noise * apart @ log)
            log += np.clip(step, -0.5, 0.5)
        return np.asarray(np.sqrt(_LAW * np.exp(log)))


def shares(level: NDArray[np.float32]) -> Doubles:
    """How much of each level's power makes that of a brightness, ``[n, LEVELS]``.

    Power is linear between levels; below the lowest it falls with the square of brightness, to none
    at black.

    Args:
        level: ``[n, px]`` nominal 0..1, of the samples of each piece; their mean is given.
    """
    place = np.clip(level.astype(np.float64) * LEVELS - 0.5, -0.5, LEVELS - 1)
    low = np.clip(np.floor(place).astype(int), 0, LEVELS - 2)
    part = place - low
    dark = part < 0
    upper = np.where(dark, 0.0, part)
    lower = np.where(dark, np.square(1 + 2 * part), 1 - part)
    places = low + LEVELS * np.arange(len(level))[:, None]
    out = np.bincount(
        np.concatenate([places, places + 1], axis=None),
        np.concatenate([lower, upper], axis=None),
        minlength=len(level) * LEVELS,
    )
    return np.asarray(out.reshape(len(level), LEVELS) / level.shape[1])


def _differences() -> Doubles:
    """The matrix of the sum of squared steps from level to level."""
    step = np.diff(np.eye(LEVELS), axis=0)
    return np.asarray(step.T @ step)
