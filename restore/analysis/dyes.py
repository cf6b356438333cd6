"""How far the dyes of a shot have faded, told from its pictures alone.

A dye that fades loses a share of its density everywhere, so the layer's R'G'B' value is raised to a
power below one; a stain or a filter multiplies it. Both turn the scene's greys into a straight line
through the logarithms of the three channels. The line is searched by voting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates  # type: ignore[attr-defined]

from restore.motion.middle import quantile

__all__ = ["DyeFade", "DyeTally", "fit_fade", "neutral_points"]

Doubles = NDArray[np.float64]

_TONES: Final = np.arange(-3.0, 0.01, 0.25)  # mean logarithm of R', G', B'
_STEP: Final = 0.05  # of the chroma histogram, in logarithms of channel ratios
_REACH: Final = 1.3
_SIDE: Final = 2 * round(_REACH / _STEP) + 1
_WHITE, _BLACK = -0.1, -2.0  # tones that a line is named by
_FLOOR: Final = 0.01  # R'G'B' below which noise has no colour
_DEEPEST: Final = 0.02  # R'G'B' of the black that a picture is brought to
_RARE: Final = 3e-5  # share of the pictures that is a vote
_TONED: Final = 0.015  # R'G'B' by which colours of one tone differ in black-and-white film
_ANCHOR: Final = 0.7  # 1 holds the brightest channel at white, 0 the mean of the channels
_GATE: Final = (9.0, 0.7)  # evidence at which half of a correction is made, and its softness


class DyeTally:
    """Sums over pictures of one shot: chroma by tone, blacks, whites. Its size never changes."""

    def __init__(self) -> None:
        self.votes: Doubles = np.zeros((len(_TONES), _SIDE, _SIDE))
        self.pictures = 0
        self.pixels = 0
        self._ends: Doubles = np.zeros((4, 3))

    def add(self, picture: NDArray[np.float32]) -> None:
        """Count a picture.

        Args:
            picture: ``[h, w, 3]`` float32 R'G'B' 0..1, averaged down so that grain is weak.
        """
        values = picture.reshape(-1, 3).astype(np.float64)
        self.pictures += 1
        self.pixels += len(values)
        grey = values.mean(1)
        dark = values[grey <= quantile(grey, 0.015)]
        bright = values[grey >= quantile(grey, 0.985)]
        ends = [[quantile(plane, share) for plane in values.T] for share in (0.003, 0.997)]
        extremes = np.log(np.maximum(ends, 0.002))
        self._ends += np.stack(
            [
                np.log(np.maximum(dark, _DEEPEST)).mean(0),
                np.log(np.maximum(bright, _FLOOR)).mean(0),
                *extremes,
            ]
        )
        tone, red, blue = _chroma(values)
        place = [(tone - _TONES[0]) / 0.25, _column(red), _column(blue)]
        cells = np.rint(np.stack(place)).astype(np.intp)
        shape = self.votes.shape
        cells = cells[:, ((cells >= 0) & (cells < np.array(shape)[:, None])).all(0)]
        numbers = np.ravel_multi_index(tuple(cells), shape)
        self.votes += np.bincount(numbers, minlength=self.votes.size).reshape(shape)

    @property
    def ends(self) -> Doubles:
        """``[4, 3]`` logarithms: dark and bright pixels, lowest and highest of each channel."""
        return self._ends / max(self.pictures, 1)

    @property
    def is_toned(self) -> bool:
        """Whether colour follows from tone alone: black-and-white film, tinted or not."""
        count = self.votes.sum((1, 2))
        total = max(count.sum(), 1.0)
        axis = (np.arange(_SIDE) - _SIDE // 2) * _STEP
        spread = 0.0
        for sums in (self.votes.sum(2), self.votes.sum(1)):
            share = sums / np.maximum(count, 1)[:, None]
            mean = share @ axis
            # A cell's own width is no colour.
            variance = np.maximum(share @ np.square(axis) - np.square(mean) - _STEP**2 / 12, 0)
            spread += float((count * variance * np.exp(2 * _TONES)).sum() / total)
        return spread < 2 * _TONED**2


@dataclass(frozen=True)
class DyeFade:
    """What happened to the channels, with what takes it back.

    Attributes:
        gain: ``[3]`` logarithm of what white was multiplied by.
        power: ``[3]`` share of each layer's density that is left; the best layer's is 1.
        pedestal: R'G'B' that black was lifted to, all channels alike.
        evidence: how much better the picture's greys explain this than no fade; 10 is a good case.
    """

    gain: Doubles
    power: Doubles
    pedestal: float = 0.0
    evidence: float = 0.0

    @classmethod
    def none(cls) -> DyeFade:
        """Nothing happened."""
        return cls(np.zeros(3), np.ones(3))

    def changes_less_than(self, least: float) -> bool:
        """Whether no logarithm of a value, nor black, is changed by as much as that."""
        parts = (np.abs(self.gain).max(), 8 * np.abs(self.power - 1).max(), abs(self.pedestal))
        return max(map(float, parts)) < least

    def towards(self, other: DyeFade, share: float) -> DyeFade:
        """This one moved by a share of the way to another."""
        return DyeFade(
            self.gain + share * (other.gain - self.gain),
            self.power + share * (other.power - self.power),
            self.pedestal + share * (other.pedestal - self.pedestal),
            other.evidence,
        )


def neutral_points(picture: NDArray[np.float32]) -> Doubles:
    """What a picture of something grey shows: ``[n, 3]`` tone, red to green, blue to green."""
    tone, red, blue = _chroma(picture.reshape(-1, 3).astype(np.float64))
    bins = np.rint(tone / 0.25)
    points = [
        (np.median(tone[here]), np.median(red[here]), np.median(blue[here]))
        for here in (bins == number for number in np.unique(bins))
        if here.sum() >= max(4, len(tone) // 50)
    ]
    return np.array(points, np.float64).reshape(-1, 3)


def fit_fade(
    tally: DyeTally, *, known: Doubles | None = None, trusted: bool = False, toned: bool = False
) -> DyeFade:
    """The fade that explains a shot's pictures best.

    The greys' line is the one with most votes over all tones (a Hough transform of the grey axis),
    few votes counting nearly as much as many. Dark and bright pixels are expected near it, a
    picture as it is is believed before a faded one, and what would clip or crush a channel is not.
    Where the evidence is thin, part of the correction is made or none.

    Args:
        tally: of at least one picture.
        known: points of something known to be grey, from :func:`neutral_points`.
        trusted: the pictures are known to hold neutral greys: correct fully.
        toned: treat tinted black-and-white film as faded colour.
    """
    ends = tally.ends
    if tally.is_toned and not toned and known is None:
        return _levelled(DyeFade.none(), ends, 1.0)
    search = _Search(tally, known)
    line = search.best()
    evidence = float(search.score(line[None])[0] - search.score(np.zeros((1, 4)))[0])
    middle, softness = _GATE
    sure = trusted or known is not None
    share = 1.0 if sure else 1 / (1 + np.exp(-(evidence - middle) / softness))
    gain, power = (one[0] for one in _channels(line[None]))
    fade = DyeFade(gain * share, 1 + (power - 1) * share, evidence=evidence)
    return _levelled(fade, ends, share)


def _levelled(fade: DyeFade, ends: Doubles, share: float) -> DyeFade:
    """The same fade with its black point, as far as the black is plainly not the scene's."""
    low = float(np.exp((ends[2] - fade.gain) / fade.power).mean())
    lift = max(0.0, low - _DEEPEST) * float(np.clip((0.25 - low) / 0.15, 0, 1)) * share
    return DyeFade(fade.gain, fade.power, lift, fade.evidence)


