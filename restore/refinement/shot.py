"""A shot that is painted over frame by frame and stays one shot."""

from __future__ import annotations

import torch
from torch import Tensor

from restore.frames import Frame
from restore.refinement.carry import motion_back, steadied
from restore.refinement.colour import ShotColours, coarse_kept
from restore.refinement.gate import Gate, GateTally
from restore.refinement.noise import SceneNoise
from restore.refinement.painter import Painter

__all__ = ["RefinedShot"]


class RefinedShot:
    """What is carried through one shot.

    Args:
        painter: placed.
        gate: what every frame goes through in the end.
        tally: of the shot.
        first: the shot's first frame.
        seed: of the shot's noise.
        steadiness: share of the frame before where it is trusted; None paints every frame by
            itself, from noise of its own.
        levels: of the wavelet transform whose low band stays the source's; 0 for none.
    """

    def __init__(
        self,
        painter: Painter,
        gate: Gate,
        tally: GateTally,
        first: Frame,
        seed: int,
        steadiness: float | None,
        levels: int,
    ) -> None:
        self.number = first.shot
        self.size = first.data.shape[-2:]
        self._painter = painter
        self._gate = gate
        self._tally = tally
        self._steadiness = steadiness
        self._levels = levels
        self._seed = seed
        self._noise: SceneNoise | None = None
        self._colours = ShotColours()
        self._before: tuple[Tensor, Tensor] | None = None

    @torch.inference_mode()
    def next(self, frame: Frame, seed: int) -> Tensor:
        """The shot's next frame, painted over: ``[3, h, w]``.

        Args:
            frame: in order, the first one included.
            seed: of this frame.
        """
        source = frame.data
        steady = self._steadiness
        motion = None
        if steady is not None and self._before is not None:
            motion = motion_back(self._before[0], source)
        # What schedulers draw at their steps, if anything, is the same in all of the shot.
        own = seed if steady is None else self._seed
        if self._noise is None or steady is None:
            size = self._painter.latent_size(*self.size)
            self._noise = SceneNoise(self._painter.channels, size, self._painter.cell_px, own)
            noise = self._noise.first()
        elif motion is None:
            noise = self._noise.first()
        else:
            noise = self._noise.moved(motion.flow, motion.hidden)
        painted = self._painter.painted(source, noise, own)
        if frame.is_gray:
            painted = painted.mean(0, keepdim=True).expand_as(painted)
        painted = self._colours.matched(painted, source)
        if motion is not None and self._before is not None and steady is not None:
            painted = steadied(painted, self._before[1], motion, steady)
        if self._levels:
            painted = coarse_kept(painted, source, self._levels)
        given = self._gate.held(source, painted, self._tally, frame.index)
        self._before = (source, given)
        return given
