"""Dirt, hair and blotches, which are in one frame only, repaired from the frames beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from restore.engine.remember import Remembered
from restore.engine.stage import StageSpec, Tiling, stacked
from restore.engine.trace import Trace
from restore.motion.holes import filled
from restore.motion.spikes import Looked, Plane, SpikeRules, Spikes, find_spikes, looked_at
from restore.motion.warp import sample
from restore.stages import StageContext

__all__ = ["Dust"]

_RADIUS = 2
_FIT_PX = 12  # how far about a mark the neighbours are judged
_CELL_PX = 16  # pieces about marks are whole numbers of these; beyond it nothing is judged


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
        self._seen = Remembered(_looked, 2 * _RADIUS + 1)
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
        return stacked(
            [self.run_frames(w.unbind(), s) for w, s in zip(windows, seeds, strict=True)]
        )

    def run_frames(self, frames: Sequence[Tensor], seed: int) -> Tensor:
        """5 of ``[3, h, w]`` to ``[3, h, w]``."""
        centre = frames[_RADIUS]
        pair = _neighbours(frames)
        if pair is None:
            return centre
        found = self._find(frames, pair)
        self._seen_px += found.mask.size
        self._marked_px += int(found.mask.sum())
        if not found.mask.any():
            return centre
        out = centre.clone()
        seen = self._seen.of(centre).luma
        _repair(out, [frames[_RADIUS + step] for step in pair], seen, found)
        return out

    def mask(self, windows: Tensor) -> Tensor:
        """What :meth:`run` would repair.

        Args:
            windows: ``[N, 5, 3, h, w]``.

        Returns:
            ``[N, 1, h, w]`` float32, 1 on a mark and 0 elsewhere.
        """
        masks = []
        for window in windows:
            frames = window.unbind()
            pair = _neighbours(frames)
            found = self._find(frames, pair) if pair else None
            shape = window.shape[-2:]
            masks.append(
                torch.from_numpy(found.mask) if found else torch.zeros(shape, dtype=torch.bool)
            )
        return torch.stack(masks)[:, None].to(windows)

    def _find(self, frames: Sequence[Tensor], pair: tuple[int, int]) -> Spikes:
        settings = self._settings
        rules = SpikeRules(
            sensitivity=settings.sensitivity,
            agreement=settings.agreement,
            reach_px=settings.protect * frames[0].shape[-2],
            largest_share=settings.largest,
            grow_px=settings.grow_px,
        )
        centre, one, other = (self._seen.of(frames[_RADIUS + step]) for step in (0, *pair))
        return find_spikes(centre, (one, other), pair, rules)


def _neighbours(frames: Sequence[Tensor]) -> tuple[int, int] | None:
    """Places of the two frames to compare with, in frames from the centre.

    At the ends of a shot the engine repeats a frame: there both come from the other side. None
    where there are not two.
    """
    centre = frames[_RADIUS]
    past = [step for step in (-1, -2) if not _same(frames[_RADIUS + step], centre)]
    future = [step for step in (1, 2) if not _same(frames[_RADIUS + step], centre)]
    if past and future:
        return past[0], future[0]
    for side in (past, future):
        if len(side) == 2 and not _same(*(frames[_RADIUS + step] for step in side)):
            return side[0], side[1]
    return None


def _same(one: Tensor, other: Tensor) -> bool:
    return one is other or torch.equal(one, other)


def _looked(frame: Tensor) -> Looked:
    return looked_at(_luma(frame))


def _luma(frame: Tensor) -> Plane:
    red, green, blue = frame.unbind(0)
    return ((red + green + blue) / 3).cpu().numpy()


def _repair(out: Tensor, neighbours: list[Tensor], centre: Plane, found: Spikes) -> None:
    """Fill the marked pixels of ``[3, h, w]`` in place; ``centre`` is what was searched."""
    rows, columns = np.nonzero(found.mask)
    weights = _weights(centre, found, rows, columns)
    fill = torch.zeros(3, len(rows), device=out.device)
    for picture, at, level, weight in zip(
        neighbours, found.places, found.levels, weights, strict=True
    ):
        points = np.stack([plane[rows, columns] for plane in at], 1)
        values = sample(picture, torch.from_numpy(points).to(out), "bicubic")
        shift = torch.from_numpy(level[rows, columns]).to(out)
        fill += (values + shift) * torch.from_numpy(weight).to(out)
    place = torch.from_numpy(rows).to(out.device), torch.from_numpy(columns).to(out.device)
    out[:, place[0], place[1]] = fill


def _weights(
    centre: Plane, found: Spikes, rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> NDArray[np.float32]:
    """How much each neighbour is worth at the marked pixels, ``[2, P]`` with sum 1.

    In pieces about the marks, which cover little of a frame.
    """
    import cv2

    height, width = found.mask.shape
    cells = np.zeros((-(-height // _CELL_PX), -(-width // _CELL_PX)), np.uint8)
    cells[rows // _CELL_PX, columns // _CELL_PX] = 1
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(
        cv2.dilate(cells, np.ones((3, 3), np.uint8))
    )
    piece_of = labels[rows // _CELL_PX, columns // _CELL_PX]
    out = np.empty((2, len(rows)), np.float32)
    for number, (left, top, across, down) in enumerate(boxes[1:, :4] * _CELL_PX, 1):
        here = piece_of == number
        box = np.s_[top : top + down, left : left + across]
        moved = (found.moved[0][box], found.moved[1][box])
        worth = _worth(centre[box], moved, found.mask[box], np.float32(found.noise**2))
        out[:, here] = worth[:, rows[here] - top, columns[here] - left]
    return out


def _worth(
    centre: Plane, moved: tuple[Plane, Plane], mask: NDArray[np.bool_], floor: np.float32
) -> NDArray[np.float32]:
    """How much each neighbour is worth, ``[2, h, w]`` with sum 1.

    A neighbour counts by how well it fits about the mark. Where the two differ by more than the
    noise, one of them is dirty or hidden itself: there the one counts that is nearer to what the
    frame's own surroundings let expect.
    """
    known = ~mask
    expected = filled(centre, mask)
    share = _blur(known.astype(np.float32))
    misfit, doubt = [], []
    for plane in moved:
        error = np.square(centre - plane) * known
        misfit.append(_blur(error) / np.maximum(share, 1e-3))
        doubt.append(np.square(expected - plane))
    apart = np.square(moved[0] - moved[1]) > 16 * floor
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
