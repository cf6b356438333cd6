"""What lies between successive frames: motion, a cut, a flash, nothing new, or a mix of scenes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from restore.analysis.cuts import CutFinder
from restore.analysis.dissolves import DissolveFinder
from restore.analysis.pictures import half_luma, small_luma
from restore.analysis.repeats import LOOKAHEAD, RepeatFinder
from restore.frames import Frame

__all__ = ["DELAY", "Judged", "PassageFinder"]

DELAY: Final = LOOKAHEAD + 4
"""Frames that a frame is held until all is known of it."""

_FLASH: Final = 0.06  # of the full range, mean of the frame
_FLASH_TIMES: Final = 5.0  # what the frames around it differ by
_JUMP: Final = 0.15
_SAME: Final = 0.02  # of the usual difference, squared
_LIVELY: Final = 4e-6  # usual difference, squared, below which nothing can be said
_MOST_REPEATS: Final = 3


@dataclass(frozen=True, eq=False)
class Judged:
    """A frame and how it follows the one before.

    Attributes:
        frame: as it came.
        begins: begins a shot.
        repeat: shows the frame before again.
        flash: is lit unlike the frames before and after it, which are alike.
        jump: the light changes here at once, and stays.
        mixed: belongs to two scenes, in a dissolve or a fade.
    """

    frame: Frame
    begins: bool = False
    repeat: bool = False
    flash: bool = False
    jump: bool = False
    mixed: bool = False


@dataclass(eq=False)
class _Held:
    number: int
    frame: Frame
    small: NDArray[np.float32]
    difference: float
    begins: bool | None = None
    repeat: bool | None = None
    flash: bool = False

    @property
    def level(self) -> float:
        return float(self.small.mean())


class PassageFinder:
    """Frames in, the same frames judged out, at most ``DELAY`` later. One object serves one clip.

    Dissolves are seen as far as the frames that are held show them: the first third of one that
    lasts longer than a second may be missed.

    Args:
        repeats: look for repeated frames; else none is called one.
    """

    def __init__(self, *, repeats: bool = True) -> None:
        self._repeats = repeats
        self._cuts, self._finder, self._dissolves = CutFinder(), RepeatFinder(), DissolveFinder()
        self._held: deque[_Held] = deque()
        self._no_cut: deque[_Held] = deque()
        self._no_repeat: deque[_Held] = deque()
        self._recent: deque[_Held] = deque(maxlen=DELAY)
        self._run = 0

    def judged(self, frames: Iterator[Frame]) -> Iterator[Judged]:
        """Every frame in its order."""
        before: Tensor | None = None
        for number, frame in enumerate(frames):
            picture = half_luma(frame)
            gap = 0.0 if before is None else float((picture - before).square().mean())
            self._take(_Held(number, frame, small_luma(frame), gap))
            before = picture
            if len(self._held) > DELAY:
                yield self._oldest()
        for begins in self._cuts.finish():
            self._say_cut(begins=begins)
        for repeat in self._finder.finish() if self._no_repeat else ():
            self._no_repeat.popleft().repeat = repeat
        while self._held:
            yield self._oldest()

    def _take(self, entry: _Held) -> None:
        self._held.append(entry)
        self._no_cut.append(entry)
        begins = self._cuts.push(entry.small)
        if begins is not None:
            self._say_cut(begins=begins)
        if entry.number and self._repeats:
            self._no_repeat.append(entry)
            repeat = self._finder.push(entry.difference)
            if repeat is not None:
                self._no_repeat.popleft().repeat = repeat

    def _say_cut(self, *, begins: bool) -> None:
        entry = self._no_cut.popleft()
        entry.begins = begins
        self._dissolves.push(entry.small, cuts=begins)

    def _oldest(self) -> Judged:
        entry = self._held.popleft()
        judged = self._judge(entry, self._recent[-1] if self._recent else None)
        self._recent.append(entry)
        self._run = self._run + 1 if judged.repeat else 0
        # A picture that stands for longer is no stutter.
        return judged if self._run <= _MOST_REPEATS else replace(judged, repeat=False)

    def _judge(self, entry: _Held, before: _Held | None) -> Judged:
        mixed = any(s.start <= entry.number < s.stop for s in self._dissolves.found())
        if before is None or entry.begins or entry.frame.shot != before.frame.shot:
            return Judged(entry.frame, begins=True, mixed=mixed)
        flash = entry.flash = self._flashes(entry, before)
        lit = next((e for e in reversed(self._recent) if not e.flash), before)
        jump = not flash and not mixed and abs(entry.level - lit.level) > _JUMP
        repeat = not flash and (bool(entry.repeat) or self._same(entry))
        return Judged(entry.frame, repeat=repeat, flash=flash, jump=jump, mixed=mixed)

    def _same(self, entry: _Held) -> bool:
        """Next to no difference among frames that differ: no film runs so, but captures stutter."""
        if not self._repeats:
            return False
        near = [e.difference for e in (*self._recent, *self._held) if e.difference > 0]
        usual = float(np.median(near)) if near else 0.0
        return usual > _LIVELY and entry.difference < _SAME * usual

    def _flashes(self, entry: _Held, before: _Held) -> bool:
        after = self._held[0] if self._held else None
        if after is None or after.begins or after.frame.shot != entry.frame.shot:
            return False
        around = abs(after.level - before.level)
        off = abs(entry.level - (after.level + before.level) / 2)
        return off > max(_FLASH, _FLASH_TIMES * around)
