"""Learn the reel's grain before anything takes it away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby, islice
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from restore.engine.stage import Memory, StreamSpec
from restore.errors import OutputError
from restore.frames import Frame
from restore.grain.learn import GrainLearner
from restore.grain.profile import LEVELS, GrainProfile
from restore.stages import StageContext

__all__ = ["GrainLearn"]

_MOST_SHOTS = 256  # no later stage lags so many shots behind


class GrainLearn:
    """Looks at the first frames of every shot and lets all frames pass as they are.

    What it finds goes to the stage ``regrain`` of the same job, shot by shot, before the shot's
    first frame goes on; and into a file, where one is named, for other jobs.
    """

    class Settings(BaseModel):
        """Settings of the stage.

        ``frames``: frames of each shot that are looked at; they are held in memory. ``save``: a
        file for the grain of the whole reel, written when the last frame has passed.
        """

        model_config = ConfigDict(extra="forbid", frozen=True)

        frames: int = Field(default=12, ge=2, le=60)
        save: Path | None = None

    def __init__(self, settings: Settings, found: dict[int, GrainProfile | None]) -> None:
        self._settings = settings
        self._found = found
        self._last: GrainProfile | None = None
        self._shots = 0
        # The file is of the whole reel; what regrain gets is of one shot.
        memory = Memory.SHOT if settings.save is None else Memory.CLIP
        self.spec = StreamSpec(name="grain_learn", delay=settings.frames - 1, memory=memory)

    @classmethod
    def build(cls, settings: Settings, context: StageContext) -> Self:
        """Make the stage, and a place from where ``regrain`` takes what it finds."""
        found: dict[int, GrainProfile | None] = {}
        context.shared["grain"] = found
        return cls(settings, found)

    def facts(self) -> Mapping[str, str]:
        """After the run, the grain of the last shot in a few numbers."""
        facts = {"frames": f"{self._settings.frames} of each shot"}
        grain = self._last
        if grain is not None:
            middle = grain.strength[1, LEVELS // 2] * 255
            facts["grain"] = (
                f"clumps of {grain.size_px:.2f} px, {middle:.1f}/255 in mid-tones, "
                f"correlation of red and green {grain.correlation[0, 1]:.2f}, "
                f"from {grain.blocks} flat pieces"
            )
        elif self._shots:
            facts["grain"] = "none found"
        return facts

    def stream(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Give the frames unchanged, at most ``frames - 1`` late.

        Raises:
            OutputError: the profile could not be written.
        """
        learner = GrainLearner()
        for number, shot in groupby(frames, key=lambda frame: frame.shot):
            first = list(islice(shot, self._settings.frames))
            self._last = self._found[number] = learner.shot([frame.data for frame in first])
            self._shots += 1
            if len(self._found) > _MOST_SHOTS:
                del self._found[next(iter(self._found))]
            while first:
                yield first.pop(0)
            yield from shot  # noqa: B031 - what is left of it
        if self._settings.save is not None and self._shots:
            self._save(learner.reel(), self._settings.save)

    def _save(self, grain: GrainProfile | None, path: Path) -> None:
        if grain is None:
            raise OutputError(
                f"no grain was found to save as {path}",
                "a clip with flat, unclipped areas and grain that changes from frame to frame",
                "Leave 'save' out, or learn from another part of the reel.",
            )
        try:
            path.write_text(grain.to_json(), encoding="utf-8")
        except OSError as error:
            raise OutputError(
                f"the grain profile could not be written to {path}: {error.strerror}",
                fix="Choose a folder that exists and may be written to.",
            ) from error
