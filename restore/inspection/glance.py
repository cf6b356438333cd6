"""The quick look that every frame gets: brightness, what changed, how its fields fit together."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from restore.analysis.combing import FieldMetrics, Fields, field_metrics, fields_of
from restore.analysis.pictures import half_luma, small_luma, small_rgb
from restore.frames import Frame

__all__ = ["SMALL_LONG_PX", "Glance", "Glancer"]

SMALL_LONG_PX: Final = 128
_BLACK: Final = 0.09  # R'G'B' that nearly nothing of a black frame passes
_NEARLY_ALL: Final = 99.5  # per cent


@dataclass(frozen=True, eq=False)
class Glance:
    """One frame at a glance.

    Attributes:
        index: source frame number.
        time_s: presentation time.
        luma: ``[72, 96]`` float32.
        small: ``[h, w, 3]`` float32 R'G'B', about 128 px on the long side.
        is_black: whether it shows nothing.
        difference: mean square difference of half-size luma to the frame before; None for the
            first.
        metrics: relation of its fields to those of the frame before; None for the first, and where
            frames are too low to have fields.
    """

    index: int
    time_s: Fraction
    luma: NDArray[np.float32]
    small: NDArray[np.float32]
    is_black: bool
    difference: float | None
    metrics: FieldMetrics | None


class Glancer:
    """Looks at frames in order; keeps the one before."""

    def __init__(self) -> None:
        self._before: tuple[Tensor, Fields | None] | None = None

    def look(self, frame: Frame) -> Glance:
        """Look at the next frame."""
        half = half_luma(frame)
        fields = fields_of(frame) if frame.data.shape[-2] >= 4 else None
        difference, metrics = None, None
        if self._before is not None:
            difference = float((half - self._before[0]).square().mean())
            if fields is not None and self._before[1] is not None:
                metrics = field_metrics(self._before[1], fields)
        self._before = half, fields
        luma = small_luma(frame)
        return Glance(
            index=frame.index,
            time_s=frame.pts * frame.time_base,
            luma=luma,
            small=small_rgb(frame.data, SMALL_LONG_PX),
            is_black=float(np.percentile(luma, _NEARLY_ALL)) < _BLACK,
            difference=difference,
            metrics=metrics,
        )
