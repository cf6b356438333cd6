"""Makes grain anew from a profile, at any size, and puts it on frames."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restore.grain.profile import BLOCK_PX, GrainProfile
from restore.grain.strength import shares
from restore.motion.fetch import by_level

__all__ = ["GrainMaker"]

_STEPS: Final = 256
_DEVIATION: Final = float(np.sqrt((2**32 - 1) / 12))  # of even numbers of 16 bit


class GrainMaker:
    """Grain of one profile for frames of one size.

    Noise is white at the size that the profile was learned at, is drawn in the frequency domain,
    where it is given the profile's spectrum and colour correlation, and comes to the frame's size
    by filling up with zeros or cutting there: a clump keeps its size relative to the picture, and
    nothing finer than what the scan resolved is made up. Each sample is a sum of thousands of
    independent waves, and so Gaussian, whatever the distribution of a single one: even numbers,
    which cost a fraction of normal ones.

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
        # A wave of white noise has the variance h * w, half of it in each part.
        deviation = (self._base[0] * self._base[1] / 2) ** 0.5
        self._factors = (_factors(profile, *self._base) * (deviation / _DEVIATION)).to(device)
        steps = np.linspace(0, 1, _STEPS, dtype=np.float32)[:, None]
        self._curves = np.sqrt(shares(steps) @ np.square(profile.strength).T).T

    def field(self, seed: int) -> Tensor:
        """Grain of strength 1, ``[3, h, w]`` float32; the same seed gives the same grain.

        The noise is drawn on the CPU, so every device starts from the same numbers.
        """
        real, imaginary = self._white(seed).to(self._factors.device).float().unbind()
        f = self._factors
        shaped = torch.complex(_correlated(f, real), _correlated(f, imaginary))
        height, width = self._size
        if self._size != self._base:
            shaped = _resized(shaped, height, width)
            shaped *= height * width / (self._base[0] * self._base[1])
        field: Tensor = torch.fft.irfft2(shaped, s=self._size)
        return field

    def _white(self, seed: int) -> Tensor:
        """Waves of white noise, ``[2, 3, h, w // 2 + 1]``: even numbers of 16 bit."""
        height, width = self._base
        shape = (2, 3, height, width // 2 + 1)
        count = 2 * 3 * height * shape[-1]
        words = np.random.Generator(np.random.SFC64(seed)).integers(
            0, 2**64, -(-count // 4), dtype=np.uint64
        )
        white = words.astype("<u8", copy=False).view("<i2")[:count].reshape(shape)
        # Columns that are their own mirror image belong to real pictures if their halves mirror
        # each other.
        for column in {0, width // 2} if width % 2 == 0 else {0}:
            white[..., column] = _mirrored(white[..., column])
        return torch.from_numpy(white)

    def put_on(self, picture: Tensor, seed: int, amount: float = 1.0) -> Tensor:
        """A picture with grain.

        Args:
            picture: ``[3, h, w]`` float32 R'G'B', nominal 0..1, without grain of its own.
            seed: names the grain.
            amount: factor on its strength.

        Returns:
            ``[3, h, w]`` float32, not clipped.
        """
        grain = self.field(seed)
        for plane, curve, level in zip(grain, amount * self._curves, picture, strict=True):
            plane *= _strength(level, curve)
        return grain.add_(picture)


def _mirrored(waves: NDArray[np.int16]) -> NDArray[np.int16]:
    """``[2, 3, h]`` real and imaginary parts, each frequency the other's conjugate."""
    back = np.roll(waves[..., ::-1], 1, axis=-1).astype(np.float64)
    back[1] = -back[1]
    both = np.rint((waves + back) / np.sqrt(2))
    return np.asarray(both.clip(-(1 << 15), (1 << 15) - 1).astype(np.int16))


def _correlated(factors: Tensor, white: Tensor) -> Tensor:
    """Lower triangles times ``[3, h, w]``."""
    f, (red, green, blue) = factors, white
    out = torch.empty_like(white)
    torch.mul(f[0], red, out=out[0])
    torch.mul(f[1], red, out=out[1]).addcmul_(f[2], green)
    torch.mul(f[3], red, out=out[2]).addcmul_(f[4], green).addcmul_(f[5], blue)
    return out


def _strength(level: Tensor, curve: NDArray[np.float64]) -> Tensor:
    """What the curve says for each pixel of ``[h, w]``."""
    if level.device.type == "cpu":
        return torch.from_numpy(by_level(level.numpy(), curve))
    table = torch.tensor(curve, dtype=torch.float32, device=level.device)
    place = (level * (_STEPS - 1)).round_().clamp_(0, _STEPS - 1).int()
    return table.index_select(0, place.flatten()).view_as(level)


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
