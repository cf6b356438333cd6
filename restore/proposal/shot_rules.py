"""What each shot needs: one rule for every stage whose settings may differ from shot to shot.

A rule gives None where the shot did not show what it goes by: then the rest of the reel decides.
What a rule sets in one shot it sets in all, so that a shot's settings never depend on another's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from restore.inspection.findings import ShotFindings
from restore.inspection.words import fade_words
from restore.proposal.choice import Choice, Reel, per_cent

__all__ = ["SHOT_RULES"]

_WEAVE_PX: Final = 0.25  # below, and below that share of the height, no eye sees it
_WEAVE: Final = 0.0005
_FAR: Final = 0.012  # of the height: weave that the usual limit would cut off
_FLICKER: Final = 0.01
_MARKS: Final = (3.0, 8.0, 30.0)  # on a frame: some, many, very many
_LINES: Final = 0.25  # on a frame
_GRAIN: Final = (0.011, 0.02)  # R'G'B': worth lowering a little, and in full
_BLOCKS: Final = (0.06, 0.12)  # the 8x8 grid shows a little, and clearly
_THIN: Final = 0.25  # bits for a pixel below which a lossy codec leaves its traces
_LOSSLESS_VIDEO: Final = frozenset(
    ("ffv1", "huffyuv", "ffvhuff", "utvideo", "magicyuv", "rawvideo", "v210", "v410", "r210")
)
_LOSSLESS_PICTURES: Final = frozenset(("png", "tiff", "dpx", "exr", "targa", "bmp", "ppm", "pgm"))
_NEARLY: Final = frozenset(("prores", "dnxhd", "cfhd", "jpeg2000"))
_KEPT: Final = _LOSSLESS_VIDEO | _LOSSLESS_PICTURES | _NEARLY


def stabilise(shot: ShotFindings, reel: Reel) -> Choice | None:
    """Gate weave that can be seen."""
    weave = shot.weave_px
    if weave is None:
        return None
    height = reel.found.height_px
    across, down = weave
    told = f"gate weave {across:.1f} px across, {down:.1f} px down RMS"
    if max(weave) < max(_WEAVE_PX, _WEAVE * height):
        return Choice(False, f"{told}: steady")
    limit = 0.1 if max(weave) > _FAR * height else 0.05
    told = f"{told}, {per_cent(max(weave) / height)} of the height"
    return Choice(True, told, {"limit": limit})


def deflicker(shot: ShotFindings, reel: Reel) -> Choice | None:
    """Exposure that breathes."""
    if shot.flicker is None:
        return None
    told = f"brightness flickers by {per_cent(shot.flicker)} RMS"
    if shot.flicker < _FLICKER:
        return Choice(False, f"{told}: hardly to be seen")
    return Choice(True, told)


def dust(shot: ShotFindings, reel: Reel) -> Choice | None:
    """Dirt."""
    marks, share = shot.dirt_marks, shot.dirt_share
    if marks is None or share is None:
        return None
    some, many, very_many = _MARKS
    if marks < some:
        return Choice(False, f"{marks:.1f} marks on a frame, which may be the scene's own")
    told = f"some {marks:.0f} marks of dirt on a frame, {per_cent(share)} of the picture"
    if marks < many:
        # Few marks to gain: rather miss some than take something of the scene.
        return Choice(True, f"{told}: few, so only the plain ones", {"sensitivity": 0.8})
    if marks >= very_many:
        return Choice(True, f"{told}: many, so faint ones too", {"sensitivity": 1.25})
    return Choice(True, told, {"sensitivity": 1.0})


def scratches(shot: ShotFindings, reel: Reel) -> Choice | None:
    """Lines down the film."""
    if shot.scratches is None:
        return None
    if shot.scratches < _LINES:
        return Choice(False, "no line down the film")
    return Choice(True, f"{shot.scratches:.1f} lines down the film on a frame")


def degrain(shot: ShotFindings, reel: Reel) -> Choice | None:
    """Grain strong enough to mislead the networks."""
    if shot.grain is None:
        return None
    told = f"grain of {255 * shot.grain:.1f}/255 in mid-tones"
    if shot.grain_size_px is not None:
        told += f", clumps of {shot.grain_size_px:.1f} px"
    little, strong = _GRAIN
    if shot.grain < little:
        return Choice(False, f"{told}: fine")
    if shot.grain < strong:
        return Choice(True, f"{told}: moderate, lowered in part", {"strength": 0.6})
    return Choice(True, told, {"strength": 1.0})


def deartifact(shot: ShotFindings, reel: Reel) -> Choice | None:
    """Traces of a lossy codec, this file's or an earlier one's."""
    if shot.blocking is None:
        return None
    little, clear = _BLOCKS
    codec, bits = reel.info.codec, reel.bits_per_px
    if shot.blocking >= clear:
        told = f"an 8x8 block grid stands out by {per_cent(shot.blocking)}"
        return Choice(True, told, {"strength": 1.0})
    if shot.blocking >= little:
        told = f"an 8x8 block grid stands out faintly, by {per_cent(shot.blocking)}"
        return Choice(True, told, {"strength": 0.75})
    if codec not in _KEPT and bits is not None and bits < _THIN:
        return Choice(True, f"{codec} with {bits:.2g} bits a pixel", {"strength": 0.75})
    return Choice(False, f"no block grid, {codec}")


def fade(shot: ShotFindings, reel: Reel) -> Choice | None:
    """Dyes, casts and blacks that have faded."""
    if shot.dyes is None:
        return None
    words = fade_words(shot.dyes)
    return Choice(bool(words), "; ".join(words) or "blacks, whites and greys are as they should be")


SHOT_RULES: Final[Mapping[str, Callable[[ShotFindings, Reel], Choice | None]]] = {
    "stabilise": stabilise,
    "deflicker": deflicker,
    "dust": dust,
    "scratches": scratches,
    "degrain": degrain,
    "deartifact": deartifact,
    "fade": fade,
}
"""By stage."""
