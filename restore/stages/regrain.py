"""Give the reel its own grain back, at the size that the pictures have by then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, Field

from restore.engine.seeds import seed_for
from restore.engine.stage import Memory, StreamSpec
from restore.engine.trace import Trace
from restore.errors import InvalidInput
from restore.frames import Frame
from restore.grain.make import GrainMaker
from restore.grain.profile import GrainProfile
from restore.stages import StageContext

__all__ = ["Regrain"]


class Regrain:
    """Puts fresh grain with the learned spectrum, strength per level and colour correlation on.

    The grain comes from the stage ``grain_learn`` earlier in the same job, shot by shot, or from a
    file that it saved. Clumps keep their size relative to the picture. Each frame's grain is drawn
    from (job, stage, frame), as a whole, so neither order nor tiles nor batches change it.
    """

    class Settings(BaseModel):
        """Settings of the stage.

        ``amount``: factor on the learned strength. ``profile``: a file from ``grain_learn``; None
        takes what that stage finds in this job. ``seed``: another number gives other grain.
        """

        model_config = ConfigDict(extra="forbid", frozen=True)

        amount: float = Field(default=1.0, ge=0, le=4)
        profile: Path | None = None
        seed: int = 0

    def __init__(
        self,
        settings: Settings,
        job: str,
        shots: Mapping[int, GrainProfile | None] | None,
        given: GrainProfile | None,
    ) -> None:
        self.spec = StreamSpec("regrain", memory=Memory.SHOT, trace=Trace.RESIDUAL)
        self._settings = settings
        self._job = f"{job}/{settings.seed}"
        self._shots = shots
        self._given = given
        self._made: tuple[GrainProfile, tuple[int, int], GrainMaker] | None = None
        self._bare = 0
        self._seen = 0

    @classmethod
    def build(cls, settings: Settings, context: StageContext) -> Self:
        """Find out where the grain comes from.

        Raises:
            InvalidInput: nothing to take it from, or the file is no grain profile.
        """
        if settings.profile is not None:
            return cls(settings, context.job, None, _read(settings.profile))
        shots = context.shared.get("grain")
        if not isinstance(shots, dict):
            raise InvalidInput(
                "stage 'regrain' with no grain to give back",
                "a stage 'grain_learn' before it, or the setting 'profile'",
                "Put 'grain_learn' before the stages that take grain away.",
            )
        return cls(settings, context.job, shots, None)

    def facts(self) -> Mapping[str, str]:
        """Settings, and whether there were frames that had no grain to get."""
        source = self._settings.profile.name if self._settings.profile else "learned in this job"
        facts = {"amount": f"{self._settings.amount:g}", "grain": source}
        if self._bare:
            facts["without grain"] = f"{self._bare} of {self._seen} frames: none had been found"
        return facts

    def stream(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Give the frames with grain, each as it comes."""
        last, again = -1, 0
        for frame in frames:
            # Frames made between two source frames share an index, and need grain of their own.
            again = again + 1 if frame.index == last else 0
            last = frame.index
            yield self._grained(frame, again)

    def _grained(self, frame: Frame, again: int) -> Frame:
        self._seen += 1
        grain = self._given if self._shots is None else self._shots.get(frame.shot)
        if grain is None:
            self._bare += 1
            return frame
        seed = seed_for(self._job, self.spec.name, frame.index, again)
        with torch.inference_mode():
            data = self._maker(grain, frame).put_on(frame.data, seed, self._settings.amount)
        return replace(frame, data=data)

    def _maker(self, grain: GrainProfile, frame: Frame) -> GrainMaker:
        size = (frame.data.shape[-2], frame.data.shape[-1])
        if self._made is None or self._made[0] is not grain or self._made[1] != size:
            self._made = (grain, size, GrainMaker(grain, *size, frame.data.device))
        return self._made[2]


def _read(path: Path) -> GrainProfile:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"the grain profile {path}: {error}", "a file that the stage grain_learn saved"
        ) from error
    return GrainProfile.from_json(text)
