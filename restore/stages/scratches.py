"""Scratches that run down the film: thin upright lines that stay where the scene moves on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any, Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from restore.analysis.borders import BorderFinder
from restore.engine.remember import Remembered
from restore.engine.stage import StageSpec, Tiling, stacked
from restore.engine.trace import Trace
from restore.motion.lines import LineRules, find_lines, lines_of
from restore.motion.veil import Veil, lift
from restore.stages import StageContext

__all__ = ["Scratches"]

Plane = NDArray[Any]  # float32
Mask = NDArray[np.bool_]

_RADIUS: Final = 2
_BLACK: Final = 0.06  # median of the frame's outermost columns, above which one need not look


class Scratches:
    """Takes out upright lines that keep their place in the frame while the scene keeps its own.

    Which lines those are :mod:`restore.motion.lines` says. What each hides and adds
    :mod:`restore.motion.veil` measures against the columns beside it; what shines through is
    brought up again, the rest is filled from the sides. Everything else stays bit for bit as it
    was. In a scene that stands still, a line that stands as well and that nothing shines through
    is left alone: it may be a pole.
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
        rules = LineRules(settings.sensitivity, settings.length, settings.width_px)
        self._rules = rules
        self._seen = Remembered(lambda frame: lines_of(frame, rules), 2 * _RADIUS + 1)
        self._grounds = Remembered(partial(_ground, width_px=settings.width_px), 2 * _RADIUS + 1)
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
        _clear(picture, lines, self._settings.strength)
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
            picture = window[_RADIUS].cpu().numpy().copy()
            touched = _clear(picture, self._found(window.unbind()), self._settings.strength)
            out[number, 0] = torch.from_numpy(touched)
        return out.to(windows)

    def _found(self, window: Sequence[Tensor]) -> list[Veil]:
        border_px = cache(partial(self._border_px, window))
        return find_lines(window, _RADIUS, self._rules, self._seen.of, border_px)

    def _border_px(self, window: Sequence[Tensor]) -> tuple[int, int]:
        """Width of the black border at the left and at the right, by all frames of the window."""
        sides = window[_RADIUS][..., [0, 1, -2, -1]].mean(0)
        if min(float(sides[:, :2].median()), float(sides[:, 2:].median())) > _BLACK:
            return 0, 0
        finder = BorderFinder()
        for frame in window:
            finder.add(self._grounds.of(frame))
        left, _, right, _ = finder.margins(surely=True)
        return left, right


def _ground(frame: Tensor, width_px: int) -> Plane:
    """``[h, w]`` luma of ``[3, h, w]`` without bright upright lines of that width at most."""
    import cv2

    kernel = np.ones((1, width_px + 2), np.uint8)
    luma = frame.mean(0).cpu().numpy()
    return np.asarray(cv2.morphologyEx(luma, cv2.MORPH_OPEN, kernel), np.float32)


def _clear(picture: Plane, veils: Sequence[Veil], strength: float) -> Mask:
    """Take veils off ``[3, h, w]`` in place; ``[h, w]`` where that may have changed it."""
    touched = np.zeros(picture.shape[-2:], np.bool_)
    for veil in veils:
        touched |= lift(picture, veil, strength)
    return touched
