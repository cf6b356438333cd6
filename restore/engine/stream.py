"""Runs a stage that works on the stream itself, and times it apart from the stages before it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from restore.engine.layout import is_out_of_memory
from restore.engine.report import StageReport
from restore.engine.settings import CancelToken
from restore.engine.stage import StreamStage
from restore.errors import OutOfMemory
from restore.frames import Frame

__all__ = ["StreamRunner"]


class StreamRunner:
    """A stream stage at work. One object serves one run.

    Args:
        stage: what to run.
        label: unique name in the pipeline.
        cancel: looked at before each frame is taken.
    """

    def __init__(self, stage: StreamStage, label: str, cancel: CancelToken) -> None:
        self.stage = stage
        self.label = label
        self._cancel = cancel
        self._frames = 0
        self._total_s = 0.0
        self._waited_s = 0.0

    def stream(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Give the stage's frames in order, taking input as far as it is needed."""
        results = self.stage.stream(self._taken(frames))
        while True:
            began = time.perf_counter()
            try:
                frame = next(results, None)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                raise OutOfMemory(
                    f"memory ran out in stage {self.label!r} after {self._frames} frames",
                    fix="Free memory, or leave this stage out.",
                ) from error
            finally:
                self._total_s += time.perf_counter() - began
            if frame is None:
                return
            self._frames += 1
            yield frame

    def _taken(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        source = iter(frames)
        while True:
            self._cancel.check()
            began = time.perf_counter()
            frame = next(source, None)
            self._waited_s += time.perf_counter() - began
            if frame is None:
                return
            yield frame

    def report(self) -> StageReport:
        """What was done so far."""
        return StageReport(
            stage=self.label,
            facts=dict(self.stage.facts()),
            layout="stream",
            grid="whole frames",
            tiling="never",
            frames=self._frames,
            elapsed_s=self.elapsed_s,
            ladder=(),
        )

    @property
    def elapsed_s(self) -> float:
        """Time spent in the stage's own code."""
        return self._total_s - self._waited_s