class _Search:
    """The vote on lines ``[n, 4]``: (red, blue) to green at white, then at black."""

    def __init__(self, tally: DyeTally, known: Doubles | None) -> None:
        smooth = np.empty_like(tally.votes)
        for number, tone in enumerate(_TONES):
            # Dark colours are uncertain by their noise.
            sigma = 1 + 0.6 * max(0.0, -tone - 1)
            smooth[number] = gaussian_filter(tally.votes[number], sigma) * sigma**2
        self._votes = np.log1p(smooth / (tally.pixels * _RARE))
        self._ends = tally.ends
        self._known = np.zeros((0, 3)) if known is None else known

    def best(self) -> Doubles:
        """The line with the highest score, ``[4]``; a grid first, then ever closer draws."""
        white, slope = np.arange(-0.5, 0.51, 0.1), np.arange(-1, 1.01, 0.125)
        grid = np.meshgrid(white, white, slope, slope, indexing="ij")
        lines = np.stack(grid, -1).reshape(-1, 4)
        lines[:, 2:] += lines[:, :2]
        best = self._highest(lines, 40)
        random = np.random.default_rng(0)
        for width in (0.06, 0.03, 0.015, 0.007):
            around = random.normal(0, width, (len(best), 40, 4)) * (1, 1, 2, 2)
            best = self._highest(
                np.concatenate([best, (best[:, None] + around).reshape(-1, 4)]), 20
            )
        return np.asarray(best[0])

    def _highest(self, lines: Doubles, count: int) -> Doubles:
        return np.asarray(lines[np.argsort(-self.score(lines), kind="stable")[:count]])

    def score(self, lines: Doubles) -> Doubles:
        """How well each line explains the pictures, ``[n]``."""
        along = np.stack([_at(lines, tone) for tone in _TONES])
        tones = np.broadcast_to(np.arange(len(_TONES))[:, None], along.shape[:2])
        cells = np.stack([tones, _column(along[..., 0]), _column(along[..., 1])]).reshape(3, -1)
        found = map_coordinates(self._votes, cells, order=1).reshape(tones.shape).sum(0)
        dark, bright, low, high = self._ends
        found -= 6 * (_far(lines[:, :2], 0.1) + _far(lines[:, 2:] - lines[:, :2], 0.3))
        for weight, width, colour in ((3, 0.08, bright), (5, 0.3, dark)):
            ratio = np.array([colour[0] - colour[1], colour[2] - colour[1]])
            found -= weight * _far(_at(lines, float(colour.mean())) - ratio, width)
        for tone, red, blue in self._known:
            found -= 30 * _far(_at(lines, tone) - np.array([red, blue]), 0.02)
        gain, power = _channels(lines)
        clipped = np.maximum(0, (high - gain) / power - np.maximum(high, -0.02)) / 0.1
        crushed = np.maximum(0, np.minimum(low, np.log(0.008)) - (low - gain) / power) / 0.5
        return np.asarray(found - 5 * np.clip(clipped + crushed, 0, 4).sum(1))


