"""What the reel as a whole needs: stages that look across shots, or serve all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from restore.analysis.film_rates import FILM_RATES
from restore.analysis.telecine import Scan
from restore.inspection.gauge import guess_gauge
from restore.proposal.choice import Choice, Reel, per_cent
from restore.time import format_rate

__all__ = ["REEL_RULES", "borders"]

_TELECINE: Final = (Scan.TELECINE_TFF, Scan.TELECINE_BFF)
_INTERLACED: Final = {Scan.TFF: "tff", Scan.BFF: "bff"}
_SILENT: Final = {"8mm": "16", "super8": "18"}
_FAST: Final = 23  # frames a second that silent film was not shot at
_REPEATS: Final = 0.02
_GRAIN: Final = 0.004  # R'G'B': one code value of 8 bit
_LARGE: Final = (1000, 1800)  # rows from which twice is enough, and from which none is needed


def borders(reel: Reel) -> Choice:
    """Black borders cut off; by settings' ``crop``, pixels of the upright picture."""
    margins = reel.found.borders_px
    if not any(margins):
        return Choice(False, "no black border was made out")
    left, top, right, bottom = margins
    told = f"{left} px on the left, {top} at the top, {right} on the right, {bottom} at the bottom"
    if any(shot.perforation for shot in reel.shots):
        return Choice(False, f"black lies about the picture ({told}), and registration needs it")
    return Choice(True, f"a black border: {told}", {"crop": ":".join(map(str, margins))})


def shots(reel: Reel) -> Choice:
    """The cuts that were found, so that they can be corrected in the recipe."""
    if reel.found.gaps:
        return Choice(True, "only pieces of the reel were read, so cuts are looked for in the run")
    cuts = [shot.span.start for shot in reel.found.shots[1:]]
    count = len(cuts) + 1
    told = "one shot" if count == 1 else f"{count} shots; correct the list where it is wrong"
    return Choice(True, told, {"cuts": cuts})


def fields(reel: Reel) -> Choice:
    """Whole pictures from fields."""
    found = {shot.scan for shot in reel.shots} - {Scan.UNKNOWN}
    if found & set(_TELECINE):
        return Choice(True, f"{reel.found.scan.value}: the film's own frames are put together")
    if Scan.BLENDED in found and not found & set(_INTERLACED):
        told = "pictures are mixed of neighbouring film frames and stay so; a better transfer helps"
        return Choice(False, f"{told}, else dust may see damage along edges that move")
    if not found & set(_INTERLACED):
        return Choice(False, f"the pictures are {reel.found.scan.value}")
    settings: dict[str, object] = {}
    if len(found) == 1:
        settings["scan"] = _INTERLACED[next(iter(found))]
        return Choice(True, f"{reel.found.scan.value}, throughout", settings)
    return Choice(True, "interlaced in part: the verdict follows the pictures")


def cadence(reel: Reel) -> Choice:
    """Every film frame once."""
    share = reel.found.repeats
    if reel.found.scan in _TELECINE or share < _REPEATS:
        return Choice(False, "no frame is shown twice")
    fps = reel.found.film_fps
    told = f"{per_cent(share)} of the frames show the one before again"
    if fps in FILM_RATES and fps is not None:
        return Choice(
            True, f"{told}: film at {float(fps):.4g} frames a second", {"fps": format_rate(fps)}
        )
    rate = "" if fps is None else f" (some {float(fps):.3g} are new each second)"
    return Choice(True, f"{told}, at no usual film rate{rate}")


def upscale(reel: Reel) -> Choice:
    """A larger picture, where the scan is small."""
    height = reel.found.height_px
    if height >= _LARGE[0]:
        return Choice(False, f"{height} rows are enough for a master of this scan's detail")
    return Choice(True, f"{height} rows: a master needs more")


def grain_learn(reel: Reel) -> Choice:
    """Grain known before anything takes it away."""
    known = [shot.grain for shot in reel.shots if shot.grain is not None]
    if not known or max(known) < _GRAIN:
        return Choice(False, "no grain was found to keep")
    return Choice(True, "before anything takes grain away")


def regrain(reel: Reel) -> Choice:
    """Grain given back."""
    choice = grain_learn(reel)
    return Choice(choice.used, "the reel's own grain is given back" if choice.used else choice.why)


def speed(reel: Reel) -> Choice:
    """The speed that the film was shot at, where the frames' own times cannot be it."""
    fps, gauge = reel.info.frame_rate, guess_gauge(reel.found)
    if reel.found.film_fps is not None or fps is None or reel.found.frames < 2:
        return Choice(False, "the film keeps the times that the video gives it")
    usual = _SILENT.get(gauge.gauge or "")
    if usual is None or fps < _FAST:
        return Choice(False, "nothing says that the film plays at a wrong speed")
    told = f"every frame is new at {float(fps):.4g} a second, but {gauge.text} was shot at {usual}"
    if any(shot.perforation for shot in reel.shots) and not _has_sound(reel):
        return Choice(
            True, f"{told} as a rule, 24 with sound: set what is right", {"film_fps": usual}
        )
    return Choice(False, f"{told}: if it plays too fast, add stage speed with film_fps = {usual}")


def _has_sound(reel: Reel) -> bool:
    return any(stream.type == "audio" for stream in reel.info.streams)


REEL_RULES: Final[Mapping[str, Callable[[Reel], Choice]]] = {
    "shots": shots,
    "fields": fields,
    "cadence": cadence,
    "grain_learn": grain_learn,
    "upscale": upscale,
    "regrain": regrain,
    "speed": speed,
}
"""By stage."""
