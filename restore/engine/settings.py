"""What a person may set of the engine, and how work is stopped and watched."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from restore.backend import BACKENDS
from restore.errors import Cancelled, InvalidInput

__all__ = ["CancelToken", "EngineSettings", "Progress"]


@dataclass(frozen=True)
class EngineSettings:
    """Settings of one run.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``exact`` (float32) or ``fast`` (16-bit floats where a stage allows).
        tile_px: side of tiles, halo included; 0 for whole frames; None lets the memory decide.
        batch: tiles in one network call; None lets device and memory decide.
        memory_bytes: what one network call may take; None for the device's default.
        queue_bytes: what may wait between decode, stages and encode, each.
        job: the job's name in seeds.
        backend: one of ``BACKENDS``, see :func:`restore.backend.choose_backend`.
        cuts: source indices of frames that begin a shot.
    """

    device: str = "auto"
    precision: str = "exact"
    tile_px: int | None = None
    batch: int | None = None
    memory_bytes: int | None = None
    queue_bytes: int = 256 << 20
    job: str = ""
    cuts: frozenset[int] = frozenset()
    backend: str = "auto"

    def __post_init__(self) -> None:
        if self.precision not in ("exact", "fast"):
            raise InvalidInput(f"precision {self.precision!r}", "exact or fast")
        if self.backend not in BACKENDS:
            raise InvalidInput(f"backend {self.backend!r}", f"one of {', '.join(BACKENDS)}")
        if self.tile_px is not None and self.tile_px < 0:
            raise InvalidInput(
                f"tile of {self.tile_px} px", "0 for whole frames, or a positive side"
            )
        if self.batch is not None and self.batch < 1:
            raise InvalidInput(f"batch of {self.batch}", "at least 1")
        if self.queue_bytes < 1 or (self.memory_bytes is not None and self.memory_bytes < 1):
            raise InvalidInput("a memory setting below 1 byte", "a positive number of bytes")


class CancelToken:
    """Asks a run to stop; safe from any thread and from signal handlers."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def cancel(self) -> None:
        """Ask; the run ends before its next network call."""
        self._asked.set()

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody asked."""
        return self._asked.is_set()

    def check(self) -> None:
        """Raise if somebody asked.

        Raises:
            Cancelled: somebody did.
        """
        if self._asked.is_set():
            raise Cancelled("the run was cancelled")


@dataclass(frozen=True)
class Progress:
    """A look at a run.

    Attributes:
        frames_done: frames handed to the writer and taken by it.
        frames_total: frames expected, None where unknown.
        elapsed_s: wall time since the run began.
        stage_s: time spent in each stage so far.
    """

    frames_done: int
    frames_total: int | None
    elapsed_s: float
    stage_s: Mapping[str, float] = field(default_factory=dict)

    @property
    def fps(self) -> float:
        """Frames a second since the beginning."""
        return self.frames_done / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def eta_s(self) -> float | None:
        """Seconds to go at this pace, None where it cannot be told."""
        if not self.frames_total or not self.frames_done:
            return None
        return max(0, self.frames_total - self.frames_done) / self.fps
