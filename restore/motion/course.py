"""The slow course of what is measured frame by frame, apart from what breathes about it."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from restore.motion.middle import median

__all__ = ["settled"]

Doubles = NDArray[np.float64]

_HUBER: Final = 1.5
_BENT: Final = 9  # fewest frames that tell a bend
_SHORT: Final = 22  # frames over which breathing bends as a fade does
_LONG: Final = 36  # frames over which it does not
_SHARP: Final = 0.6  # share of a step's height that must fall between neighbouring frames
_STEADY: Final = 4.0  # times the rest's deviation that a step must stand out by


def settled(course: Doubles, now: int, overall: NDArray[np.intp]) -> Doubles:
    """Where the slow course of a measured one lies at a frame.

    A straight line is fitted robustly (Huber's weights), and given a bend as far as that explains
    more, as of a fade's logarithm; over few frames breathing explains as much, so that more is
    asked there. A step that lasts, such as a lamp switched on, ends the line.

    Args:
        course: ``[n, K]``, a row for each frame.
        now: row that is asked for.
        overall: columns by which steps and outliers are told.

    Returns:
        ``[K]``.
    """
    start, stop = _between_steps(course[:, overall], now)
    part, at = course[start:stop], now - start
    count = len(part)
    if count < 3:
        return np.asarray(part.mean(0))
    time = np.arange(count, dtype=np.float64) - at
    design = np.stack([np.ones(count), time, np.square(time)], 1)
    value, gap = _robust(design[:, :2], part, overall)
    if count >= _BENT:
        # The logarithm of a fade is bent; breathing is not, or not for so long. By shares: a choice
        # between two would jump from frame to frame.
        bent, rest = _robust(design, part, overall)
        left = float(np.square(rest).sum()) / max(float(np.square(gap).sum()), 1e-12)
        none, whole = _bends(count)
        value = value + (bent - value) * np.clip((none - left) / (none - whole), 0, 1)
    return value


def _bends(count: int) -> tuple[float, float]:
    """What a bend must leave of the line's misfit at most to count at all, and to count whole."""
    long = float(np.clip((count - _SHORT) / (_LONG - _SHORT), 0, 1))
    return 0.4 + 0.5 * long, 0.1 + 0.4 * long


def _robust(design: Doubles, part: Doubles, overall: NDArray[np.intp]) -> tuple[Doubles, Doubles]:
    """Value at time 0 of a polynomial through ``[n, K]``, and what is left of each row, ``[n]``."""
    weights = np.ones(len(part))
    value, gap = part.mean(0), weights
    for _ in range(4):
        weighted = design * weights[:, None]
        params = np.linalg.lstsq(weighted.T @ design, weighted.T @ part, rcond=None)[0]
        value = params[0]
        gap = _size((part - design @ params)[:, overall])
        scale = max(1.4826 * median(gap), 1e-4)
        weights = np.minimum(1.0, _HUBER * scale / np.maximum(gap, 1e-9)) ** 2
    return np.asarray(value), gap


def _between_steps(course: Doubles, now: int) -> tuple[int, int]:
    """The rows about ``now`` that no lasting step parts from it, ``[start, stop)``."""
    count = len(course)
    if count < 6:
        return 0, count
    line, jumps, sizes = _steps(count)
    rest = course - line @ (line.T @ course)
    straight = float(np.square(rest).sum())
    # A long fade, whose logarithm bends, is no step: a step beats the bend as well.
    arc = np.square(np.arange(count) - (count - 1) / 2)
    arc -= line @ (line.T @ arc)
    bent = straight - float(np.square(arc @ rest).sum() / (arc @ arc))
    shares = np.square(jumps @ rest / sizes[:, None]).sum(1)
    splits = np.arange(1, count)
    left = np.where(
        np.where(now < splits, splits, count - splits) < 4, np.inf, straight - sizes * shares
    )
    found = int(left.argmin())
    best, step = float(left[found]), float(np.sqrt(shares[found]))
    where = found + 1 if best < straight else 0
    if not where or best > 0.5 * bent:
        return 0, count
    near = _size((course[where : where + 2].mean(0) - course[:where][-2:].mean(0))[None])[0]
    noise = float(np.sqrt(best / (count - 3)))
    if step < _STEADY * noise or near < _SHARP * step:
        return 0, count
    return (0, where) if now < where else (where, count)


@lru_cache(maxsize=64)
def _steps(count: int) -> tuple[Doubles, Doubles, Doubles]:
    """A line's two parts ``[n, 2]``, steps at 1 .. n - 1 apart from it ``[n - 1, n]``, and their
    squared sizes ``[n - 1]``.
    """
    line = np.stack([np.ones(count), np.arange(count) - (count - 1) / 2], 1)
    line /= np.sqrt(np.square(line).sum(0))
    jumps = (np.arange(count) >= np.arange(1, count)[:, None]).astype(np.float64)
    jumps -= jumps @ line @ line.T
    return line, jumps, np.square(jumps).sum(1)


def _size(rows: Doubles) -> Doubles:
    return np.asarray(np.sqrt(np.square(rows).sum(1)))
