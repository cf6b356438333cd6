"""What was measured of a reel, shot by shot."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from restore.analysis.telecine import Scan
from restore.time import FrameRange

__all__ = ["Dyes", "Light", "ReelFindings", "ShotFindings"]


@dataclass(frozen=True)
class Light:
    """Black and white of a shot, R'G'B' 0..1, borders left out.

    Attributes:
        black: the value below which one pixel in two hundred lies, for each channel.
        white: the same from above.
        middle: for each channel, the median of the pixels with the least colour.
        colourful: how far the channels of a pixel lie apart, on average over the shot.
    """

    black: tuple[float, float, float]
    white: tuple[float, float, float]
    middle: tuple[float, float, float]
    colourful: float


@dataclass(frozen=True)
class Dyes:
    """How far the dyes of a shot have faded (:mod:`restore.analysis.dyes`), as far as it is sure.

    Attributes:
        left: share of the density that each layer has left, as red, green and blue show it.
        white: what white was multiplied by, for each channel.
        lifted: R'G'B' that black was lifted to.
    """

    left: tuple[float, float, float]
    white: tuple[float, float, float]
    lifted: float


@dataclass(frozen=True)
class ShotFindings:
    """What was measured of one shot; None where nothing could be told.

    Attributes:
        span: source frames.
        looked_at: frames that were looked at closely; the others only for cuts, repeats, fields and
            brightness.
        scan: how it was scanned.
        repeats: share of frames that show a film frame again.
        light: black, white and colour; None of black frames alone.
        dyes: what has faded; None of black frames alone.
        weave_px: RMS of the gate's unsteadiness, across and down.
        flicker: RMS change of exposure about its slow course, relative.
        dirt_marks: marks of dirt on a frame.
        dirt_share: share of the pixels that they cover.
        scratches: upright lines on a frame.
        grain: standard deviation of R'G'B' in mid-tones.
        grain_size_px: standard deviation of a clump's spread; white noise gives 0.4.
        blocking: how much more a codec's 8x8 grid stands out than other columns and rows.
        perforation: ``super8``, ``8mm`` or ``16mm`` where the scan shows such a hole.
    """

    span: FrameRange
    looked_at: int
    scan: Scan
    repeats: float | None = None
    light: Light | None = None
    dyes: Dyes | None = None
    weave_px: tuple[float, float] | None = None
    flicker: float | None = None
    dirt_marks: float | None = None
    dirt_share: float | None = None
    scratches: float | None = None
    grain: float | None = None
    grain_size_px: float | None = None
    blocking: float | None = None
    perforation: str | None = None

    @property
    def frames(self) -> int:
        """How many there are."""
        return (self.span.stop or 0) - self.span.start

    @property
    def is_black(self) -> bool:
        """Whether nothing but black was seen."""
        return self.light is None

    @property
    def weave_rms_px(self) -> float | None:
        """The larger of both directions."""
        return None if self.weave_px is None else max(self.weave_px)


@dataclass(frozen=True)
class ReelFindings:
    """What was measured of a reel.

    Attributes:
        width_px: of the frames, upright.
        height_px: of the frames, upright.
        frames: frames that were read.
        looked_at: frames of them that were looked at closely.
        gaps: source frames that were left out, between the pieces that were read.
        shots: in order.
        scan: how most of it was scanned.
        repeats: share of frames that show a film frame again.
        film_fps: film frames in a second, as far as fields and repeats tell; None where every
            frame is new and nothing tells.
        black: frames of black leader, title gaps and the like.
        borders_px: black border on the left, top, right and bottom of all frames that were read.
        warnings: what could not be read.
    """

    width_px: int
    height_px: int
    frames: int
    looked_at: int
    gaps: tuple[FrameRange, ...]
    shots: tuple[ShotFindings, ...]
    scan: Scan
    repeats: float
    film_fps: Fraction | None
    black: tuple[FrameRange, ...]
    borders_px: tuple[int, int, int, int] = (0, 0, 0, 0)
    warnings: tuple[str, ...] = ()
