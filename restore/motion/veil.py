"""A line down the frame as a veil: what share of the scene it hides, and what light it adds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from restore.motion.middle import median

__all__ = ["REACH_PX", "Evidence", "Veil", "evidence_of", "lift", "veil_of"]

Plane = NDArray[Any]  # float32
Doubles = NDArray[np.float64]
Mask = NDArray[np.bool_]

REACH_PX: Final = 6
"""Columns on each side of a line that are looked at."""

_KNOTS: Final = np.arange(-3.5, 3.75, 0.5)  # px from the line's middle; 0 at both ends
_BENDS: Final = 8  # knots down the frame, of what its path is mended by
_ROUNDS: Final = 3
_BUSY: Final = 0.04  # difference between the sides at which a row counts half
_SMOOTH_ROWS: Final = 9
_GAIN_ROWS: Final = 41  # over which a line's strength is taken for the same
_ALIKE_PX: Final = 12.0  # samples of the scene that are about one independent one
_BESIDE_PX: Final = 2.0  # about a line next to this one, that belong to that
_ABOUT_ROWS: Final = 5  # in which nothing is brought up to more than is seen beside the line
_GAIN_SPREAD: Final = 0.1  # variance of a line's strength down its length, before one looks


@dataclass(frozen=True)
class Veil:
    """A line in front of a scene: seen = scene - profile x (hidden x scene - light).

    Attributes:
        path: ``[h]`` its column on each row, px.
        profile: ``[15]`` its strength at each half pixel, 3.5 px on either side; 1 at most.
        hidden: share of the scene that its core hides.
        light: ``[3]`` what its core adds.
        half_px: columns on each side of its middle that it changes.
        rows: ``[h]`` where it was seen.
        beside: ``[h]`` columns of each line next to it.
    """

    path: Doubles
    profile: Doubles
    hidden: float
    light: Doubles
    half_px: int
    rows: Mask
    beside: tuple[Doubles, ...] = ()

    def depth(self, scene: Doubles) -> Doubles:
        """What its core changes in a scene ``[..., 3]``."""
        return self.light - self.hidden * scene


@dataclass(frozen=True)
class Evidence:
    """How well a veil explains a line over the whole height of the frame.

    Attributes:
        hidden: share of the scene that it hides.
        contrast: how much it stands out, RMS, 0..1.
        misfit: what is left over, as a share of that.
        certainty: deviations by which the scene shines through less than wholly.
        share: of the height that it explains.
        width_px: over which it has more than half its strength.
    """

    hidden: float
    contrast: float
    misfit: float
    certainty: float
    share: float
    width_px: float


@dataclass(frozen=True)
class _Strip:
    """The columns about a path: ``[h, n, 3]``, its sides ``[h, 3]``, offsets ``[h, n]``.

    ``sides`` is where there is scene beside it, ``[h, n]``.
    """

    seen: Doubles
    scene: Doubles
    left: Doubles
    right: Doubles
    away: Doubles
    columns: NDArray[np.intp]
    inside: Mask
    sides: Mask


def veil_of(
    picture: Plane,
    path: Doubles,
    rows: Mask,
    half_px: int,
    beside: tuple[Doubles, ...] = (),
) -> Veil:
    """Fit a veil to a line.

    Profile, path, and the straight line between what is behind and what is seen are found in turn
    by weighted least squares. Rows whose sides differ count for less, since there a straight line
    between the sides says little of what is behind; so do rows that fit badly (Welsch's weights).

    Args:
        picture: ``[3, h, w]`` float32, nominal 0..1.
        path: ``[h]`` the line's column on each row.
        rows: ``[h]`` where it shows.
        half_px: columns on each side of its middle that it may change.
        beside: ``[h]`` columns of each line next to it, which say nothing of what is behind.
    """
    profile = np.clip(1 - np.abs(_KNOTS) / 1.5, 0, None)
    veil = Veil(path, profile, 0.0, np.zeros(3), half_px, rows, beside)
    for _ in range(_ROUNDS):
        veil = _fitted(_strip(picture, veil), veil, half_px)
    return veil


def evidence_of(picture: Plane, veil: Veil, bands: int) -> Evidence:
    """How well a veil explains what is seen, down ``bands`` pieces of the frame.

    Args:
        picture: ``[3, h, w]`` float32, nominal 0..1.
        veil: fitted to a line in it.
        bands: pieces that the height is averaged to.
    """
    strip = _strip(picture, veil)
    core = _core(strip, veil)
    scene, depth, calm = (
        _banded(plane, bands)
        for plane in (strip.scene.mean(1), _depth(strip, core), _calm(strip)[:, None])
    )
    weight = calm[:, 0] / calm.sum()
    model = veil.depth(scene)
    contrast = max(float(np.sqrt((weight[:, None] * model**2).sum() / 3)), 1e-4)
    off = np.sqrt(np.square(depth - model).mean(1))
    misfit = float(np.sqrt((weight * np.minimum(off, 2 * contrast) ** 2).sum()))
    about = scene - (weight[:, None] * scene).sum(0)
    spread = float(np.sqrt((weight[:, None] * about**2).sum() / 3))
    count = 1 / float(np.square(weight).sum())
    thin = np.flatnonzero(veil.profile <= 0.5)
    middle = len(_KNOTS) // 2
    core_px = _KNOTS[thin[thin > middle][0]] - _KNOTS[thin[thin < middle][-1]] - 1
    return Evidence(
        veil.hidden,
        contrast,
        misfit / contrast,
        veil.hidden * spread * float(np.sqrt(count)) / max(misfit, 1e-3),
        float((weight * (off < 0.35 * contrast)).sum()),
        float(core_px),
    )


def lift(picture: Plane, veil: Veil, strength: float) -> Mask:
    """Take a veil away, in place.

    What shines through is brought up again; where little does, that would bring up noise, and a
    straight line between the sides is put there instead. The line's strength may differ down its
    length: it is measured over some rows, against the noise.

    Args:
        picture: ``[3, h, w]`` float32, changed in place.
        veil: fitted to a line in it.
        strength: share of the repair that is put in place.

    Returns:
        ``[h, w]`` the pixels that may have changed.
    """
    strip = _strip(picture, veil)
    core = _core(strip, veil)
    own = core * _gain(strip, core, veil)[:, None, None]
    hidden = np.clip(veil.hidden * own, -0.5, 0.95)
    cleared = (strip.seen - own * veil.light) / (1 - hidden)
    trust = np.clip((0.8 - hidden) / 0.2, 0, 1)
    lowest, highest = _about(strip)
    cleared = np.clip(cleared, np.minimum(lowest, strip.seen), np.maximum(highest, strip.seen))
    fixed = trust * cleared + (1 - trust) * strip.scene
    offsets = np.abs(np.arange(-REACH_PX, REACH_PX + 1))
    where = (offsets <= veil.half_px) & strip.inside & veil.rows[:, None]
    down, across = np.nonzero(where)
    at = down, strip.columns[where]
    change = strength * (fixed - strip.seen)[down, across]
    for channel in range(picture.shape[0]):
        picture[channel][at] += change[:, channel].astype(picture.dtype)
    touched = np.zeros(picture.shape[-2:], np.bool_)
    touched[at] = True
    return touched


def _strip(picture: Plane, veil: Veil) -> _Strip:
    """The columns about a veil, and a straight line across each row between its sides."""
    height, width = picture.shape[-2:]
    offsets = np.arange(-REACH_PX, REACH_PX + 1)
    columns = np.rint(veil.path).astype(np.intp)[:, None] + offsets
    inside = (columns >= 0) & (columns < width)
    at = np.arange(height)[:, None], np.clip(columns, 0, width - 1)
    seen = np.stack([plane[at] for plane in picture], -1).astype(np.float64)
    half = veil.half_px
    sides = inside & (np.abs(offsets) > half)
    for path in veil.beside:
        apart = sides & (np.abs(columns - path[:, None]) > _BESIDE_PX)
        sides = np.where(apart[:, np.abs(offsets) <= half + 2].any(1)[:, None], apart, sides)
    left, any_left = _mean(seen, sides & (offsets < 0) & (-offsets <= half + 2))
    right, any_right = _mean(seen, sides & (offsets > 0) & (offsets <= half + 2))
    left, right = np.where(any_left, left, right), np.where(any_right, right, left)
    part = np.clip((offsets / (half + 1.5) + 1) / 2, 0, 1)[:, None]
    scene = left[:, None] + (right - left)[:, None] * part
    return _Strip(seen, scene, left, right, columns - veil.path[:, None], columns, inside, sides)


def _about(strip: _Strip) -> tuple[Doubles, Doubles]:
    """``[h, 1, 3]`` the darkest and the brightest beside a line, over a few rows."""
    import cv2

    rows = np.ones((_ABOUT_ROWS, 1), np.uint8)
    low = np.where(strip.sides[..., None], strip.seen, np.inf).min(1)
    high = np.where(strip.sides[..., None], strip.seen, -np.inf).max(1)
    lowest: Doubles = np.asarray(cv2.erode(low, rows), np.float64)
    highest: Doubles = np.asarray(cv2.dilate(high, rows), np.float64)
    return lowest[:, None], highest[:, None]


def _mean(seen: Doubles, where: Mask) -> tuple[Doubles, Mask]:
    """Mean of some columns of each row, and whether there are any."""
    # Sums along short axes are several times quicker so.
    count = np.einsum("hn->h", where.astype(np.intp))[:, None]
    total = np.einsum("hnc,hn->hc", seen, where.astype(np.float64))
    return total / np.maximum(count, 1), count > 0


def _core(strip: _Strip, veil: Veil) -> Doubles:
    """``[h, n, 1]`` the veil's strength at each place."""
    core = np.interp(strip.away, _KNOTS, veil.profile, left=0.0, right=0.0)
    return np.asarray((core * strip.inside)[..., None])


def _depth(strip: _Strip, core: Doubles) -> Doubles:
    """``[h, 3]`` how much each row's core stands out from its sides."""
    near = core[..., 0]
    energy = np.maximum(np.einsum("hn,hn->h", near, near), 1e-3)[:, None]
    return np.asarray(np.einsum("hn,hnc->hc", near, strip.seen - strip.scene) / energy)


def _calm(strip: _Strip) -> Doubles:
    """``[h]`` what each row counts: 1 where its sides are alike."""
    busy = _down(np.abs(strip.left - strip.right).mean(1), 5)
    return np.asarray(1 / (1 + np.square(busy / _BUSY)))


def _fitted(strip: _Strip, veil: Veil, half_px: int) -> Veil:
    """One round: hidden and light, then profile and path together, then the width."""
    core = _core(strip, veil)
    calm = _calm(strip)
    near = core[..., 0]
    weight = np.minimum(np.einsum("hn,hn->h", near, near), 1) * veil.rows * calm
    mass = np.maximum(_down(weight, _SMOOTH_ROWS), 1e-4)[:, None]
    behind = np.einsum("hn,hnc->hc", near, strip.scene)
    behind /= np.maximum(np.einsum("hn->h", near), 1e-3)[:, None]
    scene, depth = (
        _down(plane * weight[:, None], _SMOOTH_ROWS) / mass
        for plane in (behind, _depth(strip, core))
    )
    hidden, light, weight = _hidden_and_light(scene, depth, weight)
    own = _down(light - hidden * (strip.left + strip.right) / 2, _SMOOTH_ROWS)
    # All that the channels say of profile and path: what is seen along the veil's own colour.
    along = np.einsum("hnc,hc->hn", strip.seen - strip.scene, own)
    power = np.broadcast_to(np.einsum("hc,hc->h", own, own)[:, None], along.shape)
    shown = strip.inside & veil.rows[:, None]
    profile = _profile(strip.away, along, power, shown * weight[:, None])
    off = _moved(strip.away, profile, along, power, shown * calm[:, None])
    highest = float(profile.max())
    profile = profile / (highest if highest > 0.05 else 1.0)
    far = np.abs(_KNOTS[np.abs(profile) > 0.07])
    half = int(np.clip(np.floor(far.max() + 0.5), 1, half_px)) if len(far) else half_px
    return Veil(np.add(veil.path, off), profile, hidden, light, half, veil.rows, veil.beside)


def _hidden_and_light(
    scene: Doubles, depth: Doubles, weight: Doubles
) -> tuple[float, Doubles, Doubles]:
    """Fit ``depth = light - hidden x scene``, both ``[h, 3]``; hidden is drawn towards 0.

    Returns:
        Both, and what each row counts after all.
    """
    kept, hidden, light = weight, 0.0, np.zeros(3)
    for _ in range(4):
        share = kept / max(float(kept.sum()), 1e-9)
        mean_x, mean_y = (np.einsum("h,hc->c", share, plane) for plane in (scene, depth))
        about = scene - mean_x
        spread = float(np.einsum("h,hc,hc->", share, about, about)) / 3
        both = float(np.einsum("h,hc,hc->", share, about, depth - mean_y)) / 3
        hidden = float(np.clip(-both / (spread + 2e-4), -0.3, 0.97))
        light = mean_y + hidden * mean_x
        gap = depth + hidden * scene - light
        off = np.sqrt(np.einsum("hc,hc->h", gap, gap) / 3)
        usual = 1.5 * median(off[weight > 0]) if (weight > 0).any() else 1.0
        kept = weight * np.exp(-np.square(off / (2 * max(usual, 1e-3))) / 2)
    return hidden, light, kept


def _profile(away: Doubles, along: Doubles, power: Doubles, weight: Doubles) -> Doubles:
    """The profile, not scaled, by least squares with its second differences held small.

    Args:
        away: ``[h, n]`` px from the path.
        along: ``[h, n]`` what is seen there, times what the veil does at its core.
        power: ``[h, n]`` the latter squared, summed over the channels.
        weight: ``[h, n]`` what each place counts.
    """
    place = (away - _KNOTS[0]) / 0.5
    low = np.clip(np.floor(place), 0, len(_KNOTS) - 2).astype(np.intp)
    part = place - low
    near = (weight * ((part >= 0) & (part <= 1))).ravel()
    squares, targets = near * power.ravel(), near * along.ravel()
    at, part = low.ravel(), part.ravel()
    size = len(_KNOTS)
    normal = np.diag(_sums(at, squares * (1 - part) ** 2, size))
    normal += np.diag(_sums(at + 1, squares * part**2, size))
    beside = _sums(at, squares * part * (1 - part), size)[:-1]
    normal += np.diag(beside, 1) + np.diag(beside, -1)
    right = _sums(at, targets * (1 - part), size) + _sums(at + 1, targets * part, size)
    return np.pad(_solved(normal[1:-1, 1:-1], right[1:-1], 0.02, 2e-4), 1)


def _sums(at: NDArray[np.intp], values: Doubles, size: int) -> Doubles:
    return np.asarray(np.bincount(at, values, size))


def _moved(
    away: Doubles, profile: Doubles, along: Doubles, power: Doubles, weight: Doubles
) -> Doubles:
    """``[h]`` px by which the path is off, a smooth curve, from how the profile slopes."""
    ahead, there, back = (
        np.interp(away + step, _KNOTS, profile, left=0.0, right=0.0) for step in (0.1, 0.0, -0.1)
    )
    slope = (back - ahead) / 0.2
    pull = np.einsum("hn,hn,hn->h", slope, weight, along - there * power)
    hold = np.einsum("hn,hn,hn,hn->h", slope, weight, slope, power)
    height = len(pull)
    knots = np.linspace(0, height - 1, _BENDS)
    hats = np.clip(1 - np.abs(np.arange(height)[:, None] - knots) / (knots[1] - knots[0]), 0, None)
    normal = np.einsum("hi,hj,h->ij", hats, hats, hold)
    bends = _solved(normal, np.einsum("hi,h->i", hats, pull), 1.0, 1e-3)
    return np.asarray(np.clip(np.einsum("hi,i->h", hats, bends), -0.5, 0.5))


def _solved(normal: Doubles, right: Doubles, smooth: float, small: float) -> Doubles:
    """Solve with second differences and size held down, by shares of the mean diagonal."""
    size = len(right)
    usual = float(np.trace(normal)) / size + 1e-9
    second = np.diff(np.eye(size), 2, axis=0)
    held = smooth * np.einsum("ki,kj->ij", second, second) + small * np.eye(size)
    return np.asarray(np.linalg.solve(normal + usual * held, right))


def _gain(strip: _Strip, core: Doubles, veil: Veil) -> Doubles:
    """``[h]`` how strong the line is on each row, about 1."""
    model = core * veil.depth(_down(strip.scene.mean(1), _SMOOTH_ROWS))[:, None]
    change = strip.seen - strip.scene
    near = (np.abs(strip.away) < 2)[..., None]
    around = np.maximum(near.sum((1, 2)), 1)
    left, without = (
        (np.square(off) * near).mean(-1).sum(1) / around for off in (change - model, change)
    )
    # Where no line at all explains more than this one does, what is left over is no noise.
    better = _down(without + 1e-5, _GAIN_ROWS) / _down(left + 1e-5, _GAIN_ROWS)
    noise = _down(left + 1e-5, _SMOOTH_ROWS) * np.minimum(better, 1)
    scale = _GAIN_ROWS / _ALIKE_PX
    both, own = (
        scale * _down(plane.sum((1, 2)) / noise, _GAIN_ROWS)
        for plane in (model * change, model * model)
    )
    return np.asarray(np.clip((both + 1 / _GAIN_SPREAD) / (own + 1 / _GAIN_SPREAD), 0, 2))


def _down(plane: Doubles, rows: int) -> Doubles:
    """Mean over some rows of ``[h]`` or ``[h, n]``."""
    import cv2

    flat = np.ascontiguousarray(plane.reshape(len(plane), -1))
    mean: Doubles = np.asarray(cv2.blur(flat, (1, rows), borderType=cv2.BORDER_REPLICATE))
    return mean.reshape(plane.shape)


def _banded(plane: Doubles, bands: int) -> Doubles:
    """``[h, n]`` averaged down to ``[bands, n]``."""
    import cv2

    size = (plane.shape[1], bands)
    flat = np.ascontiguousarray(plane)
    small: Doubles = np.asarray(cv2.resize(flat, size, interpolation=cv2.INTER_AREA))
    return small.reshape(bands, -1)
