"""Scratches that run down the film: thin upright lines that stay where the scene moves on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from restore.engine.remember import Remembered
from restore.engine.stage import StageSpec, Tiling, stacked
from restore.engine.trace import Trace
from restore.motion.lines import REACH_PX, Line, LineRules, find_lines, reduced
from restore.stages import StageContext

__all__ = ["Scratches"]

Plane = NDArray[Any]  # float32
Doubles = NDArray[np.float64]

_RADIUS: Final = 2
_FIT_ROWS: Final = 41  # over which a line's opacity is taken for the same


class Scratches:
    """Takes out upright lines that keep their place in the frame while the scene keeps its own.

    Which lines those are :mod:`restore.motion.lines` says. The opacity of each is measured against
    the columns beside it; what shines through is brought up again, the rest is filled from the
    sides. Everything else stays bit for bit as it was. A line that neither moves with the scene
    nor against it, in a scene that stands still, is left alone: it may be a pole.
    """

    class Settings(BaseModel):
        """Settings of the stage.

        ``sensitivity``: divides the threshold of visibility. ``length``: share of the frame's
        height that a line has to cover. ``width_px``: widest line. ``strength``: share of the
        repair that is put in place.
        """

        model_config = ConfigDict(extra="forbid", frozen=True)

        sensitivity: float = Field(default=1.0, ge=0.2, le=4)
        length: float = Field(default=0.7, ge=0.3, le=1)
        width_px: int = Field(default=5, ge=1, le=9)
        strength: float = Field(default=1.0, ge=0, le=1)

    spec = StageSpec(
        name="scratches",
        radius_past=_RADIUS,
        radius_future=_RADIUS,
        tiling=Tiling.NEVER,
        trace=Trace.MASK,
    )

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._seen = Remembered(reduced, 2 * _RADIUS + 1)
        self._frames = 0
        self._lines = 0

    @classmethod
    def build(cls, settings: Settings, context: StageContext) -> Self:
        """Make the stage."""
        return cls(settings)

    def facts(self) -> Mapping[str, str]:
        """Settings, and how many lines there were."""
        facts = {name: f"{value:g}" for name, value in self._settings.model_dump().items()}
        if self._frames:
            facts["lines per frame"] = f"{self._lines / self._frames:.2f}"
        return facts

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """Holds no weights: nothing to bring."""

    def run(self, windows: Tensor, seeds: Sequence[int]) -> Tensor:
        """``[N, 5, 3, h, w]`` to ``[N, 3, h, w]``."""
        return stacked(
            [self.run_frames(w.unbind(), s) for w, s in zip(windows, seeds, strict=True)]
        )

    def run_frames(self, frames: Sequence[Tensor], seed: int) -> Tensor:
        """5 of ``[3, h, w]`` to ``[3, h, w]``."""
        centre = frames[_RADIUS]
        lines = self._found(frames)
        self._frames += 1
        self._lines += len(lines)
        if not lines:
            return centre
        picture = centre.cpu().numpy().copy()
        for line in lines:
            _repair(picture, line, self._settings.strength)
        return torch.from_numpy(picture).to(centre)

    def mask(self, windows: Tensor) -> Tensor:
        """Where :meth:`run` would repair.

        Args:
            windows: ``[N, 5, 3, h, w]``.

        Returns:
            ``[N, 1, h, w]`` float32, 1 on a scratch and 0 elsewhere.
        """
        out = torch.zeros(len(windows), 1, *windows.shape[-2:])
        for number, window in enumerate(windows):
            for line in self._found(window.unbind()):
                rows, columns = line.pixels(window.shape[-2], window.shape[-1])
                out[number, 0, torch.from_numpy(rows), torch.from_numpy(columns)] = 1
        return out.to(windows)

    def _found(self, window: Sequence[Tensor]) -> list[Line]:
        settings = self._settings
        rules = LineRules(settings.sensitivity, settings.length, settings.width_px)
        return find_lines(window, _RADIUS, rules, self._seen.of)


def _repair(picture: Plane, line: Line, strength: float) -> None:
    """Take a line out of ``[3, h, w]`` in place."""
    height, width = picture.shape[-2:]
    rows = np.arange(height)
    middle = np.rint(line.columns(height)).astype(np.intp)
    half = line.half_px
    offsets = np.arange(-REACH_PX, REACH_PX + 1)
    columns = np.clip(middle[:, None] + offsets, 0, width - 1)
    strip = picture[:, rows[:, None], columns].astype(np.float64)
    sides = _from_sides(strip, half)
    inner = slice(REACH_PX - half, REACH_PX + half + 1)
    fixed = _shone_through(strip[..., inner], sides[..., inner])
    change = (fixed - strip[..., inner]) * strength
    change *= _profile(change[:, line.rows(height)])
    shown = np.zeros(height)
    shown[line.rows(height)] = 1
    place = middle[:, None] + offsets[inner]
    inside = (place >= 0) & (place < width)
    change *= shown[:, None] * inside
    at = np.clip(place, 0, width - 1)
    for channel in range(picture.shape[0]):
        np.add.at(picture[channel], (rows[:, None], at), change[channel].astype(picture.dtype))


def _profile(change: Doubles) -> Doubles:
    """How much of each column, ``[n]``, belongs to the line: 1 at its core, 0 beyond its flanks."""
    height = np.abs(np.median(change.mean(0), axis=0))
    share = height / max(float(height.max()), 1e-9)
    return np.asarray(np.clip((share - 0.04) / 0.06, 0, 1))


def _from_sides(strip: Doubles, half: int) -> Doubles:
    """A straight line across each row of ``[3, h, n]`` between its sides."""
    middle = strip.shape[-1] // 2
    left = strip[..., middle - half - 2 : middle - half].mean(-1, keepdims=True)
    right = strip[..., middle + half + 1 : middle + half + 3].mean(-1, keepdims=True)
    reach = half + 1.5
    part = np.clip((np.arange(strip.shape[-1]) - middle + reach) / (2 * reach), 0, 1)
    return np.asarray(left + (right - left) * part)


def _shone_through(seen: Doubles, sides: Doubles) -> Doubles:
    """Undo a line's opacity and colour, ``[3, h, n]``, as far as anything shines through.

    Down each column, what is seen is a share of what was there plus the line's own light; both are
    found by least squares against the sides over some rows, with the share drawn towards 1.
    """
    mean_x, mean_y = _down(sides), _down(seen)
    spread = np.maximum(_down(sides * sides) - mean_x**2, 0)
    both = _down(sides * seen) - mean_x * mean_y
    share = np.clip((both + 4e-4) / (spread + 4e-4), 0.05, 1.0)
    cleared = (seen - (mean_y - share * mean_x)) / share
    # Where little shines through, bringing it up brings up noise instead.
    trust = np.clip((share - 0.25) / 0.35, 0, 1)
    return np.asarray(trust * cleared + (1 - trust) * sides)


def _down(plane: Doubles) -> Doubles:
    """Mean over some rows of ``[3, h, n]``."""
    import cv2

    rows = np.ascontiguousarray(plane.transpose(1, 0, 2)).reshape(plane.shape[1], -1)
    size = (1, min(_FIT_ROWS, max(1, plane.shape[1] // 4 * 2 - 1)))
    mean: Plane = cv2.blur(rows, size, borderType=cv2.BORDER_REPLICATE)
    return mean.reshape(plane.shape[1], plane.shape[0], -1).transpose(1, 0, 2)
