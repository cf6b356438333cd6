"""Thin upright lines that keep their place in the frame while the scene keeps its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from restore.motion.flow import Effort, flow8

__all__ = ["REACH_PX", "Line", "LineRules", "find_lines", "reduced"]

Plane = NDArray[Any]  # float32
Doubles = NDArray[np.float64]

REACH_PX: Final = 6
"""Columns on each side of a line that a repair looks at."""

_ROWS: Final = 8  # averaged before anything else: a line is upright over so few
_BANDS: Final = 24  # down the frame, in which a line is looked for on its own
_CAP: Final = 4.0  # most that one band counts, in deviations
_SEEN: Final = 1.8  # deviations at which a band shows the line
_CLEAR: Final = 5.0  # deviations at which it does so beyond doubt
_NEAR_PX: Final = 4.0  # how far a line may lie from its place in the frame next to it
_LEAN_PX: Final = 5.0  # how far a scratch leans over the frame's height
_LEAN: Final = 0.012  # the same as a share of the frame's width
_SCENE_PX: Final = 2.0  # motion of the scene that tells what belongs to it
_SWAY_PX: Final = 0.15  # against a still scene: what a scratch sways by at least


@dataclass(frozen=True)
class LineRules:
    """What counts as a line.

    Attributes:
        sensitivity: divides the threshold of visibility; 1 is the usual.
        length: share of the frame's height that it covers.
        width_px: the widest.
    """

    sensitivity: float = 1.0
    length: float = 0.7
    width_px: int = 5


@dataclass(frozen=True)
class Line:
    """A line down the frame.

    Attributes:
        sign: 1 brighter than its sides, -1 darker.
        path: ``[bands]`` its column in each band, px.
        marks: ``[bands]`` how far it stands out there, in deviations.
        width_px: the widest that it may be.
    """

    sign: int
    path: Doubles
    marks: Doubles
    width_px: int

    @property
    def half_px(self) -> int:
        """Columns on each side of its middle that may belong to it."""
        return min(REACH_PX - 3, self.width_px // 2 + 1)

    @property
    def cover(self) -> float:
        """Share of the bands that show it."""
        return float((self.marks >= _SEEN).mean())

    @property
    def clear(self) -> float:
        """Share of the bands that show it beyond doubt."""
        return float((self.marks >= _CLEAR).mean())

    def columns(self, height: int) -> Doubles:
        """Its column on each row of the frame."""
        middles = (np.arange(_BANDS) + 0.5) * height / _BANDS - 0.5
        return np.asarray(np.interp(np.arange(height), middles, self.path))

    def rows(self, height: int) -> NDArray[np.intp]:
        """The rows on which it shows, short gaps closed."""
        seen = self.marks >= _SEEN
        around = np.convolve(np.pad(seen, 2, mode="edge"), np.ones(5), mode="valid")
        bands = np.minimum(np.arange(height) * _BANDS // height, _BANDS - 1)
        return np.flatnonzero((seen | (around >= 2))[bands])

    def pixels(self, height: int, width: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of the pixels that a repair may change."""
        half = self.half_px
        rows = self.rows(height)
        middle = np.rint(self.columns(height)[rows]).astype(np.intp)
        columns = middle[:, None] + np.arange(-half, half + 1)
        inside = (columns >= 0) & (columns < width)
        return np.broadcast_to(rows[:, None], columns.shape)[inside], columns[inside]


