"""What a stage is: declared facts and tensor code, nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from restore.engine.space import WorkingSpace
from restore.engine.trace import Trace
from restore.errors import InvalidInput
from restore.frames import Frame
from restore.time import Clock

__all__ = [
    "AnyStage",
    "Memory",
    "RetimingStage",
    "Stage",
    "StageSpec",
    "StreamSpec",
    "StreamStage",
    "Tiling",
    "UnstackedStage",
    "clock_after",
    "stacked",
]


class Tiling(Enum):
    """Whether a stage may see a frame in pieces."""

    EXACT = "exact"
    """A tile with its halo gives the whole frame's result (bounded receptive field)."""
    APPROXIMATE = "approximate"
    """Something global (pooling, attention) leaks in: tiles are feathered and the grid recorded."""
    NEVER = "never"
    """Whole frames only."""


@dataclass(frozen=True)
class StageSpec:
    """The facts that the engine plans with.

    Attributes:
        name: the stage's name in recipes, reports and seeds.
        radius_past: frames needed before the one produced.
        radius_future: frames needed after it.
        scale: spatial factor, output over input; a whole number unless tiling is NEVER.
        rate: frames given for each frame taken, >= 1.
        halo_px: pixels of context that a tile needs on each side, in input pixels.
        multiple_of: height and width of what the stage is given are multiples of this; positions of
            tiles are too, so that windowed attention sees one grid.
        minimum_px: smallest height and width that the stage takes.
        tiling: see :class:`Tiling`.
        space: working space of input and output.
        deterministic: the same input, seed and settings give the same bits on one machine.
        dtypes: number formats that it computes in, the exact one (float32) included.
        repeats: windows that are equal give equal results whatever the seeds, so that a still is
            computed once.
        trace: see :class:`restore.engine.trace.Trace`; one that changes size or rate leaves none.
    """

    name: str
    radius_past: int = 0
    radius_future: int = 0
    scale: Fraction = Fraction(1)
    rate: int = 1
    halo_px: int = 0
    multiple_of: int = 1
    minimum_px: int = 1
    tiling: Tiling = Tiling.EXACT
    space: WorkingSpace = WorkingSpace.RGB
    deterministic: bool = True
    dtypes: tuple[torch.dtype, ...] = (torch.float32,)
    repeats: bool = False
    trace: Trace = Trace.RESIDUAL

    def __post_init__(self) -> None:
        counts = (self.radius_past, self.radius_future, self.halo_px)
        if min(counts) < 0 or min(self.rate, self.multiple_of, self.minimum_px) < 1:
            raise InvalidInput(
                f"stage {self.name!r} declares {self}", "radii and halo >= 0, rest >= 1"
            )
        if self.scale <= 0 or (self.scale.denominator != 1 and self.tiling is not Tiling.NEVER):
            raise InvalidInput(
                f"stage {self.name!r} with scale {self.scale}",
                "a positive scale, whole unless the stage is never tiled",
            )
        if torch.float32 not in self.dtypes:
            raise InvalidInput(f"stage {self.name!r} without float32", "float32 among its dtypes")

    @property
    def window(self) -> int:
        """Frames in a window, T."""
        return self.radius_past + 1 + self.radius_future

    def output_px(self, length_px: int) -> int:
        """Output length for an input length, rounded half up, at least 1."""
        return max(1, int(length_px * self.scale + Fraction(1, 2)))


@runtime_checkable
class Stage(Protocol):
    """A step of the pipeline. Windows, tiles, batches, devices and colour are the engine's."""

    @property
    def spec(self) -> StageSpec:
        """Facts; constant over the life of the stage."""

    def facts(self) -> Mapping[str, str]:
        """What belongs into a report: model names, sha256, settings."""

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """Bring weights to a device and number format before the first run, and after a move.

        Args:
            device: where the windows will be.
            dtype: one of ``spec.dtypes``.
        """

    def run(self, windows: Tensor, seeds: Sequence[int]) -> Tensor:
        """Compute.

        Args:
            windows: ``[N, T, C, h, w]`` float32 in ``spec.space``, on the placed device.
            seeds: one 63-bit seed for each of the N windows, from (job, stage, frame, tile); the
                only source of randomness allowed.

        Returns:
            ``[N, C, h * scale, w * scale]`` float32; ``[N * rate, ...]``, each window's frames in
            turn, where the rate is above 1.
        """


