"""Faded dyes, casts, lifted blacks: each shot brought back to neutral greys."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from restore.analysis.dyes import DyeFade, DyeTally, fit_fade, neutral_points
from restore.analysis.pictures import small_rgb
from restore.engine.stage import Memory, StreamSpec
from restore.engine.trace import Trace
from restore.errors import InvalidInput
from restore.frames import Frame
from restore.motion.middle import quantile
from restore.stages import StageContext

__all__ = ["Fade", "corrected"]

_LONG_SIDE_PX: Final = 160  # of the pictures that colours are counted in
_EVERY: Final = 3  # frames of a shot for one that is counted
_REFIT: Final = 24  # frames after which a long shot is looked at again
_PACE: Final = 1 / 64  # share of the way to a new finding that one frame goes
_LEADER: Final = (0.06, 0.16)  # brightest luma of a frame that is left alone, that is corrected
_LINEAR: Final = 0.002  # R'G'B' below which powers are carried on as straight lines
_KNEE: Final = 0.9
_CONTRAST: Final = 0.3  # between the darkest and the lightest step of a named chart
_PEDESTALS: Final = np.linspace(0, 0.3, 121)  # lifts of black that are tried on a named chart
_NOTHING: Final = 1e-5  # change of a logarithm that no 16 bit sample shows


class Fade:
    """Undoes the fading of dyes, casts and lifted blacks, shot by shot.

    The first ``lookahead`` frames of a shot are held back and counted
    (:class:`restore.analysis.dyes.DyeTally`, whose size is fixed), the correction is fitted to them
    and holds for the shot; in a longer shot it follows what else is seen, by a sixty-fourth of the
    way with each frame at most. Black-and-white film gets black and white points only and keeps its
    tint. Frames without a picture (leader, the end of a fade) pass as they are. With ``reference``
    a frame that is known to hold neutral greys decides for the whole clip.
    """

    class Settings(BaseModel):
        """Settings of the stage.

        ``strength``: share of the correction. ``lookahead``: frames of a shot that are seen before
        its first one goes on; they are held in memory. ``reference``: source number of a frame
        with neutral greys. ``region``: x, y, width and height in its pixels of something that is
        grey. ``greys``: the true R'G'B' values (0..1) of a grey chart's steps, all of one width,
        from the left to the right of the region. ``toning``: what becomes of tinted
        black-and-white film.
        """

        model_config = ConfigDict(extra="forbid", frozen=True)

        strength: float = Field(default=1.0, ge=0, le=1)
        lookahead: int = Field(default=24, ge=1, le=120)
        reference: int | None = Field(default=None, ge=0)
        region: (
            tuple[
                Annotated[int, Field(ge=0)],
                Annotated[int, Field(ge=0)],
                Annotated[int, Field(ge=1)],
                Annotated[int, Field(ge=1)],
            ]
            | None
        ) = None
        greys: tuple[Annotated[float, Field(ge=0, le=1)], ...] | None = Field(
            default=None, min_length=3, max_length=32
        )
        toning: Literal["keep", "neutral"] = "keep"

        @model_validator(mode="after")
        def _region_has_a_frame(self) -> Self:
            if self.greys is not None and self.region is None:
                raise ValueError("greys needs region, the place of the chart's steps")
            if self.greys is not None and max(self.greys) - min(self.greys) < _CONTRAST:
                raise ValueError(f"greys needs a dark and a light step, {_CONTRAST} apart or more")
            if self.region is not None and self.reference is None:
                raise ValueError("region needs reference, the number of the frame that it is in")
            return self

    def __init__(self, settings: Settings, given: DyeFade | None = None) -> None:
        self._settings = settings
        self._given = given
        self._found: list[DyeFade] = []
        delay = 0 if given or not settings.strength else settings.lookahead - 1
        self.spec = StreamSpec("fade", delay=delay, memory=Memory.SHOT, trace=Trace.RESIDUAL)

    @classmethod
    def build(cls, settings: Settings, context: StageContext) -> Self:
        """Look at the reference where one is named.

        Raises:
            InvalidInput: there is no such frame or region, or the source can be read once only.
        """
        if settings.reference is None:
            return cls(settings)
        if context.picture is None:
            raise InvalidInput(
                f"frame {settings.reference} as the reference of stage 'fade'",
                "a source that can be read twice",
                "Save the piped source as a file first, or leave 'reference' out.",
            )
        return cls(settings, _from_reference(context.picture(settings.reference), settings))

    def facts(self) -> Mapping[str, str]:
        """Settings; after the run, the fade of the last shots in a few numbers."""
        settings = self._settings
        facts = {"strength": f"{settings.strength:g}"}
        if settings.reference is not None:
            facts["reference"] = f"frame {settings.reference}"
        found = [self._given] if self._given else self._found
        if found:
            left = np.mean([fade.power for fade in found], axis=0)
            gain = np.exp(np.mean([fade.gain for fade in found], axis=0))
            facts["density left"] = "cyan {:.0%}, magenta {:.0%}, yellow {:.0%}".format(*left)
            facts["white"] = "red {:.0%}, green {:.0%}, blue {:.0%}".format(*gain)
            facts["shots"] = str(len(self._found)) if not self._given else "all by the reference"
        return facts

    def stream(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Give every frame, at most ``lookahead - 1`` late; as it came at strength 0."""
        if not self._settings.strength:
            yield from frames
            return
        shot: _Shot | None = None
        number = None
        for frame in frames:
            if self._given is not None:
                yield self._undone(frame, self._given, _brightest(_small(frame.data)))
                continue
            if shot is None or frame.shot != number:
                if shot is not None:
                    yield from self._rest(shot)
                shot, number = _Shot(self._settings), frame.shot
            shot.add(frame)
            if len(shot.waiting) == self._settings.lookahead:
                yield self._undone(*shot.next())
        if shot is not None:
            yield from self._rest(shot)

    def _rest(self, shot: _Shot) -> Iterator[Frame]:
        while shot.waiting:
            yield self._undone(*shot.next())
        if shot.fade is not None:
            self._found.append(shot.fade)
            del self._found[:-64]

    def _undone(self, frame: Frame, fade: DyeFade, brightest: float) -> Frame:
        low, high = _LEADER
        shown = min(max((brightest - low) / (high - low), 0.0), 1.0)
        share = self._settings.strength * shown * shown * (3 - 2 * shown)
        if not share or fade.changes_less_than(_NOTHING):
            return frame
        out = corrected(frame.data, fade)
        return replace(frame, data=torch.lerp(frame.data, out, share, out=out))


