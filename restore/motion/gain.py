"""How the exposure differs between two frames, place by place, whatever moves in the picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from restore.motion.flow import Effort, flow8
from restore.motion.middle import median

__all__ = ["Shading", "exposure_change", "shading", "surface"]

Doubles = NDArray[np.float64]
Plane = NDArray[Any]  # float32

_DARKEST: Final = 0.02  # below it a ratio of two values says nothing
_BRIGHTEST: Final = 0.985  # above it the scan has clipped
_TUKEY: Final = 4.685
_ROUNDS: Final = 4
_SAMPLES: Final = 4000  # pixels that a fit sees at least, where there are so many
_BLOCK: Final = 500  # rows
_SLACK: Final = 0.004  # least standard deviation of a log ratio


@dataclass(frozen=True)
class Shading:
    """What exposure can do to a frame: smooth over the frame, and by brightness.

    Attributes:
        down: cosine waves down the frame.
        across: cosine waves across the frame.
        contrast: whether contrast changes too.
    """

    down: int = 4
    across: int = 5
    contrast: bool = True

    @property
    def terms(self) -> int:
        """Numbers that describe one channel of one frame."""
        return self.down * self.across + self.contrast


def shading(height: int, width: int, kind: Shading) -> Doubles:
    """The cosine basis on a grid, ``[h * w, down * across]``; the first term is constant."""
    return _basis(height, width, kind.down, kind.across)


@lru_cache(maxsize=8)
def _basis(height: int, width: int, down: int, across: int) -> Doubles:
    rows = np.cos(np.pi * np.outer((np.arange(height) + 0.5) / height, np.arange(down)))
    columns = np.cos(np.pi * np.outer((np.arange(width) + 0.5) / width, np.arange(across)))
    basis: Doubles = np.einsum("ya,xb->yxab", rows, columns)
    return basis.reshape(height * width, down * across)


def surface(terms: Doubles, height: int, width: int, kind: Shading) -> Plane:
    """The smooth part of a change as a picture.

    Args:
        terms: ``[C, terms]``.
        height: rows wanted.
        width: columns wanted.
        kind: what the terms mean.

    Returns:
        ``[C, height, width]`` float32, natural logarithm of a factor.
    """
    basis = shading(height, width, kind)
    smooth = terms[:, : basis.shape[1]] @ basis.T
    return smooth.reshape(-1, height, width).astype(np.float32)


def exposure_change(source: Plane, target: Plane, middle: Doubles, kind: Shading) -> Doubles:
    """How the target is exposed relative to the source.

    Pixels are paired along optical flow, so that what moves is compared with itself; the logarithms
    of their ratios are fitted by a smooth surface and, for contrast, by the logarithm of the source
    itself, with Tukey's weights: dirt, occlusions and lamps in the picture are outliers.

    Args:
        source: ``[h, w, C]`` float32, nominal 0..1, small (long side of some 160 px).
        target: of the same shape.
        middle: ``[C]`` natural logarithms of the values about which contrast turns.
        kind: what may change.

    Returns:
        ``[C, terms]``, natural logarithms: ``target = source * exp(surface + c (log source - m))``.
    """
    height, width, channels = source.shape
    pairs = _paired(source, target)
    basis = shading(height, width, kind)
    out = np.zeros((channels, kind.terms))
    for channel in range(channels):
        one, other = source[..., channel].ravel(), pairs[..., channel].ravel()
        low, high = np.minimum(one, other), np.maximum(one, other)
        usable = np.flatnonzero((low > _DARKEST) & (high < _BRIGHTEST))
        usable = usable[:: max(1, len(usable) // _SAMPLES)]
        if len(usable) < 8 * kind.terms:
            continue
        log = np.log(one[usable].astype(np.float64))
        ratio = np.log(other[usable].astype(np.float64)) - log
        design = basis[usable]
        if kind.contrast:
            design = np.concatenate([design, (log - middle[channel])[:, None]], axis=1)
        # A log ratio is as uncertain as its values are small.
        out[channel] = _fit(design, ratio, low[usable].astype(np.float64))
    return out


def _paired(source: Plane, target: Plane) -> Plane:
    """The target brought along the motion, ``[h, w, C]``; matched on pictures of like exposure."""
    import cv2

    grey, other = source.mean(2), target.mean(2)
    planes = [_flattened(plane) for plane in (grey, other)]
    flow = flow8(planes[0], planes[1], Effort.FAST)
    height, width = grey.shape
    columns = np.arange(width, dtype=np.float32) + flow[..., 0]
    rows = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
    moved: Plane = cv2.remap(
        target, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return moved.reshape(source.shape)


def _flattened(plane: Plane) -> NDArray[np.uint8]:
    """8 bit, its mean and spread brought to fixed values."""
    spread = max(float(plane.std()), 1 / 255)
    level = (plane - plane.mean()) * (48 / spread) + 128
    return np.ascontiguousarray(np.clip(level, 0, 255).astype(np.uint8))


def _fit(design: Doubles, wanted: Doubles, worth: Doubles) -> Doubles:
    """Robust least squares; a small ridge keeps waves flat where nothing can be seen.

    In blocks of rows: products this small are quicker in one thread, and stay there.
    """
    count = design.shape[1]
    rows = min(_BLOCK, len(design))
    whole = len(design) // rows * rows
    blocks = design[:whole].reshape(-1, rows, count)
    wanted, worth = (plane[:whole].reshape(-1, rows) for plane in (wanted, worth))
    ridge = np.full(count, 2e-3)
    ridge[0] = 1e-9
    params = np.zeros(count)
    params[0] = median(wanted)
    for _ in range(_ROUNDS):
        gap = wanted - blocks @ params
        scale = max(1.4826 * median(np.abs(gap)), _SLACK)
        weight = worth * np.square(np.clip(1 - np.square(gap / (_TUKEY * scale)), 0, None))
        weight /= max(float(weight.sum()), 1e-9)
        weighted = (blocks * weight[..., None]).transpose(0, 2, 1)
        normal = (weighted @ blocks).sum(0)
        right = (weighted @ wanted[..., None]).sum((0, 2))
        params = np.linalg.solve(normal + np.diag(ridge), right)
    return params
