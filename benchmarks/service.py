"""What the service costs: ``python -m benchmarks.service [--runs 3] [--transport] [--json FILE]``.

Jobs: the same clip and recipe through `run_durable` in this process and through a server (upload,
job, download), in turn, median of the runs. Live: frames of 720x576 in, with and without a network
that makes them 2880x2304, frames a second and the time from a frame's last piece to its result.
``--transport``: the same in pieces and through shared memory, in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import cache
from io import StringIO
from pathlib import Path
from statistics import median

import numpy as np
from restore_client import Client, LiveFrame
from restore_client.v1 import common_pb2 as common
from restore_client.v1 import restoration_pb2 as pb

from benchmarks.soak import address_of
from benchmarks.stages import film
from restore.api import make_job
from restore.demo.clips import write_clip
from restore.hostenv import tune_host
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


@cache
def _pictures(size_px: tuple[int, int]) -> list[bytes]:
    """Some frames of rgb24."""
    count = 8 if size_px == PAL_PX else 2
    return [(one * 255).astype(np.uint8).tobytes() for one in film(count, size_px)]


def live_row(
    client: Client,
    recipe: common.Recipe,
    frames: int,
    *,
    size_px: tuple[int, int] = PAL_PX,
    shared: bool | None = None,
    every_s: float = 0.0,
) -> dict[str, object]:
    """Frames a second of a live stream, and how long a frame is under way.

    Args:
        client: of the server.
        recipe: that frames go through.
        frames: how many.
        size_px: height and width of what is sent.
        shared: through shared memory, or in pieces; as the client chooses where None.
        every_s: a frame is sent this long after the one before; as fast as they are taken where 0.
    """
    height, width = size_px
    clip = _pictures(size_px)
    spec = pb.LiveSpec(
        recipe=recipe,
        width_px=width,
        height_px=height,
        pixel_format="rgb24",
        color=common.Color(is_rgb=True),
        frame_rate=common.Rational(numerator=25, denominator=1),
        time_base=common.Rational(numerator=1, denominator=25),
    )
    sent: dict[int, float] = {}

    def source() -> Iterator[LiveFrame]:
        began = time.perf_counter()
        for number in range(frames):
            data = clip[number % len(clip)]
            time.sleep(max(0.0, began + number * every_s - time.perf_counter()))
            sent[number] = time.perf_counter()
            yield LiveFrame(data, pts=number)

    began = time.perf_counter()
    stream = client.restore(spec, source(), shared=shared)
    waits, size = [], 0
    for number, frame in enumerate(stream.frames):
        waits.append(time.perf_counter() - sent[number])
        size = len(frame.data)
    spent = time.perf_counter() - began
    return {
        "frames": frames,
        "out": f"{stream.started.width_px}x{stream.started.height_px}",
        "by": pb.Transport.Name(stream.started.transport).removeprefix("TRANSPORT_").lower(),
        "fps": round(frames / spent, 2),
        "MB/s out": round(frames * size / spent / 1e6, 1),
        "latency_s, median": round(median(waits), 3),
    }


def transport_rows(client: Client, runs: int) -> dict[str, object]:
    """Pieces against shared memory, in turn, through as little as there is.

    The latency is that of a camera which sends half as many frames as pieces can carry: as fast as
    they are taken, a frame waits in as many slots as there are.
    """
    enlarge = common.Recipe(toml='[[steps]]\nstage = "resize"\nscale = 4\n')
    as_it_comes = common.Recipe(preset="transcode")
    found: dict[str, object] = {}
    for name, recipe, size_px in (
        ("720x576 to 2880x2304 by resampling", enlarge, PAL_PX),
        ("2880x2304 as it comes", as_it_comes, (4 * PAL_PX[0], 4 * PAL_PX[1])),
        ("720x576 as it comes", as_it_comes, PAL_PX),
    ):
        frames = 96 if size_px == PAL_PX and recipe is as_it_comes else 12
        rates: dict[bool, list[float]] = {True: [], False: []}
        waits: dict[bool, list[float]] = {True: [], False: []}
        every_s = 0.0
        for number in range(runs + 1):
            for shared in (False, True):
                row = live_row(client, recipe, frames, size_px=size_px, shared=shared)
                every_s = every_s or 2 / float(str(row["fps"]))
                paced = live_row(client, recipe, 8, size_px=size_px, shared=shared, every_s=every_s)
                if number:  # the first one warms both up
                    rates[shared].append(float(str(row["fps"])))
                    waits[shared].append(float(str(paced["latency_s, median"])))
        ratios = [a / b for a, b in zip(rates[True], rates[False], strict=True)]
        found[name] = {
            "pieces, fps": median(rates[False]),
            "shared memory, fps": median(rates[True]),
            "shared memory over pieces, fps": round(median(ratios), 3),
            "pieces, latency_s at half the pace": median(waits[False]),
            "shared memory, latency_s at half the pace": median(waits[True]),
        }
    return found


def all_rows(client: Client, folder: Path, frames: int, runs: int) -> dict[str, object]:
    """A job, and live streams as the client sends them by itself."""
    return {
        "job, 4x": job_rows(client, folder, frames, runs),
        "live, as it comes": live_row(client, common.Recipe(preset="transcode"), 100),
        "live, 4x by the shipped network": live_row(client, common.Recipe(preset="upscale"), 8),
    }


@contextmanager
def _in_here(folder: Path) -> Iterator[str]:
    """A server whose work is compared with that of this process."""
    settings = load_settings(
        None, address="127.0.0.1:0", storage=folder / "storage", devices=("cpu",)
    )
    server = Server(settings, EventLog(StringIO()))
    server.start()
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        server.stop()


@contextmanager
def _own_process(folder: Path) -> Iterator[str]:
    """A server that shares no lock of an interpreter with its client."""
    environment = {**os.environ, "RESTORE_SERVICE_STORAGE": str(folder / "storage")}
    environment |= {"RESTORE_SERVICE_ADDRESS": "127.0.0.1:0"}
    environment |= {"RESTORE_SERVICE_DEVICES": '["cpu"]'}
    log = folder / "log.jsonl"
    with log.open("w") as out:
        child = subprocess.Popen([sys.executable, "server.py"], stderr=out, env=environment)
    try:
        yield address_of(log, child)
    finally:
        child.terminate()
        child.wait(60)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.service", description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--frames", type=int, default=48, help="of the job's clip")
    parser.add_argument(
        "--transport", action="store_true", help="only pieces against shared memory"
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    tune_host()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        serving = _own_process(folder) if options.transport else _in_here(folder)
        with serving as address, Client(address) as client:
            found = (
                transport_rows(client, options.runs)
                if options.transport
                else all_rows(client, folder, options.frames, options.runs)
            )
    found["machine"] = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    text = json.dumps(found, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