class _Shot:
    """Frames of one shot that wait, what was counted in it, and its correction."""

    def __init__(self, settings: Fade.Settings) -> None:
        self.waiting: deque[tuple[Frame, float]] = deque()
        self.fade: DyeFade | None = None
        self._toned = settings.toning == "neutral"
        self._tally = DyeTally()
        self._target: DyeFade | None = None
        self._taken = 0
        self._counted = 0

    def add(self, frame: Frame) -> None:
        """Take the next frame."""
        small = _small(frame.data)
        brightest = _brightest(small)
        if self._taken % _EVERY == 0 and brightest > _LEADER[0]:
            self._tally.add(small)
        self._taken += 1
        self.waiting.append((frame, brightest))

    def next(self) -> tuple[Frame, DyeFade, float]:
        """The frame that waits longest, its correction, and how bright it is."""
        stale = self._target is None or self._taken - self._counted >= _REFIT
        if self._tally.pictures and stale:
            self._counted = self._taken
            self._target = fit_fade(self._tally, toned=self._toned)
        if self._target is not None:
            self.fade = self.fade.towards(self._target, _PACE) if self.fade else self._target
        frame, brightest = self.waiting.popleft()
        return frame, self.fade or DyeFade.none(), brightest


def corrected(data: Tensor, fade: DyeFade) -> Tensor:
    """A frame with a fade undone.

    Args:
        data: ``[3, h, w]`` R'G'B'; values outside 0..1 are kept outside.
        fade: what happened.

    Returns:
        ``[3, h, w]``. What would go above 1 is rolled off from 0.9 on.
    """
    gain = torch.tensor(fade.gain, dtype=data.dtype, device=data.device)[:, None, None]
    power = torch.tensor(1 / fade.power, dtype=data.dtype, device=data.device)[:, None, None]
    bent = data.clamp(min=_LINEAR).log_().sub_(gain).mul_(power).exp_()
    out = bent
    if float(data.min()) < _LINEAR:
        out = torch.where(data < _LINEAR, bent * (data / _LINEAR), bent)
    if fade.pedestal:
        out.sub_(fade.pedestal).div_(1 - fade.pedestal)
    tops = (np.exp(-fade.gain / fade.power) - fade.pedestal) / (1 - fade.pedestal)
    for channel, top in enumerate(tops.tolist()):
        if top > 1.001:
            above = (out[channel] - _KNEE).clamp(min=0)
            bend = 1 / (1 - _KNEE) - 1 / (top - _KNEE)
            out[channel] += above / (1 + above * bend) - above
    return out


