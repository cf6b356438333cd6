"""Tells a thing that flies past from a mark: it is in the frames before and after, on one path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from restore.motion.straight import parted

__all__ = ["Blobs", "attached", "blobs_of", "gliding", "passing"]

Doubles = NDArray[np.float64]
Integers = NDArray[np.intp]
Plane = NDArray[Any]  # float32
Mask = NDArray[np.bool_]

_AREAS: Final = 2.5  # largest ratio between the areas of one thing in two frames
_CONTRASTS: Final = 2.2  # the same for its contrast
_LUMAS: Final = 0.08  # largest difference between the lumas of one thing in two frames
_LIMB: Final = 0.3  # share of a limb's area that other frames show close by
_WHOLE_LIMB: Final = 0.7  # the same where one of them has to do
_LARGE_SHARE: Final = 0.003  # of the frame: larger than dirt mostly is
_CONTACT: Final = 0.05  # share of its outline at which a limb is joined to its body
_THIN: Final = 3.0  # least ratio between the length and the width of a pole
_LENGTHS: Final = 3.0  # largest ratio between the lengths of one pole in two frames
_TURN: Final = np.cos(np.radians(8))  # how far it may have turned
_SLACK_PX: Final = 2.0  # what centroids may be off by, beside a share of the way


@dataclass(frozen=True)
class Blobs:
    """Connected marks of one frame, as lists: they cover little of it.

    Attributes:
        shape: ``(h, w)`` of the frame.
        place: ``[P]`` flat index of every marked pixel.
        owner: ``[P]`` number of the blob that the pixel belongs to.
        area_px: ``[M]``.
        x_px: ``[M]`` centroids.
        y_px: ``[M]``.
        contrast: ``[M]`` mean height over what surrounds them in time.
        luma: ``[M]`` mean of the picture.
    """

    shape: tuple[int, int]
    place: Integers
    owner: Integers
    area_px: Doubles
    x_px: Doubles
    y_px: Doubles
    contrast: Doubles
    luma: Doubles

    def means(self, plane: Plane) -> Doubles:
        """The mean of a plane ``[h, w]`` over each blob."""
        total = np.bincount(self.owner, plane.ravel()[self.place], len(self.area_px))
        return np.asarray(total / self.area_px)

    def axes(self) -> tuple[Doubles, Doubles, Doubles]:
        """Length and width of each blob ``[M]`` in px, and where its length points, ``[M, 2]``.

        As those of the ellipse with the same second moments.
        """
        rows, columns = np.divmod(self.place, self.shape[1])
        x, y = columns - self.x_px[self.owner], rows - self.y_px[self.owner]
        count = len(self.area_px)
        xx, yy, xy = (
            np.bincount(self.owner, product, count) / self.area_px
            for product in (x * x, y * y, x * y)
        )
        moments = np.stack([np.stack([xx, xy], -1), np.stack([xy, yy], -1)], -1)
        spread, ways = np.linalg.eigh(moments)
        sides = 4 * np.sqrt(np.maximum(spread, 0) + 1 / 12)
        return sides[:, 1], sides[:, 0], np.ascontiguousarray(ways[..., 1])

    def chosen(self, keep: Mask, pixels: Mask | None = None) -> Mask:
        """``[h, w]``: the blobs ``[M]`` to be kept, less the pixels ``[P]`` that are not."""
        out = np.zeros(self.shape, np.bool_)
        inside = keep[self.owner] if pixels is None else keep[self.owner] & pixels
        out.ravel()[self.place[inside]] = True
        return out


def blobs_of(
    mask: Mask,
    height: Plane,
    picture: Plane,
    seeds: Mask | None = None,
    line_px: float | None = None,
) -> Blobs:
    """The 8-connected blobs of a mask.

    Args:
        mask: ``[h, w]``.
        height: ``[h, w]``, how far the picture stands out from its neighbours in time.
        picture: ``[h, w]`` luma.
        seeds: ``[h, w]`` where given, a blob needs two pixels of these, or it is left out.
        line_px: where given, what lies along a straight line of that length is a blob of its own.
    """
    import cv2

    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    place = np.flatnonzero(mask)
    owner = labels.ravel()[place].astype(np.intp) - 1
    shape = (mask.shape[0], mask.shape[1])
    if line_px is not None:
        owner = parted(place, owner, shape, line_px)
        count = int(owner.max(initial=-1)) + 2
    if seeds is not None:
        enough = np.bincount(owner, seeds.ravel()[place], count - 1) >= 2
        kept = enough[owner]
        number = np.cumsum(enough) - 1
        place, owner, count = place[kept], number[owner[kept]], int(enough.sum()) + 1
    area = np.bincount(owner, minlength=count - 1).astype(np.float64)
    rows, columns = np.divmod(place, mask.shape[1])
    return Blobs(
        shape,
        place,
        owner,
        area,
        np.bincount(owner, columns, count - 1) / area,
        np.bincount(owner, rows, count - 1) / area,
        np.bincount(owner, height.ravel()[place], count - 1) / area,
        np.bincount(owner, picture.ravel()[place], count - 1) / area,
    )


def passing(
    here: Blobs, others: tuple[Blobs, Blobs], steps: tuple[int, int], reach_px: float
) -> Mask:
    """Which blobs belong to a thing on a steady path.

    Args:
        here: blobs of the frame.
        others: blobs of like sign in two other frames, on the frame's grid (the picture's own
            motion taken out).
        steps: places of the other frames in time, in frames from this one.
        reach_px: longest way per frame.

    Returns:
        ``[M]`` True where both other frames hold a blob of like area and contrast, at places that
        fit one speed; or where one does and the way leads out of the frame in the other.
    """
    out = np.zeros(len(here.area_px), np.bool_)
    alike = [
        _alike(here, other, reach_px * abs(step)) for other, step in zip(others, steps, strict=True)
    ]
    for number in np.flatnonzero(alike[0].any(1) | alike[1].any(1)):
        speeds = [
            _speeds(here, number, other, np.flatnonzero(found[number]), step)
            for other, found, step in zip(others, alike, steps, strict=True)
        ]
        gap = np.linalg.norm(speeds[0][:, None] - speeds[1][None], axis=-1)
        ways = [np.linalg.norm(speed, axis=-1) for speed in speeds]
        steady = gap <= _SLACK_PX + 0.15 * (ways[0][:, None] + ways[1])
        out[number] = (
            bool(steady.any())
            or _leaves(here, number, speeds[0] * steps[1])
            or _leaves(here, number, speeds[1] * steps[0])
        )
    return out


def gliding(
    here: Blobs, others: tuple[Blobs, Blobs], reach_px: float, least_px: float
) -> tuple[Mask, tuple[Mask, Mask]]:
    """Which blobs are poles, wires or posts that go past.

    Such a thing is hidden in part or cut by the frame's border most of the time, so that neither
    its area nor its middle tells its path; its direction does.

    Args:
        here: blobs of the frame.
        others: blobs of like sign in two other frames, on the frame's grid.
        reach_px: longest way per frame.
        least_px: length from which on a thin blob counts.

    Returns:
        ``[M]`` True where a long thin blob has one of like direction, length and look near by in
        another frame; and for both of these ``[K]`` True where they hold such a one.
    """
    length, width, way = here.axes()
    long = (length >= least_px) & (length >= _THIN * width)
    found = np.zeros(len(long), np.bool_)
    there = tuple(np.zeros(len(other.area_px), np.bool_) for other in others)
    for other, seen in zip(others, there, strict=True):
        if not long.any() or not len(other.area_px):
            continue
        long_there, wide_there, way_there = other.axes()
        ratio = np.abs(np.log(long_there / length[:, None]))
        thin = long_there >= _THIN * wide_there
        fits = (np.abs(way @ way_there.T) >= _TURN) & (ratio <= np.log(_LENGTHS)) & thin
        # Across its direction: along it nothing shows how far a pole has gone.
        gap = np.stack([other.x_px - here.x_px[:, None], other.y_px - here.y_px[:, None]], -1)
        across = np.abs(gap[..., 0] * way[:, None, 1] - gap[..., 1] * way[:, None, 0])
        along = np.abs(gap[..., 0] * way[:, None, 0] + gap[..., 1] * way[:, None, 1])
        fits &= (across <= reach_px) & (along <= length[:, None])
        fits &= _like_look(here, other) & long[:, None]
        found |= fits.any(1)
        seen |= fits.any(0)
    return found, (there[0], there[1])


def attached(
    here: Blobs,
    others: tuple[Blobs, Blobs],
    centre: Plane,
    near_px: float,
    known: tuple[Mask, Mask],
) -> Mask:
    """Which blobs are limbs of something larger: a wing, an arm, a wheel's spoke.

    Args:
        here: blobs of the frame.
        others: blobs of like sign in two other frames, on the frame's grid.
        centre: ``[h, w]`` luma of the frame.
        near_px: how far beyond its own size a limb may swing.
        known: blobs of the other frames of which it is known what they are, ``[K]`` each; they
            vouch for no limb.

    Returns:
        ``[M]`` True where a blob runs on into something as bright as itself that is no spike, and
        both other frames show blobs of like contrast and enough area close by, whatever their
        shape. Of a blob larger than dirt mostly is one other frame is enough, which has to show
        nearly all of it: in the other the limb may lie before something like itself.
    """
    shown = np.zeros((2, len(here.area_px)))
    for number, (other, told) in enumerate(zip(others, known, strict=True)):
        away = np.hypot(other.x_px - here.x_px[:, None], other.y_px - here.y_px[:, None])
        close = (away <= near_px + 2 * np.sqrt(here.area_px)[:, None]) & ~told
        area = ((close & _like_look(here, other)) * other.area_px).sum(1)
        shown[number] = area / here.area_px
    large = here.area_px >= _LARGE_SHARE * here.shape[0] * here.shape[1]
    seen = (shown.min(0) >= _LIMB) | (large & (shown.max(0) >= _WHOLE_LIMB))
    return np.asarray(_touching(here, centre) & seen, np.bool_)


def _touching(here: Blobs, centre: Plane) -> Mask:
    import cv2

    count = len(here.area_px)
    labels = np.zeros(here.shape, np.float32)
    labels.ravel()[here.place] = here.owner + 1
    ring = np.flatnonzero(cv2.dilate(labels, np.ones((3, 3), np.uint8)) - labels)
    ring = ring[labels.ravel()[ring] == 0]
    owner = cv2.dilate(labels, np.ones((3, 3), np.uint8)).ravel()[ring].astype(np.intp) - 1
    apart = np.abs(centre.ravel()[ring] - here.means(centre)[owner])
    like = np.bincount(owner, apart < 0.4 * here.contrast[owner], count)
    return np.asarray(like >= _CONTACT * np.bincount(owner, minlength=count), np.bool_)


def _speeds(here: Blobs, number: np.intp, other: Blobs, which: Integers, step: int) -> Doubles:
    x, y = other.x_px[which] - here.x_px[number], other.y_px[which] - here.y_px[number]
    return np.stack([x, y], 1) / step


def _leaves(here: Blobs, number: np.intp, way: Doubles) -> bool:
    """Whether any of the ways ``[K, 2]`` leads a blob out of the frame, whole or in part."""
    margin = np.sqrt(here.area_px[number]) / 2
    x, y = here.x_px[number] + way[:, 0], here.y_px[number] + way[:, 1]
    height, width = here.shape
    inside = (x > margin) & (x < width - margin) & (y > margin) & (y < height - margin)
    return bool((~inside).any())


def _like_look(here: Blobs, other: Blobs) -> Mask:
    """``[M, K]``: of one contrast, or of one luma, as a solid thing is over any ground."""
    ratio = np.log(np.maximum(other.contrast, 1e-4) / np.maximum(here.contrast, 1e-4)[:, None])
    solid = np.abs(other.luma - here.luma[:, None]) <= _LUMAS
    return np.asarray((np.abs(ratio) <= np.log(_CONTRASTS)) | solid, np.bool_)


def _alike(here: Blobs, other: Blobs, reach_px: float) -> Mask:
    """``[M, K]``: which blobs may be the same thing."""
    away = np.hypot(other.x_px - here.x_px[:, None], other.y_px - here.y_px[:, None])
    area = np.abs(np.log(other.area_px / here.area_px[:, None]))
    fits = (away <= reach_px) & (area <= np.log(_AREAS))
    return np.asarray(fits & _like_look(here, other), np.bool_)
