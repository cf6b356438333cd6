"""Parallax: a still cut into layers by depth, nearer ones moving more than farther ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from restore.errors import InvalidInput
from restore.generate.camera import Move, View, check_inside, path, seen

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Layer", "cut_layers", "frames_with_depth"]

_SOFT: Final = 0.04  # of the depth's range: over which a layer's edge fades in
_COUNT: Final = 6


@dataclass(frozen=True, eq=False)
class Layer:
    """Everything from some depth on.

    Attributes:
        color: ``[3, h, w]`` float32; what nearer layers hide is filled from around.
        alpha: ``[1, h, w]`` 0..1.
        nearness: 0 farthest, 1 nearest.
    """

    color: Tensor
    alpha: Tensor
    nearness: float


def cut_layers(data: Tensor, depth: Tensor, count: int = _COUNT) -> tuple[Layer, ...]:
    """From the farthest to the nearest.

    Args:
        data: ``[3, h, w]`` the still.
        depth: ``[h, w]`` 0..1, white is near; a mask gives two layers that move apart.
        count: most layers.

    Raises:
        InvalidInput: a depth picture that is the same everywhere.
    """
    import torch

    low, high = float(depth.min()), float(depth.max())
    if high - low < 2 / 255:
        raise InvalidInput(
            "a depth picture that is the same everywhere", "one that shows near (white) and far"
        )
    scaled = (depth - low) / (high - low)
    values: Tensor = torch.unique(scaled)
    count = min(count, len(values)) if len(values) <= 2 else count
    bounds = [number / count for number in range(count)]
    layers = []
    for number, bound in enumerate(bounds):
        alpha = (
            ((scaled - bound) / _SOFT + 0.5).clamp(0, 1)
            if number
            else scaled.new_ones(scaled.shape)
        )
        color = data
        if number + 1 < count:
            # Filled from what is surely farther; where the nearer layer fades in, both hold the
            # picture itself, so that a camera at its first view sees just that.
            edge = bounds[number + 1]
            surely = (scaled < edge - _SOFT / 2).to(data.dtype)[None]
            color = torch.where(scaled < edge + _SOFT / 2, data, _filled(data, surely))
        layers.append(Layer(color, alpha[None], (number + 0.5) / count))
    return tuple(layers)


def _filled(data: Tensor, known: Tensor) -> Tensor:
    """Unknown places from known ones around, coarse to fine (S. Gortler et al., "The Lumigraph",
    1996: pull and push)."""
    import torch.nn.functional as F

    if bool((known > 0).all()) or not bool((known > 0).any()):
        return data
    sums, weights = [data * known], [known]
    while max(sums[-1].shape[1:]) > 1:
        each = (sums[-1], weights[-1])
        halves = [
            F.avg_pool2d(e[None], 2, ceil_mode=True, count_include_pad=False)[0] for e in each
        ]
        sums.append(halves[0])
        weights.append(halves[1])
    color = sums[-1] / weights[-1].clamp_min(1e-12)
    for total, weight in zip(reversed(sums[:-1]), reversed(weights[:-1]), strict=True):
        size = total.shape[1:]
        wide = F.interpolate(color[None], size=size, mode="bilinear", align_corners=False)[0]
        share = (weight > 0).to(weight)
        color = share * (total / weight.clamp_min(1e-12)) + (1 - share) * wide
    return known * data + (1 - known) * color


def _of_layer(view: View, first: View, nearness: float, strength: float) -> View:
    """The view of one layer: what it departs from the first one, more for near layers."""
    more = 1 + strength * (nearness - 0.5)
    return View(
        first.x + (view.x - first.x) * more,
        first.y + (view.y - first.y) * more,
        first.zoom * (view.zoom / first.zoom) ** more,
        view.roll_deg,
    )


def frames_with_depth(
    data: Tensor,
    depth: Tensor,
    move: Move,
    frames: int,
    size_px: tuple[int, int],
    strength: float = 1.0,
) -> Iterator[Tensor]:
    """The clip, frame by frame, ``[3, h, w]`` float32 R'G'B' within 0..1.

    Args:
        data: ``[3, h, w]`` the still.
        depth: ``[h, w]`` 0..1, white is near.
        move: of the camera; a layer of middling depth moves just so.
        frames: how many.
        size_px: width and height of the clip.
        strength: the nearest layer moves ``1 + strength / 2`` times, the farthest
            ``1 - strength / 2`` times as far.

    Raises:
        InvalidInput: the camera looks beyond the picture, or the depth says nothing.
    """
    import torch

    if not 0 <= strength <= 2:
        raise InvalidInput(f"parallax {strength}", "0 to 2; above 2 far layers would run backwards")
    views = path(move, frames)
    check_inside(views, (data.shape[2], data.shape[1]), size_px)
    layers = cut_layers(data, depth)
    for view in views:
        total = data.new_zeros((3, size_px[1], size_px[0]))
        for layer in layers:
            at = _of_layer(view, views[0], layer.nearness, strength)
            stacked = torch.cat([layer.color * layer.alpha, layer.alpha])
            planes = seen(stacked, at, size_px)
            color, alpha = planes[:3], planes[3:].clamp(0, 1)
            total = total * (1 - alpha) + color
        yield total.clamp(0, 1)
