"""Tell how a clip was scanned, and give whole pictures: deinterlaced, or the film's own frames."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from restore.analysis.blending import BlendFinder
from restore.analysis.combing import field_metrics, fields_of
from restore.analysis.deinterlace import Field, deinterlaced, split
from restore.analysis.even_times import EvenTimes
from restore.analysis.telecine import LAG, NOT_TELECINE, FieldVotes, Scan, TelecineFinder
from restore.engine.stage import StreamSpec
from restore.frames import Frame
from restore.stages import StageContext
from restore.time import Clock

__all__ = ["Fields"]

_RATES = (Fraction(30000, 1001), Fraction(30), Fraction(25))
_INTERLACED = (Scan.TFF, Scan.BFF)
_TELECINE = (Scan.TELECINE_TFF, Scan.TELECINE_BFF)
_WHOLE = (Scan.PROGRESSIVE, Scan.UNKNOWN)


@dataclass(frozen=True, eq=False)
class _Judged:
    """A frame, the one before it, how it was scanned, and its place in a pulldown."""

    frame: Frame
    before: Frame | None
    scan: Scan
    place: int = 0


class Fields:
    """Deinterlaces what is interlaced and undoes 3:2 pulldown; progressive frames pass untouched.

    The verdict comes from many frames together and may change along the clip. Pulldown gives the
    film's frames at four fifths of the video's rate, exactly. Interlaced frames give a picture for
    each field (``rate = "field"``, twice the frames) or for each frame, by motion-compensated
    interpolation (``method = "motion"``) or by libavfilter's bwdif.

    Frames that a bad conversion mixed of neighbouring film frames are told and pass unchanged: the
    verdict is then ``Scan.BLENDED``.

    The chroma of 4:2:0 material was brought up field by field where the file declares fields. Of
    interlaced pictures that are declared as progressive, or not at all, the two fields' chroma is
    mixed a little where something moves; luma is exact.
    """

    class Settings(BaseModel):
        """Settings of the stage; ``scan`` overrides the verdict.

        ``scan = "telecine"`` says that the clip is film with 3:2 pulldown throughout: the result
        then has the film's rate, known beforehand and even, whatever single stretches look like.
        """

        model_config = ConfigDict(extra="forbid", frozen=True)

        scan: Literal["auto", "progressive", "tff", "bff", "telecine"] = "auto"
        method: Literal["motion", "bwdif", "leave"] = "motion"
        rate: Literal["field", "frame"] = "field"

    def __init__(self, scan: str = "auto", method: str = "motion", rate: str = "field") -> None:
        self.spec = StreamSpec("fields", delay=LAG + 3, rate=None, undoes_fields=method != "leave")
        self._given = {"progressive": Scan.PROGRESSIVE, "tff": Scan.TFF, "bff": Scan.BFF}.get(scan)
        self._is_film = scan == "telecine"
        self._method = method
        self._both = rate == "field"
        self.scans: Counter[Scan] = Counter()
        self._soft = 0
        self._blends = BlendFinder()
        self._steps_s: deque[Fraction] = deque(maxlen=64)

    @classmethod
    def build(cls, settings: Settings, context: StageContext) -> Self:
        """Make the stage."""
        return cls(settings.scan, settings.method, settings.rate)

    def retime(self, clock: Clock) -> Clock:
        """The result's times where the settings say how the clip was scanned."""
        rate = clock.frame_rate
        if self._is_film and rate is not None:
            film = EvenTimes(min(_RATES, key=lambda fps: abs(fps - rate)) * Fraction(4, 5))
            count = None if clock.frames is None else round(clock.frames * film.fps / rate)
            unit = film.unit(clock.time_base)
            return replace(clock, frame_rate=film.fps, time_base=unit, is_vfr=False, frames=count)
        if self._given is Scan.PROGRESSIVE or (self._given and self._method == "leave"):
            return clock
        if self._given is not None:
            return clock.multiplied(Fraction(2 if self._both else 1))
        return clock.multiplied(None)

    @property
    def verdict(self) -> Scan:
        """How most of the clip was scanned, as far as it was seen."""
        told = Counter({scan: n for scan, n in self.scans.items() if scan is not Scan.UNKNOWN})
        best = told.most_common(1)[0][0] if told else Scan.UNKNOWN
        if best in _WHOLE and 2 * self._soft > self.scans.total():
            return Scan.SOFT_TELECINE
        if best in _WHOLE and self._blends.is_blended:
            return Scan.BLENDED
        return best

    def facts(self) -> Mapping[str, str]:
        """The verdict, and how many frames each part of it holds for."""
        facts = {
            "method": self._method,
            "scan from": "settings" if self._given or self._is_film else "the pictures",
        }
        if self.scans:
            facts["scan"] = self.verdict.value
            facts["frames"] = ", ".join(f"{n} {scan.value}" for scan, n in self.scans.items())
        if self.verdict is Scan.BLENDED:
            facts["blended"] = (
                f"frames are sums of neighbouring film frames (error {self._blends.ratio:.2f} of "
                "that along motion); passed through unchanged, dust may see damage along edges"
            )
        return facts

    def stream(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Whole pictures in order; runs of one scan are worked on together."""
        judged = self._counted(self._judged(frames))
        if self._is_film:
            yield from self._film(judged)
            return
        item = next(judged, None)
        while item is not None:
            run = _Run(item, judged)
            if item.scan in _TELECINE:
                yield from self._film(run)
            elif item.scan in _INTERLACED and self._method == "motion":
                yield from self._by_motion(run, top_first=item.scan is Scan.TFF)
            elif item.scan in _INTERLACED and self._method == "bwdif":
                yield from self._by_bwdif(run, top_first=item.scan is Scan.TFF)
            else:
                yield from (one.frame for one in run)
            item = run.next

    def _judged(self, frames: Iterator[Frame]) -> Iterator[_Judged]:
        before: Frame | None = None
        if self._given is not None:
            for frame in frames:
                yield _Judged(frame, before, self._given)
                before = frame
            return
        finder, votes = TelecineFinder(), FieldVotes()
        held: deque[_Judged] = deque()
        last_fields = None
        for frame in frames:
            fields = fields_of(frame) if frame.data.shape[-2] >= 4 else None
            held.append(_Judged(frame, before, Scan.UNKNOWN))
            if before is not None:
                self._steps_s.append(frame.pts * frame.time_base - before.pts * before.time_base)
            if fields is not None and last_fields is not None:
                metrics = field_metrics(last_fields, fields)
                if before is not None and before.shot == frame.shot:
                    votes.add(metrics)
                state = finder.push(metrics)
                if state is not None:
                    if len(held) == LAG + 2:  # the first frame has none before to be told by
                        yield _placed(held.popleft(), _previous(state), votes)
                    yield _placed(held.popleft(), state, votes)
            before, last_fields = frame, fields
        states = finder.finish()
        first = _previous(states[0]) if states else NOT_TELECINE
        for state in [first] * (len(held) - len(states)) + states:
            yield _placed(held.popleft(), state, votes)

    def _counted(self, judged: Iterator[_Judged]) -> Iterator[_Judged]:
        steps: deque[Fraction] = deque(maxlen=2)
        for item in judged:
            self.scans[item.scan] += 1
            self._watch(item)
            if item.before is not None:
                after, since = item.frame, item.before
                steps.append(after.pts * after.time_base - since.pts * since.time_base)
            if len(steps) == 2:
                # Pulldown by flags shows frames for two and three fields in turn.
                self._soft += Fraction(7, 5) < max(steps) / min(steps) < Fraction(8, 5)
            yield item

    def _watch(self, item: _Judged) -> None:
        """Look for mixed frames; two fields of different frames look mixed too, once softened."""
        if self._given is not None:
            return
        if item.scan not in _WHOLE:
            self._blends.forget()
            return
        if item.before is not None and item.before.shot != item.frame.shot:
            self._blends.forget()
        self._blends.push(item.frame.data)

    def _film(self, run: Iterator[_Judged]) -> Iterator[Frame]:
        """Four film frames for five video frames, at even times."""
        clock: EvenTimes | None = None
        for item in run:
            in_pattern = item.scan in _TELECINE
            if in_pattern and item.place == 1 and clock is not None:
                continue
            if not in_pattern and clock is not None and clock.is_early(item.frame):
                continue
            if clock is None:
                fps = _usual_fps(self._steps_s, item.frame.time_base)
                clock = EvenTimes(fps * Fraction(4, 5))
            data = item.frame.data
            if in_pattern and item.place == 2 and item.before is not None:
                # The first field of this frame goes with the second one of the frame before.
                row = 1 if item.scan is Scan.TELECINE_TFF else 0
                data = data.clone()
                data[:, row::2] = item.before.data[:, row::2]
            yield clock.place(replace(item.frame, data=data, woven=False))

    def _by_motion(self, run: Iterator[_Judged], *, top_first: bool) -> Iterator[Frame]:
        owners: deque[tuple[Frame, int]] = deque()

        def fields() -> Iterator[Field]:
            shot = None
            for item in run:
                pair = split(item.frame.data, top_first=top_first, begins=item.frame.shot != shot)
                shot = item.frame.shot
                for number, field in enumerate(pair):
                    owners.append((item.frame, number))
                    yield field

        for picture in deinterlaced(fields()):
            frame, number = owners.popleft()
            if self._both or number == 0:
                yield self._timed(frame, picture, number)

    def _by_bwdif(self, run: Iterator[_Judged], *, top_first: bool) -> Iterator[Frame]:
        from restore.media.bwdif import bwdif

        owners: deque[Frame] = deque()

        def pictures() -> Iterator[NDArray[np.uint16]]:
            for item in run:
                owners.append(item.frame)
                levels = (item.frame.data.clamp(0, 1) * 65535).round().to(torch.int32)
                yield levels.permute(1, 2, 0).cpu().numpy().astype(np.uint16)

        for count, levels in enumerate(bwdif(pictures(), top_first=top_first, both=self._both)):
            number = count % 2 if self._both else 0
            frame = owners.popleft() if number or not self._both else owners[0]
            picture = torch.from_numpy(levels.astype(np.float32) / 65535).permute(2, 0, 1)
            yield self._timed(frame, picture.to(frame.data), number)

    def _timed(self, frame: Frame, picture: torch.Tensor, number: int) -> Frame:
        """A field's picture at its field's time."""
        if not self._both:
            return replace(frame, data=picture, woven=False)
        length = frame.duration or round(1 / _RATES[0] / frame.time_base)
        return replace(
            frame,
            data=picture,
            pts=2 * frame.pts + number * length,
            time_base=frame.time_base / 2,
            duration=length,
            woven=False,
        )


class _Run:
    """Frames of one scan in a row; ``next`` is the first frame after them."""

    def __init__(self, first: _Judged, rest: Iterator[_Judged]) -> None:
        self._first: _Judged | None = first
        self._scan = first.scan
        self._rest = rest
        self.next: _Judged | None = None

    def __iter__(self) -> Iterator[_Judged]:
        return self

    def __next__(self) -> _Judged:
        item = self._first or next(self._rest, None)
        self._first = None
        if item is None or item.scan is not self._scan:
            self.next = item
            raise StopIteration
        return item


def _previous(state: int) -> int:
    return state if state == NOT_TELECINE else state // 5 * 5 + (state - 1) % 5


def _placed(item: _Judged, state: int, votes: FieldVotes) -> _Judged:
    if state == NOT_TELECINE:
        return replace(item, scan=votes.scan)
    scan = Scan.TELECINE_TFF if state < 5 else Scan.TELECINE_BFF
    return replace(item, scan=scan, place=state % 5)


def _usual_fps(steps_s: Collection[Fraction], time_base: Fraction) -> Fraction:
    """The video's rate by its usual name, from the times between frames.

    Containers that round times to milliseconds leave several rates possible; the first is taken.
    """
    mean_s = sum(steps_s, Fraction(0)) / len(steps_s) if steps_s else 1 / _RATES[0]
    slack_s = time_base / len(steps_s) if len(set(steps_s)) > 1 else Fraction(0)
    near = [fps for fps in _RATES if abs(1 / fps - mean_s) <= slack_s]
    return near[0] if near else min(_RATES, key=lambda fps: abs(1 / fps - mean_s))
