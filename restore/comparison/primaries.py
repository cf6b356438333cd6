"""R'G'B' of one colour description brought to another."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from restore.color import ColorSpec, Primaries
from restore.engine.space import WorkingSpace, from_space, to_space
from restore.errors import UnsupportedMedia

__all__ = ["converted"]

Doubles = NDArray[np.float64]

_D65: Final = (0.3127, 0.3290)
# Chromaticities of red, green and blue (H.273, table 2); all with white D65.
_SETS: Final = {
    Primaries.BT709: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    Primaries.BT470BG: ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060)),
    Primaries.SMPTE170M: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    Primaries.SMPTE240M: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    Primaries.BT2020: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    Primaries.SMPTE432: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}


def converted(data: Tensor, source: ColorSpec, target: ColorSpec) -> Tensor:
    """Bring a picture to another transfer and other primaries, through linear light.

    Args:
        data: ``[3, h, w]`` float32 R'G'B' as ``source`` says.
        source: nothing unspecified.
        target: nothing unspecified; both high dynamic range or neither.

    Returns:
        ``[3, h, w]`` float32 R'G'B' as ``target`` says, not clipped; the same where they agree.

    Raises:
        UnsupportedMedia: one is high dynamic range and the other is not, which takes tone mapping;
            or primaries whose white is not D65.
    """
    if (source.primaries, source.transfer) == (target.primaries, target.transfer):
        return data
    if source.is_hdr != target.is_hdr:
        raise UnsupportedMedia(
            f"pictures with transfer {source.transfer.name} and {target.transfer.name}",
            "both high dynamic range or neither",
            "Tone-map one of them first: there is no one right way to.",
        )
    light = to_space(data, WorkingSpace.LINEAR, source)
    if source.primaries is not target.primaries:
        matrix = np.linalg.inv(_to_xyz(target.primaries)) @ _to_xyz(source.primaries)
        light = (light.new_tensor(matrix.tolist()) @ light.flatten(1)).reshape(light.shape)
    return from_space(light, WorkingSpace.LINEAR, target)


@lru_cache(maxsize=8)
def _to_xyz(primaries: Primaries) -> Doubles:
    """Linear R, G, B to CIE X, Y, Z (SMPTE RP 177)."""
    if primaries not in _SETS:
        raise UnsupportedMedia(
            f"primaries {primaries.name}", f"one of {', '.join(known.name for known in _SETS)}"
        )
    columns = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in _SETS[primaries]]).T
    x, y = _D65
    white = np.array([x / y, 1.0, (1 - x - y) / y])
    return np.asarray(columns * np.linalg.solve(columns, white))
