"""Thin upright lines that keep their place in the frame while the scene keeps its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restore.motion.flow import Effort, flow8
from restore.motion.middle import median, medians
from restore.motion.narrow import BANDS, CAP, SEEN, narrow_of, paths_of
from restore.motion.veil import REACH_PX, Evidence, Veil, evidence_of, veil_of

__all__ = ["Line", "LineRules", "find_lines", "lines_of"]

Plane = NDArray[Any]  # float32
Doubles = NDArray[np.float64]
Mask = NDArray[np.bool_]

_ROWS: Final = 8  # averaged before anything else: a line is upright over so few
_CLEAR: Final = 5.0  # deviations at which a band shows the line beyond doubt
_NEAR_PX: Final = 4.0  # how far a line may lie from its place in the frame next to it
_LEAN_PX: Final = 5.0  # how far a scratch leans over the frame's height
_LEAN: Final = 0.012  # the same as a share of the frame's width
_SCENE_PX: Final = 2.0  # motion of the scene that tells what belongs to it
_SWAY_PX: Final = 0.15  # against a still scene: what a scratch sways by at least
_DOUBT: Final = 0.25  # how far a line strays, to how far the scene goes, for motion to decide
_GOES_PX: Final = 0.3  # what a thing of the scene goes with it by, a frame, to be known by it
_SIDE_PX: Final = 3  # nearer to the frame's side there is nothing to tell a line by
_PIECE_ROWS: Final = 8  # over which a veil is compared with what is seen
_TWO_PX: Final = 3.0  # between lines that are two
_GLOSS: Final = -0.2  # share of the scene that a line hides, if it is to be one
_UNEVEN: Final = 0.5  # misfit up to which a line between uneven sides is one
_PART: Final = 0.6  # share of `length` that has to show of a line that the scene hides in part
_USUAL: Final = Evidence(
    hidden=0.72, contrast=0.03, misfit=0.3, certainty=6.0, share=0.85, width_px=3.0
)
_STRICT: Final = Evidence(
    hidden=0.72, contrast=0.03, misfit=0.25, certainty=6.0, share=0.9, width_px=3.0
)


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
        uneven: whether its sides differ by more than it stands out, now one way, now the other.
        beside: ``[bands]`` paths of the lines next to it, which its sides are not taken from.
    """

    sign: int
    path: Doubles
    marks: Doubles
    width_px: int
    uneven: bool
    beside: tuple[Doubles, ...] = ()

    @property
    def half_px(self) -> int:
        """Columns on each side of its middle that may belong to it."""
        gaps = [median(np.abs(path - self.path)) for path in self.beside]
        return min(REACH_PX - 3, self.width_px // 2 + 1, *(max(1, int(gap / 2)) for gap in gaps))

    @property
    def cover(self) -> float:
        """Share of the bands that show it."""
        return float((self.marks >= SEEN).mean())

    @property
    def clear(self) -> float:
        """Share of the bands that show it beyond doubt."""
        return float((self.marks >= _CLEAR).mean())

    def columns(self, height: int) -> Doubles:
        """Its column on each row of the frame; along a parabola where it does not show."""
        return _on_rows(self._steadied(), height)

    def rows(self, height: int) -> Mask:
        """``[height]`` on which rows it shows, short gaps closed."""
        seen = self.marks >= SEEN
        around = np.convolve(np.pad(seen, 2, mode="edge"), np.ones(5), mode="valid")
        bands = np.minimum(np.arange(height) * BANDS // height, BANDS - 1)
        return np.asarray((seen | (around >= 2))[bands], np.bool_)

    def veil(self, picture: Plane) -> Veil:
        """What it does to ``[3, h, w]``."""
        height = picture.shape[-2]
        beside = tuple(_on_rows(path, height) for path in self.beside)
        return veil_of(picture, self.columns(height), self.rows(height), self.half_px, beside)

    def _steadied(self) -> Doubles:
        """The path without what some other thing drew it to."""
        band = np.arange(BANDS) - BANDS / 2
        shown = np.clip(self.marks, 0, CAP) * (self.marks >= SEEN)
        weight, curve = shown, self.path
        for _ in range(5):
            degree = 2 if (weight > 0.5).sum() > BANDS // 4 else 0
            curve = np.polyval(np.polyfit(band, self.path, degree, w=weight + 1e-6), band)
            weight = shown * np.exp(-np.square((self.path - curve) / 0.7) / 2)
        near = (shown > 0) & (np.abs(self.path - curve) < 0.8)
        path = np.where(near, self.path, curve)
        return np.convolve(np.pad(path, 1, mode="edge"), np.ones(3) / 3, mode="valid")


def _on_rows(path: Doubles, height: int) -> Doubles:
    middles = (np.arange(BANDS) + 0.5) * height / BANDS - 0.5
    return np.asarray(np.interp(np.arange(height), middles, path))


def lines_of(frame: Tensor, rules: LineRules) -> list[Line]:
    """The thin lines down a frame, whatever they are, clearest first.

    Args:
        frame: ``[3, h, w]`` float32, nominal 0..1.
        rules: what counts; half the length does here, since later tests decide.
    """
    import cv2

    height, width = frame.shape[-2:]
    size = (width, max(BANDS, height // _ROWS))
    planes = [
        cv2.resize(plane.numpy(), size, interpolation=cv2.INTER_AREA) for plane in frame.cpu()
    ]
    return _lines_of(np.asarray(sum(planes[1:], planes[0]) / 3, np.float32), rules)


def find_lines(
    window: Sequence[Tensor],
    centre: int,
    rules: LineRules,
    seen: Callable[[Tensor], list[Line]] | None = None,
    border_px: Callable[[], tuple[int, int]] = lambda: (0, 0),
) -> list[Veil]:
    """The scratches of one frame, each as what it does to it.

    A line is searched as the best path down the frame through what is narrower than a few pixels
    (thin extrema that last down the columns, as in A. Kokaram, "Motion Picture Restoration", 1998,
    and V. Bruni and D. Vitulano, "A generalized model for scratch detection", 2004). It counts
    where it covers most of the height, is found again in the frames beside, and does not go with
    the scene: where the scene moves the line has to stay. Where the scene stands, the line has to
    sway, or the scene has to shine through it from top to bottom by the same share. A line near
    the frame's side, or one that is hidden in part, has to be seen through in any case. On a scan's
    black border there is no scene that a line could belong to: there it only has to last.

    Args:
        window: T frames ``[3, h, w]`` float32, nominal 0..1.
        centre: place of the frame in the window.
        rules: what counts.
        seen: what remembers the results of :func:`lines_of`; None works them out here.
        border_px: says how wide the scan's black border is on the left and on the right; asked
            where a line may lie on it.
    """
    height, width = window[centre].shape[-2:]
    if height < BANDS * 2 or width < 4 * REACH_PX:
        return []
    look = seen or partial(lines_of, rules=rules)
    here = [line for line in look(window[centre]) if line.cover >= rules.length * _PART]
    if not here:
        return []
    others = {
        number - centre: look(frame)
        for number, frame in enumerate(window)
        if not torch.equal(frame, window[centre])
    }
    flows = {step: _drift(window[centre], window[centre + step]) for step in others}
    picture = window[centre].cpu().numpy()
    kept: list[Veil] = []
    for line in here:
        verdict = _is_scratch(line, others, flows, rules.length)
        lasts = sum(bool(_gaps(line, step, lines)) for step, lines in others.items()) > 1
        lasts &= line.cover >= rules.length and _is_outer(line, width)
        # Most lines belong to the scene by how they move: fitting is what takes the time.
        if verdict is False and not lasts:
            continue
        veil = line.veil(picture)
        found = evidence_of(picture, veil, max(BANDS, height // _PIECE_ROWS))
        seen_through = _seen_through(found, _USUAL) and verdict is None
        alone = _plain(line, found, width, rules) or _seen_through(found, _STRICT)
        outside = lasts and _outside(line, found, border_px, width, rules)
        if outside or (alone and (verdict or seen_through)):
            kept.append(veil)
    return kept


def _is_outer(line: Line, width: int) -> bool:
    """Whether a line lies where a scan may be black: borders are no wider than a quarter."""
    return bool(line.path.max() < width / 4 or line.path.min() >= 3 * width / 4)


def _plain(line: Line, found: Evidence, width: int, rules: LineRules) -> bool:
    """Whether a line may be judged by its motion: long, thin, and not close to the sides.

    What gets brighter than its sides the more, the brighter they are, is a gloss on something.
    Where one side is the brighter for a while and then the other, it may be a row of edges.
    """
    margin = max(REACH_PX, width // 64)
    inside = margin <= float(line.path.mean()) < width - margin
    thin = found.width_px < max(rules.width_px, 2)
    even = not line.uneven or found.misfit <= _UNEVEN
    return bool(line.cover >= rules.length and inside and thin and even and found.hidden > _GLOSS)


def _outside(
    line: Line,
    found: Evidence,
    border_px: Callable[[], tuple[int, int]],
    width: int,
    rules: LineRules,
) -> bool:
    """Whether a line and all that is looked at beside it lie on the black border."""
    thin = found.width_px < max(rules.width_px, 2)
    if not (thin and found.misfit <= _USUAL.misfit and found.contrast >= _USUAL.contrast):
        return False
    left, right = border_px()
    return bool(line.path.max() < left - REACH_PX or line.path.min() >= width - right + REACH_PX)


def _seen_through(found: Evidence, least: Evidence) -> bool:
    """Whether the whole scene shines through a line, from top to bottom, by the same share.

    A pole hides what is behind it, the edges of things end where the things end, and what is only
    a mark on a wall ends where something stands before the wall.
    """
    certain = least.certainty * (1 if found.misfit > 0.67 * least.misfit else 0.67)
    return (
        0.1 <= found.hidden <= least.hidden
        and found.contrast >= least.contrast
        and found.misfit <= least.misfit
        and found.certainty >= certain
        and found.share >= least.share
        and found.width_px <= least.width_px
    )


def _lines_of(frame: Plane, rules: LineRules) -> list[Line]:
    """The same of luma, ``[h / 8, w]``, of 24 rows at least."""
    width = frame.shape[1]
    found: list[Line] = []
    for sign in (1, -1):
        bands, step = narrow_of(frame * np.float32(sign), rules.width_px)
        spread = 1.4826 * medians(np.abs(bands))[:, None]
        marks = bands / np.maximum(spread, 0.0025) * rules.sensitivity
        paths = paths_of(marks, 0.5 * rules.length)
        on = np.arange(BANDS), np.clip(np.rint(paths).astype(np.intp), 0, width - 1)
        upright = np.ptp(paths, axis=1) <= max(_LEAN_PX, _LEAN * width)
        # The edge of something has another brightness on either side, all the way down.
        own, sides, shown = medians(bands[on]), step[on], marks[on]
        lines = upright & (np.abs(medians(sides)) <= own)
        uneven = medians(np.abs(sides)) > own
        for n in np.flatnonzero(lines):
            found.append(Line(sign, paths[n], shown[n], rules.width_px, bool(uneven[n])))
    found.sort(key=lambda line: -median(line.marks))
    kept: list[Line] = []
    for line in found:
        place = float(line.path.mean())
        # A line has dark flanks where a scanner sharpened it; the picture's edge is none.
        alone = all(
            abs(place - float(one.path.mean())) > rules.width_px + 1
            or _are_two(line, one, rules.length)
            for one in kept
        )
        if alone and _SIDE_PX <= place < width - _SIDE_PX:
            kept.append(line)
    return [
        replace(line, beside=tuple(o.path for o in kept if _are_two(line, o, rules.length)))
        for line in kept
    ]


def _are_two(line: Line, other: Line, length: float) -> bool:
    """Whether these are two lines next to each other, both bright or both dark."""
    gap = median(np.abs(line.path - other.path))
    both = line.sign == other.sign and min(line.cover, other.cover) >= length
    return both and _TWO_PX <= gap <= REACH_PX + 1


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
) -> bool | None:
    """Whether a line lasts over time and does not belong to the scene; None where none can tell."""
    if len(others) < 2:
        return False
    stays, follows, found, moved = 0.0, 0.0, 0, 0.0
    for step, lines in others.items():
        scene = _scene_px(line, flows[step])
        close = _gaps(line, step, lines, scene)
        if close:
            found += 1
            stays += min(abs(gap) for gap in close)
            follows += min(abs(gap - scene) for gap in close)
            moved = max(moved, abs(scene))
    if not found:
        return False
    if found >= 2 and moved >= _SCENE_PX and not _DOUBT * follows <= stays < follows:
        return stays < follows
    # Little tells them apart where the scene hardly moves: what runs down unbroken and yet goes
    # its own way is a scratch, what goes with the scene is none.
    whole = np.interp(moved, (0.3, _SCENE_PX), (0.92, length))
    lasts = found >= max(2, len(others) - 1) and (moved < 1 or stays < follows)
    if lasts and line.clear >= whole and follows / found >= max(_SWAY_PX, 0.35 * moved):
        return True
    return False if stays / found >= _GOES_PX and follows < 0.4 * stays else None


def _gaps(line: Line, step: int, lines: list[Line], scene_px: float = 0.0) -> list[float]:
    """Distances to the lines of another frame that are near its place, there or with the scene."""
    gaps = [median(one.path - line.path) for one in lines if one.sign == line.sign]
    reach = _NEAR_PX * abs(step) / 2 + 1
    return [gap for gap in gaps if min(abs(gap), abs(gap - scene_px)) <= reach]


def _scene_px(line: Line, flow: Plane) -> float:
    """The scene's motion about a line, beside its own columns."""
    width = flow.shape[1]
    middle = int(np.clip(line.path.mean() / 4, 0, width - 1))
    left, right = max(0, middle - 14), min(width, middle + 15)
    beside = [*range(left, max(left, middle - 3)), *range(min(right, middle + 4), right)]
    return median(flow[:, beside]) if beside else 0.0
