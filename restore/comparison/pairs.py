"""Frames of two clips, matched by their time, brought to one size and one colour description."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from types import TracebackType
from typing import Final, Self

import numpy as np
import torch
from torch import Tensor

from restore.color import ColorSpec
from restore.comparison.primaries import converted
from restore.degrade.resize import resize
from restore.engine.pixels import to_frame
from restore.errors import InvalidInput
from restore.frames import Frame
from restore.media.reader import ClipReader

__all__ = ["Pairs"]

_SHAPES: Final = Fraction(5, 100)  # by which the ratios of width to height may differ
_CPU: Final = torch.device("cpu")


@dataclass
class _Counts:
    pairs: int = 0
    first_alone: int = 0
    second_alone: int = 0


class Pairs:
    """Two clips side by side in time. A context manager, iterated once.

    A frame of the first is matched with the nearest of the second, at most half a frame away. The
    smaller pictures are enlarged to the size of the larger (Lanczos); the second clip's colour is
    brought to the first's. Frames are held one or two at a time.

    Args:
        first: file, picture, folder of pictures or pattern.
        second: likewise.

    Attributes:
        size_px: width and height of both.
        color: of both.
        notes: what was done to make them alike, for people.
        counts: pairs, and frames of either that have no counterpart; complete after the last pair.

    Raises:
        InvalidInput: pictures of different shapes.
        MediaError: one of them cannot be read.
    """

    def __init__(self, first: str, second: str) -> None:
        self._readers = [ClipReader(first)]
        try:
            self._readers.append(ClipReader(second))
        except BaseException:
            self._readers[0].close()
            raise
        self.notes: list[str] = []
        self.counts = _Counts()
        one, other = self.infos = tuple(reader.info for reader in self._readers)
        sizes = [info.upright_px for info in (one, other)]
        (w1, h1), (w2, h2) = sizes
        if abs(Fraction(w1 * h2, h1 * w2) - 1) > _SHAPES:
            raise self._closing(
                InvalidInput(
                    f"pictures of {w1}x{h1} and {w2}x{h2}, which are of different shapes",
                    "the same ratio of width to height within 5 %",
                    "Crop one of them first: stretched, nothing would lie over its counterpart.",
                )
            )
        self.size_px = max(sizes, key=lambda size: size[0] * size[1])
        for name, size in zip("AB", sizes, strict=True):
            if size != self.size_px:
                width, height = self.size_px
                self.notes.append(
                    f"{name} is {size[0]}x{size[1]} and is enlarged to {width}x{height} (Lanczos)"
                )
        self.color = one.resolved_color
        mine, theirs = self.color, other.resolved_color
        if (mine.primaries, mine.transfer) != (theirs.primaries, theirs.transfer):
            self.notes.append(f"B's colour ({_named(theirs)}) is brought to A's ({_named(mine)})")

    def _closing(self, error: InvalidInput) -> InvalidInput:
        for reader in self._readers:
            reader.close()
        return error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close both."""
        for reader in self._readers:
            reader.close()

    def __iter__(self) -> Iterator[tuple[Frame, Frame]]:
        theirs = self._frames(1)
        near, following = next(theirs, None), next(theirs, None)
        used = False
        for frame in self._frames(0):
            now = _time(frame)
            while (
                following is not None
                and near is not None
                and (abs(_time(following) - now) <= abs(_time(near) - now))
            ):
                self.counts.second_alone += not used
                near, following, used = following, next(theirs, None), False
            if near is not None and abs(_time(near) - now) <= self._reach(frame):
                used = True
                self.counts.pairs += 1
                yield frame, replace(near, index=frame.index)
            else:
                self.counts.first_alone += 1
        self.counts.second_alone += near is not None and not used
        self.counts.second_alone += following is not None
        self.counts.second_alone += sum(1 for _ in theirs)

    def _reach(self, frame: Frame) -> Fraction:
        """Half a frame of the first clip, in seconds."""
        rate = self.infos[0].frame_rate
        if rate is not None:
            return 1 / rate / 2
        return (frame.duration or 0) * frame.time_base / 2

    def _frames(self, number: int) -> Iterator[Frame]:
        info = self.infos[number]
        for raw in self._readers[number]:
            frame = to_frame(raw, _CPU, info.rotation_deg)
            data = converted(frame.data, info.resolved_color, self.color)
            yield replace(frame, data=_sized(data, self.size_px), color=self.color, alpha=None)


def _time(frame: Frame) -> Fraction:
    return frame.pts * frame.time_base


def _named(color: ColorSpec) -> str:
    return f"{color.primaries.name}, {color.transfer.name}"


def _sized(data: Tensor, size_px: tuple[int, int]) -> Tensor:
    width, height = size_px
    if tuple(data.shape[-2:]) == (height, width):
        return data
    picture = np.ascontiguousarray(data.permute(1, 2, 0).numpy())
    larger = resize(picture, (height, width), "lanczos3")
    return torch.from_numpy(np.ascontiguousarray(larger.transpose(2, 0, 1)))
