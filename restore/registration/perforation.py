"""Where a frame's perforation lies in a scan that shows more than the picture.

The gate of the camera held the film by its perforations, so that a picture lies where the hole
beside it does, whatever is to be seen in it. In a scan against a lamp the hole is the brightest
thing there is: a rectangle with rounded corners and a known shape, with dark film on three sides.
On the fourth it may touch the picture, which may be as bright: that edge is never asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from restore.registration.edges import Edge, fitted_edge

__all__ = ["Gauge", "Hole", "PerforationFinder"]

Plane = NDArray[Any]  # float32

_LONG_SIDE_PX: Final = 240  # of the picture that the first search sees
_HEIGHTS: Final = (0.10, 0.42)  # of holes, as shares of the frame's height
_RATIO: Final = 1.06  # between the sizes that are tried
_EDGE_ZONE: Final = 0.3  # share of the frame's width in which the hole's outer edge lies
_CONTRAST: Final = 0.4  # of the hole to the film about it, as a share of the hole's brightness
_BRIGHT: Final = 0.9  # of the brightest, that the hole has at least
_KNOWN: Final = 0.5  # of these, that is asked of a hole where one of this size was before
_OUTER: Final = 0.75  # share of its width that no picture reaches
_CORNER: Final = 0.4  # what a rounded corner keeps of the hole's brightness at most
_STRAY: Final = 0.3  # what a hole's height away from its usual place costs, in contrast
_ROUGH_PX: Final = 0.02  # by what an edge is rough, however well it is seen
_SIZES: Final = 0.03  # by how much of their height the holes of one scan may differ


class Gauge(Enum):
    """Shapes of perforations: width, height and radius of the corners, in mm.

    SMPTE ST 149 (Super 8), SMPTE ST 109 (16 mm); 8 mm film is 16 mm film slit in two.
    """

    SUPER8 = (0.914, 1.143, 0.13)
    WIDE = (1.829, 1.270, 0.25)
    """8 mm and 16 mm, which have the same."""

    @property
    def aspect(self) -> float:
        """Width over height."""
        return self.value[0] / self.value[1]

    @property
    def corner(self) -> float:
        """Radius of its corners over its height."""
        return self.value[2] / self.value[1]


@dataclass(frozen=True)
class Hole:
    """A perforation in a frame.

    Attributes:
        outer_px: the edge that is nearer to the film's edge, from the left side of the frame.
        middle_px: half-way between its top and bottom edge, from the frame's top.
        height_px: between these.
        gauge: whose shape it has.
        on_right: whether it lies on the right of the picture.
    """

    outer_px: float
    middle_px: float
    height_px: float
    gauge: Gauge
    on_right: bool


class PerforationFinder:
    """Finds the hole in one frame after the other of a scan.

    The first frames are searched for holes of any size; later ones for the reel's own. One object
    serves one reel. Of several holes that a frame shows the same one is followed.
    """

    def __init__(self) -> None:
        self._usual: Hole | None = None
        self._heights: list[float] = []

    def find(self, frame: Tensor) -> Hole | None:
        """The hole of a frame, None where it cannot be made out.

        Args:
            frame: ``[3, h, w]`` float32, nominal 0..1.
        """
        found = self._found(frame.clamp(0, 1).cpu(), self._usual)
        if found is None:
            return None
        self._heights = [*self._heights[-62:], found.height_px]
        if self._usual is None or len(self._heights) == 12:
            self._usual = found
        return found

    def _found(self, frame: Tensor, usual: Hole | None) -> Hole | None:
        import cv2

        # No colour of the picture is as bright as the lamp in all channels.
        white, grey = frame.amin(0).numpy(), frame.mean(0).numpy()
        factor = max(1.0, max(grey.shape) / _LONG_SIDE_PX)
        size = (round(grey.shape[1] / factor), round(grey.shape[0] / factor))
        small = cv2.resize(white, size, interpolation=cv2.INTER_AREA)
        guesses = []
        for on_right in (False, True) if usual is None else (usual.on_right,):
            plane = np.ascontiguousarray(small[:, ::-1]) if on_right else small
            # The narrow shape fits into a wide hole as well, so that the wide one is asked first.
            for gauge in (Gauge.WIDE, Gauge.SUPER8) if usual is None else (usual.gauge,):
                got = _search(plane, gauge, _wanted(usual, factor, grey.shape[1]), on_right)
                if got is not None:
                    guesses.append(got)
                    break
        if not guesses:
            return None
        guess = max(guesses, key=lambda got: got[0])[1]
        plane = np.ascontiguousarray(grey[:, ::-1]) if guess.on_right else grey
        hole = _measured(plane, _scaled(guess, factor), self._height)
        if hole is not None:
            # Edges are rough and a little aslant: every frame's are to be taken over one stretch.
            hole = _measured(plane, hole, self._height)
        if hole is not None and guess.on_right:
            hole = Hole(grey.shape[1] - hole.outer_px, *_rest(hole))
        return hole

    @property
    def _height(self) -> float | None:
        return float(np.median(self._heights)) if self._heights else None


def _rest(hole: Hole) -> tuple[float, float, Gauge, bool]:
    return hole.middle_px, hole.height_px, hole.gauge, hole.on_right


def _scaled(hole: Hole, factor: float) -> Hole:
    return Hole(
        hole.outer_px * factor,
        hole.middle_px * factor,
        hole.height_px * factor,
        hole.gauge,
        hole.on_right,
    )


def _wanted(usual: Hole | None, factor: float, width_px: int) -> Hole | None:
    """The reel's hole as the small picture shows it, its outer side on the left."""
    if usual is None:
        return None
    outer = width_px - usual.outer_px if usual.on_right else usual.outer_px
    return _scaled(Hole(outer, *_rest(usual)), 1 / factor)


