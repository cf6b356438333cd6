"""NIQE: how unlike natural pictures a picture is, without a reference (lower is better).

A. Mittal, R. Soundararajan, A. Bovik, "Making a 'completely blind' image quality analyzer", 2013.
The statistics of pristine pictures are a file of the test assets (``niqe_pris_params.npz``).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve
from scipy.special import gamma

from benchmarks.quality_metrics import luma
from restore.degrade.resize import resize

__all__ = ["Niqe"]

BLOCK_PX = 96
Real = NDArray[np.float64]


class Niqe:
    """The measure with its statistics loaded.

    Args:
        path: the ``.npz`` with ``mu_pris_param``, ``cov_pris_param`` and ``gaussian_window``.
    """

    def __init__(self, path: Path) -> None:
        with np.load(path) as file:
            self.mean = file["mu_pris_param"]
            self.covariance = file["cov_pris_param"]
            self.window = file["gaussian_window"]
        # Shapes 0.2 .. 10 and the moment ratio of each, to look a shape up by its ratio.
        self.shapes = np.arange(0.2, 10.001, 0.001)
        inverse = 1.0 / self.shapes
        self.ratios = gamma(2 * inverse) ** 2 / (gamma(inverse) * gamma(3 * inverse))

    def __call__(self, picture: NDArray[np.uint8]) -> float:
        """NIQE of ``[H, W, 3]`` uint8 R'G'B'; nan for pictures smaller than one block."""
        rows, columns = picture.shape[0] // BLOCK_PX, picture.shape[1] // BLOCK_PX
        if not rows or not columns:
            return float("nan")
        grey = np.round(luma(picture[: rows * BLOCK_PX, : columns * BLOCK_PX]))
        parts = []
        for scale in (1, 2):
            local = convolve(grey, self.window, mode="nearest")
            spread = np.sqrt(np.abs(convolve(grey**2, self.window, mode="nearest") - local**2))
            normal = (grey - local) / (spread + 1.0)
            side = BLOCK_PX // scale
            parts.append(
                [
                    self._features(normal[y * side : (y + 1) * side, x * side : (x + 1) * side])
                    for y in range(rows)
                    for x in range(columns)
                ]
            )
            if scale == 1:
                size = (grey.shape[0] // 2, grey.shape[1] // 2)
                half = resize((grey / 255.0)[..., None].astype(np.float32), size, "bicubic")
                grey = half[..., 0].astype(np.float64) * 255.0
        found = np.concatenate([np.array(part) for part in parts], axis=1)
        found = found[~np.isnan(found).any(axis=1)]
        if found.shape[0] < 2:
            return float("nan")
        away = self.mean.ravel() - found.mean(axis=0)
        both = np.linalg.pinv((self.covariance + np.cov(found, rowvar=False)) / 2)
        return float(np.sqrt(away @ both @ away))

    def _aggd(self, block: Real) -> tuple[float, float, float]:
        """Shape and the left and right scale of an asymmetric generalised Gaussian."""
        left = np.sqrt(np.mean(block[block < 0] ** 2)) if (block < 0).any() else 0.0
        right = np.sqrt(np.mean(block[block > 0] ** 2)) if (block > 0).any() else 0.0
        if not left or not right:
            return float("nan"), float("nan"), float("nan")
        lean = left / right
        moment = np.mean(np.abs(block)) ** 2 / np.mean(block**2)
        ratio = moment * (lean**3 + 1) * (lean + 1) / (lean**2 + 1) ** 2
        shape = float(self.shapes[np.argmin((self.ratios - ratio) ** 2)])
        factor = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
        return shape, float(left * factor), float(right * factor)

    def _features(self, block: Real) -> list[float]:
        shape, left, right = self._aggd(block)
        found = [shape, (left + right) / 2]
        for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
            shape, left, right = self._aggd(block * np.roll(block, shift, axis=(0, 1)))
            mean = (right - left) * gamma(2 / shape) / gamma(1 / shape)
            found += [shape, float(mean), left, right]
        return found
