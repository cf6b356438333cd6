"""Remove compression artifacts at the clip's own size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from restore.errors import UnsupportedModel
from restore.stages import StageContext
from restore.stages.network import Network, load_for

__all__ = ["Deartifact"]


class Deartifact:
    """A 1x network that takes blocks, ringing and mosquito noise out.

    What it changed can be taken back in part: ``strength`` mixes its result with its input.
    """

    class Settings(BaseModel):
        """Settings of the stage."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        model: str | None = None
        strength: float = Field(default=1.0, ge=0, le=1)

    def __init__(self, network: Network, strength: float) -> None:
        self._network = network
        self._strength = strength
        self.spec = network.spec

    @classmethod
    def build(cls, settings: Settings, context: StageContext) -> Self:
        """Load the network.

        Raises:
            ModelError: the model is missing, damaged or not 1x.
        """
        model, note = load_for("deartifact", settings.model, context, scale=1)
        if model.scale != 1:
            raise UnsupportedModel(
                f"model {model.name} of scale {model.scale} for stage 'deartifact'", "a 1x model"
            )
        return cls(Network("deartifact", model, note, context.backend), settings.strength)

    def facts(self) -> Mapping[str, str]:
        """The network's facts and the strength."""
        return {**self._network.facts(), "strength": f"{self._strength:g}"}

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """Bring the network to a device."""
        self._network.place(device, dtype)

    def plain(self) -> Network:
        """The same by torch alone, whose memory can be counted."""
        return self._network.plain()

    def run(self, windows: Tensor, seeds: Sequence[int]) -> Tensor:
        """``[N, 1, 3, h, w]`` to ``[N, 3, h, w]``."""
        cleaned = self._network.run(windows, seeds)
        return (
            cleaned if self._strength == 1 else torch.lerp(windows[:, 0], cleaned, self._strength)
        )
