"""A close look at successive frames of a shot: what gate, light, dirt and stock did to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restore.errors import InvalidInput
from restore.grain.learn import GrainLearner
from restore.grain.profile import LEVELS
from restore.motion.area import shrunk
from restore.motion.course import settled
from restore.motion.gain import Shading, exposure_change
from restore.motion.lines import LineRules, find_lines
from restore.motion.spikes import SpikeRules, find_spikes, looked_at
from restore.registration.intended import IntendedPath, PathRules
from restore.registration.register import Register

__all__ = ["Figures", "Proxy", "measured", "middle_of"]

Doubles = NDArray[np.float64]

_REGISTER_PX: Final = 360  # long side of the pictures that are registered
_EXPOSURE: Final = Shading(1, 1, contrast=False)
_RADIUS: Final = 10  # frames on each side whose course tells flicker, as in the stage's default
_MAD: Final = 1.4826  # from a median of absolute values to a standard deviation
_OUTLIER: Final = 3.0  # standard deviations
_FRESH: Final = (
    1.6  # times what errs afresh at every frame: the most that a gate's weave amounts to
)
_FEWEST: Final = 12  # frames that tell weave or flicker
_DIRT_LOOKS: Final = 6
_CELLS: Final = (6, 8)  # parts of the frame, down and across
_BUSY: Final = 6  # one in so many of them is left out, those with most marks
_LINE_LOOKS: Final = 4
_GRAIN_FRAMES: Final = 7
_BEYOND: Final = 3.0  # times what neighbouring frames differ by, after a light blur
_BLOCKS: Final = 12  # flat pieces that make grain known
_GRAIN_PX: Final = 1024  # side of the middle of the frame that grain is learned from
_MID: Final = slice(LEVELS // 4, 3 * LEVELS // 4)
_REACH: Final = 0.15  # of the height that a thing may fly in one frame, the dust stage's default


@dataclass(frozen=True, eq=False)
class Proxy:
    """A frame as a close look keeps it.

    Attributes:
        data: ``[3, h, w]`` float16 R'G'B': the frame, or one of its fields, made smaller by whole
            factors where it is large.
        middle: ``[3, h, w]`` float16: its middle, as large as it came; None where it is not kept.
        small: ``[h, w, 3]`` float32, about 128 px on the long side.
    """

    data: Tensor
    middle: Tensor | None
    small: NDArray[np.float32]


@dataclass(frozen=True)
class Figures:
    """What one look measured, in px of the pictures it saw; None where nothing could be told."""

    frames: int
    weave_px: tuple[float, float] | None
    flicker: float | None
    dirt_marks: float | None
    dirt_share: float | None
    scratches: float | None
    grain: float | None
    grain_size_px: float | None


def measured(pictures: Sequence[Proxy]) -> Figures:
    """Measure successive pictures of one shot, none of which repeats another."""
    with torch.inference_mode():
        planes = [one.data.float() for one in pictures]
        dirt = _dirt(planes)
        middles = [one.middle.float() for one in pictures if one.middle is not None]
        grain, size_px = _grain(middles[:_GRAIN_FRAMES])
        if grain and dirt and grain > _BEYOND * dirt.noise:
            grain, size_px = None, None  # leaves or water: no two frames differ as much elsewhere
        return Figures(
            frames=len(pictures),
            weave_px=_weave(planes),
            flicker=_flicker([one.small for one in pictures]),
            dirt_marks=dirt.marks if dirt else None,
            dirt_share=dirt.share if dirt else None,
            scratches=_scratches(planes),
            grain=grain,
            grain_size_px=size_px,
        )


def middle_of(data: Tensor) -> Tensor:
    """The middle of ``[3, h, w]`` that grain is learned from."""
    height, width = data.shape[-2:]
    top, left = (max(0, (n - _GRAIN_PX) // 2) for n in (height, width))
    return data[:, top : top + _GRAIN_PX, left : left + _GRAIN_PX]


def _weave(planes: Sequence[Tensor]) -> tuple[float, float] | None:
    """RMS of the positions about the camera's own path, (across, down)."""
    if len(planes) < _FEWEST:
        return None
    height, width = planes[0].shape[-2:]
    factor = max(1, round(max(height, width) / _REGISTER_PX))
    register = Register()
    path = factor * np.array(
        [register.add(torch.from_numpy(np.ascontiguousarray(shrunk(p, factor)))) for p in planes]
    )
    rules = PathRules(ceiling_px=max(0.2, 0.01 * height))
    across, down = (_unsteadiness(path[:, axis], rules) for axis in (0, 1))
    return across, down


