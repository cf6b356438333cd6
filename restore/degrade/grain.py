"""Film grain: coloured noise in density, stronger where more silver or dye lies.

Granularity grows with the square root of density (Selwyn, 1935; Nutting, 1913); a grain field is
white noise given a clump size, one part common to all dye layers and one part of each layer's own.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d  # type: ignore[attr-defined]

from restore.degrade.seeds import generator

__all__ = ["add_grain", "grain_field"]

Array = NDArray[np.float32]
GAMMA: Final = 2.4  # display exponent: R'G'B' = transmittance ** (1 / GAMMA)
FOG: Final = 0.05  # density of clear film
# The blue-sensitive layer is the fastest and the grainiest one.
LAYERS: Final = np.array([0.95, 0.9, 1.25], dtype=np.float32)


def grain_field(shape: tuple[int, int, int], size_px: float, random: np.random.Generator) -> Array:
    """Noise of unit variance, ``[h, w, planes]``, with clumps of standard deviation ``size_px``."""
    field = random.standard_normal(shape, dtype=np.float32)
    if size_px < 0.2:
        return field
    for axis in (0, 1):
        field = gaussian_filter1d(field, size_px, axis=axis, mode="wrap", truncate=3.0)
    return np.asarray(field / field.std(), dtype=np.float32)


def add_grain(
    frame: Array,
    density_rms: float,
    size_px: float,
    correlation: float,
    key: tuple[int, int],
) -> Array:
    """Put grain on a frame.

    Args:
        frame: ``[h, w, 3]`` R'G'B', 0..1.
        density_rms: standard deviation of the density at density 1, per pixel.
        size_px: clump size as a Gaussian's standard deviation.
        correlation: 0 (each layer its own grain) .. 1 (silver: the same grain in all three).
        key: (seed, frame number).

    Returns:
        ``[h, w, 3]``, not clipped.
    """
    if density_rms <= 0.0:
        return frame
    field = grain_field((*frame.shape[:2], 4), size_px, generator(key[0], "grain", key[1]))
    common, own = field[..., 3:], field[..., :3]
    layers = 1.0 + (1.0 - correlation) * (LAYERS - 1.0)
    noise = (np.sqrt(correlation) * common + np.sqrt(1.0 - correlation) * own) * layers
    light = np.clip(frame, 1e-3, None)
    density = np.clip(-GAMMA * np.log10(light), 0.0, 3.0)
    swing = np.float32(density_rms) * noise * np.sqrt(density + FOG)
    return np.asarray(frame * np.exp(-swing * np.float32(np.log(10.0) / GAMMA)), dtype=np.float32)
