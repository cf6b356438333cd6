"""What an interpolated clip is like from end to end, so that any piece of it can be made alone.

How frames follow each other is judged by the clip from its beginning, the result's times count from
its first frame, and a shot's grain is learned where pictures are first made in it. A survey holds
all that as plain data; pieces of the clip made by it have the same bits as the whole.
"""

from __future__ import annotations

import base64
import json
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from restore.errors import JobError
from restore.frames import Frame
from restore.grain.profile import GrainProfile

if TYPE_CHECKING:
    from restore.analysis.passages import Judged

__all__ = ["Survey"]

_MARKS = ("begins", "repeat", "flash", "jump", "mixed")


@dataclass
class Survey:
    """Of one clip.

    Attributes:
        origin_s: time of the clip's first frame.
        marks: source frame to how it follows the one before, as bits in the order of
            :class:`restore.analysis.passages.Judged`'s fields.
        grain: first frame of a shot to its grain, where there is any that is seen.
        shown: the source frame that each frame of the result derives from, in order.
        facts: what the stage said after the clip.
        sidecars: what it puts beside the result.
    """

    origin_s: Fraction = Fraction(0)
    marks: dict[int, int] = field(default_factory=dict)
    grain: dict[int, GrainProfile] = field(default_factory=dict)
    shown: list[int] = field(default_factory=list)
    facts: Mapping[str, str] = field(default_factory=dict)
    sidecars: Mapping[str, str] = field(default_factory=dict)

    def note(self, judged: Iterator[Judged]) -> Iterator[Judged]:
        """Let judged frames through and write down what is said of them."""
        for one in judged:
            bits = sum(getattr(one, name) << bit for bit, name in enumerate(_MARKS))
            self.marks[one.frame.index] = bits
            yield one

    def judged(self, frames: Iterator[Frame]) -> Iterator[Judged]:
        """Frames of any piece of the clip, judged as they were in the whole."""
        from restore.analysis.passages import Judged

        for frame in frames:
            bits = self.marks.get(frame.index, 0)
            yield Judged(frame, *(bool(bits >> bit & 1) for bit in range(len(_MARKS))))

    @property
    def kept(self) -> tuple[int, ...]:
        """Source frames that count: those that do not show the one before again."""
        repeat = 1 << _MARKS.index("repeat")
        return tuple(index for index, bits in self.marks.items() if not bits & repeat)

    def grain_of(self, index: int) -> GrainProfile | None:
        """The grain of the shot that a source frame is in; None where none is seen."""
        place = bisect_right(self._begins, index) - 1
        return None if place < 0 else self.grain.get(self._begins[place])

    @property
    def _begins(self) -> list[int]:
        known: list[int] | None = self.__dict__.get("_known")
        if known is None:
            known = self.__dict__["_known"] = [n for n, bits in self.marks.items() if bits & 1]
        return known

    def packed(self) -> dict[str, Any]:
        """Plain data for a plan."""
        indices = list(self.marks)
        steps = [b - a for a, b in zip([0, *indices], indices, strict=False)]
        shown = [b - a for a, b in zip([0, *self.shown], self.shown, strict=False)]
        lists = {"steps": steps, "marks": list(self.marks.values()), "shown": shown}
        return {
            "origin_s": str(self.origin_s),
            "survey": _squeezed(json.dumps(lists, separators=(",", ":")).encode()),
            "grain": {str(index): _grain_text(one) for index, one in self.grain.items()},
            "facts": dict(self.facts),
            "sidecars": dict(self.sidecars),
        }

    @staticmethod
    def unpacked(data: Mapping[str, Any]) -> Survey:
        """The survey that :meth:`packed` wrote.

        Raises:
            JobError: it is none.
        """
        try:
            lists = json.loads(_unsqueezed(data["survey"]))
            indices = np.cumsum(lists["steps"]).tolist()
            return Survey(
                Fraction(data["origin_s"]),
                dict(zip(indices, lists["marks"], strict=True)),
                {int(index): _grain(text) for index, text in data["grain"].items()},
                np.cumsum(lists["shown"]).tolist(),
                data["facts"],
                data["sidecars"],
            )
        except (KeyError, ValueError, TypeError, zlib.error) as error:
            raise JobError(f"a plan's survey that cannot be read: {error}") from error


def _squeezed(data: bytes) -> str:
    return base64.b85encode(zlib.compress(data, 9)).decode()


def _unsqueezed(text: str) -> bytes:
    return zlib.decompress(base64.b85decode(text))


def _grain_text(profile: GrainProfile) -> list[Any]:
    """Exactly, unlike the file that people keep: every bit of it is in the pictures."""
    numbers = [profile.strength, profile.spectrum]
    packed = [_squeezed(np.ascontiguousarray(one, "<f8").tobytes()) for one in numbers]
    return [profile.height_px, profile.width_px, profile.blocks, *packed]


def _grain(data: list[Any]) -> GrainProfile:
    height_px, width_px, blocks, *texts = data
    strength, spectrum = (np.frombuffer(_unsqueezed(text), "<f8").copy() for text in texts)
    half = spectrum.size // 9
    rows = next(n for n in range(1, half) if n * (n // 2 + 1) == half)
    return GrainProfile(
        height_px, width_px, strength.reshape(3, -1), spectrum.reshape(rows, -1, 3, 3), blocks
    )
