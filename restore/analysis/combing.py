"""How the two fields of frames belong together in time.

Lines of two fields are woven and tested for combing: a line that differs from the lines above and
below it in the same direction is a tooth. Fields of one moment have no teeth but the scene's own;
the further apart two fields are in time, the more motion puts there. Noise adds the same to every
pair, so that only comparisons between pairs say anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from restore.analysis.pictures import averaged, luma_of
from restore.frames import Frame

__all__ = ["FieldMetrics", "Fields", "field_metrics", "fields_of"]

_ACROSS: Final = 4  # pixels averaged along a line: combing survives that, noise less

Fields = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class FieldMetrics:
    """Relations of a frame to the one before, in squared units of the full range.

    Attributes:
        own: combing of the frame itself.
        with_bottom: of its top field woven with the bottom field of the frame before.
        with_top: of its bottom field woven with the top field of the frame before.
        top_change: mean square difference between its top field and that of the frame before.
        bottom_change: the same of the bottom fields.
    """

    own: float
    with_bottom: float
    with_top: float
    top_change: float
    bottom_change: float


def fields_of(frame: Frame) -> Fields:
    """Top and bottom field of a frame's luma, ``[h // 2, about w / 4]`` each."""
    luma = luma_of(frame.data)
    step = min(_ACROSS, luma.shape[1])
    luma = averaged(luma, 1, step)
    rows = luma.shape[0] // 2 * 2
    return luma[0:rows:2], luma[1:rows:2]


def field_metrics(before: Fields, now: Fields) -> FieldMetrics:
    """Compare a frame's fields with each other and with those of the frame before.

    Args:
        before: fields of the frame before.
        now: the frame's own, of the same size and at least two lines each.
    """
    values = torch.stack(
        [
            _combing(now[0], now[1]),
            _combing(now[0], before[1]),
            _combing(before[0], now[1]),
            (now[0] - before[0]).square().mean(),
            (now[1] - before[1]).square().mean(),
        ]
    )
    return FieldMetrics(*values.tolist())


def _combing(top: Tensor, bottom: Tensor) -> Tensor:
    """Mean product of a line's differences to the lines above and below, where of one sign."""
    on_bottom = (top[:-1] - bottom[:-1]) * (top[1:] - bottom[:-1])
    on_top = (bottom[:-1] - top[1:]) * (bottom[1:] - top[1:])
    return on_bottom.clamp(min=0).mean() + on_top.clamp(min=0).mean()
