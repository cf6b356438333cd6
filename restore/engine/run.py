"""A run: decode, stages and encode side by side, with bounded memory between them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch

from restore.color import ColorSpec
from restore.engine.device import choose_device
from restore.engine.links import LINK_SHARE, Links
from restore.engine.pixels import from_frame, to_frame
from restore.engine.planes_proof import planes_trouble
from restore.engine.queue import ByteQueue
from restore.engine.report import StageReport
from restore.engine.runner import StageRunner
from restore.engine.settings import CancelToken, EngineSettings, Progress
from restore.engine.stage import AnyStage, StreamStage
from restore.engine.stream import StreamRunner
from restore.engine.threads import one_each
from restore.engine.transfer import Handed, own_stream
from restore.engine.varied import VariedRunner, VariedStage
from restore.engine.watch import Watched, Watcher
from restore.engine.window import marked_shots
from restore.frames import Frame, PixelFormat, RawFrame
from restore.hostenv import tune_host

__all__ = ["FrameSink", "RunReport", "pipeline_labels", "process", "run"]


class FrameSink(Protocol):
    """Where frames go: a writer, a network stream, a null sink in a benchmark."""

    @property
    def pixel_format(self) -> PixelFormat:
        """Layout that ``write`` takes."""

    @property
    def color(self) -> ColorSpec:
        """Matrix, range and chroma siting that ``write`` takes."""

    def write(self, frame: RawFrame) -> None:
        """Take the next frame; called from one thread, in order."""


@dataclass(frozen=True)
class RunReport:
    """What a run did.

    Attributes:
        frames_in: frames taken from the source.
        frames_out: frames that the sink took.
        elapsed_s: wall time.
        device: where frames were.
        stages: one report for each stage, in order.
    """

    frames_in: int
    frames_out: int
    elapsed_s: float
    device: str
    stages: tuple[StageReport, ...]


def pipeline_labels(stages: Sequence[AnyStage | VariedStage]) -> tuple[str, ...]:
    """Unique names in order: a stage used again gets a number (``resize``, ``resize-2``)."""
    seen: dict[str, int] = {}
    labels = []
    for stage in stages:
        name = stage.spec.name
        seen[name] = seen.get(name, 0) + 1
        labels.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return tuple(labels)


def process(
    frames: Iterable[Frame],
    stages: Sequence[AnyStage | VariedStage],
    settings: EngineSettings,
    cancel: CancelToken | None = None,
) -> Iterator[Frame]:
    """Pull frames through a chain of stages, lazily and in this thread."""
    runners = _runners(stages, settings, choose_device(settings.device), cancel or CancelToken())
    return _chained(marked_shots(frames, settings.cuts) if settings.cuts else frames, runners)


def run(
    source: Iterable[RawFrame],
    sink: FrameSink,
    stages: Sequence[AnyStage | VariedStage],
    settings: EngineSettings,
    *,
    rotation_deg: int = 0,
    frames_total: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    cancel: CancelToken | None = None,
    watchers: Mapping[str, Watcher] | None = None,
) -> RunReport:
    """Take every frame from a source through the stages into a sink.

    Decoding (and conversion to R'G'B'), encoding (and conversion from it) and every stage have a
    thread each, the last stage the calling one. An exception in any of them ends all and is raised
    here.

    Args:
        source: raw frames in presentation order; pulled from one thread.
        sink: what takes the result; the caller opens and closes it.
        stages: in order; none is an identity run through R'G'B'.
        settings: of the run.
        rotation_deg: clockwise turn that displays the source upright; the pixels are turned.
        frames_total: expected output frames, for progress.
        on_progress: called from the encoding thread after each frame.
        cancel: stops the run.
        watchers: told what goes into a stage and comes out, by the stage's label in the pipeline.

    Raises:
        Cancelled: ``cancel`` was used.
        OutOfMemory: the ladder's lowest rung was not enough.
    """
    tune_host()
    device = choose_device(settings.device)
    cancel = cancel or CancelToken()
    runners = _runners(stages, settings, device, cancel)
    began = time.perf_counter()
    decoder = _Decoder(source, device, rotation_deg, settings.queue_bytes)

    def after_each(done: int) -> None:
        if on_progress:
            spent = {runner.label: runner.elapsed_s for runner in runners}
            elapsed_s = time.perf_counter() - began
            on_progress(Progress(done, frames_total, elapsed_s, spent))

    encoder = _Encoder(sink, device, settings.queue_bytes, after_each)
    seen = watchers or {}
    chain = [Watched(one, seen[one.label]) if one.label in seen else one for one in runners]
    links = Links(chain, settings.queue_bytes // LINK_SHARE)
    try:
        with torch.inference_mode(), one_each(stages, device):
            for frame in links.frames(marked_shots(decoder.frames(), settings.cuts)):
                cancel.check()
                if not encoder.queue.put(Handed.of(frame)):
                    break
        encoder.queue.finish()
        encoder.join()
    finally:
        decoder.abort()
        links.stop()
        decoder.stop()
        encoder.stop()
    return RunReport(
        frames_in=decoder.taken,
        frames_out=encoder.written,
        elapsed_s=time.perf_counter() - began,
        device=str(device),
        stages=tuple(runner.report() for runner in runners),
    )


_Runner = StageRunner | StreamRunner | VariedRunner


def _runners(
    stages: Sequence[AnyStage | VariedStage],
    settings: EngineSettings,
    device: torch.device,
    cancel: CancelToken,
) -> list[_Runner]:
    # What a network call may take is meant for one call at a time.
    turn = threading.Lock()

    def plain(stage: AnyStage, label: str) -> StageRunner | StreamRunner:
        if isinstance(stage, StreamStage):
            return StreamRunner(stage, label, cancel)
        return StageRunner(stage, label, settings, device, cancel, turn)

    return [
        VariedRunner(stage, label, partial(plain, label=label))
        if isinstance(stage, VariedStage)
        else plain(stage, label)
        for stage, label in zip(stages, pipeline_labels(stages), strict=True)
    ]


def _chained(frames: Iterable[Frame], runners: Sequence[_Runner]) -> Iterator[Frame]:
    stream = iter(frames)
    for runner in runners:
        stream = runner.stream(stream)
    return stream


class _Decoder:
    """Pulls raw frames and converts them, in its own thread, ahead of the stages."""

    def __init__(
        self,
        source: Iterable[RawFrame],
        device: torch.device,
        rotation_deg: int,
        limit_bytes: int,
    ) -> None:
        self.taken = 0
        self._source = source
        self._device = device
        self._rotation_deg = rotation_deg
        self._queue: ByteQueue[Handed] = ByteQueue(limit_bytes)
        self._thread = threading.Thread(target=self._work, name="decode", daemon=True)

    def frames(self) -> Iterator[Frame]:
        self._thread.start()
        for handed in self._queue:
            yield handed.taken()

    def abort(self) -> None:
        """Let nobody wait for frames any more."""
        self._queue.abort()

    def stop(self) -> None:
        self._queue.abort()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        try:
            with torch.inference_mode(), own_stream(self._device):
                for raw in self._source:
                    self.taken += 1
                    frame = to_frame(raw, self._device, self._rotation_deg)
                    if not self._queue.put(Handed.of(frame)):
                        return
        except BaseException as error:  # raised again in the thread that reads
            self._queue.finish(error)
        else:
            self._queue.finish()


class _Encoder:
    """Converts finished frames and hands them to the sink, in its own thread."""

    def __init__(
        self,
        sink: FrameSink,
        device: torch.device,
        limit_bytes: int,
        after_each: Callable[[int], None],
    ) -> None:
        self.written = 0
        self.queue: ByteQueue[Handed] = ByteQueue(limit_bytes)
        self._device = device
        self._sink = sink
        self._after_each = after_each
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="encode", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait for the last frame, raising what went wrong."""
        self._thread.join()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        self.queue.abort()
        self._thread.join()

    def _work(self) -> None:
        try:
            sink = self._sink
            # Before its first frame, so that one way serves the whole job; stages go on meanwhile.
            planes_trouble(self._device, torch.float32)
            with torch.inference_mode(), own_stream(self._device):
                for handed in self.queue:
                    sink.write(from_frame(handed.taken(), sink.pixel_format, sink.color))
                    self.written += 1
                    self._after_each(self.written)
        except BaseException as error:  # raised again in join
            self._error = error
            self.queue.abort()