def _from_reference(frame: Frame, settings: Fade.Settings) -> DyeFade:
    small = _small(frame.data)
    tally = DyeTally()
    tally.add(small)
    toned = settings.toning == "neutral"
    if settings.region is None:
        return fit_fade(tally, trusted=True, toned=toned)
    x, y, width, height = settings.region
    rows, columns = frame.data.shape[-2:]
    if x + width > columns or y + height > rows:
        raise InvalidInput(
            f"region {settings.region} of a frame of {columns}x{rows} px",
            "x, y, width, height of a piece of the frame",
        )
    piece = frame.data[:, y : y + height, x : x + width]
    if settings.greys is not None:
        return _from_steps(piece, settings.greys)
    known = neutral_points(_small(piece))
    if not len(known):
        raise InvalidInput(
            f"region {settings.region} of frame {settings.reference}, all of it clipped or black",
            "something grey that is neither",
        )
    return fit_fade(tally, known=known, toned=toned)


def _from_steps(piece: Tensor, greys: tuple[float, ...]) -> DyeFade:
    """Power and gain per layer and one pedestal, by least squares of logarithms over the steps."""
    width = piece.shape[-1] / len(greys)
    if width < 3:
        raise InvalidInput(
            f"{len(greys)} grey steps in a region {piece.shape[-1]} px wide", "3 px a step or more"
        )
    middles = [
        piece[..., int((n + 0.25) * width) : int((n + 0.75) * width) + 1] for n in range(len(greys))
    ]
    seen = np.array([m.float().mean((1, 2)).cpu().numpy() for m in middles], np.float64)
    sound = ((seen > _LINEAR) & (seen < 0.995)).all(1)
    true = np.array(greys)[sound]
    if len(true) < 3 or np.ptp(true) < _CONTRAST:
        raise InvalidInput(
            f"grey steps of which {len(true)} are neither clipped nor black",
            f"three or more, {_CONTRAST} apart in all",
        )
    shown = np.log(seen[sound])
    best, least = DyeFade.none(), np.inf
    for pedestal in _PEDESTALS:
        lit = np.log(np.maximum(pedestal + (1 - pedestal) * true, _LINEAR))
        terms = np.stack([lit, np.ones_like(lit)], 1)
        found = np.linalg.lstsq(terms, shown, rcond=None)[0]
        error = float(np.square(terms @ found - shown).sum())
        if error < least and (found[0] > 0.1).all():
            best, least = replace(best, power=found[0], gain=found[1], pedestal=pedestal), error
    if not np.isfinite(least):
        raise InvalidInput(
            "grey steps that do not grow lighter as named", "their values from left to right"
        )
    return best


def _small(data: Tensor) -> NDArray[Any]:
    """``[3, h, w]`` to a small ``[h, w, 3]`` on the CPU, by area averages."""
    return small_rgb(data, _LONG_SIDE_PX)


def _brightest(small: NDArray[Any]) -> float:
    return quantile(small.mean(-1), 0.99)