def _search(
    plane: Plane, gauge: Gauge, wanted: Hole | None, on_right: bool
) -> tuple[float, Hole] | None:
    """The rectangle that is bright, even, and has dark film above, below and outside."""
    import cv2

    height = plane.shape[0]
    sums = cv2.integral(plane, sdepth=cv2.CV_64F)
    squares = cv2.integral(np.square(plane), sdepth=cv2.CV_64F)
    brightest = float(np.quantile(plane, 0.998))
    if wanted is None:
        low, high = (share * height for share in _HEIGHTS)
        count = int(np.log(high / low) / np.log(_RATIO)) + 1
        heights = [low * _RATIO**n for n in range(count)]
    else:
        heights = [wanted.height_px]
    best: tuple[float, Hole] | None = None
    for tall in heights:
        strict = 1.0 if wanted is None else _KNOWN
        score = _scores(sums, squares, tall, gauge, brightest, strict)
        if score is None:
            continue
        if wanted is not None:
            y, x = np.mgrid[0 : score.shape[0], 0 : score.shape[1]]
            away = np.hypot(x - wanted.outer_px, y + tall / 2 - wanted.middle_px)
            score = score - _STRAY * brightest * away / tall
        top, left = np.unravel_index(int(score.argmax()), score.shape)
        value = float(score[top, left])
        if value > 0 and (best is None or value > best[0]):
            best = value, Hole(float(left), float(top) + tall / 2, tall, gauge, on_right)
    return best


def _scores(
    sums: Plane, squares: Plane, tall: float, gauge: Gauge, brightest: float, strict: float
) -> Plane | None:
    """How well each place ``[top, left]`` fits a hole; 0 and less is none."""
    height, width = sums.shape[0] - 1, sums.shape[1] - 1
    h, w = round(tall), round(tall * gauge.aspect)
    gap, thick = max(1, round(0.06 * tall)), max(1, round(0.12 * tall))
    rows, columns = height - h, min(width - w, round(_EDGE_ZONE * width))
    if rows <= 2 * (gap + thick) or columns <= gap + thick or h < 6:
        return None

    def box(table: Plane, top: int, left: int, tall_px: int, wide_px: int) -> Plane:
        """Means of a box at these offsets from every place, the border's repeated outwards."""
        y = np.clip(np.arange(rows) + top, 0, height - tall_px)
        x = np.clip(np.arange(columns) + left, 0, width - wide_px)
        part = table[y[0] : y[-1] + tall_px + 1, x[0] : x[-1] + wide_px + 1]
        total = part[tall_px:, wide_px:] - part[:-tall_px, wide_px:]
        total = total - part[tall_px:, :-wide_px] + part[:-tall_px, :-wide_px]
        means = total / (tall_px * wide_px)
        beyond = [
            (int((side == side[0]).sum()) - 1, int((side == side[-1]).sum()) - 1) for side in (y, x)
        ]
        return np.pad(means, beyond, mode="edge") if any(map(any, beyond)) else np.asarray(means)

    inset = max(1, round(0.08 * tall))
    inner = (inset, inset, h - 2 * inset, w - 2 * inset)
    mean = box(sums, *inner)
    bright = mean >= (_BRIGHT if strict == 1 else _KNOWN) * brightest
    if not bright.any():
        return None
    deviation = np.sqrt(np.maximum(box(squares, *inner) - np.square(mean), 0))
    start, wide = round(0.2 * w), max(1, round((_OUTER - 0.2) * w))
    about = [
        box(sums, -gap - thick, start, thick, wide),
        box(sums, h + gap, start, thick, wide),
        box(sums, round(0.25 * h), -gap - thick, round(0.5 * h), thick),
    ]
    if gauge is Gauge.WIDE:
        # No picture reaches these holes: the fourth side is dark as well.
        about.append(box(sums, round(0.25 * h), w + gap, round(0.5 * h), thick))
    score = mean - np.maximum.reduce(about) - strict * (2 * deviation + _CONTRAST * brightest)
    score[~bright] = -1
    margin = gap + thick
    # A hole that the frame's side cuts has no edge there to go by.
    score[:margin] = score[rows - margin :] = -1
    score[:, : gap + 1] = -1
    return np.asarray(score)