@runtime_checkable
class UnstackedStage(Stage, Protocol):
    """A stage of whole frames that takes the frames of a window one by one.

    A frame is in as many windows as they are long, and would be copied into each; as it is, it is
    also known again from one window to the next. Tiling is NEVER, scale and rate are 1.
    """

    def run_frames(self, frames: Sequence[Tensor], seed: int) -> Tensor:
        """Compute one window; the same bits as :meth:`run` gives.

        Args:
            frames: T of ``[C, h, w]`` float32 in ``spec.space``, on the placed device. They must
                not be written to. At the ends of a shot one may be there more than once.
            seed: as for :meth:`run`.

        Returns:
            ``[C, h, w]`` float32; the centre itself where nothing changes.
        """


class Memory(Enum):
    """What of the clip decides a frame that a stream stage gives; work is cut into chunks by it."""

    FRAMES = "frames"
    """The frame itself and ``delay`` frames on each side of it."""
    SHOT = "shot"
    """All of its shot, nothing of the others."""
    CLIP = "clip"
    """Anything from the clip's beginning on."""


@dataclass(frozen=True)
class StreamSpec:
    """The facts of a stage that works on the stream itself.

    Attributes:
        name: the stage's name in recipes and reports.
        delay: frames that it holds back at most before the first comes out.
        rate: frames given for each frame taken; None where the clip decides.
        deterministic: the same input and settings give the same frames.
        undoes_fields: what comes out are whole pictures, whatever the clip declared.
        memory: see :class:`Memory`.
        trace: see :class:`restore.engine.trace.Trace`.
        by_times: what it does follows from the frames' times alone, whatever they show.
    """

    name: str
    delay: int = 0
    rate: Fraction | None = Fraction(1)
    deterministic: bool = True
    undoes_fields: bool = False
    memory: Memory = Memory.CLIP
    trace: Trace = Trace.NONE
    by_times: bool = False

    def __post_init__(self) -> None:
        if self.delay < 0 or (self.rate is not None and self.rate <= 0):
            raise InvalidInput(f"stage {self.name!r} declares {self}", "delay >= 0 and rate > 0")


@runtime_checkable
class StreamStage(Protocol):
    """A stage that looks at the order of frames: finds shots, drops repeats, separates fields.

    It may mark, leave out, add or retime frames and change their pixels, but not their size. It
    holds back ``spec.delay`` frames at most, whatever the clip's length.
    """

    @property
    def spec(self) -> StreamSpec:
        """Facts; constant over the life of the stage."""

    def facts(self) -> Mapping[str, str]:
        """What belongs into a report; after the run, what was found."""

    def stream(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Pull frames and give frames, in presentation order.

        Args:
            frames: as the stage before gives them, on the engine's device.
        """


@runtime_checkable
class RetimingStage(StreamStage, Protocol):
    """A stream stage that knows beforehand what its frames will be counted in."""

    def retime(self, clock: Clock) -> Clock:
        """The clock of its output, from that of its input.

        Raises:
            InvalidInput: the stage cannot work at this rate; says why.
        """


AnyStage = Stage | StreamStage


def stacked(parts: list[Tensor]) -> Tensor:
    """As :func:`torch.stack`, without a copy where there is one part only."""
    return parts[0].unsqueeze(0) if len(parts) == 1 else torch.stack(parts)


def clock_after(stages: Sequence[AnyStage], clock: Clock) -> Clock:
    """The clock of what a chain of stages gives, from that of what it takes."""
    for stage in stages:
        if isinstance(stage, RetimingStage):
            clock = stage.retime(clock)
        else:
            rate = stage.spec.rate
            clock = clock.multiplied(None if rate is None else Fraction(rate))
    return clock
