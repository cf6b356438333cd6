"""Super-resolution of single frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from restore.errors import InvalidInput, UnsupportedModel
from restore.models.load import denoise_blend
from restore.stages import StageContext
from restore.stages.network import Network, load_for

__all__ = ["Upscale"]

_HAS_TWIN = "realesr-general-x4v3"


class Upscale:
    """A network that makes frames larger by a whole factor, most often 4."""

    class Settings(BaseModel):
        """Settings of the stage; ``denoise_strength`` is for realesr-general-x4v3 alone."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        model: str | None = None
        scale: int = Field(default=4, ge=2, le=8)
        denoise_strength: float | None = Field(default=None, ge=0, le=1)

    def __init__(self, network: Network) -> None:
        self._network = network
        self.spec = network.spec

    @classmethod
    def build(cls, settings: Settings, context: StageContext) -> Self:
        """Load the network.

        Raises:
            InvalidInput: a denoise strength for a model that has no weak-denoise twin.
            ModelError: the model is missing, damaged or does not make frames larger.
        """
        blend = None
        if settings.denoise_strength is not None:
            if settings.model != _HAS_TWIN:
                raise InvalidInput(
                    f"a denoise strength for model {settings.model or 'default'!r}",
                    f"{_HAS_TWIN}, which has a twin to interpolate with",
                    f"Use --model {_HAS_TWIN}.",
                )
            blend = denoise_blend(settings.denoise_strength)
        model, note = load_for("upscale", settings.model, context, settings.scale, blend)
        if model.scale < 2:
            raise UnsupportedModel(
                f"model {model.name} of scale {model.scale} for stage 'upscale'",
                "a model that makes frames larger",
            )
        return cls(Network("upscale", model, note))

    def facts(self) -> Mapping[str, str]:
        """The network's facts."""
        return self._network.facts()

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """Bring the network to a device."""
        self._network.place(device, dtype)

    def run(self, windows: Tensor, seeds: Sequence[int]) -> Tensor:
        """``[N, 1, 3, h, w]`` to ``[N, 3, h * scale, w * scale]``."""
        return self._network.run(windows, seeds)
