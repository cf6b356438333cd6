"""What is known about a reel's grain, and how it is kept in a file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from restore.errors import InvalidInput

__all__ = ["BLOCK_PX", "LEVELS", "GrainProfile"]

BLOCK_PX: Final = 32
LEVELS: Final = 16

Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GrainProfile:
    """Grain as strength per density level and a spectrum with its colour correlation.

    Attributes:
        height_px: height of the frames that it was learned from; sizes of grain refer to it.
        width_px: their width.
        strength: ``[3, LEVELS]`` standard deviation in R'G'B' of each channel where that channel
            has the level ``(n + 0.5) / LEVELS``; between levels its square is linear.
        spectrum: ``[BLOCK_PX, BLOCK_PX // 2 + 1, 3, 3]`` real symmetric: power of each channel and
            cross power of each two at the frequencies of ``numpy.fft.rfft2``, of grain divided by
            its strength; each channel's mean power over all frequencies is 1.
        blocks: flat pieces of picture that it was learned from.
    """

    height_px: int
    width_px: int
    strength: Doubles
    spectrum: Doubles
    blocks: int

    def __post_init__(self) -> None:
        shapes = self.strength.shape, self.spectrum.shape
        wanted = (3, LEVELS), (BLOCK_PX, BLOCK_PX // 2 + 1, 3, 3)
        finite = np.isfinite(self.strength).all() and np.isfinite(self.spectrum).all()
        if shapes != wanted or min(self.height_px, self.width_px) < 1 or not finite:
            raise InvalidInput(
                f"a grain profile of {self.width_px}x{self.height_px} px with shapes {shapes}",
                f"a frame size and finite numbers of shapes {wanted}",
            )
        if self.strength.min() < 0:
            raise InvalidInput("a negative strength of grain", "0 or more")

    @property
    def correlation(self) -> Doubles:
        """``[3, 3]`` correlation between the channels, -1..1."""
        whole = _both_halves(self.spectrum).mean((0, 1))
        size = np.sqrt(np.diag(whole))
        return np.asarray(whole / np.outer(size, size))

    @property
    def size_px(self) -> float:
        """Clump size: the standard deviation of a Gaussian with the same mean frequency squared.

        Luma of the profile's frames, in their px; white noise gives about 0.4.
        """
        power = _both_halves(self.spectrum).sum((2, 3))
        rate = np.fft.fftfreq(BLOCK_PX)
        square = np.add.outer(np.square(rate), np.square(rate))
        mean = float((power * square).sum() / power.sum())
        # The power of a Gaussian clump falls as exp(-(2 pi f s)^2), with mean square 1/(2 pi s)^2.
        return float(1 / (2 * np.pi * np.sqrt(mean)))

    def to_json(self) -> str:
        """As text; :meth:`from_json` gives the same profile again."""
        upper = np.triu_indices(3)
        return json.dumps(
            {
                "kind": "grain profile",
                "version": 1,
                "height_px": self.height_px,
                "width_px": self.width_px,
                "blocks": self.blocks,
                "strength": np.round(self.strength, 7).tolist(),
                "spectrum": np.round(self.spectrum[..., upper[0], upper[1]], 5).tolist(),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> GrainProfile:
        """The inverse of :meth:`to_json`.

        Raises:
            InvalidInput: the text is no grain profile.
        """
        try:
            table: dict[str, Any] = json.loads(text)
            if table["kind"] != "grain profile" or table["version"] != 1:
                raise InvalidInput(
                    f"a file of kind {table['kind']!r}, version {table['version']!r}",
                    "a grain profile of version 1",
                )
            upper = np.triu_indices(3)
            halves = np.array(table["spectrum"], np.float64)
            spectrum = np.zeros((*halves.shape[:-1], 3, 3))
            spectrum[..., upper[0], upper[1]] = halves
            spectrum[..., upper[1], upper[0]] = halves
            return cls(
                height_px=int(table["height_px"]),
                width_px=int(table["width_px"]),
                strength=np.array(table["strength"], np.float64),
                spectrum=spectrum,
                blocks=int(table["blocks"]),
            )
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise InvalidInput(
                f"a file that is no grain profile ({type(error).__name__}: {error})",
                "what the stage grain_learn saves",
            ) from error


def _both_halves(spectrum: Doubles) -> Doubles:
    """The full plane of frequencies from the half that a real transform keeps."""
    rest = spectrum[:, -2:0:-1]
    mirrored = np.concatenate([rest[:1], rest[:0:-1]])
    return np.concatenate([spectrum, mirrored], axis=1)
