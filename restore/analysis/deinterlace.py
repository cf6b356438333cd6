"""Whole pictures from fields, with the missing lines fetched along motion.

Each field's missing lines are guessed five times: from the lines above and below, from the
picture made of the field before, and from the field after, both brought along dense optical flow by
a coarse and by a fine search: the one holds in grain and weave, the other on what is small. How far
each guess is off is measured where the truth is known, on the field's own lines, and the guesses
are mixed by that: a motion-compensated deinterlacer in the sense of G. de Haan and E. Bellers,
"Deinterlacing - an overview", Proceedings of the IEEE, 1998, with the recursion of its section V.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from restore.motion.flow import Effort, optical_flow
from restore.motion.warp import warp

__all__ = ["Field", "deinterlaced", "interpolated", "split"]

# Interpolation over twice the distance is this much worse than over the missing line itself, and it
# is one guess against four.
_SPATIAL_SHARE: Final = 0.6
_NOISE: Final = 0.004
_AROUND: Final = 5


@dataclass(frozen=True, eq=False)
class Field:
    """One field.

    Attributes:
        lines: ``[3, rows, w]`` R'G'B'.
        first_row: 0 for a top field, 1 for a bottom field.
        height_px: of the whole picture.
        begins: nothing before it belongs to it (a cut).
    """

    lines: Tensor
    first_row: int
    height_px: int
    begins: bool = False


def split(data: Tensor, *, top_first: bool, begins: bool = False) -> tuple[Field, Field]:
    """Both fields of ``[3, h, w]``, the earlier one first."""
    order = (0, 1) if top_first else (1, 0)
    height = data.shape[-2]
    return (
        Field(data[:, order[0] :: 2], order[0], height, begins),
        Field(data[:, order[1] :: 2], order[1], height),
    )


def deinterlaced(fields: Iterable[Field]) -> Iterator[Tensor]:
    """A picture ``[3, h, w]`` for each field, one field late; known lines stay as they are."""
    made: Tensor | None = None
    held: tuple[Field, Tensor] | None = None
    for field in fields:
        plain = interpolated(field)
        if held is not None:
            made = _picture(held, made, None if field.begins else plain)
            yield made
        if field.begins:
            made = None
        held = field, plain
    if held is not None:
        yield _picture(held, made, None)


def interpolated(field: Field) -> Tensor:
    """``[3, h, w]`` with missing lines from the four nearest ones, (-1, 9, 9, -1) / 16."""
    known = field.lines
    rows = torch.arange(1 - field.first_row, field.height_px, 2, device=known.device)
    last = known.shape[1] - 1

    def at(offset: int) -> Tensor:
        place = torch.div(rows + offset - field.first_row, 2, rounding_mode="floor")
        return known[:, place.clamp(0, last)]

    out = known.new_empty(known.shape[0], field.height_px, known.shape[2])
    out[:, field.first_row :: 2] = known
    out[:, 1 - field.first_row :: 2] = (9 * (at(-1) + at(1)) - at(-3) - at(3)) / 16
    return out


def _picture(held: tuple[Field, Tensor], before: Tensor | None, after: Tensor | None) -> Tensor:
    field, plain = held
    guesses = [plain]
    trust = [_trust(_spatial_error(field), field) / _SPATIAL_SHARE**4]
    for other in (before, after):
        if other is None:
            continue
        for effort in (Effort.FAST, Effort.MEDIUM):
            flow = optical_flow(plain[None], other[None], effort)
            found = warp(other[None], flow, "bicubic")[0]
            guesses.append(found)
            error = (found[:, field.first_row :: 2] - field.lines).abs().mean(0)
            trust.append(_trust(error, field))
    weights = torch.stack(trust)
    mixed = (weights[:, None] * torch.stack(guesses)).sum(0) / weights.sum(0)
    mixed[:, field.first_row :: 2] = field.lines
    return mixed


def _spatial_error(field: Field) -> Tensor:
    """What the field's own lines miss when each is made from its neighbours."""
    lines = field.lines
    wide = torch.cat([lines[:, :1], lines, lines[:, -1:]], 1)
    return (lines - (wide[:, :-2] + wide[:, 2:]) / 2).abs().mean(0)


def _trust(error: Tensor, field: Field) -> Tensor:
    """Weight of a guess everywhere, from its error ``[rows, w]`` on the known lines."""
    whole = error.new_zeros(2, field.height_px, error.shape[1])
    whole[0, field.first_row :: 2] = error
    whole[1, field.first_row :: 2] = 1
    for _ in range(2):  # twice a box: nearly a bell
        whole = F.avg_pool2d(whole, _AROUND, 1, _AROUND // 2)
    return ((whole[0] / whole[1].clamp(min=1e-6)).square() + _NOISE**2) ** -2