def _channels(lines: Doubles) -> tuple[Doubles, Doubles]:
    """Gain (logarithm) and power of each channel, ``[n, 3]`` each, for lines of grey."""
    nothing = np.zeros(len(lines))
    white = np.stack([lines[:, 0], nothing, lines[:, 1]], 1)
    black = np.stack([lines[:, 2], nothing, lines[:, 3]], 1)
    white = white - white.mean(1, keepdims=True)
    black = black - black.mean(1, keepdims=True)
    span = _WHITE - _BLACK
    power = (span + white - black) / span
    gain = _WHITE + white - power * _WHITE
    # Dyes and stains only take light: the best channel is as it was.
    gain = gain - (_ANCHOR * gain.max(1, keepdims=True) + (1 - _ANCHOR) * gain.mean(1)[:, None])
    return gain, np.maximum(power / power.max(1, keepdims=True), 0.2)


def _chroma(values: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Tone, red to green and blue to green of ``[n, 3]``, where none is clipped or too dark."""
    least, most = np.minimum.reduce([*values.T]), np.maximum.reduce([*values.T])
    fit = (least > 1.2 * _FLOOR) & (most < 0.99)
    logs = np.log(values[fit])
    return logs.mean(1), logs[:, 0] - logs[:, 1], logs[:, 2] - logs[:, 1]


def _column(ratio: Doubles) -> Doubles:
    """Where a ratio lies in the histogram, in cells."""
    return np.asarray((ratio + _REACH) / _STEP)


def _at(lines: Doubles, tone: float) -> Doubles:
    share = (tone - _WHITE) / (_BLACK - _WHITE)
    return np.asarray(lines[:, :2] * (1 - share) + lines[:, 2:] * share)


def _far(gap: Doubles, width: float) -> Doubles:
    """A distance that no single witness can push beyond measure (Cauchy's logarithm)."""
    red, blue = gap[:, 0], gap[:, 1]
    return np.asarray(np.log1p((red * red + blue * blue - red * blue) / width**2))
