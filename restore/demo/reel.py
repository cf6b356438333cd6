"""The demonstration's film: photographs filmed, put through a worn reel, scanned and compressed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from skimage import data

from restore.degrade.film import Compression, FilmDamage, degrade
from restore.degrade.scene import moving_clip
from restore.errors import InvalidInput

__all__ = ["DOWNSCALE", "RATE", "Reel", "make_reel"]

RATE: Final = Fraction(24)
DOWNSCALE: Final = 4
_TRUTH_PX = (384, 512)
# Photographs that the networks of this package were not trained on.
_PHOTOS = ("astronaut", "coffee", "rocket")
_SCAN_HEIGHT_PX = 400
_JPEG_QUALITY = 85

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Reel:
    """A degraded clip with what is true of it; R'G'B' 0..1 throughout.

    Attributes:
        frames: ``[T, h, w, 3]`` float32: what a scanner would deliver.
        truth: ``[T, H, W, 3]`` float32: the clean clip.
        target: the same with the reel's weave, fading and flicker, but sharp and clean: the best
            that stages which look at one frame at a time can reach.
        shots: the first frame of each shot.
        parameters: what makes the same reel again.
    """

    frames: Array
    truth: Array
    target: Array
    shots: tuple[int, ...]
    parameters: Mapping[str, Any]


def make_reel(frames: int, seed: int) -> Reel:
    """Film one shot of each photograph and wear the reel.

    Each shot pans and zooms; then come the gate's weave, faded dyes, flicker, grain, dust, hair,
    scratches, a scan at a quarter of the size, sharpening and a JPEG generation.

    Args:
        frames: of the whole reel, at least one for each shot.
        seed: the same seed gives the same reel.

    Raises:
        InvalidInput: fewer frames than shots.
    """
    if frames < len(_PHOTOS):
        raise InvalidInput(f"{frames} frames", f"{len(_PHOTOS)} or more, one for each shot")
    shots = tuple(frames * number // len(_PHOTOS) for number in range(len(_PHOTOS)))
    stops = (*shots[1:], frames)
    clean = np.concatenate(
        [
            moving_clip(getattr(data, name)(), stop - start, _TRUTH_PX, seed + number)
            for number, (name, start, stop) in enumerate(zip(_PHOTOS, shots, stops, strict=True))
        ]
    )
    usual = FilmDamage.preset(
        "16mm", "medium", seed, downscale=DOWNSCALE, scan_height_px=_SCAN_HEIGHT_PX
    )
    damage = replace(
        usual,
        # Frames this small would show less than one speck each at the preset's density.
        dirt=replace(usual.dirt, dust_per_mpx=120.0, dust_px=1.0, hairs=0.3, scratches=1),
        compressions=(Compression("jpeg", _JPEG_QUALITY),),
    )
    worn = degrade(clean, damage)
    return Reel(worn.frames, worn.truth, worn.target, shots, worn.parameters)
