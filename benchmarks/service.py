"""What the service costs: ``python -m benchmarks.service [--runs 3] [--json FILE]``.

Jobs: the same clip and recipe through `run_durable` in this process and through a server (upload,
job, download), in turn, median of the runs. Live: frames of 720x576 in, with and without a network
that makes them 2880x2304, frames a second and the time from a frame's last piece to its result.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from io import StringIO
from pathlib import Path
from statistics import median

import numpy as np
from restore_client import Client, LiveFrame
from restore_client.v1 import common_pb2 as common
from restore_client.v1 import restoration_pb2 as pb

from benchmarks.stages import film
from restore.api import make_job
from restore.demo.clips import write_clip
from restore.engine.device import tune_host
from restore.jobs.resume import run_durable
from restore.media.profiles import Delivery
from restore.recipe import load_preset
from restore.service.log import EventLog
from restore.service.serve import Server
from restore.service.settings import load_settings

PAL_PX = (576, 720)


def job_rows(client: Client, folder: Path, frames: int, runs: int) -> dict[str, float]:
    """Seconds of a job without and with the service, and the share that it adds."""
    source = folder / "film.mkv"
    size = (PAL_PX[0] // 2, PAL_PX[1] // 2)
    write_clip(source, film(frames, size), Fraction(25), Delivery("ffv1", bit_depth=8))
    alone, served = [], []
    for number in range(runs + 1):
        began = time.perf_counter()
        recipe = load_preset("upscale")
        job = make_job(source, folder / f"a{number}.mkv", recipe, {"codec": "h264"})
        run_durable(job)
        middle = time.perf_counter()
        name = client.upload(source, request_id=f"film-{number}")
        made = client.create_job(name, preset="upscale", container=".mkv", codec="h264")
        ended = client.wait(made.name)
        client.download(made.name, folder / f"b{number}.mkv")
        if number:  # the first one warms both up
            alone.append(middle - began)
            served.append(time.perf_counter() - middle)
        if ended.failure.message:
            raise SystemExit(ended.failure.message)
        same = (folder / f"a{number}.mkv").read_bytes() == (folder / f"b{number}.mkv").read_bytes()
        client.delete(made.name)
    ratios = [b / a for a, b in zip(alone, served, strict=True)]
    return {
        "frames": frames,
        "local_s": round(median(alone), 2),
        "service_s": round(median(served), 2),
        "service adds": round(median(ratios) - 1, 4),
        "same bytes": float(same),
    }


def live_row(client: Client, preset: str, frames: int) -> dict[str, float]:
    """Frames a second of a live stream, and how long a frame is under way."""
    height, width = PAL_PX
    clip = (film(min(frames, 8), PAL_PX) * 255).astype(np.uint8)
    spec = pb.LiveSpec(
        recipe=common.Recipe(preset=preset),
        width_px=width,
        height_px=height,
        pixel_format="rgb24",
        color=common.Color(is_rgb=True),
        frame_rate=common.Rational(numerator=25, denominator=1),
        time_base=common.Rational(numerator=1, denominator=25),
    )
    sent: dict[int, float] = {}

    def source() -> Iterator[LiveFrame]:
        for number in range(frames):
            data = clip[number % len(clip)].tobytes()
            sent[number] = time.perf_counter()
            yield LiveFrame(data, pts=number)

    stream = client.restore(spec, source())
    waits, began, size = [], time.perf_counter(), 0
    for number, frame in enumerate(stream.frames):
        waits.append(time.perf_counter() - sent[number])
        size = len(frame.data)
    spent = time.perf_counter() - began
    return {
        "frames": frames,
        "out": f"{stream.started.width_px}x{stream.started.height_px}",
        "fps": round(frames / spent, 2),
        "MB/s out": round(frames * size / spent / 1e6, 1),
        "latency_s, median": round(median(waits), 3),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.service", description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--frames", type=int, default=48, help="of the job's clip")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    tune_host()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = load_settings(
            None, address="127.0.0.1:0", storage=folder / "storage", devices=("cpu",)
        )
        server = Server(settings, EventLog(StringIO()))
        server.start()
        try:
            with Client(f"127.0.0.1:{server.port}") as client:
                found: dict[str, object] = {
                    "job, 4x": job_rows(client, folder, options.frames, options.runs),
                    "live, as it comes": live_row(client, "transcode", 100),
                    "live, 4x by the shipped network": live_row(client, "upscale", 8),
                }
        finally:
            server.stop()
    found["machine"] = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    text = json.dumps(found, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
