"""The frames that a result is made of, and what may be made between each and the next."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Final

from torch import Tensor

from restore.analysis.passages import Judged
from restore.frames import Frame
from restore.grain.fresh import FreshGrain
from restore.grain.learn import GrainLearner
from restore.grain.profile import GrainProfile
from restore.interpolation.survey import Survey
from restore.interpolation.target import time_s

__all__ = ["AHEAD", "Ending", "Knots"]

AHEAD: Final = 8
"""Frames after the present one that are held."""

_BEHIND: Final = 2
_NEIGHBOURS: Final = 2
_LONGEST_S: Final = Fraction(1, 4)


class Ending:
    """Lets frames through and knows where the last one ends."""

    def __init__(self, frames: Iterable[Frame]) -> None:
        self._frames = frames
        self.end_s = Fraction(0)
        self._last_s: Fraction | None = None

    def __iter__(self) -> Iterator[Frame]:
        length_s = Fraction(1, 25)
        for frame in self._frames:
            start_s = time_s(frame)
            if self._last_s is not None:
                length_s = start_s - self._last_s
            if frame.duration:
                length_s = frame.duration * frame.time_base
            self._last_s, self.end_s = start_s, start_s + length_s
            yield frame


class Knots:
    """A place in a stream of frames, with the frames around it.

    Args:
        first: the first of the frames that count.
        rest: the others, in order.
        survey: of the whole clip, where this is a piece of it.

    Attributes:
        here: the frame at this place.
        found: grain that is seen, by the first frame of each shot that it was learned in.
    """

    def __init__(self, first: Judged, rest: Iterator[Judged], survey: Survey | None = None) -> None:
        self.found: dict[int, GrainProfile] = {}
        self._survey = survey
        self._shot = first.frame.index
        self._source = rest
        self._behind: deque[Judged] = deque(maxlen=_BEHIND)
        self._ahead: deque[Judged] = deque()
        self._learner = GrainLearner()
        self._grain: FreshGrain | None = None
        self._is_learned = False
        self._bare: dict[int, Tensor] = {}
        self.here = first
        self._fill()

    def step(self) -> bool:
        """On to the next frame; False where there is none."""
        if not self._ahead:
            return False
        self._behind.append(self.here)
        self._bare.pop(id(self.here), None)
        self.here = self._ahead.popleft()
        self._fill()
        if self.here.begins:
            self._behind.clear()
            self._is_learned = False
            self._shot = self.here.frame.index
        return True

    @property
    def next_s(self) -> Fraction | None:
        """When the next frame comes, whatever it is; None after the last."""
        return time_s(self._ahead[0].frame) if self._ahead else None

    @property
    def after(self) -> Judged | None:
        """The next frame, if it is of the same shot."""
        return self._ahead[0] if self._ahead and not self._ahead[0].begins else None

    @property
    def before(self) -> Judged | None:
        """The frame before, if it is of the same shot and lit alike."""
        if not self._behind or self._odd(self._behind[-1]) or self.here.jump:
            return None
        return self._behind[-1]

    @property
    def may_move_on(self) -> bool:
        """Whether the shot ends with this frame, and with nothing that is no motion."""
        return self.after is None and not self._odd(self.here)

    def partner(self) -> Judged | None:
        """The frame that pictures after this one are made with; None where none may be made."""
        here, after = self.here, self.after
        if after is None or here.flash or after.jump:
            return None
        if after.flash:
            # What lies before a flash goes on to what comes after it; the flash is not spread.
            after = self._ahead[1] if len(self._ahead) > 1 else None
            if after is None or after.begins or after.flash or after.jump:
                return None
        pause_s = time_s(after.frame) - time_s(here.frame)
        return after if pause_s <= _LONGEST_S else None

    def grain(self) -> FreshGrain | None:
        """The grain of this shot, where it has any that is seen."""
        if not self._is_learned:
            profile = self._profile()
            self._grain = None if profile is None else FreshGrain(profile)
            self._is_learned = True
            if profile is not None and self._grain is not None and self._grain.is_visible:
                self.found[self._shot] = profile
        return self._grain if self._grain is not None and self._grain.is_visible else None

    def _profile(self) -> GrainProfile | None:
        if self._survey is not None:
            return self._survey.grain_of(self.here.frame.index)
        shot = [self.here, *self._same_shot(self._ahead)]
        return self._learner.shot([one.frame.data for one in shot if not one.flash])

    def bare(self, judged: Judged, grain: FreshGrain) -> Tensor:
        """A frame without grain, ``[3, h, w]``: this one or its partner."""
        known = self._bare.get(id(judged))
        if known is None:
            shot = [*self._behind, self.here, *self._same_shot(self._ahead)]
            place = next(number for number, one in enumerate(shot) if one is judged)
            near = [
                one.frame.data
                for one in shot[max(0, place - _NEIGHBOURS) : place + _NEIGHBOURS + 1]
                if one is not judged and not self._odd(one)
            ]
            known = self._bare[id(judged)] = grain.bare(judged.frame.data, near)
        return known

    @staticmethod
    def _same_shot(ahead: Iterable[Judged]) -> Iterator[Judged]:
        for one in ahead:
            if one.begins:
                return
            yield one

    @staticmethod
    def _odd(one: Judged) -> bool:
        return one.flash or one.mixed

    def _fill(self) -> None:
        while len(self._ahead) < AHEAD:
            coming = next(self._source, None)
            if coming is None:
                return
            self._ahead.append(coming)
