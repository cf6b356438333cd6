"""What a server expects of a job and what it took: ``python -m benchmarks.estimates``.

Small jobs of several presets and sizes through a real server, one after the other: expected and
real time, peak memory of the worker with its decoders, peak room on the disk of chunks and
deliverable. The worker is warm. Beside the time that passed stands the time that cores worked, as
if all of them had done so at once, which other programs disturb less.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from dataclasses import dataclass
from fractions import Fraction
from io import StringIO
from pathlib import Path

import psutil
import torch
from restore_client import Client
from restore_client.v1 import job_pb2 as pb

from benchmarks.machine import machine
from benchmarks.stages import film
from restore.demo.clips import write_clip
from restore.media.profiles import Delivery
from restore.service.log import EventLog
from restore.service.serve import Server
from restore.service.settings import load_settings

# Preset, options, width and height of the source, frames.
CASES = (
    ("transcode", {}, (720, 576), 100),
    ("transcode", {"codec": "ffv1"}, (360, 288), 200),
    ("clean", {}, (360, 288), 24),
    ("upscale", {}, (180, 144), 24),
    ("upscale", {"precision": "fast"}, (360, 288), 12),
    ("default", {}, (180, 144), 24),
    ("film", {}, (180, 144), 24),
    ("8mm", {}, (180, 144), 36),
    ("vhs", {}, (180, 144), 24),
    ("transcode", {"fps": "50"}, (360, 288), 48),
)
_LOOK_S = 0.05


@dataclass
class Seen:
    """Peaks while a job runs.

    Attributes:
        memory_bytes: of all worker processes together, pages that they share counted once.
        disk_bytes: of chunks and deliverable.
    """

    memory_bytes: int = 0
    disk_bytes: int = 0


def _memory_bytes() -> int:
    total = 0
    for child in psutil.Process().children(recursive=True):
        try:
            total += child.memory_full_info().pss
        except psutil.Error:
            continue  # it ended meanwhile
    return total


def _worked_s() -> float:
    """Seconds that cores worked for the workers so far, their decoders included."""
    total = 0.0
    for child in psutil.Process().children(recursive=True):
        try:
            total += sum(child.cpu_times()[:4])
        except psutil.Error:
            continue
    return total


def _disk_bytes(storage: Path) -> int:
    total = 0
    for folder in ("jobs", "deliverables"):
        for path in (storage / folder).rglob("*"):
            try:
                total += path.stat().st_size if path.is_file() else 0
            except OSError:
                continue
    return total


def watch(storage: Path, seen: Seen, ended: threading.Event) -> None:
    """Look at memory and disk until told to end."""
    while not ended.wait(_LOOK_S):
        seen.memory_bytes = max(seen.memory_bytes, _memory_bytes())
        seen.disk_bytes = max(seen.disk_bytes, _disk_bytes(storage))


def row(
    client: Client, storage: Path, name: str, preset: str, options: dict[str, object]
) -> dict[str, object]:
    """One job: what was expected of it, and what it took."""
    began = time.perf_counter()
    container = ".mkv" if options.get("codec") == "ffv1" else ".mp4"
    job = client.create_job(name, preset=preset, container=container, **options)
    planned_s = time.perf_counter() - began
    seen, ended = Seen(), threading.Event()
    watching = threading.Thread(target=watch, args=(storage, seen, ended))
    watching.start()
    began, worked_s = time.perf_counter(), _worked_s()
    last = client.wait(job.name)
    spent_s, worked_s = time.perf_counter() - began, _worked_s() - worked_s
    ended.set()
    watching.join()
    if last.state != pb.JOB_STATE_SUCCEEDED:
        raise SystemExit(last.failure.message)
    client.delete(job.name)
    expected = job.estimate
    return {
        "frames": last.deliverable.frames,
        "expected frames": expected.frames,
        "to estimate, s": round(planned_s, 2),
        "s": round(spent_s, 2),
        "s, by cores": round(worked_s / (os.cpu_count() or 1), 2),
        "expected s": round(expected.expected_s, 2) if expected.HasField("expected_s") else None,
        "memory MiB": seen.memory_bytes >> 20,
        "expected memory MiB": expected.memory_bytes >> 20,
        "disk MiB": round(seen.disk_bytes / 2**20, 1),
        "expected disk MiB": round(expected.disk_bytes / 2**20, 1),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimates", description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", default="", help="cases whose preset is this")
    given = parser.parse_args()
    found: dict[str, object] = {"machine": machine(torch.device("cpu"))}
    with tempfile.TemporaryDirectory() as folder:
        storage = Path(folder) / "storage"
        settings = load_settings(None, address="127.0.0.1:0", storage=storage, devices=("cpu",))
        server = Server(settings, EventLog(StringIO()))
        server.start()
        try:
            with Client(f"127.0.0.1:{server.port}") as client:
                for preset, options, (width, height), frames in CASES:
                    if given.only not in ("", preset):
                        continue
                    path = Path(folder) / f"{width}-{frames}.mkv"
                    delivery = Delivery("ffv1", bit_depth=8)
                    write_clip(path, film(frames, (height, width)), Fraction(25), delivery)
                    name = client.upload(path)
                    warm = client.create_job(name, preset="transcode").name
                    client.wait(warm)
                    client.delete(warm)
                    said = " ".join(f"{key}={value}" for key, value in options.items())
                    label = f"{preset} {said} {width}x{height}".replace("  ", " ")
                    found[label] = row(client, storage, name, preset, dict(options))
                    print(label, json.dumps(found[label]), flush=True)
        finally:
            server.stop()
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