def _unsteadiness(path: Doubles, rules: PathRules) -> float:
    """RMS about the camera's own path, deaf to outliers and to what is slow.

    A camera that swings leaves much about a smooth path and little from frame to frame; a gate errs
    afresh at every pull-down, so that second differences bound what can be weave.
    """
    intended = IntendedPath(rules)
    away = [path[number] - intended.at(number, path) for number in range(len(path))]
    fresh = _spread(np.diff(path, 2)) / np.sqrt(6)
    return float(min(_spread(np.array(away)), _FRESH * fresh))


def _spread(values: Doubles) -> float:
    """RMS without outliers."""
    size = np.abs(values)
    near = values[size <= _OUTLIER * _MAD * np.median(size)]
    return float(np.sqrt(np.mean(np.square(near)))) if len(near) else 0.0


def _flicker(small: Sequence[NDArray[np.float32]]) -> float | None:
    """RMS of the exposure about its slow course, relative."""
    count = len(small)
    if count < _FEWEST:
        return None
    logs = np.log(np.maximum(small[0].reshape(-1, 3), 0.01))
    middle = np.median(logs, axis=0).astype(np.float64)
    course = np.zeros((count, 3))
    for number in range(1, count):
        change = exposure_change(small[number - 1], small[number], middle, _EXPOSURE)
        course[number] = course[number - 1] + change[:, 0]
    overall = np.arange(3)
    away = []
    for number in range(count):
        start, stop = max(0, number - _RADIUS), min(count, number + _RADIUS + 1)
        about = course[start:stop]
        away.append(float((settled(about, number - start, overall) - course[number]).mean()))
    return float(np.expm1(np.sqrt(np.mean(np.square(away)))))


def _places(count: int, margin: int, wanted: int) -> list[int]:
    """Some numbers of frames, evenly spread, with ``margin`` frames on each side."""
    if count < 2 * margin + 1:
        return []
    spread = np.linspace(margin, count - 1 - margin, min(wanted, count - 2 * margin))
    return sorted({round(float(place)) for place in spread})


@dataclass(frozen=True)
class _Dirt:
    """Marks on a frame, the share of its pixels that they cover, and how much frames differ."""

    marks: float
    share: float
    noise: float


def _dirt(planes: Sequence[Tensor]) -> _Dirt | None:
    places = _places(len(planes), 1, _DIRT_LOOKS)
    height, width = planes[0].shape[-2:]
    if not places or min(height, width) < 16:
        return None
    rules = SpikeRules(reach_px=_REACH * height)
    cells = np.zeros(_CELLS)
    covered, noise = [], []
    for place in places:
        past, centre, future = (
            looked_at(planes[n].mean(0).numpy()) for n in (place - 1, place, place + 1)
        )
        found = find_spikes(centre, (past, future), (-1, 1), rules)
        cells += _by_cell(found.mask)
        covered.append(float(found.mask.mean()))
        noise.append(found.noise)
    # Dirt falls anywhere. What is marked again and again in a few places is something that moves.
    even = np.sort(cells, axis=None)[: -(cells.size // _BUSY)]
    marks = float(even.mean()) * cells.size / len(places)
    share = float(np.mean(covered)) * marks * len(places) / max(float(cells.sum()), 1.0)
    return _Dirt(marks, share, float(np.median(noise)))


def _by_cell(mask: NDArray[np.bool_]) -> Doubles:
    """How many marks have their middle in each part of the frame."""
    import cv2

    _, _, _, middles = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    out = np.zeros(_CELLS)
    for x, y in middles[1:]:
        row = int(y * _CELLS[0] / mask.shape[0])
        out[row, int(x * _CELLS[1] / mask.shape[1])] += 1
    return out


def _scratches(planes: Sequence[Tensor]) -> float | None:
    places = _places(len(planes), 2, _LINE_LOOKS)
    if not places:
        return None
    windows = (planes[place - 2 : place + 3] for place in places)
    return float(np.mean([len(find_lines(window, 2, LineRules())) for window in windows]))


def _grain(planes: list[Tensor]) -> tuple[float | None, float | None]:
    """Strength in mid-tones, and clump size."""
    if len(planes) < 2:
        return None, None
    try:
        found = GrainLearner().shot(planes)
    except (np.linalg.LinAlgError, InvalidInput):
        return None, None  # pieces of one value, as in titles
    if found is None or found.blocks < _BLOCKS:
        return None, None
    return float(found.strength[:, _MID].mean()), found.size_px
