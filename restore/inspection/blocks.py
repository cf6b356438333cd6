"""How much a codec's grid of blocks shows."""

from __future__ import annotations

from typing import Final

import numpy as np
from torch import Tensor

from restore.analysis.pictures import luma_of

__all__ = ["blocking"]

_BLOCK_PX: Final = 8
_CAP: Final = 0.06  # a step beyond that is an edge of the scene
_LEAST: Final = 1e-5


def blocking(picture: Tensor) -> float:
    """By how much differences across block borders exceed those elsewhere.

    In the sense of Z. Wang, H. R. Sheikh and A. C. Bovik, "No-reference perceptual quality
    assessment of JPEG compressed images", 2002: mean differences of neighbouring columns (rows),
    for each of the eight phases that a grid can have; the strongest against the median.

    Args:
        picture: ``[3, h, w]`` R'G'B' 0..1 at its coded size.

    Returns:
        0 where no phase stands out; some 0.02 by chance, above 0.2 for visible blocks.
    """
    luma = luma_of(picture).clamp(0, 1).cpu().numpy()
    if min(luma.shape) < 4 * _BLOCK_PX:
        return 0.0
    rises = []
    for plane in (luma, luma.T):
        steps = np.minimum(np.abs(np.diff(plane, axis=1)), _CAP).mean(axis=0)
        count = len(steps) // _BLOCK_PX * _BLOCK_PX
        phases = steps[:count].reshape(-1, _BLOCK_PX).mean(axis=0)
        usual = max(float(np.median(phases)), _LEAST)
        rises.append(float(phases.max()) / usual - 1)
    return float(np.mean(rises))
