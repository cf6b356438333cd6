"""Parallax: near things move more than far ones, by a depth picture or a mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from restore.errors import InvalidInput
from restore.generate.camera import Move, View, check_inside, path, seen
from restore.generate.relief import seen_over

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Layer", "cut_layers", "frames_with_depth"]

_SOFT: Final = 0.04  # of the depth's range: over which a layer's edge fades in
_MASK: Final = 0.02  # of the picture: a mask has fewer greys than that, along its edges


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


def cut_layers(data: Tensor, depth: Tensor) -> tuple[Layer, Layer]:
    """The far and the near one.

    Args:
        data: ``[3, h, w]`` the still.
        depth: ``[h, w]`` 0..1: a mask, white is near.
    """
    import torch

    alpha = ((depth - 0.5) / _SOFT + 0.5).clamp(0, 1)
    # Filled from what is surely farther; where the near layer fades in, both hold the picture
    # itself, so that a camera at its first view sees just that.
    surely = (depth < 0.5 - _SOFT / 2).to(data.dtype)[None]
    far = torch.where(depth < 0.5 + _SOFT / 2, data, _filled(data, surely))
    return Layer(far, depth.new_ones(depth.shape)[None], 0.25), Layer(data, alpha[None], 0.75)


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
        depth: ``[h, w]`` 0..1, white is near. A mask (black and white) gives two layers, and what
            the near one hid is filled from around; anything else is taken for a relief.
        move: of the camera; things of middling depth move just so.
        frames: how many.
        size_px: width and height of the clip.
        strength: the nearest thing moves ``1 + strength / 2`` times, the farthest
            ``1 - strength / 2`` times as far.

    Raises:
        InvalidInput: the camera looks beyond the picture, or the depth says nothing.
    """
    if not 0 <= strength <= 2:
        raise InvalidInput(f"parallax {strength}", "0 to 2; above 2 far things would run backwards")
    low, high = float(depth.min()), float(depth.max())
    if high - low < 2 / 255:
        raise InvalidInput(
            "a depth picture that is the same everywhere", "one that shows near (white) and far"
        )
    scaled = (depth - low) / (high - low)
    views = path(move, frames)
    check_inside(views, (data.shape[2], data.shape[1]), size_px)
    between = float(((scaled > 0.1) & (scaled < 0.9)).float().mean())
    if between < _MASK:
        layers = cut_layers(data, scaled)
        for view in views:
            yield _composed(layers, view, views[0], size_px, strength)
        return
    relief = np.ascontiguousarray(scaled.numpy())
    for view in views:
        of = partial(_of_nearness, view, views[0], strength)
        yield seen_over(data, relief, of, size_px).clamp(0, 1)


def _of_nearness(view: View, first: View, strength: float, nearness: float) -> View:
    """The view of things so near: what it departs from the first one, more for near ones."""
    more = 1 + strength * (nearness - 0.5)
    return View(
        first.x + (view.x - first.x) * more,
        first.y + (view.y - first.y) * more,
        first.zoom * (view.zoom / first.zoom) ** more,
        view.roll_deg,
    )


def _composed(
    layers: Sequence[Layer],
    view: View,
    first: View,
    size_px: tuple[int, int],
    strength: float,
) -> Tensor:
    """Near layers over far ones."""
    import torch

    total = layers[0].color.new_zeros((3, size_px[1], size_px[0]))
    for layer in layers:
        at = _of_nearness(view, first, strength, layer.nearness)
        planes = seen(torch.cat([layer.color * layer.alpha, layer.alpha]), at, size_px)
        total = total * (1 - planes[3:].clamp(0, 1)) + planes[:3]
    return total.clamp(0, 1)
