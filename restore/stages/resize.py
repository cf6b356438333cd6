"""Resample frames to another size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Self

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from restore.engine.stage import StageSpec, Tiling
from restore.stages import StageContext

__all__ = ["Resize"]

_LARGEST = 16


class Resize:
    """Cubic resampling with the kernel widened by the factor when making smaller.

    Keys, "Cubic convolution interpolation for digital image processing", 1981, with a = -0.5. Works
    on R'G'B' as it stands, as the networks around it do; overshoot is kept for the next stage and
    ends where samples are quantised.
    """

    class Settings(BaseModel):
        """Settings of the stage."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        scale: Fraction = Field(default=Fraction(1, 2), gt=0, le=_LARGEST)

    def __init__(self, scale: Fraction) -> None:
        self.spec = StageSpec(name="resize", scale=scale, tiling=Tiling.NEVER)

    @classmethod
    def build(cls, settings: Settings, context: StageContext) -> Self:
        """Make the stage."""
        return cls(settings.scale)

    def facts(self) -> Mapping[str, str]:
        """Factor and kernel."""
        return {"scale": str(self.spec.scale), "kernel": "cubic, a = -0.5"}

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """Holds no weights: nothing to bring."""

    def run(self, windows: Tensor, seeds: Sequence[int]) -> Tensor:
        """``[N, 1, 3, h, w]`` to ``[N, 3, h * scale, w * scale]``, rounded half up."""
        height, width = windows.shape[-2:]
        size = (self.spec.output_px(height), self.spec.output_px(width))
        return F.interpolate(windows[:, 0], size, mode="bicubic", antialias=True)
