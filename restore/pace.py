"""Which part of a job will be the limit: decoding, a stage, or the encoder, in frames a second."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from restore.media.profiles import Delivery

__all__ = ["Pace", "advice", "encoder_fps", "job_paces", "limit"]

# Output pixels that one core encodes in a second, measured at 2880x2304 on two cores of a server
# (benchmarks, docs/performance.md). Other presets lie between their neighbours.
_SPEEDS_PX = {
    ("h264", "medium"): 9.6e6,
    ("h264", "veryfast"): 22.9e6,
    ("h264", "ultrafast"): 102.9e6,
    ("ffv1", None): 49.1e6,
}
# Source pixels that one core decodes (H.264, 720x576) and converts to R'G'B', and result pixels
# that it converts from it before they are encoded, a second.
_DECODED_PX = 8.4e6
_CONVERTED_PX = 19.5e6


@dataclass(frozen=True)
class Pace:
    """How fast one part of a job would be alone.

    Attributes:
        part: ``decode``, ``encode`` or a stage's label.
        fps: frames of the result a second; for decoding, of the source.
    """

    part: str
    fps: float


def encoder_fps(delivery: Delivery, size_px: tuple[int, int], cores: int) -> float | None:
    """Frames a second of the encoder alone; None for one that has not been measured.

    Args:
        delivery: how the result is written.
        size_px: width and height of the result.
        cores: that the encoder may use; no more than its threads count.
    """
    facts = delivery.facts
    speed = delivery.speed or facts.default_speed
    each = _SPEEDS_PX.get((delivery.profile, speed if facts.speeds else None))
    used = min(cores, delivery.threads or facts.threads)
    return None if each is None else each * used / (size_px[0] * size_px[1])


def _encode_fps(delivery: Delivery, size_px: tuple[int, int], cores: int) -> float | None:
    """Of the encoder and of the conversion before it, which share a thread."""
    encoder = encoder_fps(delivery, size_px, cores)
    if encoder is None:
        return None
    return 1 / (1 / encoder + size_px[0] * size_px[1] / (_CONVERTED_PX * cores))


def job_paces(
    stages: Iterable[tuple[str, float | None]],
    source_px: tuple[int, int],
    delivery: Delivery,
    result_px: tuple[int, int],
    cores: int | None = None,
) -> tuple[Pace, ...]:
    """What is known of the parts of a job, in the order that frames take.

    Args:
        stages: label and seconds of a frame; None where it was not measured.
        source_px: width and height of the source.
        delivery: how the result is written.
        result_px: width and height of the result.
        cores: of the machine; counted where None.
    """
    cores = cores or os.cpu_count() or 1
    paces = [Pace("decode", _DECODED_PX * cores / (source_px[0] * source_px[1]))]
    paces += [Pace(label, 1 / spent_s) for label, spent_s in stages if spent_s]
    encode = _encode_fps(delivery, result_px, cores)
    return (*paces, *(() if encode is None else (Pace("encode", encode),)))


def limit(paces: Iterable[Pace]) -> Pace | None:
    """The slowest part."""
    return min(paces, key=lambda pace: pace.fps, default=None)


def advice(
    paces: tuple[Pace, ...],
    delivery: Delivery,
    result_px: tuple[int, int],
    cores: int | None = None,
) -> str:
    """What to do where the encoder is the limit; empty where it is not, or nothing helps."""
    slowest = limit(paces)
    rest = limit(pace for pace in paces if pace.part != "encode")
    if slowest is None or slowest.part != "encode" or rest is None:
        return ""
    ways = []
    for speed in reversed(delivery.facts.speeds):  # slowest first: no more is given up than needed
        quicker = Delivery(delivery.profile, speed=speed, threads=delivery.threads)
        fps = _encode_fps(quicker, result_px, cores or os.cpu_count() or 1)
        if fps is not None and fps > slowest.fps:
            ways.append((speed, fps))
    if not ways:
        return ""
    speed, fps = next((way for way in ways if way[1] >= rest.fps), ways[-1])
    return (
        f"the encoder will be the limit at about {slowest.fps:.2g} fps, where {rest.part} reaches "
        f"{rest.fps:.2g}; --speed {speed} encodes about {fps:.2g} fps, in larger files"
    )
