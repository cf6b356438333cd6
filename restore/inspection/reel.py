"""A reel inspected in one pass over its frames, with bounded memory and bounded close looks."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import groupby
from typing import Final

from restore.analysis.borders import BorderFinder
from restore.analysis.cuts import CutFinder
from restore.analysis.film_rates import named_rate
from restore.analysis.scans import most_common_scan
from restore.analysis.telecine import Scan
from restore.errors import InvalidInput
from restore.frames import Frame
from restore.inspection.findings import ReelFindings, ShotFindings
from restore.inspection.glance import Glance, Glancer
from restore.inspection.shot import ShotLog
from restore.time import FrameRange

__all__ = ["inspect"]

_ALL_LOOKS: Final = 48  # shots that are all looked at closely; of later ones ever fewer
_HOLE_SHOTS: Final = 3  # shots in which a perforation is looked for
_SHOTS_TELL: Final = 3  # from which on what is dark in all of them is no scene
_BORDER_FIRST: Final = 12  # frames that are all searched for borders
_BORDER_STEP: Final = 8  # of later ones one in so many
_FEWEST_BLACK: Final = 3  # frames that make a stretch of black
_TELECINE: Final = (Scan.TELECINE_TFF, Scan.TELECINE_BFF)
_SOFT: Final = (Fraction(7, 5), Fraction(8, 5))  # between the times of frames that flags repeat
_SOME: Final = 0.02


class _Reel:
    """What is kept of the whole reel while it runs."""

    def __init__(self) -> None:
        self.shots: list[ShotLog] = []
        self.done: list[ShotFindings] = []
        self.black: list[int] = []
        self.gaps: list[FrameRange] = []
        self.times_s: deque[Fraction] = deque(maxlen=2)
        self.first_s: Fraction | None = None
        self.last_s = Fraction(0)
        self.borders = BorderFinder()
        self.frames = 0
        self.spans = 0
        self.span_s = Fraction(0)
        self.soft = 0
        self.size_px = (0, 0)

    def begin(self, index: int) -> None:
        """A shot begins."""
        self.end()
        number = len(self.done)
        self.shots.append(
            ShotLog(index, is_looked_at=_is_looked_at(number), holes=number < _HOLE_SHOTS)
        )

    def end(self) -> None:
        """The shot that was under way is over; its numbers alone are kept."""
        if self.shots:
            self.done.append(self.shots.pop().findings())

    def count(self, frame: Frame, glance: Glance, *, after_gap: bool) -> None:
        looked_for = self.frames < _BORDER_FIRST or self.frames % _BORDER_STEP == 0
        if looked_for and not glance.is_black:
            self.borders.add(frame.data.mean(0).cpu().numpy())
        self.frames += 1
        if glance.is_black:
            self.black.append(glance.index)
        if self.times_s and not after_gap:
            step = glance.time_s - self.last_s
            self.span_s += step
            self.spans += 1
            self.times_s.append(step)
            if len(self.times_s) == 2 and min(self.times_s) > 0:
                self.soft += _SOFT[0] < max(self.times_s) / min(self.times_s) < _SOFT[1]
        elif not self.times_s:
            self.times_s.append(Fraction(0))
        self.last_s = glance.time_s


def inspect(frames: Iterable[Frame]) -> ReelFindings:
    """Measure a reel.

    Every frame is looked at for cuts, repeats, fields and brightness; the first frames of a shot,
    and some further on, closely (:mod:`restore.inspection.look`). From the 48th shot on only some
    shots are looked at closely, ever fewer. Memory holds the frames of one close look.

    Args:
        frames: upright, in order, on any device, all of one size; indices that leave a gap begin a
            new shot.

    Returns:
        What was found; figures of time are None where a shot has too few frames.

    Raises:
        InvalidInput: no frame came, or frames of two sizes.
    """
    reel, glancer = _Reel(), Glancer()
    for piece in _pieces(frames, reel):
        finder = CutFinder()
        waiting: deque[tuple[Frame, Glance]] = deque()
        begun = False
        for frame in piece:
            glance = glancer.look(frame)
            reel.count(frame, glance, after_gap=not begun and reel.frames > 0)
            if not begun:
                reel.begin(glance.index)
                begun = True
            waiting.append((frame, glance))
            cuts = finder.push(glance.luma)
            if cuts is not None:
                _give(reel, *waiting.popleft(), cuts=cuts)
        for cuts in finder.finish():
            _give(reel, *waiting.popleft(), cuts=cuts)
    if not reel.frames:
        raise InvalidInput("a clip without a frame", "at least one frame")
    reel.end()
    return _summed(reel)


def _give(reel: _Reel, frame: Frame, glance: Glance, *, cuts: bool) -> None:
    if cuts:
        reel.begin(glance.index)
    reel.shots[-1].add(frame, glance)


def _pieces(frames: Iterable[Frame], reel: _Reel) -> Iterator[Iterator[Frame]]:
    """Runs of frames without a gap between them."""
    last: int | None = None
    piece = 0

    def number(frame: Frame) -> int:
        nonlocal last, piece
        size = (frame.data.shape[-1], frame.data.shape[-2])
        if reel.size_px not in ((0, 0), size):
            raise InvalidInput(
                f"frame {frame.index} of {size[0]}x{size[1]} px",
                f"every frame {reel.size_px[0]}x{reel.size_px[1]} px as the first",
            )
        reel.size_px = size
        if last is not None and frame.index > last + 1:
            reel.gaps.append(FrameRange(last + 1, frame.index))
            piece += 1
        last = frame.index
        return piece

    for _, run in groupby(frames, key=number):
        yield run


def _is_looked_at(number: int) -> bool:
    """Of the shots beyond the first, every other, then every fourth, and so on."""
    step = 1
    while number >= _ALL_LOOKS * step:
        step *= 2
    return number % step == 0


def _summed(reel: _Reel) -> ReelFindings:
    shots = tuple(reel.done)
    weighed = [shot.scan for shot in shots for _ in range(shot.frames)]
    scan = most_common_scan(weighed)
    if scan in (Scan.PROGRESSIVE, Scan.UNKNOWN) and 2 * reel.soft > reel.frames:
        scan = Scan.SOFT_TELECINE
    told = [(shot.repeats, shot.frames) for shot in shots if shot.repeats is not None]
    frames = sum(count for _, count in told)
    repeats = sum(share * count for share, count in told) / frames if frames else 0.0
    return ReelFindings(
        width_px=reel.size_px[0],
        height_px=reel.size_px[1],
        frames=reel.frames,
        looked_at=sum(shot.looked_at for shot in shots),
        gaps=tuple(reel.gaps),
        shots=shots,
        scan=scan,
        repeats=repeats,
        film_fps=_film_fps(reel, scan, repeats),
        black=tuple(_runs(reel.black)),
        borders_px=reel.borders.margins(surely=len(shots) < _SHOTS_TELL),
    )


def _film_fps(reel: _Reel, scan: Scan, repeats: float) -> Fraction | None:
    """The film's rate, where fields or repeats show it."""
    if not reel.span_s or reel.span_s < 0:
        return None
    video_fps = reel.spans / reel.span_s
    slack = 1 / reel.span_s
    if scan in _TELECINE:
        return named_rate(video_fps * Fraction(4, 5), Fraction(0))
    if scan is Scan.SOFT_TELECINE:
        return named_rate(video_fps, slack)
    if repeats < _SOME:
        return None
    share = 1 - Fraction(repeats).limit_denominator(reel.frames)
    return named_rate(video_fps * share, slack)


def _runs(indices: Sequence[int]) -> Iterator[FrameRange]:
    """Ranges of numbers in a row."""
    start, last = None, None
    for index in [*indices, None]:
        if last is not None and (index is None or index != last + 1):
            if start is not None and last + 1 - start >= _FEWEST_BLACK:
                yield FrameRange(start, last + 1)
            start = None
        if start is None:
            start = index
        last = index
