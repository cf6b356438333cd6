"""Which part of a job will be the limit: decoding, a stage, or the encoder, in frames a second."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace

from restore.media.profiles import AUTO_SPEED, Delivery

__all__ = [
    "Pace",
    "advice",
    "encoder_fps",
    "has_choice",
    "job_paces",
    "limit",
    "settled",
    "speed_note",
]

# Output pixels that one core encodes in a second. Those of x264 medium, veryfast and ultrafast and
# of FFV1 were measured at 2880x2304 on two cores of a server (docs/performance.md), the others side
# by side with x264's medium (benchmarks/encoders.py).
_SPEEDS_PX: dict[tuple[str, str | None], float] = {
    ("h264", "medium"): 9.6e6,
    ("h264", "fast"): 10.7e6,
    ("h264", "faster"): 18.1e6,
    ("h264", "veryfast"): 22.9e6,
    ("h264", "superfast"): 32.2e6,
    ("h264", "ultrafast"): 102.9e6,
    ("h265", "medium"): 2.8e6,
    ("h265", "fast"): 6.1e6,
    ("h265", "superfast"): 10.3e6,
    ("h265", "ultrafast"): 23.1e6,
    ("av1", "6"): 14.1e6,
    ("av1", "7"): 15.9e6,
    ("av1", "8"): 23.6e6,
    ("av1", "9"): 27.7e6,
    ("av1", "10"): 33.1e6,
    ("av1", "12"): 39.3e6,
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


def has_choice(delivery: Delivery) -> bool:
    """Whether its speed is to be settled, and speeds of its encoder were measured to do so."""
    # Where a GPU has no encoder of its own, software's speed has to be settled after all.
    return delivery.speed == AUTO_SPEED and bool(_choice(replace(delivery, encoder="software")))


def _choice(delivery: Delivery) -> list[str]:
    """Measured speeds, from the usual one to the fastest."""
    facts = delivery.facts
    if delivery.encoder == "hardware" or facts.default_speed is None:
        return []
    usual = facts.speeds.index(facts.default_speed)
    return [speed for speed in facts.speeds[usual::-1] if (delivery.profile, speed) in _SPEEDS_PX]


def settled(
    delivery: Delivery,
    others: Iterable[Pace],
    result_px: tuple[int, int],
    cores: int | None = None,
) -> tuple[Delivery, str]:
    """The delivery with a speed in the place of ``auto``, and a word where it is not the usual one.

    That is the slowest that is quicker than the slowest of the other parts, and no slower than the
    profile's usual one: nothing is won by more. Where none is quick enough, the fastest.

    Args:
        delivery: any; one whose speed is named stays as it is.
        others: paces of the other parts; what is called ``encode`` among them is left out.
        result_px: width and height of the result.
        cores: of the machine; counted where None.
    """
    if delivery.speed != AUTO_SPEED:
        return delivery, ""
    usual = replace(delivery, speed=None)
    rest = limit(pace for pace in others if pace.part != "encode")
    choice = _choice(delivery)
    if rest is None or not choice:
        return usual, ""
    cores = cores or os.cpu_count() or 1
    for speed in choice:
        fps = _encode_fps(replace(delivery, speed=speed), result_px, cores)
        if fps is not None and fps >= rest.fps:
            break
    if speed == delivery.facts.default_speed:
        return usual, ""
    found = replace(delivery, speed=speed)
    return found, speed_note(found)


def speed_note(delivery: Delivery) -> str:
    """Says which speed was settled; without figures, which differ from one planning to the next."""
    usual = delivery.facts.default_speed
    return f"encoder speed {delivery.speed}: {usual} would be slower than the rest of the job"


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
