"""How near a clip comes to the truth: PSNR and SSIM, and what each stage did to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from restore.degrade.resize import resize
from restore.errors import InvalidInput

__all__ = ["Score", "changes", "enlarged", "score"]

_LUMA: Final = np.array([0.2126, 0.7152, 0.0722], np.float32)
# Below these a difference is the rounding of the last digit shown, not a change.
_PSNR_STEP_DB = 0.005
_SSIM_STEP = 0.0005

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Score:
    """A clip against two references, means over its frames.

    Attributes:
        name: which clip.
        psnr_db: against the sharp and clean clip with the reel's weave, fading and flicker.
        ssim: against the same.
        truth_psnr_db: against the clean clip.
        truth_ssim: against the clean clip.
    """

    name: str
    psnr_db: float
    ssim: float
    truth_psnr_db: float
    truth_ssim: float

    def verdict(self, before: Score) -> str:
        """``better``, ``worse``, ``mixed`` or ``as before``, by PSNR and SSIM."""
        gain = self.psnr_db - before.psnr_db
        likeness = self.ssim - before.ssim
        up = gain > _PSNR_STEP_DB or likeness > _SSIM_STEP
        down = gain < -_PSNR_STEP_DB or likeness < -_SSIM_STEP
        if up and down:
            return "mixed"
        return "better" if up else "worse" if down else "as before"


def enlarged(clip: Array, size_px: tuple[int, int]) -> Array:
    """A clip ``[T, h, w, 3]`` brought to ``(height, width)`` by Lanczos, clipped to 0..1."""
    if clip.shape[1:3] == size_px:
        return np.clip(clip, 0.0, 1.0)
    return np.clip(resize(clip, size_px, "lanczos3"), 0.0, 1.0)


def score(name: str, clip: Array, target: Array, truth: Array) -> Score:
    """Compare a clip with its references, enlarged to their size by Lanczos where it is smaller.

    Both are taken over BT.709 luma, as the super-resolution literature does: PSNR with a peak of 1,
    SSIM (Wang, Bovik, Sheikh, Simoncelli, 2004) with the Gaussian window of the paper.

    Args:
        name: which clip.
        clip: ``[T, h, w, 3]`` R'G'B' 0..1.
        target: ``[T, H, W, 3]``.
        truth: ``[T, H, W, 3]``.

    Raises:
        InvalidInput: another number of frames.
    """
    if len(clip) != len(target) or target.shape != truth.shape:
        raise InvalidInput(f"{len(clip)} frames against {len(target)}", "the same number")
    whole = enlarged(clip, (target.shape[1], target.shape[2])) @ _LUMA
    means = [
        float(mean)
        for reference in (target @ _LUMA, truth @ _LUMA)
        for mean in np.mean([_one(a, b) for a, b in zip(whole, reference, strict=True)], axis=0)
    ]
    return Score(name, *means)


def _one(luma: Array, reference: Array) -> tuple[float, float]:
    psnr = peak_signal_noise_ratio(reference, luma, data_range=1.0)  # type: ignore[no-untyped-call]
    ssim = structural_similarity(  # type: ignore[no-untyped-call]
        reference,
        luma,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return float(psnr), float(ssim)


def changes(scores: Sequence[Score]) -> tuple[str, ...]:
    """What each clip after the first did against the one before."""
    return tuple(after.verdict(before) for before, after in pairwise(scores))
