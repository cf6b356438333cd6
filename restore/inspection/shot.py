"""One shot while its frames come by: what is kept of it, and when it is looked at closely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from restore.analysis.blending import BlendFinder
from restore.analysis.combing import FieldMetrics
from restore.analysis.repeats import RepeatFinder
from restore.analysis.scans import most_common_scan, scans
from restore.analysis.telecine import Scan
from restore.frames import Frame
from restore.inspection.blocks import blocking
from restore.inspection.findings import ShotFindings
from restore.inspection.glance import Glance
from restore.inspection.light import LightMeter
from restore.inspection.look import Figures, Proxy, measured, middle_of
from restore.registration.perforation import Gauge, Hole, PerforationFinder
from restore.time import FrameRange

__all__ = ["LOOK_FRAMES", "ShotLog"]

LOOK_FRAMES: Final = 40
"""Successive frames that a close look keeps in memory."""

_ROWS: Final = 720  # of the pictures that a close look sees, about
_FIRST_GAP: Final = 320  # frames from the beginning of a look to that of the next; doubles
_BLOCKING_FRAMES: Final = 3
_MIDDLES: Final = 18  # frames whose middles are kept, repeats among them
_HALF: Final = 0.25  # of the frame's height: between the holes of 16 mm film (a sixth) and 8 mm
_INTERLACED: Final = (Scan.TFF, Scan.BFF)
_TELECINE: Final = {Scan.TELECINE_TFF: 1, Scan.TELECINE_BFF: 3}  # place that shows a top again
_WHOLE: Final = (Scan.PROGRESSIVE, Scan.UNKNOWN)
_SOME: Final = 0.02  # share of repeats below which a shot counts as having none


@dataclass(eq=False)
class _Look:
    """Frames of a look that is under way."""

    first: int
    pictures: list[tuple[Tensor, Glance]] = field(default_factory=list)
    middles: list[Tensor] = field(default_factory=list)


class ShotLog:
    """What is known of a shot.

    The first frames are looked at closely, and others further on at distances that double, so that
    a shot's cost grows with the logarithm of its length.

    Args:
        start: its first source frame.
        is_looked_at: whether to look closely at all.
        holes: whether to look for a perforation, which takes long where there is none.
    """

    def __init__(self, start: int, *, is_looked_at: bool, holes: bool) -> None:
        self.start = start
        self.stop = start
        self.differences: list[float] = []
        self.metrics: list[FieldMetrics] = []
        self._figures: list[Figures] = []
        self._scans: list[Scan] = []
        self._blends = BlendFinder()
        self._blocking: list[float] = []
        self._finder = PerforationFinder() if holes else None
        self._hole: str | None = None
        self._meter = LightMeter()
        self._look: _Look | None = None
        self._next_look = 0 if is_looked_at else None
        self._gap = _FIRST_GAP
        self._frames = 0

    def add(self, frame: Frame, glance: Glance) -> None:
        """Take the shot's next frame."""
        first = self._frames == 0
        self.stop = glance.index + 1
        self._frames += 1
        if not first:
            # The first frame's relation to the one before says nothing: a cut lies between.
            if glance.difference is not None:
                self.differences.append(glance.difference)
            if glance.metrics is not None:
                self.metrics.append(glance.metrics)
        if glance.is_black:
            self._end_look()
            return
        self._meter.add(glance.small)
        if self._look is None and self._next_look is not None:
            if self._frames <= self._next_look:
                return
            self._look = _Look(self._frames - 1)
            self._next_look += self._gap
            self._gap *= 2
        if self._look is not None:
            self._keep(self._look, frame, glance)

    def _keep(self, look: _Look, frame: Frame, glance: Glance) -> None:
        if len(look.pictures) < _BLOCKING_FRAMES:
            self._blocking.append(blocking(frame.data))
            if self._finder is not None and (hole := self._finder.find(frame.data)):
                self._hole = _hole_of(hole, frame.data.shape[-2])
            self._finder = None  # one frame shows what the scan holds
        look.pictures.append((_proxy(frame.data), glance))
        if len(look.middles) < _MIDDLES:
            look.middles.append(middle_of(frame.data).half().cpu())
        if len(look.pictures) == LOOK_FRAMES:
            self._end_look()

    def _end_look(self) -> None:
        look, self._look = self._look, None
        if look is None:
            return
        before = look.first
        stop = before + len(look.pictures)
        verdicts = scans(self.metrics[: stop - 1])
        scan = most_common_scan([one for one, _ in verdicts[max(0, before - 1) :]])
        self._scans.append(scan)
        # A still scene's frames are all alike; what is left out must follow a pattern.
        again = [False, *repeats(self.differences[: stop - 1])]
        kept = []
        for number, (data, glance) in enumerate(look.pictures):
            place = before + number
            if place < len(again) and again[place] and number:
                continue
            if scan in _TELECINE and place and verdicts[place - 1] == (scan, _TELECINE[scan]):
                continue
            middle = look.middles[number] if number < len(look.middles) else None
            if scan in _INTERLACED or scan in _TELECINE:
                data, middle = data[:, ::2], None if middle is None else middle[:, ::2]
            kept.append(Proxy(data, middle, glance.small))
        if scan in _WHOLE:
            self._blends.forget()
            for one in kept:
                self._blends.push(one.data.float())
        figures = measured(kept)
        if scan in _INTERLACED or scan in _TELECINE:
            figures = _whole_height(figures)
        self._figures.append(figures)

    def findings(self) -> ShotFindings:
        """What was found, after the last frame."""
        self._end_look()
        found = [scan for scan, _ in scans(self.metrics)]
        again = repeats(self.differences)
        scan = most_common_scan(found)
        if scan in _WHOLE and self._blends.is_blended:
            scan = Scan.BLENDED
        weave = [one.weave_px for one in self._figures if one.weave_px is not None]
        return ShotFindings(
            span=FrameRange(self.start, self.stop),
            looked_at=sum(one.frames for one in self._figures),
            scan=scan,
            repeats=sum(again) / len(again) if again else None,
            light=self._meter.read(),
            dyes=self._meter.dyes(),
            weave_px=(_rms([x for x, _ in weave]), _rms([y for _, y in weave])) if weave else None,
            flicker=_mean([one.flicker for one in self._figures]),
            dirt_marks=_mean([one.dirt_marks for one in self._figures]),
            dirt_share=_mean([one.dirt_share for one in self._figures]),
            scratches=_mean([one.scratches for one in self._figures]),
            grain=_mean([one.grain for one in self._figures]),
            grain_size_px=_mean([one.grain_size_px for one in self._figures]),
            blocking=_mean(self._blocking),
            perforation=self._hole,
        )


def repeats(differences: Sequence[float]) -> list[bool]:
    """Which frames repeat the one before, from the differences of successive frames."""
    finder = RepeatFinder()
    verdicts = [verdict for one in differences if (verdict := finder.push(one)) is not None]
    verdicts += finder.finish()
    share = sum(verdicts) / len(verdicts) if verdicts else 0.0
    return verdicts if share >= _SOME else [False] * len(verdicts)


def _hole_of(hole: Hole, height_px: int) -> str:
    """The gauge that has such a hole; 8 mm and 16 mm have the same, beside frames of two sizes."""
    if hole.gauge is Gauge.SUPER8:
        return "super8"
    return "8mm" if hole.height_px > _HALF * height_px else "16mm"


def _proxy(data: Tensor) -> Tensor:
    """A frame as a look keeps it, averaged down by a whole factor where it is large."""
    factor = max(1, data.shape[-2] // _ROWS)
    small = data if factor == 1 else F.avg_pool2d(data[None], factor)[0]
    return small.half().cpu()


def _whole_height(figures: Figures) -> Figures:
    """Figures of fields, in px of whole frames."""
    if figures.weave_px is None:
        return figures
    across, down = figures.weave_px
    return replace(figures, weave_px=(across, 2 * down))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _rms(values: Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
