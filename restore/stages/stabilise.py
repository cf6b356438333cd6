"""Take gate weave and shake out, and keep what the camera meant to do."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Final, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from restore.engine.stage import Memory, StreamSpec
from restore.engine.trace import Table
from restore.errors import InvalidInput
from restore.frames import Frame
from restore.registration.gate import GatePath
from restore.registration.intended import IntendedPath, PathRules
from restore.registration.perforation import PerforationFinder
from restore.registration.register import Register
from restore.registration.shift import cropped, filled_borders, shifted
from restore.stages import StageContext

__all__ = ["Stabilise"]

Doubles = NDArray[np.float64]

_NEIGHBOURS: Final = 8  # frames on each side that may fill a border
_BARE: Final = 3  # frames without a hole at a shot's beginning that show that there is none
_SHAKE: Final = 0.0015  # of the height: jitter that is assumed at least, or a hand's shake is kept
_STILL_PX: Final = 0.01  # a smaller move is not worth resampling


@dataclass
class _Shot:
    """A shot as far as it is known; frames from ``first`` on are still held.

    By perforation frames are brought to ``rest``; without it, by what the picture's path meant.
    """

    intended: tuple[IntendedPath, IntendedPath]
    finder: PerforationFinder | None
    gate: GatePath = field(default_factory=GatePath)
    register: Register = field(default_factory=Register)
    path: list[Doubles] = field(default_factory=list)
    held: deque[Frame] = field(default_factory=deque)
    rest: Doubles | None = None
    seen: int = 0
    first: int = 0
    done: int = 0


class Stabilise:
    """Registers every frame, tells weave from camera movement, and moves frames once.

    Where the scan shows a perforation in nearly every frame of a shot, frames are laid so that it
    stands still (:mod:`restore.registration.perforation`): whatever moves in the picture, the
    camera included, is left as it is. Otherwise positions come from robust motion of the whole
    frame (:mod:`restore.registration.register`), and the camera's own path from
    :mod:`restore.registration.intended`. Frames are moved by parts of a pixel with a sharp kernel;
    turns and changes of size are left alone. Nothing reaches across a cut. There is no randomness.
    """

    class Settings(BaseModel):
        """Settings of the stage.

        ``by``: ``perforation`` goes by the film's hole and refuses a shot that shows none,
        ``picture`` never looks for it, ``auto`` takes it where it is steadily seen. ``lookahead``:
        frames seen ahead, all of them held in memory; weave slower than that passes for camera
        movement. ``borders``: ``fill`` takes what a move leaves open from other frames of the
        shot that saw it, ``repeat`` repeats the border's pixels, ``crop`` shows the middle of
        every frame at the frame's size, so that what a move within ``limit`` can leave open lies
        outside. ``limit``: farthest that a frame is moved, as a share of its height.
        ``strength``: share of the weave that is removed.
        """

        model_config = ConfigDict(extra="forbid", frozen=True)

        by: Literal["auto", "perforation", "picture"] = "auto"
        lookahead: int = Field(default=40, ge=12, le=120)
        borders: Literal["fill", "repeat", "crop"] = "fill"
        limit: float = Field(default=0.05, gt=0, le=0.25)
        strength: float = Field(default=1.0, ge=0, le=1)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.spec = StreamSpec("stabilise", delay=settings.lookahead, memory=Memory.SHOT)
        self._squares = np.zeros(2)
        self._farthest_px = 0.0
        self._shifts = array("d")  # frame, across, down
        self._frames = 0
        self._limited = 0
        self._by_hole = 0
        self._unseen = 0

    @classmethod
    def build(cls, settings: Settings, context: StageContext) -> Self:
        """Make the stage."""
        return cls(settings)

    def facts(self) -> Mapping[str, str]:
        """Settings; after the run, how far frames were moved."""
        facts = {name: str(value) for name, value in self._settings.model_dump().items()}
        if self._frames:
            across, down = np.sqrt(self._squares / self._frames)
            facts["removed"] = (
                f"{across:.2f} px across and {down:.2f} px down RMS, "
                f"{self._farthest_px:.1f} px at most"
            )
        if self._by_hole:
            facts["by perforation"] = f"{self._by_hole} frames, {self._unseen} of them between two"
        if self._limited:
            facts["limited"] = f"{self._limited} frames lay farther off than the limit"
        return facts

    def table(self) -> Table:
        """How far each frame was moved, px to the right and down."""
        every = np.frombuffer(self._shifts).reshape(-1, 3).tolist()
        return Table("shifts", ("across_px", "down_px"), [tuple(row) for row in every])

    def stream(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Give the frames at rest, ``lookahead`` frames late."""
        for _, shot in groupby(frames, key=lambda frame: frame.shot):
            yield from self._steadied(shot)

    def _steadied(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        state: _Shot | None = None
        for frame in frames:
            if state is None:
                state = self._begun(frame)
            state.held.append(frame)
            state.seen += 1
            if state.finder is not None:
                self._look(state, frame)
            if state.finder is None:
                state.path.append(state.register.add(frame.data))
            if state.seen > state.done + self._settings.lookahead:
                yield self._next(state)
        while state is not None and state.done < state.seen:
            yield self._next(state)

    def _begun(self, frame: Frame) -> _Shot:
        height = frame.data.shape[-2]
        rules = PathRules(
            lookahead=self._settings.lookahead,
            floor_px=max(0.1, _SHAKE * height),
            ceiling_px=max(0.2, 0.01 * height),
        )
        finder = None if self._settings.by == "picture" else PerforationFinder()
        return _Shot((IntendedPath(rules), IntendedPath(rules)), finder)

    def _look(self, state: _Shot, frame: Frame) -> None:
        """Look for the hole; give up, if that is allowed, where the first frames show none."""
        if state.finder is None:
            return
        state.gate.holes.append(state.finder.find(frame.data))
        if self._settings.by == "auto" and state.seen == state.gate.unseen == _BARE:
            self._without_hole(state, before=frame)

    def _without_hole(self, state: _Shot, before: Frame | None = None) -> None:
        """Go by the picture, from the shot's first frame on."""
        state.finder = None
        state.path = [state.register.add(f.data) for f in state.held if f is not before]

    def _decide(self, state: _Shot) -> None:
        if state.gate.is_steady:
            state.rest = np.median(state.gate.places(), axis=0)
        elif self._settings.by == "auto":
            self._without_hole(state)
        else:
            raise InvalidInput(
                f"a shot at frame {state.held[0].index} whose perforation is seen in "
                f"{state.seen - state.gate.unseen} of {state.seen} frames",
                "a scan that shows the whole hole, with dark film about it, in nearly every frame",
                'Set by = "picture", or "auto" to go by the picture in such shots.',
            )

    def _next(self, state: _Shot) -> Frame:
        if state.finder is not None and state.rest is None:
            self._decide(state)
        number = state.done
        path = np.array(state.path) if state.rest is None else state.gate.places()
        if state.rest is None:
            meant = np.array([state.intended[axis].at(number, path[:, axis]) for axis in (0, 1)])
        else:
            meant = state.rest
            self._by_hole += 1
            self._unseen += state.gate.holes[number] is None
        frame = state.held[number - state.first]
        move = self._limit((meant - path[number]) * self._settings.strength, frame)
        if np.abs(move).max() <= _STILL_PX:
            move = np.zeros(2)
        crops = self._settings.borders == "crop"
        out = self._moved(frame, state, path, move) if move.any() or crops else frame
        self._shifts.extend((frame.index, *move))
        self._squares += np.square(move)
        self._farthest_px = max(self._farthest_px, float(np.abs(move).max()))
        self._frames += 1
        state.done += 1
        while state.first < state.done - _NEIGHBOURS:
            state.held.popleft()
            state.first += 1
        return out

    def _limit(self, move: Doubles, frame: Frame) -> Doubles:
        most_px = self._settings.limit * frame.data.shape[-2]
        away_px = float(np.abs(move).max())
        if away_px <= most_px:
            return move
        self._limited += 1
        return move * (most_px / away_px)

    def _moved(self, frame: Frame, state: _Shot, path: Doubles, move: Doubles) -> Frame:
        across, down = float(move[0]), float(move[1])
        with torch.inference_mode():
            data = shifted(frame.data, across, down)
            if self._settings.borders == "fill":
                data = filled_borders(data, (across, down), self._others(state, path, move))
            alpha = frame.alpha
            if alpha is not None:
                alpha = shifted(alpha, across, down).clamp(0, 1)
            if self._settings.borders == "crop":
                data = cropped(data, self._settings.limit)
                alpha = None if alpha is None else cropped(alpha, self._settings.limit).clamp(0, 1)
        return replace(frame, data=data, alpha=alpha)

    def _others(
        self, state: _Shot, path: Doubles, move: Doubles
    ) -> list[tuple[torch.Tensor, tuple[float, float]]]:
        """Frames near by, the nearest first, with the shift that lays them over this one."""
        now = state.done
        near = [
            number
            for away in range(1, _NEIGHBOURS + 1)
            for number in (now - away, now + away)
            if state.first <= number < min(len(path), state.first + len(state.held))
        ]
        shifts = {number: path[now] - path[number] + move for number in near}
        return [
            (state.held[number - state.first].data, (float(x), float(y)))
            for number, (x, y) in shifts.items()
        ]
