"""Small things that move too far for a flow search: found as pieces, matched as wholes.

A coarse-to-fine search loses what is smaller than its own motion. Such a piece is left over in both
frames. It is looked for by its colours within a distance, and taken only where the search from the
other frame comes to the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from restore.interpolation.planes import Flags, Plane, fetched, shrunk

__all__ = ["Mover", "movers"]

_ROWS: Final = 240  # searched at
_MOST: Final = 8
_LEFT_OVER: Final = 0.12
_LEAST_PX: Final = 30
_LARGEST: Final = 0.02  # of the frame
_REACH: Final = 0.12  # of the frame's width
_BETTER: Final = 0.5  # times what was left before
_AGREE_PX: Final = 2


@dataclass(frozen=True, eq=False)
class Mover:
    """A piece that is in both frames.

    Attributes:
        first: ``[h, w]`` where it is in the first frame.
        second: ``[h, w]`` where it is in the second.
        step_px: (x, y) from the first to the second.
    """

    first: Flags
    second: Flags
    step_px: tuple[float, float]


@dataclass(frozen=True, eq=False)
class _Find:
    here: Flags
    step: tuple[int, int]


def movers(first: Plane, second: Plane, forward: Plane, backward: Plane) -> list[Mover]:
    """What the flows between two frames left out.

    Args:
        first: ``[h, w, C]`` float32, nominal 0..1.
        second: the same.
        forward: ``[h, w, 2]`` flow from the first to the second, px.
        backward: from the second to the first.
    """
    factor = max(1, round(first.shape[0] / _ROWS))
    size = first.shape[1], first.shape[0]
    one, other = shrunk(first, factor), shrunk(second, factor)
    left = _left_over(one, other, shrunk(forward, factor, factor))
    right = _left_over(other, one, shrunk(backward, factor, factor))
    out = []
    backwards = None
    for found in _finds(one, other, left, right):
        if backwards is None:
            backwards = _finds(other, one, right, left)
        match = next((back for back in backwards if _agree(found, back)), None)
        if match is not None:
            step = float(found.step[0] * factor), float(found.step[1] * factor)
            out.append(Mover(_grown(found.here, size), _grown(match.here, size), step))
    return out


def _left_over(one: Plane, other: Plane, flow: Plane) -> Plane:
    gap = cv2.absdiff(one, fetched(other, flow, 1.0, cv2.INTER_LINEAR))
    most, *others = cv2.split(gap)
    for plane in others:
        most = cv2.max(most, plane)
    return np.asarray(most, np.float32)


def _finds(one: Plane, other: Plane, left: Plane, right: Plane) -> list[_Find]:
    """Pieces left over in one frame that the other holds, where it has something left over too."""
    odd = (cv2.GaussianBlur(left, (0, 0), 1.0) > _LEFT_OVER).astype(np.uint8)
    odd = np.asarray(cv2.morphologyEx(odd, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)), np.uint8)
    count, labels, facts, _ = cv2.connectedComponentsWithStats(odd)
    areas = facts[:, cv2.CC_STAT_AREA]
    kept = [n for n in range(1, count) if _LEAST_PX <= areas[n] <= _LARGEST * odd.size]
    out = []
    for number in sorted(kept, key=lambda n: -int(areas[n]))[:_MOST]:
        left_px, top, width, height = (int(n) for n in facts[number, :4])
        here = np.asarray(labels == number)
        piece = here[top : top + height, left_px : left_px + width]
        step, rms = _matched(one, other, piece, (left_px, top))
        rows, columns = np.nonzero(here)
        before = float(np.sqrt(np.square(left[rows, columns]).mean()))
        there = float(right[rows + step[1], columns + step[0]].mean())
        if rms < _BETTER * before and there > 0.5 * _LEFT_OVER:
            out.append(_Find(here, step))
    return out


def _matched(
    one: Plane, other: Plane, piece: Flags, corner: tuple[int, int]
) -> tuple[tuple[int, int], float]:
    """Where a piece is found in the other frame, and the root mean square of what differs."""
    (left, top), (height, width) = corner, piece.shape
    reach = int(_REACH * one.shape[1])
    x, y = max(0, left - reach), max(0, top - reach)
    window = other[y : top + height + reach, x : left + width + reach]
    mask = np.repeat(piece[..., None], one.shape[2], 2).astype(np.float32)
    patch = one[top : top + height, left : left + width]
    gaps = cv2.matchTemplate(window, patch, cv2.TM_SQDIFF, mask=mask)
    least, _, place, _ = cv2.minMaxLoc(gaps)
    rms = float(np.sqrt(max(least, 0.0) / mask.sum()))
    return (place[0] + x - left, place[1] + y - top), rms


def _agree(found: _Find, back: _Find) -> bool:
    if any(abs(a + b) > _AGREE_PX for a, b in zip(found.step, back.step, strict=True)):
        return False
    shift = np.array([[1, 0, found.step[0]], [0, 1, found.step[1]]], np.float32)
    size = found.here.shape[1], found.here.shape[0]
    moved = np.asarray(cv2.warpAffine(found.here.astype(np.float32), shift, size)) > 0.5
    common = int((moved & back.here).sum())
    return common > 0.5 * min(int(moved.sum()), int(back.here.sum()))


def _grown(here: Flags, size: tuple[int, int]) -> Flags:
    """At full size, one searched pixel larger: what is left over ends inside the thing's edge."""
    wide = cv2.dilate(here.astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.asarray(cv2.resize(wide, size, interpolation=cv2.INTER_NEAREST)) > 0
