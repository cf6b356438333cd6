"""What was found of a reel in plain words."""

from __future__ import annotations

from typing import Final

from restore.analysis.film_rates import FILM_RATES
from restore.analysis.telecine import Scan
from restore.inspection.findings import Dyes, Light, ReelFindings, ShotFindings
from restore.time import FrameRange

__all__ = ["fade_words", "film_words", "light_words", "shot_words", "span_words"]

_SOME: Final = 0.02  # share of repeats
_MONO: Final = 0.012  # mean distance of the channels in black and white
_FADED: Final = 0.08  # share of a dye
_CAST: Final = 0.05
_LIFTED: Final = 0.04
_LAYERS: Final = ("cyan", "magenta", "yellow")  # dyes that make red, green and blue


def span_words(span: FrameRange) -> str:
    """``0 to 119``: the first and the last frame."""
    return f"{span.start} to {(span.stop or span.start + 1) - 1}"


def film_words(found: ReelFindings) -> str:
    """How the film's frames lie in the video."""
    fps, share = found.film_fps, found.repeats
    if found.scan is Scan.BLENDED:
        return "frames are mixed of neighbouring film frames; the film's own rate cannot be told"
    if fps is None:
        return "every frame is a new one; the film's own rate cannot be told from the pictures"
    rate = f"{float(fps):.4g} film frames a second"
    if fps not in FILM_RATES:
        rate = f"some {float(fps):.3g} new frames a second, no usual film rate"
    if found.scan in (Scan.TELECINE_TFF, Scan.TELECINE_BFF, Scan.SOFT_TELECINE):
        return f"{rate}, in video by {found.scan.value}"
    return f"{rate}; {share:.0%} of the frames show the one before again"


def light_words(light: Light | None, dyes: Dyes | None) -> str:
    """Black, white, cast."""
    if light is None:
        return "black"
    words = ["black and white" if light.colourful < _MONO else "colour"]
    if dyes is not None:
        words += fade_words(dyes)
    return ", ".join(words)


def fade_words(dyes: Dyes) -> list[str]:
    """What has faded; nothing where that could be chance."""
    words = []
    if min(dyes.left) < 1 - _FADED:
        lost = {name: 1 - one for name, one in zip(_LAYERS, dyes.left, strict=True)}
        named = " and ".join(f"{name} by {one:.0%}" for name, one in lost.items() if one > _FADED)
        words.append(f"dyes faded: {named}")
    red, green, blue = dyes.white
    if max(dyes.white) - min(dyes.white) > _CAST:
        words.append(f"white leans to {_hue(red - green, blue - green)}")
    if dyes.lifted > _LIFTED:
        words.append(f"black lifted to {dyes.lifted:.2f}")
    return words


def _hue(red: float, blue: float) -> str:
    """The colour that channels against green make."""
    if red > _CAST / 2 and blue > _CAST / 2:
        return "magenta"
    if red < -_CAST / 2 and blue < -_CAST / 2:
        return "green"
    if abs(red) >= abs(blue):
        return ("orange" if blue < -_CAST / 2 else "red") if red > 0 else "cyan"
    return "blue" if blue > 0 else "yellow"


def shot_words(shot: ShotFindings) -> str:
    """One shot in a sentence."""
    if shot.is_black:
        return "nothing but black"
    parts = [shot.scan.value]
    if shot.repeats is not None and shot.repeats >= _SOME:
        parts.append(f"{shot.repeats:.0%} of the frames are repeats")
    if shot.weave_px is not None:
        across, down = shot.weave_px
        parts.append(f"gate weave {across:.1f} px across and {down:.1f} px down RMS")
    if shot.flicker is not None:
        parts.append(f"flicker {shot.flicker:.1%}")
    if shot.dirt_marks is not None:
        parts.append(f"{shot.dirt_marks:.0f} marks of dirt on a frame")
    if shot.scratches:
        parts.append(f"{shot.scratches:.1f} scratches on a frame")
    if shot.grain is not None:
        parts.append(
            f"grain {255 * shot.grain:.1f}/255, clumps of {shot.grain_size_px or 0:.1f} px"
        )
    parts.append(light_words(shot.light, shot.dyes))
    if shot.blocking is not None:
        parts.append(f"block grid {shot.blocking:.0%}")
    if not shot.looked_at:
        parts.append("not looked at closely")
    return "; ".join(parts)
