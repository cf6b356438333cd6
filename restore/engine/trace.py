"""What shows a person afterwards what a stage did: a mask, a residual, a table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, runtime_checkable

__all__ = ["Table", "TabledStage", "Trace"]


class Trace(Enum):
    """What there is to see of a stage's work, frame by frame."""

    NONE = "none"
    """Frames are chosen, timed, moved or made larger: pixels have no counterpart to compare."""
    RESIDUAL = "residual"
    """What came out less what went in."""
    MASK = "mask"
    """The pixels that were touched, besides the residual; all others stay bit for bit."""


@dataclass(frozen=True)
class Table:
    """Numbers for each frame.

    Attributes:
        name: what they are: ``shifts``, ``gains``.
        columns: their names with units, after ``frame``.
        rows: the source frame's number and the numbers.
    """

    name: str
    columns: tuple[str, ...]
    rows: Iterable[tuple[float, ...]]


@runtime_checkable
class TabledStage(Protocol):
    """A stage that keeps numbers on every frame, a few bytes each."""

    def table(self) -> Table:
        """What was done so far."""
