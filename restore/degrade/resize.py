"""Separable resampling with antialiasing, the way the super-resolution literature measures it.

The bicubic kernel is Keys' (1981) with a = -0.5; when shrinking, the kernel is stretched by the
ratio and its weights are normalised, and samples beyond the border are mirrored. That is what
MATLAB's ``imresize`` does, on which the published Set5 figures rest.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from restore.errors import InvalidInput

__all__ = ["KERNELS", "resize", "shrink"]

Array = NDArray[np.float32]
Kernel = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def _box(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return ((x >= -0.5) & (x < 0.5)).astype(np.float64)


def _bilinear(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(0.0, 1.0 - np.abs(x))


def _bicubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    a = np.abs(x)
    near = 1.5 * a**3 - 2.5 * a**2 + 1.0
    far = -0.5 * a**3 + 2.5 * a**2 - 4.0 * a + 2.0
    return np.where(a <= 1.0, near, np.where(a <= 2.0, far, 0.0))


def _lanczos3(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.abs(x) < 3.0, np.sinc(x) * np.sinc(x / 3.0), 0.0)


KERNELS: Final[dict[str, tuple[Kernel, float]]] = {
    "box": (_box, 1.0),
    "bilinear": (_bilinear, 2.0),
    "bicubic": (_bicubic, 4.0),
    "lanczos3": (_lanczos3, 6.0),
}


@lru_cache(maxsize=256)
def _taps(size_in: int, size_out: int, kernel: str) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Source indices and weights, both ``[size_out, taps]``, for one axis."""
    shape, width = KERNELS[kernel]
    ratio = size_out / size_in
    stretch = min(ratio, 1.0)
    support = width / stretch
    centre = (np.arange(size_out) + 0.5) / ratio - 0.5
    first = np.floor(centre - support / 2.0).astype(np.intp)
    index = first[:, None] + np.arange(int(np.ceil(support)) + 2)[None, :]
    weight = shape((centre[:, None] - index) * stretch)
    total = weight.sum(axis=1, keepdims=True)
    weight = weight / np.where(total == 0.0, 1.0, total)
    mirrored = np.mod(index, 2 * size_in)
    mirrored = np.where(mirrored >= size_in, 2 * size_in - 1 - mirrored, mirrored)
    keep = np.any(weight != 0.0, axis=0)
    return mirrored[:, keep], weight[:, keep].astype(np.float32)


def _axis(picture: Array, axis: int, size_out: int, kernel: str) -> Array:
    index, weight = _taps(picture.shape[axis], size_out, kernel)
    shape = [1] * picture.ndim
    shape[axis] = size_out
    out: Array | None = None
    for tap in range(index.shape[1]):
        part = np.take(picture, index[:, tap], axis=axis)
        part *= weight[:, tap].reshape(shape)
        out = part if out is None else np.add(out, part, out=out)
    assert out is not None  # noqa: S101  a kernel always has a tap
    return out


def resize(picture: NDArray[np.floating], size_px: tuple[int, int], kernel: str) -> Array:
    """Resample the axes -3 (height) and -2 (width) of a picture or clip.

    Args:
        picture: ``[..., H, W, C]``, float, any value range.
        size_px: ``(height, width)`` of the result.
        kernel: a key of :data:`KERNELS`.

    Returns:
        ``[..., height, width, C]`` float32; values may overshoot the input's range.

    Raises:
        InvalidInput: unknown kernel, or a size below one pixel.

    Source: R. Keys, "Cubic convolution interpolation for digital image processing", 1981.
    """
    if kernel not in KERNELS:
        raise InvalidInput(f"the kernel {kernel!r}", f"one of {', '.join(KERNELS)}")
    height, width = size_px
    if height < 1 or width < 1:
        raise InvalidInput(f"a size of {width}x{height} px", "at least 1x1")
    out = np.asarray(picture, dtype=np.float32)
    # The axis that shrinks most goes first: fewer samples for the second pass.
    order = [(-3, height), (-2, width)]
    order.sort(key=lambda step: step[1] / out.shape[step[0]])
    for axis, size in order:
        if size != out.shape[axis]:
            out = _axis(out, axis % out.ndim, size, kernel)
    return out if out is not picture else out.copy()


def shrink(picture: NDArray[np.uint8], factor: int, kernel: str = "bicubic") -> NDArray[np.uint8]:
    """An 8-bit picture ``[H, W, C]`` shrunk by a whole factor, rounded and clipped to 8 bit.

    Rows and columns beyond a multiple of the factor are cut off first, as the benchmarks do.
    """
    height, width = picture.shape[0] // factor, picture.shape[1] // factor
    cut = picture[: height * factor, : width * factor].astype(np.float32)
    small = resize(cut, (height, width), kernel)
    return np.clip(np.rint(small), 0, 255).astype(np.uint8)
