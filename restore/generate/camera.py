"""A camera that moves over a still: where it looks at every frame, and what it sees."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from restore.errors import InvalidInput
from restore.generate.resample import at_places, on_grid

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Move", "View", "check_inside", "frames_along", "path", "seen", "window_px"]

Ease = Literal["linear", "ease", "ease-in", "ease-out"]
_SLACK = 1e-9  # of the picture's size: what float64 loses


@dataclass(frozen=True)
class View:
    """Where the camera looks.

    Attributes:
        x: middle of the window, as a share of the picture's width.
        y: likewise of its height.
        zoom: 1 is the largest window of the clip's shape that fits into the picture.
        roll_deg: clockwise turn of the camera.
    """

    x: float = 0.5
    y: float = 0.5
    zoom: float = 1.0
    roll_deg: float = 0.0


@dataclass(frozen=True)
class Move:
    """From one view to another.

    Attributes:
        start: first view.
        stop: last view.
        ease: how speed changes: ``linear`` (none), ``ease`` (both ends slow), ``ease-in`` (slow at
            first), ``ease-out``.
        loop: go there and back by one swing of a cosine, so that the first frame follows the last.
    """

    start: View = View()
    stop: View = View()
    ease: Ease = "ease"
    loop: bool = False

    def __post_init__(self) -> None:
        for view in (self.start, self.stop):
            if not (view.zoom > 0 and math.isfinite(view.zoom)):
                raise InvalidInput(f"zoom {view.zoom}", "a number above 0; 1 shows most")
            if not all(map(math.isfinite, (view.x, view.y, view.roll_deg))):
                raise InvalidInput(f"a view of {view}", "finite numbers")


def path(move: Move, frames: int) -> tuple[View, ...]:
    """The view of every frame.

    Zoom goes by equal ratios in equal times, and the middle with it, so that a move towards a point
    keeps that point's direction (the window's corners travel on straight lines).

    Raises:
        InvalidInput: fewer than one frame.
    """
    if frames < 1:
        raise InvalidInput(f"{frames} frames", "at least 1")
    return tuple(_between(move, _share(move, n, frames)) for n in range(frames))


def _share(move: Move, number: int, frames: int) -> float:
    if move.loop:
        return (1 - math.cos(2 * math.pi * number / frames)) / 2
    at = number / (frames - 1) if frames > 1 else 0.0
    if move.ease == "linear":
        return at
    if move.ease == "ease":
        return (1 - math.cos(math.pi * at)) / 2
    if move.ease == "ease-in":
        return 1 - math.cos(math.pi * at / 2)
    return math.sin(math.pi * at / 2)


def _between(move: Move, at: float) -> View:
    start, stop = move.start, move.stop
    zoom = start.zoom * (stop.zoom / start.zoom) ** at
    along = at
    if start.zoom != stop.zoom:
        along = (1 - start.zoom / zoom) / (1 - start.zoom / stop.zoom)
    return View(
        start.x + (stop.x - start.x) * along,
        start.y + (stop.y - start.y) * along,
        zoom,
        start.roll_deg + (stop.roll_deg - start.roll_deg) * at,
    )


def window_px(
    picture_px: tuple[int, int], size_px: tuple[int, int], zoom: float
) -> tuple[float, float]:
    """Width and height of what the camera sees, in pixels of the picture."""
    scale = min(picture_px[0] / size_px[0], picture_px[1] / size_px[1]) / zoom
    return size_px[0] * scale, size_px[1] * scale


def check_inside(
    views: Sequence[View], picture_px: tuple[int, int], size_px: tuple[int, int]
) -> None:
    """Refuse a path on which the camera looks beyond the picture.

    Raises:
        InvalidInput: names the frame and what would do.
    """
    for number, view in enumerate(views):
        width, height = window_px(picture_px, size_px, view.zoom)
        turn = math.radians(view.roll_deg)
        c, s = abs(math.cos(turn)), abs(math.sin(turn))
        half = ((width * c + height * s) / 2, (width * s + height * c) / 2)
        middle = (view.x * picture_px[0], view.y * picture_px[1])
        if any(
            m - h < -_SLACK * p or m + h > p * (1 + _SLACK)
            for m, h, p in zip(middle, half, picture_px, strict=True)
        ):
            room = min(h for h in (middle[0] / half[0], middle[1] / half[1]))
            room = min(
                room, *((p - m) / h for p, m, h in zip(picture_px, middle, half, strict=True))
            )
            need = (
                f"a zoom of {view.zoom / room:.3f} or more there" if room > 0 else "a middle inside"
            )
            raise InvalidInput(
                f"frame {number}: the camera at ({view.x:.3f}, {view.y:.3f}), zoom "
                f"{view.zoom:.3f}, "
                f"roll {view.roll_deg:g} looks beyond the picture",
                need,
                "Zoom in, or move the middle away from the edge.",
            )


def seen(data: Tensor, view: View, size_px: tuple[int, int]) -> Tensor:
    """What the camera sees.

    Args:
        data: ``[c, h, w]`` float32.
        view: where it looks; beyond the picture the edge is repeated.
        size_px: width and height of the clip.

    Returns:
        ``[c, h', w']`` float32.
    """
    picture_px = (data.shape[2], data.shape[1])
    width, height = window_px(picture_px, size_px, view.zoom)
    across = ((np.arange(size_px[0]) + 0.5) / size_px[0] - 0.5) * width
    down = ((np.arange(size_px[1]) + 0.5) / size_px[1] - 0.5) * height
    step = width / size_px[0]
    x, y = view.x * picture_px[0], view.y * picture_px[1]
    if view.roll_deg == 0:
        return on_grid(data, across + x, down + y, (step, step))
    turn = math.radians(view.roll_deg)
    c, s = math.cos(turn), math.sin(turn)
    places_x = x + c * across[None, :] - s * down[:, None]
    places_y = y + s * across[None, :] + c * down[:, None]
    return at_places(data, places_x, places_y, step)


def frames_along(
    data: Tensor, move: Move, frames: int, size_px: tuple[int, int]
) -> Iterator[Tensor]:
    """The clip, frame by frame, ``[3, h, w]`` float32 R'G'B' within 0..1.

    Raises:
        InvalidInput: the camera looks beyond the picture.
    """
    views = path(move, frames)
    check_inside(views, (data.shape[2], data.shape[1]), size_px)
    for view in views:
        yield seen(data, view, size_px).clamp(0, 1)
