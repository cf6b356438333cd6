"""RestorationService: live frames in, restored frames out, as fast as they are taken."""

from __future__ import annotations

import gc
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import grpc
import torch

from restore.api import make_job
from restore.color import ColorSpec, Matrix, Range
from restore.engine.device import choose_device, tune_host
from restore.engine.pixels import from_frame, to_frame
from restore.engine.run import process
from restore.engine.settings import CancelToken
from restore.engine.stage import Stage, clock_after
from restore.engine.varied import base_of
from restore.errors import InvalidInput
from restore.frames import Frame, PixelFormat, RawFrame
from restore.plan import build_pipeline
from restore.service.asked import recipe_of
from restore.service.auth import principal_of
from restore.service.log import EventLog, Metrics
from restore.service.pieces import FrameShape, assembled, color_from, color_to, pieces
from restore.service.settings import ServiceSettings
from restore.service.status import Overloaded, translated
from restore.service.v1 import common_pb2
from restore.service.v1 import restoration_pb2 as pb
from restore.service.v1 import restoration_pb2_grpc as rpc
from restore.time import Clock

__all__ = ["Live"]


class Live(rpc.RestorationServiceServicer):
    """The servicer. Every stream is pulled: nothing is read before a result was taken.

    Args:
        settings: of the server.
        log: told of every stream.
        metrics: counts streams and frames.
    """

    def __init__(self, settings: ServiceSettings, log: EventLog, metrics: Metrics) -> None:
        self._settings, self._log, self._metrics = settings, log, metrics
        self._places = threading.BoundedSemaphore(settings.max_streams)
        tune_host()

    def Restore(
        self, request_iterator: Iterator[pb.RestoreRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.RestoreResponse]:
        """One live stream."""
        with translated(context):
            if not self._places.acquire(blocking=False):
                self._metrics.refused.labels("streams").inc()
                raise Overloaded(
                    f"{self._settings.max_streams} live streams are under way",
                    fix="Ask again later, or make a job.",
                )
            self._metrics.acquired.inc()
            self._metrics.streams.inc()
            stream = _Stream(self._settings, self._metrics, context)
            context.add_callback(stream.cancel.cancel)
            began_s = time.perf_counter()
            try:
                yield from stream.run(request_iterator)
            finally:
                told = {"frames": stream.frames_out, "s": round(time.perf_counter() - began_s, 3)}
                whose = principal_of(context, self._settings)
                stream.close()
                # Frames and activations of a stream that was left are free before the next begins.
                gc.collect()
                self._metrics.streams.dec()
                self._metrics.released.inc()
                self._places.release()
                self._log.write("stream_ended", principal=whose, **told)


class _Stream:
    """One stream's state; everything it holds goes with it."""

    def __init__(
        self, settings: ServiceSettings, metrics: Metrics, context: grpc.ServicerContext
    ) -> None:
        self._settings, self._metrics, self._context = settings, metrics, context
        self.cancel = CancelToken()
        self.frames_in = self.frames_out = 0
        self._arrived: deque[tuple[int, float]] = deque()
        self._results: Iterator[Frame] | None = None

    def close(self) -> None:
        """Let go of frames under way."""
        self.cancel.cancel()
        close = getattr(self._results, "close", None)
        if close is not None:
            close()
        self._results = None

    def run(self, requests: Iterator[pb.RestoreRequest]) -> Iterator[pb.RestoreResponse]:
        """The answers, in order."""
        began_s = time.perf_counter()
        first = next(requests, None)
        if first is None or first.WhichOneof("message") != "spec":
            raise InvalidInput("a stream that does not begin with its spec", "the spec first")
        spec = first.spec
        shape = self._shape(spec, spec.pixel_format)
        color = _color(spec, shape.format)
        time_base = _positive(spec.time_base, "time base")
        rate = _positive(spec.frame_rate, "frame rate") if spec.HasField("frame_rate") else None
        recipe, options = recipe_of(spec.recipe)
        if recipe.crop:
            raise InvalidInput(
                f"crop {recipe.crop!r} for live frames", "frames that are cropped already"
            )
        job = make_job("-", "-", recipe, options)
        settings = replace(
            job.settings,
            device=self._settings.devices[0],
            queue_bytes=self._settings.queue_bytes,
            cuts=frozenset(spec.cuts),
        )
        pipeline = build_pipeline(replace(job, settings=settings))
        width, height = shape.width_px, shape.height_px
        for stage in base_of(pipeline):
            if isinstance(stage, Stage):
                width, height = stage.spec.output_px(width), stage.spec.output_px(height)
        clock = clock_after(base_of(pipeline), Clock(rate, time_base, None))
        out = self._shape(spec, spec.output_pixel_format or spec.pixel_format, (width, height))
        out_color = _output_color(color, out.format)
        latency = sum(
            one.spec.radius_future if isinstance(one, Stage) else one.spec.delay
            for one in base_of(pipeline)
        )
        yield _started(out, out_color, clock, latency)
        device = choose_device(settings.device)
        most = self._settings.max_frames
        raws = assembled(requests, shape, color, time_base, most)
        self._results = process(self._taken(raws, device), pipeline, settings, self.cancel)
        for frame in self._inferred(self._results):
            yield from self._given(frame, out, out_color, clock.time_base)
        yield pb.RestoreResponse(
            summary=pb.LiveSummary(
                frames_in=self.frames_in,
                frames_out=self.frames_out,
                elapsed_s=time.perf_counter() - began_s,
            )
        )

    @staticmethod
    def _inferred(frames: Iterator[Frame]) -> Iterator[Frame]:
        """Pull without recording gradients; the mode is left while a result waits to be taken."""
        while True:
            with torch.inference_mode():
                frame = next(frames, None)
            if frame is None:
                return
            yield frame

    def _taken(self, raws: Iterator[RawFrame], device: torch.device) -> Iterator[Frame]:
        ends_s = time.monotonic() + self._settings.max_stream_s
        for raw in raws:
            if time.monotonic() > ends_s:
                raise InvalidInput(f"a stream of over {self._settings.max_stream_s:g} s", "less")
            self.frames_in += 1
            self._arrived.append((raw.index, time.monotonic()))
            yield to_frame(raw, device)

    def _given(
        self, frame: Frame, out: FrameShape, color: ColorSpec, time_base: Fraction
    ) -> Iterator[pb.RestoreResponse]:
        raw = from_frame(frame, out.format, color)
        while self._arrived and self._arrived[0][0] <= frame.index:
            index, came_s = self._arrived.popleft()
            if index == frame.index:
                self._metrics.latency_s.observe(time.monotonic() - came_s)
        number = self.frames_out
        for piece in pieces(raw, out, number, time_base, synthetic=frame.synthetic):
            yield pb.RestoreResponse(piece=piece)
        self.frames_out += 1
        self._metrics.frames.labels("live").inc()

    def _shape(
        self, spec: pb.LiveSpec, name: str, size_px: tuple[int, int] | None = None
    ) -> FrameShape:
        width, height = size_px or (spec.width_px, spec.height_px)
        limits = self._settings
        if not 0 < width <= limits.max_width_px or not 0 < height <= limits.max_height_px:
            raise InvalidInput(
                f"frames of {width}x{height}",
                f"1x1 to {limits.max_width_px}x{limits.max_height_px}",
            )
        return FrameShape(name, width, height)


def _positive(value: common_pb2.Rational, what: str) -> Fraction:
    if value.numerator <= 0 or value.denominator <= 0:
        raise InvalidInput(f"{what} {value.numerator}/{value.denominator}", "a positive ratio")
    return Fraction(value.numerator, value.denominator)


def _color(spec: pb.LiveSpec, layout: PixelFormat) -> ColorSpec:
    color = color_from(spec.color)
    if layout.kind == "rgb":
        return color.with_(matrix=Matrix.RGB, range=Range.FULL)
    if color.matrix is Matrix.RGB:
        raise InvalidInput(f"{layout.name} with R'G'B' samples", "a matrix, or an RGB layout")
    return color


def _output_color(color: ColorSpec, layout: PixelFormat) -> ColorSpec:
    if layout.kind == "rgb":
        return color.with_(matrix=Matrix.RGB, range=Range.FULL)
    if color.matrix is Matrix.RGB:
        return color.with_(matrix=Matrix.BT709, range=Range.LIMITED)
    return color


def _started(out: FrameShape, color: ColorSpec, clock: Clock, latency: int) -> pb.RestoreResponse:
    rate, base = clock.frame_rate, clock.time_base
    return pb.RestoreResponse(
        started=pb.LiveStarted(
            width_px=out.width_px,
            height_px=out.height_px,
            pixel_format=out.name,
            color=color_to(color),
            frame_rate=None
            if rate is None
            else common_pb2.Rational(numerator=rate.numerator, denominator=rate.denominator),
            time_base=common_pb2.Rational(numerator=base.numerator, denominator=base.denominator),
            latency_frames=latency,
        )
    )
