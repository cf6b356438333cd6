"""Dirt, hair and blotches, which are in one frame only, repaired from the frames beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from restore.engine.stage import StageSpec, Tiling, stacked
from restore.engine.trace import Trace
from restore.motion.spikes import Plane, SpikeRules, Spikes, filled, find_spikes
from restore.motion.warp import sample
from restore.stages import StageContext

__all__ = ["Dust"]

_RADIUS = 2
_FIT_PX = 12  # how far about a mark the neighbours are judged


class Dust:
    """Takes out what a single frame shows and neither of its neighbours does.

    Marks are found on luma by a spike detection along optical flow to both neighbours
    (:mod:`restore.motion.spikes`); what moves too fast for the flow is known by its path and left
    alone. Marked pixels are filled from the neighbours along the motion of their surroundings, each
    neighbour weighted by how well it fits there. Unmarked pixels stay bit for bit as they were.
    """

    class Settings(BaseModel):
        """Settings of the stage.

        ``sensitivity``: divides the thresholds, which come from the measured grain; higher finds
        fainter marks and takes more of the picture for dirt. ``protect``: how far a thing may move
        in one frame and still be told from dirt, as a share of the frame's height; 0 protects
        nothing. ``agreement``: how much the neighbours may differ from each other under a mark, as
        a share of its contrast. ``largest``: share of the frame's area that one mark may cover.
        ``grow_px``: pixels by which marks are widened.
        """

        model_config = ConfigDict(extra="forbid", frozen=True)

        sensitivity: float = Field(default=1.0, ge=0.2, le=4)
        protect: float = Field(default=0.15, ge=0, le=0.5)
        agreement: float = Field(default=0.5, ge=0.1, le=1)
        largest: float = Field(default=0.03, gt=0, le=0.2)
        grow_px: int = Field(default=1, ge=0, le=4)

    spec = StageSpec(
        name="dust",
        radius_past=_RADIUS,
        radius_future=_RADIUS,
        tiling=Tiling.NEVER,
        trace=Trace.MASK,
    )

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._marked_px = 0
        self._seen_px = 0

    @classmethod
    def build(cls, settings: Settings, context: StageContext) -> Self:
        """Make the stage."""
        return cls(settings)

    def facts(self) -> Mapping[str, str]:
        """Settings, and how much was repaired so far."""
        facts = {name: f"{value:g}" for name, value in self._settings.model_dump().items()}
        if self._seen_px:
            facts["repaired"] = f"{self._marked_px / self._seen_px:.3%} of all pixels"
        return facts

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """Holds no weights: nothing to bring."""

    def run(self, windows: Tensor, seeds: Sequence[int]) -> Tensor:
        """``[N, 5, 3, h, w]`` to ``[N, 3, h, w]``."""
        return stacked([self._cleaned(window) for window in windows])

    def mask(self, windows: Tensor) -> Tensor:
        """What :meth:`run` would repair.

        Args:
            windows: ``[N, 5, 3, h, w]``.

        Returns:
            ``[N, 1, h, w]`` float32, 1 on a mark and 0 elsewhere.
        """
        masks = []
        for window in windows:
            pair = _neighbours(window)
            found = self._find(window, pair) if pair else None
            shape = window.shape[-2:]
            masks.append(
                torch.from_numpy(found.mask) if found else torch.zeros(shape, dtype=torch.bool)
            )
        return torch.stack(masks)[:, None].to(windows)

    def _find(self, window: Tensor, pair: tuple[int, int]) -> Spikes:
        settings = self._settings
        rules = SpikeRules(
            sensitivity=settings.sensitivity,
            agreement=settings.agreement,
            reach_px=settings.protect * window.shape[-2],
            largest_share=settings.largest,
            grow_px=settings.grow_px,
        )
        centre, one, other = (_luma(window[_RADIUS + step]) for step in (0, *pair))
        return find_spikes(centre, (one, other), pair, rules)

    def _cleaned(self, window: Tensor) -> Tensor:
        out = window[_RADIUS].clone()
        pair = _neighbours(window)
        if pair is None:
            return out
        found = self._find(window, pair)
        self._seen_px += found.mask.size
        self._marked_px += int(found.mask.sum())
        if found.mask.any():
            _repair(out, [window[_RADIUS + step] for step in pair], found)
        return out


def _neighbours(window: Tensor) -> tuple[int, int] | None:
    """Places of the two frames to compare with, in frames from the centre.

    At the ends of a shot the engine repeats a frame: there both come from the other side. None
    where there are not two.
    """
    centre = window[_RADIUS]
    past = [step for step in (-1, -2) if not torch.equal(window[_RADIUS + step], centre)]
    future = [step for step in (1, 2) if not torch.equal(window[_RADIUS + step], centre)]
    if past and future:
        return past[0], future[0]
    for side in (past, future):
        if len(side) == 2 and not torch.equal(*(window[_RADIUS + step] for step in side)):
            return side[0], side[1]
    return None


def _luma(frame: Tensor) -> Plane:
    red, green, blue = frame.unbind(0)
    return ((red + green + blue) / 3).cpu().numpy()


def _repair(out: Tensor, neighbours: list[Tensor], found: Spikes) -> None:
    """Fill the marked pixels of ``[3, h, w]`` in place."""
    rows, columns = np.nonzero(found.mask)
    weights = _weights(_luma(out), found)[:, rows, columns]
    fill = torch.zeros(3, len(rows), device=out.device)
    for picture, flow, level, weight in zip(
        neighbours, found.flows, found.levels, weights, strict=True
    ):
        points = np.stack([columns, rows], 1) + flow[rows, columns]
        values = sample(picture, torch.from_numpy(points.astype(np.float32)).to(out), "bicubic")
        shift = torch.from_numpy(level[rows, columns]).to(out)
        fill += (values + shift) * torch.from_numpy(weight).to(out)
    at = torch.from_numpy(rows).to(out.device), torch.from_numpy(columns).to(out.device)
    out[:, at[0], at[1]] = fill


def _weights(centre: Plane, found: Spikes) -> NDArray[np.float32]:
    """How much each neighbour is worth, ``[2, h, w]`` with sum 1.

    A neighbour counts by how well it fits about the mark. Where the two differ by more than the
    noise, one of them is dirty or hidden itself: there the one counts that is nearer to what the
    frame's own surroundings let expect.
    """
    known = ~found.mask
    expected = filled(centre, found.mask)
    share = _blur(known.astype(np.float32))
    misfit, doubt = [], []
    for moved in found.moved:
        error = np.square(centre - moved) * known
        misfit.append(_blur(error) / np.maximum(share, 1e-3))
        doubt.append(np.square(expected - moved))
    floor = np.float32(found.noise**2)
    apart = np.square(found.moved[0] - found.moved[1]) > 16 * floor
    costs = np.stack(
        [m + np.where(apart, d, 0) + floor for m, d in zip(misfit, doubt, strict=True)]
    )
    worth = 1 / np.where(apart, np.square(costs), costs)
    return np.asarray(worth / worth.sum(0), np.float32)


def _blur(plane: Plane) -> Plane:
    import cv2

    side = 2 * _FIT_PX + 1
    out: Plane = cv2.blur(plane, (side, side))
    return out
