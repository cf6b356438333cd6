"""A path as a line with few bends: even movement, and where it changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["bends", "fitted"]

Doubles = NDArray[np.float64]

_COST: Final = 60.0  # squared jitters that a bend, or a slope, has to explain
_MOST: Final = 6  # bends that are tried
_APART: Final = 7  # frames between two bends at least: a hand shakes faster than it pans
_STEPS: Final = (0.5, 0.25, 0.25, 0.125)  # frames by which bends that were found move at last
_ROUNDS: Final = 3  # in which bends that were found make room for each other


def bends(path: Doubles, jitter_px: float, passed: Sequence[float], after: int) -> list[float]:
    """Where a continuous line of straight pieces has to bend to follow a path.

    A least-squares spline of the first degree with free knots (J. H. Friedman, "Multivariate
    adaptive regression splines", 1991: knots are added where they explain most, then those that
    explain too little are taken out), with the penalised cost of R. Maidstone, P. Fearnhead and
    A. Letchford, "Detecting changes in slope with an L0 penalty", 2019. An L1 penalty on the bends
    (S.-J. Kim and others, "l1 trend filtering", 2009) would slow a short movement at both ends, as
    it buys each bend by its size. The cost is far above that of independent errors, for a gate's
    slow drift bends too.

    Args:
        path: ``[n]`` px, place by frame.
        jitter_px: standard deviation of the errors that are fresh at each frame, above 0.
        passed: bends that stand, frames.
        after: frame from which on bends are looked for.

    Returns:
        New bends, frames in rising order.
    """
    time = np.arange(len(path), dtype=np.float64)
    places = np.arange(max(after, 2), len(path) - 2)
    if not len(places):
        return []
    search = _Search(path, time, places, list(passed))
    cost = _COST * jitter_px**2
    found: list[float] = []
    while len(found) < _MOST:
        place, gain = search.best(found)
        if gain <= cost / 4:
            break
        found.append(place)
        for _ in range(_ROUNDS):
            before = list(found)
            for number in range(len(found)):
                found[number] = search.best(found[:number] + found[number + 1 :])[0]
            if found == before:
                break
    while found:
        whole = search.misfit(found)
        losses = [search.misfit(found[:n] + found[n + 1 :]) - whole for n in range(len(found))]
        least = int(np.argmin(losses))
        if losses[least] >= cost:
            break
        found.pop(least)
        for number in range(len(found)):
            found[number] = search.best(found[:number] + found[number + 1 :])[0]
    return sorted(_refined(search, found))


def _refined(search: _Search, found: list[float]) -> list[float]:
    """Bends between frames: a camera starts when it likes."""
    least = search.misfit(found)
    for step in _STEPS:
        for number, _ in enumerate(found):
            for aside in (found[number] - step, found[number] + step):
                tried = [*found[:number], aside, *found[number + 1 :]]
                misfit = search.misfit(tried)
                if misfit < least:
                    found, least = tried, misfit
    return found


class _Search:
    """Least squares over bends that stand and bends that are tried."""

    def __init__(
        self, path: Doubles, time: Doubles, places: NDArray[np.int64], passed: list[float]
    ) -> None:
        self._path = path
        self._time = time
        self._places = places
        self._passed = passed
        self._tried = np.maximum(time[:, None] - places[None], 0.0)
        self._known: dict[tuple[float, ...], tuple[Doubles, Doubles]] = {}

    def misfit(self, found: list[float]) -> float:
        rest = self._rest(found)[1]
        return float(rest @ rest)

    def best(self, found: list[float]) -> tuple[float, float]:
        """The place at which one more bend explains most, and how much of the squares."""
        base, rest = self._rest(found)
        fresh = self._tried - base @ (base.T @ self._tried)
        norm = np.square(fresh).sum(0)
        gain = np.where(norm > 1e-3, np.square(rest @ fresh) / np.maximum(norm, 1e-3), 0.0)
        for bend in (*self._passed, *found):
            gain[np.abs(self._places - bend) < _APART] = 0.0
        most = int(np.argmax(gain))
        return float(self._places[most]), float(gain[most])

    def _rest(self, found: list[float]) -> tuple[Doubles, Doubles]:
        key = tuple(found)  # the same bends are tried again and again
        if key not in self._known:
            self._known[key] = self._fitted(found)
        return self._known[key]

    def _fitted(self, found: list[float]) -> tuple[Doubles, Doubles]:
        columns = [np.ones_like(self._time), self._time]
        columns += [np.maximum(self._time - bend, 0.0) for bend in (*self._passed, *found)]
        base = np.linalg.qr(np.stack(columns, 1))[0]
        return base, self._path - base @ (base.T @ self._path)


def fitted(path: Doubles, jitter_px: float, knots: Sequence[float]) -> Doubles:
    """The line itself; pieces whose slope could be chance lie level.

    Args:
        path: ``[n]`` px, place by frame.
        jitter_px: standard deviation of the errors that are fresh at each frame, above 0.
        knots: frames, rising, within the path.

    Returns:
        ``[n]`` px.
    """
    time = np.arange(len(path), dtype=np.float64)
    ends = [0.0, *knots, len(path) - 1.0]
    pieces = [np.clip(time - start, 0, ends[n + 1] - start) for n, start in enumerate(ends[:-1])]
    columns = [np.ones_like(time)] + [piece for piece in pieces if piece.any()]
    misfit, line = _solved(columns, path)
    while len(columns) > 1:
        without = [_solved(columns[:n] + columns[n + 1 :], path) for n in range(1, len(columns))]
        least = min(range(len(without)), key=lambda n: without[n][0])
        if without[least][0] - misfit >= _COST * jitter_px**2:
            break
        columns.pop(least + 1)
        misfit, line = without[least]
    return line


def _solved(columns: list[Doubles], path: Doubles) -> tuple[float, Doubles]:
    base = np.linalg.qr(np.stack(columns, 1))[0]
    line: Doubles = base @ (base.T @ path)
    return float(np.square(path - line).sum()), line
