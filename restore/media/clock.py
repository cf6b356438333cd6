"""Output time: its unit, the even times that a coarse source clock rounded, container rounding."""

from __future__ import annotations

from fractions import Fraction
from math import lcm

from restore.errors import InvalidInput
from restore.frames import RawFrame
from restore.media.master import VideoSpec

__all__ = ["OutputClock", "movie_timescale", "track_time_base"]

# Track and movie timescales are 32-bit fields in ISO 14496-12; FFmpeg takes them as int.
_MAX_TIMESCALE = 2**31 - 1
# Sample durations are 32-bit too, so a finer unit than needed would cap the pause between frames.
_MAX_COMMON_TIMESCALE = 2**24


def track_time_base(video: VideoSpec) -> Fraction:
    """The unit of time to write in: whole multiples of it hit every pts of the clip.

    It also holds the duration of one frame at the clip's rate where that costs little, so that
    the last frame's length is exact although a coarse source time base (1 ms) is not.
    """
    scale = video.time_base.denominator
    if video.frame_rate is not None and not video.is_vfr:
        common = lcm(scale, video.frame_rate.numerator)
        if common <= _MAX_COMMON_TIMESCALE:
            scale = common
    return Fraction(1, min(scale, _MAX_TIMESCALE))


def movie_timescale(bases: list[Fraction]) -> int:
    """Unit of edit lists in MP4 and QuickTime: whole in every track's unit where that fits.

    Edit lists carry the start offset between sound and picture, so this one decides how exact it
    is; FFmpeg's usual 1/1000 s would round it.
    """
    scale = 1
    for base in bases:
        common = lcm(scale, base.denominator)
        if common <= _MAX_TIMESCALE:
            scale = common
    return max(scale, 1000)


class OutputClock:
    """Places frames in output time.

    Frames of an even clip whose source counts too coarsely (Matroska's milliseconds at 30000/1001)
    get the exact times of their rate back, so that the output is as even as the film; gaps of
    missing frames stay.

    Args:
        video: the clip.
        unit: time base of the output in seconds.
        grid: what the container rounds to, in seconds; None where it keeps ``unit``.
        rebase: the first frame goes to time 0 (a cut); else ``origin_s`` does.

    Attributes:
        origin_s: what becomes time 0, in seconds of source time.
        end_s: where the last frame ends, in seconds of source time.
    """

    def __init__(
        self, video: VideoSpec, unit: Fraction, *, grid: Fraction | None, rebase: bool
    ) -> None:
        self.unit = unit
        self.warnings: list[str] = []
        self._video = video
        self._grid = grid
        self._rebase = rebase
        self._frame_s = 1 / video.frame_rate if video.frame_rate else None
        self._gap_s = self._frame_s or Fraction(1, 25)
        self.origin_s = Fraction(0)
        self.end_s = Fraction(0)
        self._first_s = Fraction(0)
        self._last_s: Fraction | None = None
        self._last_pts: int | None = None
        self._snaps = self._has_exact_grid()
        self._warned = False

    def place(self, frame: RawFrame) -> tuple[int, int]:
        """pts and duration of a frame in units of ``unit``.

        Raises:
            InvalidInput: the frame does not come after the one before.
        """
        time_s = frame.pts * frame.time_base
        if self._last_s is None:
            self.origin_s = time_s if self._rebase else self.origin_s
            self._first_s = time_s
        elif time_s <= self._last_s:
            raise InvalidInput(
                f"frame {frame.index} at {time_s} s after one at {self._last_s} s",
                "frames in order of presentation, each later than the one before",
            )
        else:
            self._gap_s = time_s - self._last_s
        self._last_s = time_s
        length_s = self._length_s(frame)
        time_s = self._on_grid(time_s, frame.time_base)
        self.end_s = time_s + length_s
        self._note_rounding(time_s - self.origin_s)
        pts = round((time_s - self.origin_s) / self.unit)
        if self._last_pts is not None:
            pts = max(pts, self._last_pts + 1)
        self._last_pts = pts
        return pts, max(1, round(length_s / self.unit))

    def _has_exact_grid(self) -> bool:
        """Whether the clip is even and the output can hold every time of its grid."""
        if self._frame_s is None or self._video.is_vfr is not False:
            return False
        return (self._frame_s / self.unit).denominator == 1

    def _on_grid(self, time_s: Fraction, tick_s: Fraction) -> Fraction:
        """The exact time of a frame at an even rate that the source's tick has rounded.

        Counted from the first frame, whose time stays, since sound is placed by it. A frame may
        move by one tick, for two times were rounded; one further off has a time of its own.
        """
        if not self._snaps or self._frame_s is None or (self._frame_s / tick_s).denominator == 1:
            return time_s
        if self._grid is not None and self._grid >= tick_s:
            return time_s  # rounded to the same or worse again, so that the source's is as good
        exact_s = self._first_s + round((time_s - self._first_s) / self._frame_s) * self._frame_s
        return exact_s if abs(exact_s - time_s) <= tick_s else time_s

    def _length_s(self, frame: RawFrame) -> Fraction:
        """A frame's own duration; at an even rate the frame period, which never rounds."""
        if self._frame_s is not None and self._video.is_vfr is False:
            return self._frame_s
        if frame.duration:
            return frame.duration * frame.time_base
        return self._frame_s or self._gap_s

    def _note_rounding(self, time_s: Fraction) -> None:
        if self._warned:
            return
        grid = self._grid or self.unit
        if (time_s / grid).denominator == 1:
            return
        self._warned = True
        text = f"frame times are rounded to {grid} s, the finest that this container holds"
        if self._grid is not None and self._frame_s is not None and not self._video.is_vfr:
            text += f"; the rate {self._video.frame_rate} is recorded beside them"
        self.warnings.append(text)
