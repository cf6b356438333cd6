"""Distillation: targets made by a published network in place of the photographs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from restore.degrade.optics import sharpen
from restore.errors import InvalidInput
from restore.models.load import denoise_blend, load_model

if TYPE_CHECKING:
    from restore.models.loaded import LoadedModel

__all__ = ["Teacher", "crisper", "taught"]

Picture = NDArray[np.uint8]
MARGIN_PX = 12  # mirrored about a tile, so that the teacher sees no black border
TILES_A_CALL = 8
SHARPEN_SIGMA_PX = 1.5


class Teacher:
    """A published network by its name in the catalogue, from the user's own store of models.

    Args:
        name: such as ``realesr-general-x4v3``; must be there (``restore models pull``).
        denoise: 0..1 for the one with a weak-denoise twin, 1 for any other.

    Raises:
        ModelError: the network or its twin is not on this machine.
    """

    def __init__(self, name: str, denoise: float) -> None:
        blend = denoise_blend(denoise) if denoise < 1.0 else None
        self.model: LoadedModel = load_model(name, blend=blend)

    def __call__(self, low: Picture) -> Picture:
        """``[N, t, t, 3]`` to ``[N, t * s, t * s, 3]``, uint8 R'G'B'."""
        m, s = MARGIN_PX, self.model.scale
        wide = np.pad(low, ((0, 0), (m, m), (m, m), (0, 0)), mode="reflect")
        planes = torch.from_numpy(np.ascontiguousarray(wide.transpose(0, 3, 1, 2)))
        with torch.inference_mode():
            out = self.model(planes.float() / 255.0).clamp(0, 1)
        high = (out[..., m * s : -m * s, m * s : -m * s] * 255.0).round().byte().numpy()
        return np.ascontiguousarray(high.transpose(0, 2, 3, 1))


def taught(low: Picture, scale: int, name: str, denoise: float, sharpening: float) -> Picture:
    """The targets that a teacher gives inputs ``[N, t, t, 3]``, sharpened by so much.

    Raises:
        InvalidInput: the teacher is of another scale.
        ModelError: it is not on this machine.
    """
    teacher = Teacher(name, denoise)
    if teacher.model.scale != scale:
        raise InvalidInput(
            f"the teacher {name} of scale {teacher.model.scale}", f"one of scale {scale}"
        )
    parts = [teacher(low[at : at + TILES_A_CALL]) for at in range(0, len(low), TILES_A_CALL)]
    return crisper(np.concatenate(parts), sharpening)


def crisper(pictures: Picture, amount: float) -> Picture:
    """Pictures ``[N, h, w, 3]`` uint8 after unsharp masking; as they are for an amount of 0."""
    if amount <= 0.0:
        return pictures
    sharp = [sharpen(p.astype(np.float32), amount, SHARPEN_SIGMA_PX) for p in pictures]
    return np.clip(np.rint(np.stack(sharp)), 0, 255).astype(np.uint8)
