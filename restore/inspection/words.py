"""What was found of a reel in plain words."""

from __future__ import annotations

from typing import Final

from restore.analysis.film_rates import FILM_RATES
from restore.analysis.telecine import Scan
from restore.inspection.findings import Light, ReelFindings, ShotFindings
from restore.time import FrameRange

__all__ = ["film_words", "light_words", "shot_words", "span_words"]

_SOME: Final = 0.02  # share of repeats
_MONO: Final = 0.012  # mean distance of the channels in black and white
_CAST: Final = 0.06
_LIFTED: Final = 0.12  # black above that is grey
_DULL: Final = 0.75  # white below that is dull


def span_words(span: FrameRange) -> str:
    """``0 to 119``: the first and the last frame."""
    return f"{span.start} to {(span.stop or span.start + 1) - 1}"


def film_words(found: ReelFindings) -> str:
    """How the film's frames lie in the video."""
    fps, share = found.film_fps, found.repeats
    if fps is None:
        return "every frame is a new one; the film's own rate cannot be told from the pictures"
    rate = f"{float(fps):.4g} film frames a second"
    if fps not in FILM_RATES:
        rate = f"some {float(fps):.3g} new frames a second, no usual film rate"
    if found.scan in (Scan.TELECINE_TFF, Scan.TELECINE_BFF, Scan.SOFT_TELECINE):
        return f"{rate}, in video by {found.scan.value}"
    return f"{rate}; {share:.0%} of the frames show the one before again"


def light_words(light: Light | None) -> str:
    """Black, white, cast."""
    if light is None:
        return "black"
    black, white = min(light.black), max(light.white)
    words = ["black and white" if light.colourful < _MONO else "colour"]
    if black > _LIFTED:
        words.append(f"black lifted to {black:.2f}")
    if white < _DULL:
        words.append(f"white only {white:.2f}")
    red, blue = light.cast
    if light.colourful >= _MONO and max(abs(red), abs(blue)) > _CAST:
        words.append(f"white leans to {_hue(red, blue)}")
    return ", ".join(words)


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
    parts.append(light_words(shot.light))
    if shot.blocking is not None:
        parts.append(f"block grid {shot.blocking:.0%}")
    if not shot.looked_at:
        parts.append("not looked at closely")
    return "; ".join(parts)
