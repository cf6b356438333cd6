"""Motion of the whole frame: what camera, gate and scanner did, whatever moves in the picture."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property, lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from restore.errors import InvalidInput
from restore.motion.area import shrunk_luma
from restore.motion.flow import Effort, flow8, stretched
from restore.motion.middle import median, quantile

__all__ = ["GlobalMotion", "MotionModel", "Sight", "fit_motion", "global_motion"]

Doubles = NDArray[np.float64]
Plane = NDArray[np.float32]
_ITERATIONS: Final = 8
_LONG_SIDE_PX: Final = 640  # of the frames that the refinement sees
_POINTS: Final = 8000  # with strong slopes, that the refinement goes by
_SETTLED: Final = 0.002  # spacings of vectors: a smaller step ends the fit to a field
_TUKEY: Final = 4.685  # 95 % efficiency on normal noise


class MotionModel(Enum):
    """How a whole frame may move."""

    TRANSLATION = "translation"
    SIMILARITY = "similarity"
    """Shift, turn and zoom."""
    AFFINE = "affine"


@dataclass(frozen=True)
class GlobalMotion:
    """A map from one frame's pixels to another's.

    Attributes:
        matrix: ``[2, 3]`` float64; ``target = matrix @ (x, y, 1)``, px from the centre of the top
            left pixel.
        inliers: share of the textured pixels that follow it, 0..1.
    """

    matrix: Doubles
    inliers: float

    def at(self, x_px: float, y_px: float) -> tuple[float, float]:
        """The displacement (x, y) in px of a point."""
        x, y = self.matrix @ np.array([x_px, y_px, 1.0])
        return float(x) - x_px, float(y) - y_px


class Sight:
    """A frame as the search sees it: what is worked out of it serves every pair that it is in.

    Args:
        frame: ``[3 or 1, h, w]`` float32, nominal 0..1.
    """

    def __init__(self, frame: Tensor) -> None:
        self.shape = tuple(frame.shape)
        self._frame = frame
        self._luma: dict[int, Plane] = {}
        self._slopes: dict[MotionModel, _Slopes] = {}
        long_side = max(frame.shape[-2:])
        self.coarse = max(1, round(long_side / 320))
        self.factor = max(1, -(-long_side // _LONG_SIDE_PX))

    def luma(self, factor: int) -> Plane:
        """The mean of the channels, made smaller: ``[h / factor, w / factor]``."""
        if factor not in self._luma:
            self._luma[factor] = shrunk_luma(self._frame, factor)
        return self._luma[factor]

    @cached_property
    def texture(self) -> Doubles:
        """How much structure there is about each pixel of the coarse picture."""
        return _texture(stretched([self.luma(self.coarse)])[0])

    @cached_property
    def soft(self) -> Plane:
        """Blurred so lightly that slopes mean something under grain, made smaller by ``factor``."""
        import cv2

        return np.asarray(cv2.GaussianBlur(self.luma(self.factor), (0, 0), 1.0), np.float32)

    def slopes(self, model: MotionModel) -> _Slopes:
        """Its strong slopes, and what a motion would change there."""
        if model not in self._slopes:
            self._slopes[model] = _Slopes.of(self.soft, model)
        return self._slopes[model]


def global_motion(
    source: Tensor | Sight,
    target: Tensor | Sight,
    model: MotionModel = MotionModel.SIMILARITY,
) -> GlobalMotion:
    """Robust motion of the frame as a whole between two frames.

    A robust fit to a small flow field, refined on the pixels themselves by iteratively reweighted
    Gauss-Newton steps (J.-M. Odobez and P. Bouthemy, "Robust multiresolution estimation of
    parametric motion models", 1995) with a gain and an offset for flicker. Things that move on
    their own, dirt and grain count as outliers as long as they cover less than about half.

    Args:
        source: ``[3 or 1, h, w]`` float32, nominal 0..1, or the sight of one that is used again.
        target: of the same shape.
        model: what motion is possible.

    Returns:
        The motion from source to target.

    Raises:
        InvalidInput: shapes that differ.
    """
    one, other = (x if isinstance(x, Sight) else Sight(x) for x in (source, target))
    if one.shape != other.shape or len(one.shape) != 3:
        raise InvalidInput(f"frames of {one.shape} and {other.shape}", "two [C, h, w] alike")
    small = stretched([one.luma(one.coarse), other.luma(one.coarse)])
    field = flow8(small[0], small[1], Effort.FAST).astype(np.float64) * one.coarse
    first = fit_motion(field, one.texture, model, one.coarse)
    return _refined(one, other, first, model)


def fit_motion(
    flow: Doubles, weights: Doubles, model: MotionModel, spacing_px: float = 1.0
) -> GlobalMotion:
    """The motion that most of a flow field follows.

    Args:
        flow: ``[h, w, 2]`` (x, y) in full-size px.
        weights: ``[h, w]``, how much each vector is worth, >= 0.
        model: what motion is possible.
        spacing_px: full-size px between neighbouring vectors.

    Returns:
        Least squares with Tukey's weights; the scale comes from the median absolute deviation.
    """
    height, width = weights.shape
    step = max(1, min(height, width) // 64)
    shift = flow[::step, ::step].reshape(-1, 2)
    worth = weights[::step, ::step].ravel() + 1e-9
    design = _of_field(height, width, step, spacing_px, model)
    wanted = np.concatenate([shift[:, 0], shift[:, 1]])
    # The median is a start that no minority can pull away.
    params = np.zeros(len(design.size))
    params[:2] = np.median(shift[worth >= median(worth)], axis=0)
    robust = worth
    for _ in range(_ITERATIONS):
        gap = wanted - design.at(params)
        error = np.hypot(*np.split(gap, 2))
        scale = max(1.4826 * median(error), 0.02)
        robust = worth * _tukey(error / scale)
        both = np.concatenate([robust, robust])
        change = design.solved(gap, both)
        params = params + change
        if float(np.abs(design.at(change)).max()) < _SETTLED * spacing_px:
            break
    return GlobalMotion(_matrix(params, model), float(robust.sum() / worth.sum()))


def _refined(one: Sight, other: Sight, first: GlobalMotion, model: MotionModel) -> GlobalMotion:
    import cv2

    factor = one.factor
    to_full = np.array([[factor, 0, (factor - 1) / 2], [0, factor, (factor - 1) / 2], [0, 0, 1.0]])
    to_small = np.linalg.inv(to_full)
    full = np.vstack([first.matrix, [0, 0, 1]])
    matrix = (to_small @ full @ to_full)[:2]
    height, width = one.soft.shape
    slopes = one.slopes(model)
    x, y, here, design = slopes.x, slopes.y, slopes.here, slopes.design
    inliers = first.inliers
    for _ in range(_ITERATIONS):
        moved = cv2.warpAffine(
            other.soft,
            matrix,
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(np.nan,),
        )
        gap = moved[y, x].astype(np.float64) - here
        seen = np.isfinite(gap)
        if seen.sum() < 8 * len(design.size):
            break
        change, inliers = _robust_step(design, np.where(seen, gap, 0), seen)
        count = len(design.size) - 2
        back = np.vstack([_matrix(change[:count], model), [0, 0, 1]])
        # The step says how the source would have to move, so its inverse moves the target.
        matrix = (np.vstack([matrix, [0, 0, 1]]) @ np.linalg.inv(back))[:2]
        if float(np.abs(change[:2]).max()) < 1e-3:
            break
    full = to_full @ np.vstack([matrix, [0, 0, 1]]) @ to_small
    return GlobalMotion(np.ascontiguousarray(full[:2]), inliers)


@dataclass(frozen=True)
class _Design:
    """Rows of a linear model, columns scaled alike so that one tiny ridge serves all of them.

    Attributes:
        terms: ``[K, n]``, the columns: products along them are several times quicker so.
        size: ``[K]`` what the columns were divided by.
    """

    terms: Doubles
    size: Doubles

    @classmethod
    def of(cls, design: Doubles) -> _Design:
        size = np.sqrt(np.einsum("nk,nk->k", design, design) / len(design)) + 1e-12
        return cls(np.ascontiguousarray((design / size).T), size)

    def at(self, params: Doubles) -> Doubles:
        """What the parameters explain."""
        return np.asarray((params * self.size) @ self.terms)

    def solved(self, wanted: Doubles, weights: Doubles) -> Doubles:
        """Parameters by weighted least squares."""
        weighted = self.terms * weights
        normal = weighted @ self.terms.T
        normal += np.eye(len(self.size)) * (1e-9 * np.trace(normal) / len(self.size) + 1e-12)
        return np.asarray(np.linalg.solve(normal, weighted @ wanted) / self.size)


@lru_cache(maxsize=8)
def _of_field(height: int, width: int, step: int, spacing_px: float, model: MotionModel) -> _Design:
    """What a motion does to every ``step``-th vector of a field: all across, then all down."""
    rows, columns = np.mgrid[0:height:step, 0:width:step].astype(np.float64)
    x = (columns.ravel() + 0.5) * spacing_px - 0.5
    y = (rows.ravel() + 0.5) * spacing_px - 0.5
    return _Design.of(np.concatenate(_jacobian(x, y, model)))


@dataclass(frozen=True)
class _Slopes:
    """Where a picture slopes most, and what a motion, a gain and an offset would change there.

    Attributes:
        x: ``[n]`` columns.
        y: ``[n]`` rows.
        here: ``[n]`` values.
        design: of the linear model.
    """

    x: NDArray[np.intp]
    y: NDArray[np.intp]
    here: Doubles
    design: _Design

    @classmethod
    def of(cls, soft: Plane, model: MotionModel) -> _Slopes:
        import cv2

        gx = cv2.Sobel(soft, cv2.CV_32F, 1, 0, scale=1 / 8)
        gy = cv2.Sobel(soft, cv2.CV_32F, 0, 1, scale=1 / 8)
        slope = gx * gx + gy * gy
        y, x = np.nonzero(slope >= quantile(slope[::4, ::4], 0.7))
        thin = slice(None, None, max(1, len(x) // _POINTS))
        y, x = y[thin], x[thin]
        jx, jy = _jacobian(x.astype(np.float64), y.astype(np.float64), model)
        here = soft[y, x].astype(np.float64)
        ax, ay = gx[y, x].astype(np.float64)[:, None], gy[y, x].astype(np.float64)[:, None]
        columns = [ax * jx + ay * jy, here[:, None], np.ones((len(x), 1))]
        return cls(x, y, here, _Design.of(np.concatenate(columns, axis=1)))


def _robust_step(design: _Design, gap: Doubles, seen: NDArray[np.bool_]) -> tuple[Doubles, float]:
    """Parameters of ``gap = design @ params`` by reweighted solves, and the inliers' share."""
    params = np.zeros(len(design.size))
    weights = seen.astype(np.float64)
    some = np.flatnonzero(seen)[::4]  # enough for a median
    for _ in range(3):
        error = gap - design.at(params)
        near = error[some]
        middle = median(near)
        error -= middle
        scale = max(1.4826 * median(np.abs(near - middle)), 1e-4)
        weights = _tukey(error / scale) * seen
        params = design.solved(gap, weights)
    return params, float(weights.sum() / seen.sum())


def _jacobian(x: Doubles, y: Doubles, model: MotionModel) -> tuple[Doubles, Doubles]:
    one, zero = np.ones_like(x), np.zeros_like(x)
    if model is MotionModel.TRANSLATION:
        return np.stack([one, zero], 1), np.stack([zero, one], 1)
    if model is MotionModel.SIMILARITY:
        return np.stack([one, zero, x, -y], 1), np.stack([zero, one, y, x], 1)
    return (
        np.stack([one, zero, x, y, zero, zero], 1),
        np.stack([zero, one, zero, zero, x, y], 1),
    )


def _matrix(params: Doubles, model: MotionModel) -> Doubles:
    out = np.array([[1.0, 0.0, params[0]], [0.0, 1.0, params[1]]])
    if model is MotionModel.SIMILARITY:
        out[:, :2] += [[params[2], -params[3]], [params[3], params[2]]]
    elif model is MotionModel.AFFINE:
        out[:, :2] += params[2:].reshape(2, 2)
    return out


def _tukey(ratio: Doubles) -> Doubles:
    inside: Doubles = np.maximum(1 - np.square(ratio / _TUKEY), 0)
    return np.square(inside)


def _texture(plane: NDArray[np.uint8]) -> Doubles:
    """How much structure there is about each pixel, in both directions: the smaller eigenvalue."""
    import cv2

    found: Doubles = cv2.cornerMinEigenVal(plane, 7).astype(np.float64)
    return np.sqrt(np.maximum(found, 0))
