"""Figures of merit: PSNR-Y, SSIM and the temporal warp error, as the literature defines them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

__all__ = ["luma", "pan_error", "psnr_y", "ssim_y"]

Picture = NDArray[np.uint8]


def luma(picture: Picture) -> NDArray[np.float64]:
    """BT.601 studio luma, 16..235, of ``[..., 3]`` uint8 R'G'B' - MATLAB's ``rgb2ycbcr``."""
    weights = np.array([65.481, 128.553, 24.966]) / 255.0
    return np.asarray(16.0 + picture.astype(np.float64) @ weights)


def _cut(picture: NDArray[np.float64], border_px: int) -> NDArray[np.float64]:
    return picture[border_px:-border_px, border_px:-border_px] if border_px else picture


def psnr_y(result: Picture, truth: Picture, border_px: int) -> float:
    """PSNR on luma in dB against a peak of 255, without ``border_px`` at each side."""
    difference = _cut(luma(result) - luma(truth), border_px)
    return float(10 * np.log10(255.0**2 / max(float(np.mean(difference**2)), 1e-12)))


def ssim_y(result: Picture, truth: Picture, border_px: int) -> float:
    """SSIM on luma: 11x11 Gaussian of sigma 1.5, population covariance (Wang et al., 2004)."""
    return float(
        structural_similarity(
            _cut(luma(result), border_px),
            _cut(luma(truth), border_px),
            data_range=255.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


def pan_error(frames: Picture, step_px: tuple[int, int], border_px: int) -> float:
    """Temporal warp error along a pan that is known exactly.

    Args:
        frames: ``[T, H, W, 3]`` uint8; the scene moves by whole pixels, so that frame t+1 at
            (y, x) shows what frame t showed at (y + down, x + across).
        step_px: (down, across) of the camera from one frame to the next.
        border_px: left out at each side.

    Returns:
        Root mean square difference of luma between frames along the motion, in code values; 0 for
        a perfectly steady picture.
    """
    total, count = 0.0, 0
    down, across = step_px
    height, width = frames.shape[1:3]
    for number in range(frames.shape[0] - 1):
        here = luma(frames[number])
        after = luma(frames[number + 1])
        y0, y1 = max(0, down), min(height, height + down)
        x0, x1 = max(0, across), min(width, width + across)
        difference = here[y0:y1, x0:x1] - after[y0 - down : y1 - down, x0 - across : x1 - across]
        inside = _cut(difference, border_px)
        total += float((inside**2).sum())
        count += inside.size
    return float(np.sqrt(total / max(count, 1)))
