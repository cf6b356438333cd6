"""What a durable job will take: time, memory, room on the disk.

Stages are tried out when the job is planned; the rest goes by what was measured for each pixel and
byte (benchmarks/estimates.py, docs/service.md).
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from restore.engine.stage import Memory, StreamStage
from restore.engine.varied import base_of
from restore.frames import PixelFormat
from restore.media.layout import choose_format
from restore.pace import encoder_fps
from restore.plan import JobPlan

__all__ = ["Estimate", "estimate"]

# Seconds of one core: a source pixel decoded and converted, a result pixel converted, a byte of a
# lossless chunk written or read, a result pixel by an encoder that was not measured.
_SOURCE_S, _RESULT_S, _STORED_S, _ENCODED_S = 80e-9, 25e-9, 50e-9, 150e-9
# Film with grain takes the encoders longer than the smooth pictures that they were timed with.
_GRAINY = 1.5
# Decoder, conversion and encoder have a thread each, of which one waits for another.
_MOST_CORES = 2
# What FFV1 leaves of grainy pictures: half of 8 bits, nearly all of more, whose last are noise.
_KEPT_8_BIT, _KEPT_MORE = 0.5, 0.9
_LOSSY_BYTES = 0.25  # of a result pixel, by H.264 as it is usually set
_ENLARGED = 0.5  # enlarged pictures are smoother for each pixel
_LOSSLESS = ("ffv1", "utvideo", "rawvideo")


@dataclass(frozen=True)
class Estimate:
    """Of one job.

    Attributes:
        frames: of the result; None where the clip decides.
        expected_s: wall time once it runs; None where a stage could not be tried.
        memory_bytes: of a worker and its decoders, upper estimate.
        disk_bytes: chunks and deliverable together; None for a clip of unknown length.
    """

    frames: int | None
    expected_s: float | None
    memory_bytes: int
    disk_bytes: int | None


def estimate(plan: JobPlan, cores: int | None = None) -> Estimate:
    """What a job is expected to take on this machine.

    Args:
        plan: made with ``measure``.
        cores: that a worker uses; counted where None.
    """
    cores = cores or os.cpu_count() or 1
    layout, _ = choose_format(plan.delivery, plan.video)
    area = plan.source.upright_px[0] * plan.source.upright_px[1]
    smooth = _ENLARGED if plan.video.width_px * plan.video.height_px > 2 * area else 1.0
    stored = _stored_bytes(layout) * smooth
    frames = plan.frames_near
    disk = None
    if frames is not None:
        result_px = frames * plan.video.width_px * plan.video.height_px
        is_lossless = plan.delivery.profile in _LOSSLESS
        disk = int(result_px * (stored + (stored if is_lossless else _LOSSY_BYTES * smooth)))
    return Estimate(plan.frames, _expected_s(plan, stored, cores), plan.memory_bytes, disk)


def _stored_bytes(layout: PixelFormat) -> float:
    """Of a pixel in a chunk."""
    samples = layout.frame_bytes(64, 64) / layout.sample_bytes / 64**2
    kept = _KEPT_8_BIT if layout.depth_bits <= 8 else _KEPT_MORE
    return samples * layout.depth_bits / 8 * kept


def _expected_s(plan: JobPlan, stored: float, cores: int) -> float | None:
    stages_s, frames = plan.expected_s, plan.frames_near
    taken = plan.frames_taken
    if stages_s is None or frames is None or taken is None:
        return None
    width, height = plan.source.upright_px
    source_s = taken * width * height * _SOURCE_S
    # Stages that go by the whole clip see it once before any chunk is begun.
    stages = base_of(plan.pipeline)
    looks = any(isinstance(s, StreamStage) and s.spec.memory is Memory.CLIP for s in stages)
    result_px = plan.video.width_px * plan.video.height_px
    chunks_s = frames * result_px * (_RESULT_S + stored * _STORED_S)
    fps = encoder_fps(plan.delivery, (plan.video.width_px, plan.video.height_px), cores)
    if plan.delivery.profile in _LOSSLESS:
        encode_s = result_px * stored * _STORED_S
    else:
        encode_s = _GRAINY / fps if fps else result_px * _ENCODED_S / min(cores, _MOST_CORES)
    used = min(cores, _MOST_CORES)
    read_s = result_px * stored * _STORED_S / used
    return (
        stages_s + (source_s * (2 if looks else 1) + chunks_s) / used + frames * (read_s + encode_s)
    )
