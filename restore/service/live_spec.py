"""What a live stream will be: its spec, held against the limits and made into a pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from restore.api import make_job
from restore.color import ColorSpec, Matrix, Range
from restore.engine.settings import EngineSettings
from restore.engine.stage import AnyStage, Stage, clock_after
from restore.engine.varied import VariedStage, base_of
from restore.errors import InvalidInput
from restore.frames import PixelFormat
from restore.media.isolate import DecodeLimits
from restore.media.packets_in import PacketDecoder
from restore.plan import build_pipeline
from restore.service.asked import recipe_of
from restore.service.pieces import FrameShape, color_from, color_to
from restore.service.settings import ServiceSettings
from restore.service.v1 import common_pb2
from restore.service.v1 import restoration_pb2 as pb
from restore.time import Clock

__all__ = ["Prepared", "decoder_of", "prepared", "started"]


@dataclass(frozen=True)
class Prepared:
    """A stream before its first frame.

    Attributes:
        shape: of the frames that come.
        color: of their samples.
        time_base: of their times, in seconds.
        pipeline: that they go through.
        settings: of the engine.
        out: shape of what goes back.
        out_color: of its samples.
        clock: of its times.
        latency_frames: that have to arrive before the first one goes back.
    """

    shape: FrameShape
    color: ColorSpec
    time_base: Fraction
    pipeline: Sequence[AnyStage | VariedStage]
    settings: EngineSettings
    out: FrameShape
    out_color: ColorSpec
    clock: Clock
    latency_frames: int


def prepared(spec: pb.LiveSpec, limits: ServiceSettings) -> Prepared:
    """Build what a client asks for.

    Raises:
        RestoreError: the spec is wrong, or beyond the limits.
    """
    shape = _shape(limits, spec.pixel_format, spec.width_px, spec.height_px)
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
        device=limits.devices[0],
        queue_bytes=limits.queue_bytes,
        batch=1,  # a call for several frames would keep the first ones waiting for the others
        cuts=frozenset(spec.cuts),
    )
    pipeline = build_pipeline(replace(job, settings=settings))
    width, height, latency = shape.width_px, shape.height_px, 0
    for stage in base_of(pipeline):
        if isinstance(stage, Stage):
            width, height = stage.spec.output_px(width), stage.spec.output_px(height)
            latency += stage.spec.radius_future
        else:
            latency += stage.spec.delay
    out = _shape(limits, spec.output_pixel_format or spec.pixel_format, width, height)
    return Prepared(
        shape=shape,
        color=color,
        time_base=time_base,
        pipeline=pipeline,
        settings=settings,
        out=out,
        out_color=_output_color(color, out.format),
        clock=clock_after(base_of(pipeline), Clock(rate, time_base, None)),
        latency_frames=latency,
    )


def started(stream: Prepared, *, is_shared: bool, note: str) -> pb.RestoreResponse:
    """The answer that says what the stream will be.

    Args:
        stream: that it is about.
        is_shared: frames travel in shared memory.
        note: why they do not.
    """
    rate, base, out = stream.clock.frame_rate, stream.clock.time_base, stream.out
    return pb.RestoreResponse(
        started=pb.LiveStarted(
            width_px=out.width_px,
            height_px=out.height_px,
            pixel_format=out.name,
            color=color_to(stream.out_color),
            frame_rate=None
            if rate is None
            else common_pb2.Rational(numerator=rate.numerator, denominator=rate.denominator),
            time_base=common_pb2.Rational(numerator=base.numerator, denominator=base.denominator),
            latency_frames=stream.latency_frames,
            transport=pb.TRANSPORT_SHARED_MEMORY if is_shared else pb.TRANSPORT_PIECES,
            transport_note=note,
        )
    )


def decoder_of(
    packets: pb.PacketFormat, stream: Prepared, limits: ServiceSettings
) -> PacketDecoder:
    """The confined decoder of a stream's packets.

    Raises:
        InvalidInput: the frames' layout is a packed one, which no decoder gives.
        UnsupportedMedia: another codec than those that are taken.
    """
    shape = stream.shape
    if shape.is_packed:
        raise InvalidInput(f"packets of {shape.name}", "the planar format that decoding gives")
    return PacketDecoder(
        packets.codec,
        packets.extradata,
        stream.time_base,
        shape.format,
        shape.width_px,
        shape.height_px,
        DecodeLimits(
            max_pixels_px=limits.max_width_px * limits.max_height_px,
            max_frames=limits.max_frames,
            ring_bytes=limits.queue_bytes,
        ),
    )


def _shape(limits: ServiceSettings, name: str, width: int, height: int) -> FrameShape:
    if not 0 < width <= limits.max_width_px or not 0 < height <= limits.max_height_px:
        raise InvalidInput(
            f"frames of {width}x{height}", f"1x1 to {limits.max_width_px}x{limits.max_height_px}"
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
