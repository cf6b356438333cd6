"""Makes grain anew from a profile, at any size, and puts it on frames."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restore.grain.profile import BLOCK_PX, LEVELS, GrainProfile

__all__ = ["GrainMaker"]

_STEPS: Final = 1024


class GrainMaker:
    """Grain of one profile for frames of one size.

    Noise is white at the size that the profile was learned at, is given the profile's spectrum and
    colour correlation in the frequency domain, and comes to the frame's size by filling up with
    zeros or cutting there: a clump keeps its size relative to the picture, and nothing finer than
    what the scan resolved is made up.

    Args:
        profile: of the grain.
        height_px: of the frames to be made.
        width_px: of the frames to be made.
        device: where they are.
    """

    def __init__(
        self, profile: GrainProfile, height_px: int, width_px: int, device: torch.device
    ) -> None:
        self._size = (height_px, width_px)
        self._base = (profile.height_px, profile.width_px)
        self._factors = _factors(profile, *self._base).to(device)
        at = (np.arange(LEVELS) + 0.5) / LEVELS
        steps = np.linspace(0, 1, _STEPS)
        curves = [np.interp(steps, [0.0, *at], [0.0, *row]) for row in profile.strength]
        self._curves = torch.tensor(np.stack(curves), dtype=torch.float32, device=device)

    def field(self, seed: int) -> Tensor:
        """Grain of strength 1, ``[3, h, w]`` float32; the same seed gives the same grain.

        The noise is drawn on the CPU, so every device starts from the same numbers.
        """
        generator = torch.Generator().manual_seed(seed)
        white = torch.randn(3, *self._base, generator=generator).to(self._factors.device)
        waves = torch.fft.rfft2(white)
        red, green, blue = waves
        f = self._factors
        shaped = torch.stack(
            [f[0] * red, f[1] * red + f[2] * green, f[3] * red + f[4] * green + f[5] * blue]
        )
        height, width = self._size
        if self._size != self._base:
            shaped = _resized(shaped, height, width)
            shaped *= height * width / (self._base[0] * self._base[1])
        field: Tensor = torch.fft.irfft2(shaped, s=self._size)
        return field

    def put_on(self, picture: Tensor, seed: int, amount: float = 1.0) -> Tensor:
        """A picture with grain.

        Args:
            picture: ``[3, h, w]`` float32 R'G'B', nominal 0..1, without grain of its own.
            seed: names the grain.
            amount: factor on its strength.

        Returns:
            ``[3, h, w]`` float32, not clipped.
        """
        place = (picture * (_STEPS - 1)).round_().clamp_(0, _STEPS - 1).int()
        grain = self.field(seed)
        for plane, curve, level in zip(grain, amount * self._curves, place, strict=True):
            plane *= curve.index_select(0, level.flatten()).view_as(plane)
        return grain.add_(picture)


def _factors(profile: GrainProfile, height: int, width: int) -> Tensor:
    """Lower triangles that turn white noise into grain, ``[6, h, w // 2 + 1]``."""
    ridge = np.eye(3) * 1e-6
    lower = np.linalg.cholesky(_positive(profile.spectrum) + ridge)
    rows, columns = np.tril_indices(3)
    planes = torch.tensor(lower[..., rows, columns].transpose(2, 0, 1), dtype=torch.float32)
    # Frequencies between the profile's: linear; the plane of frequencies wraps around down.
    down = torch.fft.fftfreq(height, dtype=torch.float64) * BLOCK_PX % BLOCK_PX
    across = torch.fft.rfftfreq(width, dtype=torch.float64) * BLOCK_PX
    planes = _between(planes, down, 1, wrap=True)
    planes = _between(planes, across, 2, wrap=False)
    return planes


def _between(planes: Tensor, places: Tensor, axis: int, *, wrap: bool) -> Tensor:
    count = planes.shape[axis]
    low = places.floor().long()
    part = (places - low).float()
    high = (low + 1) % count if wrap else (low + 1).clamp(max=count - 1)
    low = low % count if wrap else low.clamp(max=count - 1)
    part = part[:, None] if axis == 1 else part
    return planes.index_select(axis, low) * (1 - part) + planes.index_select(axis, high) * part


def _positive(spectrum: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest matrices without negative power; rounding in a file can leave some."""
    values, vectors = np.linalg.eigh(spectrum)
    kept = np.maximum(values, 0.0)
    return np.asarray((vectors * kept[..., None, :]) @ np.swapaxes(vectors, -1, -2))


def _resized(waves: Tensor, height: int, width: int) -> Tensor:
    """A spectrum for another size: what lies beyond either's frequencies is nought."""
    rows = min(height, waves.shape[1])
    columns = min(width // 2 + 1, waves.shape[2])
    upper, lower = (rows + 1) // 2, rows // 2
    out = waves.new_zeros(3, height, width // 2 + 1)
    out[:, :upper, :columns] = waves[:, :upper, :columns]
    if lower:
        out[:, -lower:, :columns] = waves[:, -lower:, :columns]
    return out
