"""How many pixels a second each encoder takes at each of its speeds, side by side.

    python -m benchmarks.encoders [--size 1440x1152] [--frames 10] [--turns 3] [--dry-run]
                                  [--profiles h264,h265,av1,ffv1] [--out FILE.json]

The pictures are film enlarged twice, as an upscaler hands them on. Speeds take turns and medians
are printed, with the bytes of a frame beside. :mod:`restore.pace` goes by these figures.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av
import torch
import torch.nn.functional as F
from av.video.codeccontext import VideoCodecContext

from benchmarks.machine import machine
from benchmarks.stages import film
from restore.color import ChromaSite, ColorSpec, Matrix, Primaries, Range, Transfer
from restore.demo.clips import frames_of
from restore.engine.pixels import from_frame
from restore.frames import RawFrame
from restore.hostenv import tune_host
from restore.media.encoder import FrameEncoder, configure, encoder_options
from restore.media.layout import choose_format
from restore.media.master import VideoSpec
from restore.media.profiles import PROFILES, Delivery

_RATE = Fraction(25)
_COLOR = ColorSpec(Matrix.BT709, Primaries.BT709, Transfer.BT709, Range.LIMITED, ChromaSite.LEFT)


@dataclass(frozen=True)
class Row:
    """One encoder at one speed.

    Attributes:
        profile: of the delivery.
        speed: the encoder's name for it; None where it has none.
        size: width x height px.
        fps: frames a second.
        core_px: pixels that one core encodes in a second.
        frame_bytes: mean of the packets.
    """

    profile: str
    speed: str | None
    size: str
    fps: float
    core_px: float
    frame_bytes: int


def _frames(delivery: Delivery, video: VideoSpec, count: int) -> list[RawFrame]:
    """Film, enlarged, in the samples that the encoder takes."""
    layout, _ = choose_format(delivery, video)
    size = (video.height_px, video.width_px)
    clip = torch.from_numpy(film(count, (size[0] // 2, size[1] // 2))).permute(0, 3, 1, 2)
    large = F.interpolate(clip, size, mode="bicubic").clamp(0, 1).permute(0, 2, 3, 1).numpy()
    return [from_frame(frame, layout, _COLOR) for frame in frames_of(large, _RATE)]


def _encode(delivery: Delivery, video: VideoSpec, frames: Sequence[RawFrame]) -> tuple[float, int]:
    """Seconds and bytes."""
    layout, _ = choose_format(delivery, video)
    context = av.CodecContext.create(delivery.facts.encoder, "w")
    assert isinstance(context, VideoCodecContext)
    context.options = encoder_options(delivery, layout, _COLOR)
    configure(context, delivery, layout, video, 1 / _RATE)
    encoder = FrameEncoder(context, delivery, layout, _COLOR)
    began, size = time.perf_counter(), 0
    for number, frame in enumerate(frames):
        size += sum(packet.size for packet in encoder.encode(frame, number, 1))
    size += sum(packet.size for packet in encoder.flush())
    return time.perf_counter() - began, size


def measure(profile: str, size: tuple[int, int], count: int, turns: int) -> list[Row]:
    """All speeds of a profile that are no slower than its usual one, or than x264's and x265's."""
    facts = PROFILES[profile]
    speeds: tuple[str | None, ...] = (None,)
    if facts.default_speed is not None:
        slowest = "medium" if "medium" in facts.speeds else facts.default_speed
        speeds = facts.speeds[: facts.speeds.index(slowest) + 1]
    video = VideoSpec(size[0], size[1], 1 / _RATE, _COLOR, frame_rate=_RATE)
    frames = _frames(Delivery(profile), video, count)
    spent: dict[str | None, list[float]] = {speed: [] for speed in speeds}
    held: dict[str | None, int] = {}
    for _ in range(turns):
        for speed in speeds:
            took_s, held[speed] = _encode(Delivery(profile, speed=speed), video, frames)
            spent[speed].append(took_s)
    cores = min(os.cpu_count() or 1, facts.threads)
    rows = []
    for speed in speeds:
        fps = count / statistics.median(spent[speed])
        each = round(fps * size[0] * size[1] / cores, -4)
        text = f"{size[0]}x{size[1]}"
        rows.append(Row(profile, speed, text, round(fps, 2), each, held[speed] // count))
    return rows


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", default="1440x1152", help="WIDTHxHEIGHT px")
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--profiles", default="h264,h265,av1,ffv1")
    parser.add_argument("--dry-run", action="store_true", help="tiny, one turn")
    parser.add_argument("--out", type=Path, help="write the figures here too")
    asked = parser.parse_args()
    tune_host()
    width, height = (192, 128) if asked.dry_run else map(int, asked.size.split("x"))
    count, turns = (2, 1) if asked.dry_run else (asked.frames, asked.turns)
    rows: list[Row] = []
    for profile in asked.profiles.split(","):
        for row in measure(profile, (width, height), count, turns):
            rows.append(row)
            print(
                f"{row.profile:6} {row.speed or '-':10} {row.size:10} {row.fps:7.2f} fps "
                f"{row.core_px / 1e6:7.2f} Mpx/s a core {row.frame_bytes >> 10:6d} KiB a frame",
                flush=True,
            )
    if asked.out:
        table = {"machine": machine(torch.device("cpu")), "rows": [asdict(row) for row in rows]}
        asked.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
