"""How many threads a stage may use for itself while others work beside it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from restore.engine.stage import AnyStage, StageSpec, Tiling
from restore.engine.varied import VariedStage

__all__ = ["one_each"]

_CROWD = 2  # stages for each core, of which some have little to do


class _OpenCv:
    """OpenCV's threads are the whole process': the last run that wants one puts them back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs = 0
        self._before = 0

    def single(self, by: int) -> None:
        """A run that wants single threads begins (1) or ends (-1)."""
        import cv2

        with self._lock:
            if by > 0 and not self._runs:
                self._before = cv2.getNumThreads()
                cv2.setNumThreads(1)
            self._runs += by
            if not self._runs:
                cv2.setNumThreads(self._before)


_OPENCV = _OpenCv()


@contextmanager
def one_each(stages: Sequence[AnyStage | VariedStage], device: torch.device) -> Iterator[None]:
    """Give each stage one thread, within, where the stages alone keep all cores busy.

    Stages work side by side. Where there are twice as many whole-frame stages as cores, the threads
    that OpenCV and torch wake for every small operation find no core that is free, and cost
    a tenth of the processor's time. What OpenCV's flow search finds depends on their number, too.
    Where a network computes on the CPU torch keeps its threads, for the network takes longest.

    Args:
        stages: of the run; it begins its own threads within.
        device: where tensors live.
    """
    whole = sum(_is_whole(stage) for stage in stages)
    before = torch.get_num_threads()
    crowded = whole >= _CROWD * _cores()
    alone = crowded and (whole == len(stages) or device.type != "cpu")
    if crowded:
        _OPENCV.single(1)
    # For this thread, and for those that it begins, whatever another run has set meanwhile.
    torch.set_num_threads(1 if alone else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        if crowded:
            _OPENCV.single(-1)


def _is_whole(stage: AnyStage | VariedStage) -> bool:
    spec = stage.spec
    return not isinstance(spec, StageSpec) or spec.tiling is Tiling.NEVER


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
