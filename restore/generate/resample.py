"""Resampling at exact places between pixels.

OpenCV's remap rounds places to 1/32 pixel, which shows as a stutter in slow moves; here every place
has its own weights, in float64 until the products.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["at_places", "on_grid"]

_LOBES: Final = 3


def _lanczos(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """C. Lanczos' window of three lobes on a sinc."""
    inside = np.abs(distance) < _LOBES
    return np.where(inside, np.sinc(distance) * np.sinc(distance / _LOBES), 0.0)


def _taps(
    places: NDArray[np.float64], step: float, length: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Source pixels and weights for each place; beyond the edge stands the edge's pixel."""
    wide = max(1.0, step)
    reach = int(np.ceil(_LOBES * wide))
    first = np.floor(places - 0.5).astype(np.int64) - reach + 1
    indices = first[..., None] + np.arange(2 * reach)
    weights = _lanczos((indices + 0.5 - places[..., None]) / wide)
    weights /= weights.sum(axis=-1, keepdims=True)
    return np.clip(indices, 0, length - 1), weights


def on_grid(
    data: Tensor,
    across: NDArray[np.float64],
    down: NDArray[np.float64],
    step: tuple[float, float],
) -> Tensor:
    """Sample where rows and columns of places cross.

    Args:
        data: ``[c, h, w]`` float32.
        across: ``[w']`` horizontal places in pixels; pixel ``i`` has its middle at ``i + 0.5``.
        down: ``[h']`` vertical places.
        step: source pixels from one sample to the next, each way; above 1 the kernel widens, so
            that nothing aliases.

    Returns:
        ``[c, h', w']`` float32; Lanczos of three lobes overshoots at edges.
    """
    import torch

    for axis, places, width in ((1, down, step[1]), (2, across, step[0])):
        indices, weights = _taps(places, width, data.shape[axis])
        size = [*data.shape]
        size[axis] = len(places)
        total = data.new_zeros(size)
        shape = (-1, 1) if axis == 1 else (1, -1)
        for tap in range(indices.shape[1]):
            chosen = data.index_select(axis, torch.from_numpy(indices[:, tap].copy()))
            share = torch.from_numpy(weights[:, tap].astype(np.float32)).view(shape)
            total.addcmul_(chosen, share)
        data = total
    return data


def at_places(
    data: Tensor, across: NDArray[np.float64], down: NDArray[np.float64], step: float
) -> Tensor:
    """Sample at any places, for turned views.

    Args:
        data: ``[c, h, w]`` float32.
        across: ``[h', w']`` horizontal places, see :func:`on_grid`.
        down: ``[h', w']`` vertical places.
        step: source pixels from one sample to the next. Above 1 the picture is reduced first.

    Returns:
        ``[c, h', w']`` float32.
    """
    import torch

    height, width = data.shape[1:]
    if step > 1:
        size = (max(1, round(width / step)), max(1, round(height / step)))
        ratio = (width / size[0], height / size[1])
        middles = [np.arange(n, dtype=np.float64) + 0.5 for n in size]
        data = on_grid(
            data,
            middles[0] * ratio[0],
            middles[1] * ratio[1],
            ratio,
        )
        across, down = across / ratio[0], down / ratio[1]
        height, width = data.shape[1:]
    columns, horizontal = _taps(across, 1.0, width)
    rows, vertical = _taps(down, 1.0, height)
    flat = data.reshape(data.shape[0], -1)
    total = data.new_zeros((data.shape[0], across.size))
    for row in range(rows.shape[-1]):
        line = data.new_zeros((data.shape[0], across.size))
        for column in range(columns.shape[-1]):
            places = torch.from_numpy((rows[..., row] * width + columns[..., column]).reshape(-1))
            share = torch.from_numpy(horizontal[..., column].astype(np.float32).reshape(-1))
            line.addcmul_(flat.index_select(1, places), share)
        share = torch.from_numpy(vertical[..., row].astype(np.float32).reshape(-1))
        total.addcmul_(line, share)
    return total.reshape(data.shape[0], *across.shape)
