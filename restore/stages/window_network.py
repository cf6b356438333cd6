"""A network over several frames as a stage uses it; not a stage itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import torch
from torch import Tensor

from restore.backend import backend_version
from restore.engine.stage import StageSpec, Tiling
from restore.models.loaded import LoadedModel
from restore.models.place import placed
from restore.models.windowed import WindowModel, in_strips
from restore.motion.aligned import align

__all__ = ["WindowNetwork"]


class WindowNetwork:
    """A network over a window of aligned frames, with a single-frame one for frames that are alone.

    A still, or a shot of one frame, has no neighbours to be aligned: there the single-frame network
    is the better one. At a shot's ends the frames that are there are used.

    Args:
        stage: the stage's name.
        model: as loaded, float32 on the CPU.
        alone: single-frame network of the same scale, as loaded, that can be run in strips.
        note: how the model was chosen, for the report; may be empty.
        backend: what was asked for; torch computes here whatever it is.
    """

    def __init__(
        self,
        stage: str,
        model: WindowModel,
        alone: LoadedModel,
        note: str = "",
        backend: str = "torch",
    ) -> None:
        self._note = note
        self._backend = backend
        self._exact, self._exact_alone = model, alone
        self._placed, self._placed_alone = model, alone
        self._side = model.frames // 2
        self._frames = self._lone = 0
        self._trust = 0.0
        self.spec = StageSpec(
            name=stage,
            radius_past=self._side,
            radius_future=self._side,
            scale=Fraction(model.scale),
            # Flow wants whole frames; the networks run in strips of their own.
            tiling=Tiling.NEVER,
            dtypes=tuple(getattr(torch, name) for name in model.dtypes if name in alone.dtypes),
            repeats=True,
        )

    def facts(self) -> Mapping[str, str]:
        """Both networks, and how many frames a pixel was made of."""
        model, alone = self._placed, self._placed_alone
        parts = (model.part, *alone.parts)
        facts = {
            "model": model.name,
            "architecture": f"WindowCompact, {model.frames} frames aligned by optical flow",
            "sha256": "+".join(part.sha256 for part in parts),
            "licence": " + ".join(dict.fromkeys(part.licence for part in parts)),
            "attribution": "; ".join(dict.fromkeys(p.attribution for p in parts if p.attribution)),
            "frames that are alone": f"{alone.name}, used for {self._lone}",
        }
        if self._frames:
            facts["aligned"] = f"{1 + self._trust / self._frames:.1f} frames for each pixel"
        if self._backend not in ("auto", "torch"):
            facts["backend"] = backend_version("torch")
            facts["backend note"] = "networks over several frames are computed by torch"
        if self._note:
            facts["chosen"] = self._note
        if alone.dtype_note:
            facts["precision note"] = alone.dtype_note
        return facts

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """Bring both networks to a device; the exact weights stay behind for the next move."""
        self._placed = self._exact.placed(device, dtype)
        self._placed_alone = placed(self._exact_alone, device, dtype)

    def run(self, windows: Tensor, seeds: Sequence[int]) -> Tensor:
        """``[N, T, 3, h, w]`` to ``[N, 3, h * scale, w * scale]``; input clamped to 0..1."""
        return torch.stack([self._enlarged(window) for window in windows.clamp(0, 1)])

    def _enlarged(self, window: Tensor) -> Tensor:
        centre = window[self._side]
        if all(torch.equal(centre, frame) for frame in window):
            self._lone += 1
            alone = self._placed_alone
            return in_strips(lambda x: alone(x[None])[0], centre, alone.halo_px)
        aligned = align(list(window), self._side)
        self._frames += 1
        self._trust += float(aligned.trust.sum(0).mean())
        return self._placed(torch.from_numpy(aligned.planes()).to(window.device))
