"""A frame's neighbours brought to where it has what they show, and how far each can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from restore.motion.flow import Effort, flow8, to_8bit

__all__ = ["Aligned", "align"]

Plane = NDArray[Any]  # float32

_LEVELS: Final = 16
_BOX_PX: Final = 5  # over which frames are compared
_WIDE_PX: Final = 33  # over which their exposures are
_QUIET: Final = 0.3  # quantile of the differences at a level that is grain alone
_AGREE: Final = (1.5, 4.0)  # times the grain's variance: fully trusted, not trusted at all
_LEAST: Final = 0.6 / 255
_MOST_GAIN: Final = 1.3
_HALVED_FROM_PX: Final = 64  # shortest side at which the search runs at half size


@dataclass(frozen=True)
class Aligned:
    """A centre frame with its neighbours.

    Attributes:
        centre: ``[h, w, 3]`` float32 R'G'B'.
        neighbours: ``[K, h, w, 3]``, each moved to the centre's place and to its exposure.
        trust: ``[K, h, w]`` float32, 0..1: 1 where a neighbour differs from the centre by grain
            alone, 0 where it shows something else, or is no frame of its own.
    """

    centre: Plane
    neighbours: Plane
    trust: Plane

    def planes(self) -> Plane:
        """``[3 * (K + 1) + K, h, w]``: the centre's channels, each neighbour's, all trust."""
        pictures = np.concatenate([self.centre[None], self.neighbours]).transpose(0, 3, 1, 2)
        return np.concatenate([pictures.reshape(-1, *self.trust.shape[1:]), self.trust])


def align(window: Sequence[Tensor], centre: int) -> Aligned:
    """Bring the frames of a window to one of them.

    Optical flow (dense inverse search, on the CPU, at half size where the frame is large enough:
    grain is weaker there) says where each pixel of the centre lies in a neighbour. Trust is how
    little the two then differ, over a small box and in all channels, against what grain makes
    frames differ at that brightness, which is measured from the differences themselves. It falls at
    occlusions, where the search failed, and behind a cut alike.

    Args:
        window: T frames ``[3, h, w]`` float32 R'G'B', 0..1. A frame equal to the centre or to an
            earlier one stands in for a missing one and is trusted nowhere.
        centre: which of them the others are brought to.

    Returns:
        The centre and the other ``T - 1`` in the window's order.
    """
    here = _picture(window[centre])
    others = [frame for place, frame in enumerate(window) if place != centre]
    known: list[Tensor] = [window[centre]]
    real: list[int] = []
    for place, frame in enumerate(others):
        if not any(_same(frame, one) for one in known):
            real.append(place)
            known.append(frame)
    neighbours = np.repeat(here[None], len(others), axis=0)
    trust = np.zeros((len(others), *here.shape[:2]), np.float32)
    if not real:
        return Aligned(here, neighbours, trust)
    small = to_8bit(known, 2 if min(here.shape[:2]) >= _HALVED_FROM_PX else 1)
    gaps = []
    for number, place in enumerate(real):
        flow = _sized(flow8(small[0], small[number + 1], Effort.FAST), here)
        moved, trust[place] = _fetched(_picture(others[place]), flow)
        neighbours[place] = _exposed(moved, here)
        gaps.append(_box(_mean(np.square(here - neighbours[place])), _BOX_PX))
    grain = _grain(_box(_mean(here), _BOX_PX), gaps)
    low, high = _AGREE
    for place, gap in zip(real, gaps, strict=True):
        trust[place] *= np.clip((high - gap / grain) / (high - low), 0, 1)
    return Aligned(here, neighbours, trust)


def _same(one: Tensor, other: Tensor) -> bool:
    return one is other or bool((one == other).all())


def _picture(frame: Tensor) -> Plane:
    import cv2

    return np.asarray(cv2.merge([*frame.detach().cpu().numpy()]), np.float32)


def _sized(flow: NDArray[np.float32], like: Plane) -> NDArray[np.float32]:
    """A flow that may be smaller, at a picture's size and in its pixels."""
    import cv2

    height, width = like.shape[:2]
    if flow.shape[:2] == (height, width):
        return flow
    scale = np.array([width / flow.shape[1], height / flow.shape[0]], np.float32)
    large = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large * scale, np.float32)


def _fetched(picture: Plane, flow: NDArray[np.float32]) -> tuple[Plane, NDArray[np.bool_]]:
    """``[h, w, 3]`` brought along a flow, and where the flow stays inside the frame."""
    import cv2

    height, width = picture.shape[:2]
    x, y = cv2.split(flow)
    x += np.arange(width, dtype=np.float32)
    y += np.arange(height, dtype=np.float32)[:, None]
    moved = cv2.remap(picture, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    return np.asarray(moved, np.float32), inside


def _exposed(picture: Plane, like: Plane) -> Plane:
    """A picture with the wide brightness of another: flicker must not be taken for change."""
    ratio = (_box(like, _WIDE_PX) + 0.02) / (_box(picture, _WIDE_PX) + 0.02)
    return np.asarray(picture * np.clip(ratio, 1 / _MOST_GAIN, _MOST_GAIN), np.float32)


def _mean(picture: Plane) -> Plane:
    import cv2

    return np.asarray(cv2.transform(picture, np.full((1, 3), 1 / 3, np.float32)), np.float32)


def _box(plane: Plane, side_px: int) -> Plane:
    import cv2

    return np.asarray(cv2.blur(plane, (side_px, side_px)), np.float32)


def _grain(level: Plane, gaps: list[Plane]) -> Plane:
    """What grain alone makes two frames differ, squared, for each pixel's level."""
    bins = np.clip(level[::2, ::2] * _LEVELS, 0, _LEVELS - 1).astype(np.intp)
    centres, found = [], []
    # The better half of the neighbours: the others may lie behind a cut.
    values = np.sort([gap[::2, ::2] for gap in gaps], axis=0)[(len(gaps) - 1) // 2]
    for number in range(_LEVELS):
        here = values[bins == number]
        if len(here) >= 64:
            centres.append((number + 0.5) / _LEVELS)
            found.append(float(np.quantile(here, _QUIET)))
    if not found:
        centres, found = [0.5], [float(np.quantile(values, _QUIET))]
    steps = np.linspace(0, 1, 256)
    curve = np.maximum(np.interp(steps, centres, found), 2 * _LEAST**2).astype(np.float32)
    return np.asarray(curve[np.clip(level * 255, 0, 255).astype(np.intp)], np.float32)
