"""Find the shots of a clip and mark every frame with its own."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from restore.analysis.cutlist import CutList, read_cut_list
from restore.engine.stage import Memory, StreamSpec
from restore.frames import Frame
from restore.stages import StageContext

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Shots"]

_HELD = 3


class Shots:
    """Numbers the shots, by what is seen or by a list that a person gives.

    Flashes, flicker and splice marks make no shot. A dissolve is reported and not cut: its frames
    belong to both scenes. A piece of up to three frames after which the scene goes on counts as a
    flash. Shots that are marked already keep their bounds.
    """

    class Settings(BaseModel):
        """Settings of the stage.

        ``cuts`` are the source numbers of frames that begin a shot, or the name of a TOML, JSON or
        CSV file that holds them; nothing is looked for then. ``save`` puts the list that was found
        beside the result.
        """

        model_config = ConfigDict(extra="forbid", frozen=True)

        cuts: tuple[Annotated[int, Field(ge=0)], ...] | str | None = None
        save: bool = True

    def __init__(self, given: CutList | None, *, save: bool = True) -> None:
        memory = Memory.FRAMES if given else Memory.CLIP
        self.spec = StreamSpec("shots", delay=0 if given else _HELD, memory=memory)
        self._given = given
        self._save = save
        self.found: CutList | None = given

    @classmethod
    def build(cls, settings: Settings, context: StageContext) -> Self:
        """Read the list where there is one.

        Raises:
            InvalidInput: the list cannot be read.
        """
        given = None
        if isinstance(settings.cuts, str):
            given = read_cut_list(Path(settings.cuts))
        elif settings.cuts is not None:
            given = CutList(tuple(sorted(set(settings.cuts) - {0})))
        return cls(given, save=settings.save)

    def facts(self) -> Mapping[str, str]:
        """The cuts and dissolves, once they are known."""
        facts = {"cuts from": "a list" if self._given else "the pictures"}
        if self.found is not None:
            facts["shots"] = str(len(self.found.cuts) + 1)
            facts["cuts"] = ", ".join(str(cut) for cut in self.found.cuts) or "none"
            spans = (f"{start}..{stop - 1}" for start, stop in self.found.dissolves)
            facts["dissolves"] = ", ".join(spans) or "none"
        return facts

    def sidecars(self) -> Mapping[str, str]:
        """What belongs beside the result, by the end of its name: the list that was found."""
        if self._given is not None or self.found is None or not self._save:
            return {}
        return {"shots.toml": self.found.to_toml()}

    def stream(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """The same frames with their shots, three frames late where they are looked for."""
        pairs = self._listed(frames) if self._given is not None else self._seen(frames)
        shot, upstream = 0, None
        for frame, begins in pairs:
            if upstream is not None and (begins or frame.shot != upstream):
                shot += 1
            upstream = frame.shot
            yield replace(frame, shot=shot)

    def _listed(self, frames: Iterator[Frame]) -> Iterator[tuple[Frame, bool]]:
        cuts = deque(self._given.cuts if self._given else ())
        for frame in frames:
            begins = False
            while cuts and frame.index >= cuts[0]:
                cuts.popleft()
                begins = True
            yield frame, begins

    def _seen(self, frames: Iterator[Frame]) -> Iterator[tuple[Frame, bool]]:
        # Loaded here: recipes are checked without OpenCV.
        from restore.analysis.cuts import CutFinder
        from restore.analysis.dissolves import DissolveFinder
        from restore.analysis.pictures import small_luma

        cut_finder, dissolve_finder = CutFinder(), DissolveFinder()
        held: deque[tuple[Frame, NDArray[np.float32]]] = deque()
        numbers = array("q")
        cuts: list[int] = []

        def oldest(begins: bool) -> tuple[Frame, bool]:
            frame, picture = held.popleft()
            dissolve_finder.push(picture, cuts=begins)
            numbers.append(frame.index)
            if begins:
                cuts.append(frame.index)
            return frame, begins

        for frame in frames:
            held.append((frame, small_luma(frame)))
            begins = cut_finder.push(held[-1][1])
            if begins is not None:
                yield oldest(begins)
        for begins in cut_finder.finish():
            yield oldest(begins)
        spans = [
            (numbers[span.start], numbers[span.stop - 1] + 1) for span in dissolve_finder.found()
        ]
        self.found = CutList(tuple(cuts), tuple(spans), len(numbers))
