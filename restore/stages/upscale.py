"""Super-resolution, of single frames or with their neighbours beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from restore.engine.stage import StageSpec, Tiling
from restore.errors import InvalidInput, UnsupportedModel
from restore.models.choose import choose_model
from restore.models.load import denoise_blend, load_model
from restore.models.windowed import ARCHITECTURE, is_windowed, load_window_model
from restore.refinement.gate import TILE_PX, Gate, GateTally
from restore.stages import StageContext
from restore.stages.network import Network
from restore.stages.window_network import WindowNetwork

__all__ = ["Upscale"]

_HAS_TWIN = "realesr-general-x4v3"


class Upscale:
    """A network that makes frames larger by a whole factor, most often 4.

    Some models look at one frame, some at a window of frames: those are aligned by optical flow
    first. Windows never cross a cut.
    """

    class Settings(BaseModel):
        """Settings of the stage; ``denoise_strength`` is for realesr-general-x4v3 alone.

        ``invent``: how far the result, reduced again, may be from the source, 0..1, see
        :func:`restore.refinement.gate.tolerance_of`. Where None, a vivid look is let go as far as
        1 says, and a faithful one is not asked.
        """

        model_config = ConfigDict(extra="forbid", frozen=True)

        model: str | None = None
        scale: int = Field(default=4, ge=2, le=8)
        denoise_strength: float | None = Field(default=None, ge=0, le=1)
        invent: float | None = Field(default=None, ge=0, le=1)

    def __init__(self, network: Network | WindowNetwork, invent: float | None = None) -> None:
        self._network = network
        self._invent = invent
        self._gate = None if invent is None else Gate(int(network.spec.scale), invent)
        self._tally = GateTally()
        self.spec = network.spec if self._gate is None else _gated(network.spec)

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
        name, note = settings.model, ""
        if name is None:
            choice = choose_model(
                "upscale", settings.scale, context.store, context.quality, context.look
            )
            name, note = choice.name, choice.reason
        invent = settings.invent
        entry = context.store.catalog.find(name)
        if invent is None and entry is not None and entry.look == "vivid":
            invent = 1.0
        if is_windowed(name, context.store):
            return cls(_windowed(name, note, context), invent)
        model = load_model(name, store=context.store, blend=blend)
        if model.scale < 2:
            raise UnsupportedModel(
                f"model {model.name} of scale {model.scale} for stage 'upscale'",
                "a model that makes frames larger",
            )
        return cls(Network("upscale", model, note, context.backend), invent)

    def facts(self) -> Mapping[str, str]:
        """The network's facts, and what the gate let through and pulled back."""
        facts = dict(self._network.facts())
        if self._gate is not None:
            facts["gate"] = str(self._gate)
        if self._tally.frames:
            facts["invented"] = str(self._tally)
        return facts

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """Bring the network to a device."""
        self._network.place(device, dtype)

    def plain(self) -> Upscale:
        """The same by torch alone, gate included, whose memory can be counted."""
        network = self._network
        if not isinstance(network, Network):
            return self
        return Upscale(network.plain(), self._invent)

    def run(self, windows: Tensor, seeds: Sequence[int]) -> Tensor:
        """``[N, T, 3, h, w]`` to ``[N, 3, h * scale, w * scale]``."""
        found = self._network.run(windows, seeds)
        if self._gate is None:
            return found
        centres = windows[:, self.spec.radius_past].clamp(0, 1)
        pairs = zip(centres, found, strict=True)
        return torch.stack([self._gate.held(one, out, self._tally) for one, out in pairs])


def _gated(spec: StageSpec) -> StageSpec:
    """The facts of a network whose result is pulled back where it goes too far.

    Tiles begin where the gate's do. How far a correction reaches depends on the picture, so that
    tiles are feathered.
    """
    return replace(
        spec,
        halo_px=spec.halo_px + 2 * TILE_PX,
        multiple_of=math.lcm(spec.multiple_of, TILE_PX),
        repeats=False,  # what the gate let through is counted frame by frame
        tiling=Tiling.NEVER if spec.tiling is Tiling.NEVER else Tiling.APPROXIMATE,
    )


def _windowed(name: str, note: str, context: StageContext) -> WindowNetwork:
    """The network over several frames, and the embedded one for frames that are alone."""
    model = load_window_model(name, context.store)
    ranked = context.store.catalog.ranked("upscale", model.scale)
    shipped = [e for e in ranked if e.embedded and e.look in ("", context.look)]
    alone = [e.name for e in shipped if e.architecture != ARCHITECTURE]
    if not alone:
        raise UnsupportedModel(
            f"model {model.name} of scale {model.scale}, for which no single-frame model ships",
            "a scale that one ships for: frames without neighbours need it",
        )
    single = load_model(alone[0], store=context.store)
    return WindowNetwork("upscale", model, single, note, context.backend)
