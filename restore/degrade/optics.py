"""What lenses and scanners do: blur, and the edge overshoot of a scanner's sharpening."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d  # type: ignore[attr-defined]

__all__ = ["blur", "sharpen"]

Array = NDArray[np.float32]


def blur(frame: Array, sigma_px: tuple[float, float]) -> Array:
    """Gaussian blur of ``[H, W, C]`` with its own sigma down and across, mirrored at the edges."""
    for axis, sigma in enumerate(sigma_px):
        if sigma > 0.05:
            frame = gaussian_filter1d(frame, sigma, axis=axis, mode="reflect", truncate=3.5)
    return frame


def sharpen(frame: Array, amount: float, sigma_px: float = 1.0) -> Array:
    """Unsharp masking: adds ``amount`` of what a blur of ``sigma_px`` takes away; not clipped."""
    if amount <= 0.0:
        return frame
    return frame + np.float32(amount) * (frame - blur(frame, (sigma_px, sigma_px)))