def _measured(plane: Plane, guess: Hole, height_px: float | None) -> Hole | None:
    """The edges of a hole by parts of a pixel; its outer side on the left."""
    tall, wide = guess.height_px, guess.height_px * guess.gauge.aspect
    top, left = guess.middle_px - tall / 2, guess.outer_px
    reach = max(4, round(0.14 * tall))
    rows = slice(round(top + 0.22 * tall), round(top + 0.78 * tall))
    columns = slice(round(left + 0.2 * wide), round(left + _OUTER * wide))
    inside = plane[rows, columns]
    if not inside.size:
        return None
    level = float(np.median(inside))
    outer = fitted_edge(plane.T, left, columns=rows, reach_px=reach, level=level, upwards=True)
    above = fitted_edge(plane, top, columns=columns, reach_px=reach, level=level, upwards=True)
    below = fitted_edge(
        plane, top + tall, columns=columns, reach_px=reach, level=level, upwards=False
    )
    if outer is None:
        return None
    ends = _ends(above, below, height_px)
    if ends is None or not 0.8 <= (ends[1] - ends[0]) / tall <= 1.25:
        return None
    middle, height = (ends[0] + ends[1]) / 2, ends[1] - ends[0]
    hole = Hole(outer.at_px, middle, height, guess.gauge, guess.on_right)
    if height_px is not None and abs(hole.height_px / height_px - 1) > _SIZES:
        return None
    return hole if _is_rounded(plane, hole, level) else None


def _ends(
    above: Edge | None, below: Edge | None, height_px: float | None
) -> tuple[float, float] | None:
    """Top and bottom; an edge that dirt hides, or moves, is put where the other one says."""
    if above is not None and below is not None:
        if height_px is None:
            return above.at_px, below.at_px
        if abs(below.at_px - above.at_px - height_px) < _SIZES * height_px:
            # What height the edges differ by from the reel's is laid to the less sure one.
            doubt = [edge.error_px**2 + _ROUGH_PX**2 for edge in (above, below)]
            excess = below.at_px - above.at_px - height_px
            top = above.at_px + excess * doubt[0] / sum(doubt)
            return top, top + height_px
        clear = min((above, below), key=lambda edge: edge.error_px)
        above, below = (above, None) if clear is above else (None, below)
    if height_px is None:
        return None
    if above is not None:
        return above.at_px, above.at_px + height_px
    if below is not None:
        return below.at_px - height_px, below.at_px
    return None


def _is_rounded(plane: Plane, hole: Hole, level: float) -> bool:
    """Whether the outer corners are cut: no window in the picture has such."""
    side = max(1, round(0.3 * hole.gauge.corner * hole.height_px))
    left = round(hole.outer_px)
    top, bottom = (round(hole.middle_px + sign * hole.height_px / 2) for sign in (-1, 1))
    corners = (
        plane[top : top + side, left : left + side],
        plane[bottom - side : bottom, left : left + side],
    )
    # Dirt darkens a corner and halation lights one: the darker of the two tells.
    return min(float(corner.mean()) if corner.size else level for corner in corners) < (
        _CORNER * level
    )