def reduced(frame: Tensor) -> Plane:
    """What a search for lines sees of a frame: luma, rows averaged.

    Args:
        frame: ``[3, h, w]`` float32.

    Returns:
        ``[h / 8, w]`` float32, of 24 rows at least.
    """
    import cv2

    height, width = frame.shape[-2:]
    size = (width, max(_BANDS, height // _ROWS))
    planes = [
        cv2.resize(plane.numpy(), size, interpolation=cv2.INTER_AREA) for plane in frame.cpu()
    ]
    return np.asarray(sum(planes[1:], planes[0]) / 3, np.float32)


def find_lines(
    window: Sequence[Tensor],
    centre: int,
    rules: LineRules,
    seen: Callable[[Tensor], Plane] = reduced,
) -> list[Line]:
    """The scratches of one frame.

    A line is searched as the best path down the frame through what is narrower than a few pixels
    (thin extrema that last down the columns, as in A. Kokaram, "Motion Picture Restoration", 1998,
    and V. Bruni and D. Vitulano, "A generalized model for scratch detection", 2004). It counts
    where it covers most of the height, is found again in the frames beside, and does not go with
    the scene: where the scene moves the line has to stay, where the scene stands it has to sway.

    Args:
        window: T frames ``[3, h, w]`` float32, nominal 0..1.
        centre: place of the frame in the window.
        rules: what counts.
        seen: :func:`reduced`, or what remembers its results.
    """
    height, width = window[centre].shape[-2:]
    if height < _BANDS * 2 or width < 4 * REACH_PX:
        return []
    frames = [seen(frame) for frame in window]
    here = [line for line in _lines_of(frames[centre], rules) if line.cover >= rules.length]
    if not here:
        return []
    others = {
        number - centre: _lines_of(frame, rules)
        for number, frame in enumerate(frames)
        if not np.array_equal(frame, frames[centre])
    }
    flows = {step: _drift(window[centre], window[centre + step]) for step in others}
    return [line for line in here if _is_scratch(line, others, flows, rules.length)]


def _lines_of(frame: Plane, rules: LineRules) -> list[Line]:
    """Thin lines down a frame of reduced rows, clearest first."""
    width = frame.shape[1]
    margin = max(REACH_PX, width // 64)
    found: list[Line] = []
    for sign in (1, -1):
        bands, step = _thin(frame * np.float32(sign), rules.width_px)
        spread = 1.4826 * np.median(np.abs(bands), axis=1, keepdims=True)
        marks = bands / np.maximum(spread, 0.0025) * rules.sensitivity
        # Half the length here: what a line is, later tests decide.
        for path in _paths(marks, 0.5 * rules.length):
            on = np.arange(_BANDS), np.clip(np.rint(path).astype(np.intp), 0, width - 1)
            upright = float(np.ptp(path)) <= max(_LEAN_PX, _LEAN * width)
            # The edge of something has another brightness on either side.
            if upright and np.median(step[on]) <= np.median(bands[on]):
                found.append(Line(sign, path, marks[on], rules.width_px))
    found.sort(key=lambda line: -float(np.median(line.marks)))
    kept: list[Line] = []
    for line in found:
        place = float(line.path.mean())
        # A line has dark flanks where a scanner sharpened it; the picture's edge is none.
        alone = all(abs(place - float(one.path.mean())) > rules.width_px + 1 for one in kept)
        if alone and margin <= place < width - margin:
            kept.append(line)
    return kept


def _thin(frame: Plane, width_px: int) -> tuple[Plane, Plane]:
    """What is brighter than its sides and no wider than a line, about 0, and how the sides differ.

    Both ``[bands, w]``.
    """
    import cv2

    kernel = np.ones((1, width_px + 2), np.uint8)
    thin = frame - cv2.morphologyEx(frame, cv2.MORPH_OPEN, kernel)
    size = (frame.shape[1], _BANDS)
    bands: Plane = cv2.resize(thin, size, interpolation=cv2.INTER_AREA)
    whole: Plane = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    aside = width_px // 2 + 2
    padded = np.pad(cv2.blur(whole, (3, 1)), ((0, 0), (aside, aside)), mode="edge")
    step = np.abs(padded[:, 2 * aside :] - padded[:, : -2 * aside])
    return bands - np.median(bands, axis=1, keepdims=True), step


def _paths(marks: Plane, least: float) -> list[Doubles]:
    """The best ways down ``[bands, w]``, a column aside per band at most; best first."""
    width = marks.shape[1]
    # What stands out much in one band must not make up for others that show nothing.
    capped = np.clip(marks, -1, _CAP)
    total = capped[0].astype(np.float64)
    turns = np.zeros((_BANDS, width), np.int8)
    for band in range(1, _BANDS):
        padded = np.pad(total, 1, constant_values=-np.inf)
        ways = np.stack([padded[:-2] - 0.7, padded[1:-1], padded[2:] - 0.7])
        turn = ways.argmax(0)
        turns[band] = turn - 1
        total = ways[turn, np.arange(width)] + capped[band]
    found: list[Doubles] = []
    used = np.zeros(width, np.bool_)
    for end in np.argsort(-total)[:64]:
        if total[end] < least * _SEEN * _BANDS or len(found) >= 12:
            break
        path = np.empty(_BANDS, np.intp)
        column = int(end)
        for band in range(_BANDS - 1, -1, -1):
            path[band] = column
            column += int(turns[band, column])
        if not used[path].any():
            found.append(_between_columns(marks, path))
        near = np.clip(path[:, None] + np.arange(-4, 5), 0, width - 1)
        used[near] = True
    return found


def _between_columns(marks: Plane, path: NDArray[np.intp]) -> Doubles:
    """The path to a fraction of a column: the centroid of what is about it, twice, smoothed."""
    width = marks.shape[1]
    exact = path.astype(np.float64)
    for _ in range(2):
        around = np.clip(np.rint(exact).astype(np.intp)[:, None] + np.arange(-2, 3), 0, width - 1)
        height = np.take_along_axis(marks, around, 1)
        weight = np.maximum(height - 0.4 * height.max(1, keepdims=True), 0.02)
        exact = (weight * around).sum(1) / weight.sum(1)
    return np.convolve(np.pad(exact, 2, mode="edge"), np.ones(5) / 5, mode="valid")


def _drift(centre: Tensor, other: Tensor) -> Plane:
    """How far the scene moves across, ``[h', w']``, in full-size px."""
    import cv2

    height, width = centre.shape[-2:]
    size = (max(32, width // 4), max(32, height // 4))
    small = [
        cv2.resize(frame[1].cpu().numpy(), size, interpolation=cv2.INTER_AREA)
        for frame in (centre, other)
    ]
    planes = [np.clip(plane * 255, 0, 255).astype(np.uint8) for plane in small]
    flow: Plane = flow8(planes[0], planes[1], Effort.FAST)[..., 0] * (width / size[0])
    return flow


def _is_scratch(
    line: Line, others: Mapping[int, list[Line]], flows: Mapping[int, Plane], length: float
) -> bool:
    """Whether a line lasts over time and does not belong to the scene."""
    if len(others) < 2:
        return False
    stays, follows, found, moved = 0.0, 0.0, 0, 0.0
    for step, lines in others.items():
        gaps = [float(np.median(one.path - line.path)) for one in lines if one.sign == line.sign]
        scene = _scene_px(line, flows[step])
        reach = _NEAR_PX * abs(step) / 2 + 1
        close = [gap for gap in gaps if min(abs(gap), abs(gap - scene)) <= reach]
        if close:
            found += 1
            stays += min(abs(gap) for gap in close)
            follows += min(abs(gap - scene) for gap in close)
            moved = max(moved, abs(scene))
    if found >= 2 and moved >= _SCENE_PX:
        return stays < follows
    if found < max(2, len(others) - 1):
        return False
    # Little tells them apart where the scene hardly moves: only what runs down unbroken and yet
    # goes its own way is taken out.
    whole = np.interp(moved, (0.3, _SCENE_PX), (0.92, length))
    return bool(line.clear >= whole and follows / found >= max(_SWAY_PX, 0.35 * moved))


def _scene_px(line: Line, flow: Plane) -> float:
    """The scene's motion about a line, beside its own columns."""
    width = flow.shape[1]
    middle = int(np.clip(line.path.mean() / 4, 0, width - 1))
    left, right = max(0, middle - 14), min(width, middle + 15)
    beside = [*range(left, max(left, middle - 3)), *range(min(right, middle + 4), right)]
    return float(np.median(flow[:, beside])) if beside else 0.0
