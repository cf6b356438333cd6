"""Lower grain by averaging along motion, only as far as the frames agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from restore.engine.remember import Remembered
from restore.engine.stage import StageSpec, Tiling, stacked
from restore.motion.agreed import (
    AGREE,
    BOX_PX,
    EVERY_PX,
    SeenThere,
    mean_there,
    seen_there,
)
from restore.motion.area import shrunk_luma
from restore.motion.fetch import by_level, places
from restore.motion.flow import Effort, flow8, stretched
from restore.motion.middle import quantile
from restore.stages import StageContext

__all__ = ["Degrain"]

Plane = NDArray[np.float32]

_LEVELS: Final = 16
_QUIET: Final = 0.3  # quantile of the differences at a level that is grain alone
_LEAST: Final = 0.3 / 255


class Degrain:
    """A motion-compensated mean over the frames of a window.

    Neighbours are brought to the centre along optical flow (searched at half size, where grain is
    weaker) and weighted, pixel by pixel, by how much more they differ from it than grain explains;
    the grain's variance is measured for each density level from the differences themselves. The
    principle is that of motion-compensated denoisers (E. Dubois and S. Sabri, "Noise reduction in
    image sequences using motion-compensated temporal filtering", 1984). Windows never cross a cut,
    and where nothing fits the frame stays as it is.
    """

    class Settings(BaseModel):
        """Settings of the stage.

        ``radius``: frames taken from each side. ``strength``: share of what the mean changes.
        ``tolerance``: factor on the difference that counts as grain.
        """

        model_config = ConfigDict(extra="forbid", frozen=True)

        radius: int = Field(default=2, ge=1, le=4)
        strength: float = Field(default=1.0, ge=0, le=1)
        tolerance: float = Field(default=1.0, ge=0.25, le=4)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        radius = settings.radius
        self.spec = StageSpec(
            name="degrain", radius_past=radius, radius_future=radius, tiling=Tiling.NEVER
        )
        self._seen = Remembered(_seen, 2 * radius + 1)
        self._there: Remembered[SeenThere] = Remembered(
            lambda frame: seen_there(frame, _factor(frame)), 2 * radius + 1
        )
        self._taken = 0.0
        self._frames = 0

    @classmethod
    def build(cls, settings: Settings, context: StageContext) -> Self:
        """Make the stage."""
        return cls(settings)

    def facts(self) -> Mapping[str, str]:
        """Settings, and how many frames a pixel was averaged over."""
        facts = {name: f"{value:g}" for name, value in self._settings.model_dump().items()}
        if self._frames:
            facts["averaged"] = f"{1 + self._taken / self._frames:.1f} frames for each pixel"
        return facts

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """Holds no weights: nothing to bring."""

    def run(self, windows: Tensor, seeds: Sequence[int]) -> Tensor:
        """``[N, T, 3, h, w]`` to ``[N, 3, h, w]``; only the search for motion leaves a GPU."""
        return stacked(
            [self.run_frames(w.unbind(), s) for w, s in zip(windows, seeds, strict=True)]
        )

    def run_frames(self, frames: Sequence[Tensor], seed: int) -> Tensor:
        """T of ``[3, h, w]`` to ``[3, h, w]``."""
        centre = frames[self._settings.radius]
        # At the ends of a shot a frame stands in for missing ones; it must not count twice.
        others: list[Tensor] = []
        for frame in frames:
            if not any(_same(frame, known) for known in (centre, *others)):
                others.append(frame)
        if not others:
            return centre
        mean = (self._mean_here if centre.device.type == "cpu" else self.mean_there)(centre, others)
        return mean if self._settings.strength == 1 else centre.lerp(mean, self._settings.strength)

    def mean_there(self, centre: Tensor, others: list[Tensor]) -> Tensor:
        """The mean of frames ``[3, h, w]`` by torch, as on a GPU."""
        seen = self._there.of
        curve_of = partial(_curve, tolerance=self._settings.tolerance)
        mean, taken = mean_there(seen(centre), [seen(other) for other in others], curve_of)
        self._taken += taken
        self._frames += 1
        return mean.to(centre)

    def _mean_here(self, centre: Tensor, others: list[Tensor]) -> Tensor:
        seen = self._seen.of
        return _as_frame(self._mean_of(seen(centre), [seen(other) for other in others])).to(centre)

    def _mean_of(self, here: _Seen, others: list[_Seen]) -> Plane:
        """The weighted mean, ``[h, w, 3]``."""
        import cv2

        small = stretched([here.small, *(other.small for other in others)])
        picture = here.picture
        moved = [
            _fetched(other.picture, flow8(small[0], small[n + 1], Effort.FAST))
            for n, other in enumerate(others)
        ]
        # In all channels: things of another colour can have the same brightness.
        gaps = [_box(_mean(_difference(picture, other))) for other in moved]
        grain = _grain(_box(here.level), gaps, self._settings.tolerance)
        total, weight = picture.copy(), np.ones_like(grain)
        low, high = AGREE
        for other, gap in zip(moved, gaps, strict=True):
            # (high - gap / grain) / (high - low), held within 0 and 1.
            share = np.asarray(cv2.divide(gap, grain, scale=-1 / (high - low)), np.float32)
            share += np.float32(high / (high - low))
            np.clip(share, 0, 1, out=share)
            cv2.accumulateProduct(other, cv2.merge([share] * 3), total)
            weight += share
        self._taken += float(cv2.mean(weight)[0]) - 1
        self._frames += 1
        np.divide(1, weight, out=weight)
        return np.asarray(cv2.multiply(total, cv2.merge([weight] * 3), dst=total), np.float32)


@dataclass(frozen=True)
class _Seen:
    """What is worked out of a frame once.

    Attributes:
        picture: ``[h, w, 3]``.
        level: ``[h, w]``, the mean of its channels.
        small: the same at the size of the search.
    """

    picture: Plane
    level: Plane
    small: Plane


def _seen(frame: Tensor) -> _Seen:
    import cv2

    picture = np.asarray(cv2.merge([*frame.cpu().numpy()]), np.float32)
    return _Seen(picture, _mean(picture), shrunk_luma(frame, _factor(frame)))


def _factor(frame: Tensor) -> int:
    return 2 if min(frame.shape[-2:]) >= 128 else 1


def _same(one: Tensor, other: Tensor) -> bool:
    return one is other or torch.equal(one, other)


def _as_frame(picture: Plane) -> Tensor:
    """``[h, w, 3]`` to ``[3, h, w]``."""
    import cv2

    out = torch.empty(3, *picture.shape[:2])
    for channel, plane in enumerate(out.numpy()):
        cv2.extractChannel(picture, channel, dst=plane)
    return out


def _fetched(picture: Plane, flow: NDArray[np.float32]) -> Plane:
    """``[h, w, 3]`` brought along a flow that may be smaller."""
    import cv2

    x, y = places(flow, picture.shape)
    moved = cv2.remap(picture, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)


def _difference(one: Plane, other: Plane) -> Plane:
    """Squared."""
    import cv2

    gap = np.asarray(cv2.subtract(one, other), np.float32)
    return np.asarray(np.square(gap, out=gap))


def _mean(picture: Plane) -> Plane:
    import cv2

    return np.asarray(cv2.transform(picture, np.full((1, 3), 1 / 3, np.float32)), np.float32)


def _box(plane: Plane) -> Plane:
    import cv2

    return np.asarray(cv2.blur(plane, (BOX_PX, BOX_PX)), np.float32)


def _grain(level: Plane, gaps: list[Plane], tolerance: float) -> Plane:
    """What grain alone makes two frames differ, squared, for each pixel's level."""
    few = slice(None, None, EVERY_PX)
    return by_level(level, _curve(level[few, few], [gap[few, few] for gap in gaps], tolerance))


def _curve(level: Plane, some: list[Plane], tolerance: float) -> NDArray[np.float64]:
    """The same for 256 levels, from the levels and differences of some pixels."""
    bins = np.clip(level * _LEVELS, 0, _LEVELS - 1).astype(np.uint8)
    centres, found = [], []
    # The better half of the neighbours: the others may lie behind a cut.
    better = (len(some) - 1) // 2
    values = np.sort(some, axis=0)[better] if better else np.minimum.reduce(some)
    for number in range(_LEVELS):
        here = values[bins == number]
        if len(here) >= 64:
            centres.append((number + 0.5) / _LEVELS)
            found.append(quantile(here, _QUIET))
    if not found:
        centres, found = [0.5], [quantile(values, _QUIET)]
    floor = 2 * _LEAST**2
    steps = np.linspace(0, 1, 256)
    return np.asarray(np.maximum(np.interp(steps, centres, found), floor) * tolerance)
