"""Many clients for a while: ``python -m benchmarks.soak [--minutes 10] [--json FILE]``.

A server process of its own, and clients that do at random: 30 % live streams (in pieces, through
shared memory, as packets), 30 % jobs, 10 % calls that time out, 10 % that are left without a word,
10 % bad input, 10 % control (listing, pausing, cancelling). At the end it is still, and what it has
is told: memory over time, streams taken and given back, errors by kind, jobs by state. What is not
expected is listed and fails the run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from fractions import Fraction
from pathlib import Path

import av
import grpc
import numpy as np
import psutil
from restore_client import Client, LiveFrame, LivePacket, ServiceError
from restore_client.v1 import common_pb2 as common
from restore_client.v1 import job_pb2 as jobs
from restore_client.v1 import job_pb2_grpc as job_rpc
from restore_client.v1 import restoration_pb2 as live

from restore.demo.clips import write_clip
from restore.media.profiles import Delivery

SIZE_PX = (96, 128)
KINDS = ("live",) * 3 + ("job",) * 3 + ("timeout", "killed", "bad", "control")
EXPECTED = frozenset(
    {
        grpc.StatusCode.RESOURCE_EXHAUSTED,  # too many streams or jobs: asked to come back
        grpc.StatusCode.DEADLINE_EXCEEDED,  # what times out
        grpc.StatusCode.INVALID_ARGUMENT,  # bad input
        grpc.StatusCode.FAILED_PRECONDITION,  # control of a job that has ended meanwhile
        grpc.StatusCode.NOT_FOUND,  # or that somebody deleted
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DATA_LOSS,
    }
)


def clip(folder: Path, frames: int) -> Path:
    """A small clip with detail that moves."""
    y, x = np.mgrid[: SIZE_PX[0], : SIZE_PX[1]].astype(np.float32)
    shown = [0.5 + 0.3 * np.sin((x + 2 * n) / 7) * np.cos(y / 9) for n in range(frames)]
    path = folder / f"clip-{frames}.mkv"
    write_clip(
        path,
        np.repeat(np.stack(shown)[..., None], 3, 3),
        Fraction(25),
        Delivery("ffv1", bit_depth=8),
    )
    return path


def picture() -> bytes:
    """A packet of Motion JPEG."""
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = SIZE_PX[1], SIZE_PX[0], "yuv420p"
    encoder.time_base, encoder.color_range = Fraction(1, 25), 2
    shown = np.tile(np.arange(SIZE_PX[1], dtype=np.uint8)[None, :, None], (SIZE_PX[0], 1, 3))
    frame = av.VideoFrame.from_ndarray(shown, "rgb24").reformat(format="yuv420p", dst_color_range=2)
    frame.pts = 0
    return b"".join(bytes(one) for part in (frame, None) for one in encoder.encode(part))


class Soak:
    """The clients together, and what became of their calls."""

    def __init__(self, address: str, clips: list[Path], bad: Path) -> None:
        self.address, self.clips, self.bad = address, clips, bad
        self.picture = picture()
        self.done: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.unexpected: list[str] = []
        self.stop = threading.Event()

    def client(self, seed: int) -> None:
        """One client: one thing after the other until the time is up."""
        chance = random.Random(seed)
        while not self.stop.is_set():
            kind = chance.choice(KINDS)
            try:
                with Client(self.address) as client:
                    getattr(self, f"_{kind}")(client, chance)
                self.done[kind] += 1
            except ServiceError as error:
                self.errors[f"{kind}: {error.code.name}"] += 1
                if error.code not in EXPECTED:
                    self.unexpected.append(f"{kind}: {error}")
                time.sleep(0.05)
            except Exception as error:
                self.unexpected.append(f"{kind}: {error!r}")

    def _spec(self, chance: random.Random) -> live.LiveSpec:
        preset = chance.choice(["transcode", "upscale"])
        return live.LiveSpec(
            recipe=common.Recipe(preset=preset),
            width_px=SIZE_PX[1],
            height_px=SIZE_PX[0],
            pixel_format="rgb24",
            color=common.Color(is_rgb=True),
            frame_rate=common.Rational(numerator=25, denominator=1),
            time_base=common.Rational(numerator=1, denominator=25),
        )

    def _frames(self, count: int) -> list[LiveFrame]:
        data = bytes(SIZE_PX[0] * SIZE_PX[1] * 3)
        return [LiveFrame(data, pts=n) for n in range(count)]

    def _live(self, client: Client, chance: random.Random) -> None:
        count = chance.randrange(1, 12)
        spec, sent = self._spec(chance), list[LiveFrame | LivePacket](self._frames(count))
        way = chance.choice(["pieces", "shared", "packets"])
        if way == "packets":
            spec.packets.codec, spec.pixel_format = "mjpeg", "yuv420p"
            spec.color.is_rgb, spec.color.is_full_range = False, True
            sent = [LivePacket(self.picture, pts=n, is_key=True) for n in range(count)]
        back = list(client.restore(spec, sent, shared=way == "shared").frames)
        if [frame.pts for frame in back] != list(range(count)):
            raise AssertionError(f"{len(back)} of {count} frames came back")

    def _job(self, client: Client, chance: random.Random) -> None:
        name = client.upload(chance.choice(self.clips))
        job = client.create_job(name, preset="transcode", container=".mkv")
        ended = client.wait(job.name)
        if ended.state not in (jobs.JOB_STATE_SUCCEEDED, jobs.JOB_STATE_CANCELLED):
            raise AssertionError(f"a job ended as {ended.state}: {ended.failure.message}")
        client.delete(job.name)

    def _timeout(self, client: Client, chance: random.Random) -> None:
        with grpc.insecure_channel(self.address) as channel:
            stub = job_rpc.JobServiceStub(channel)
            try:
                stub.ListJobs(jobs.ListJobsRequest(), timeout=chance.choice([1e-4, 1e-3]))
            except grpc.RpcError as error:
                self.errors[f"timeout: {error.code().name}"] += 1

    def _killed(self, client: Client, chance: random.Random) -> None:
        stream = client.restore(self._spec(chance), self._frames(50))
        for number, _ in enumerate(stream.frames):
            if number >= chance.randrange(3):
                break
        client.close()  # without ending the stream

    def _bad(self, client: Client, chance: random.Random) -> None:
        how = chance.randrange(4)
        if how == 0:
            name = client.upload(self.bad, request_id=f"bad-{chance.random()}")
            client.create_job(name, preset="transcode")
        elif how == 1:
            client.create_job("uploads/../../etc/passwd")
        elif how == 2:
            spec = self._spec(chance)
            spec.packets.codec, spec.pixel_format, spec.color.is_rgb = "h264", "yuv420p", False
            noise = LivePacket(chance.randbytes(2000), pts=0, is_key=True)
            list(client.restore(spec, [noise] * 3).frames)
        else:
            spec = self._spec(chance)
            spec.width_px = 1 << 20
            list(client.restore(spec, self._frames(1)).frames)

    def _control(self, client: Client, chance: random.Random) -> None:
        listed = list(client.jobs())
        client.presets()
        if listed:
            one = chance.choice(listed).name
            chance.choice([client.pause, client.resume, client.cancel])(one)
            client.resume(one)


def _metrics(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return {line.split(" ")[0]: float(line.split(" ")[1]) for line in lines if line[:1] != "#"}


def _memory_mib(server: psutil.Process) -> float:
    every = [server, *server.children(recursive=True)]
    return sum(one.memory_info().rss for one in every) / 2**20


def soak(minutes: float, clients: int, folder: Path) -> dict[str, object]:
    """Run it; the figures."""
    environment = {**os.environ, "RESTORE_SERVICE_STORAGE": str(folder / "storage")}
    environment |= {"RESTORE_SERVICE_ADDRESS": "127.0.0.1:0", "RESTORE_SERVICE_MAX_STREAMS": "4"}
    port = 20000 + os.getpid() % 20000
    environment |= {"RESTORE_SERVICE_METRICS_ADDRESS": f"127.0.0.1:{port}"}
    environment |= {"RESTORE_SERVICE_DEVICES": '["cpu"]', "RESTORE_SERVICE_THREADS": "1"}
    log = (folder / "log.jsonl").open("w+")
    child = subprocess.Popen([sys.executable, "server.py"], stderr=log, env=environment)
    try:
        address = address_of(folder / "log.jsonl", child)
        bad = folder / "bad.mkv"
        bad.write_bytes(random.Random(0).randbytes(4096))
        run = Soak(address, [clip(folder, n) for n in (3, 12, 30)], bad)
        threads = [threading.Thread(target=run.client, args=(n,)) for n in range(clients)]
        memory, began = [], time.monotonic()
        for thread in threads:
            thread.start()
        while time.monotonic() - began < 60 * minutes:
            time.sleep(min(10.0, 6 * minutes))
            memory.append(round(_memory_mib(psutil.Process(child.pid)), 1))
        run.stop.set()
        for thread in threads:
            thread.join(120)
        time.sleep(3)
        counted = _metrics(port)
        handles = psutil.Process(child.pid).num_fds()
        child.terminate()
        code = child.wait(60)
    finally:
        child.kill()
        log.close()
    quarter = max(1, len(memory) // 4)
    return {
        "minutes": minutes,
        "clients": clients,
        "done": dict(sorted(run.done.items())),
        "refused or cut, as expected": dict(sorted(run.errors.items())),
        "not expected": run.unexpected,
        "streams taken": counted.get("restore_live_acquired_total"),
        "streams given back": counted.get("restore_live_released_total"),
        "jobs ended": {
            k: v for k, v in counted.items() if k.startswith("restore_jobs_ended_total")
        },
        "memory MiB": memory,
        "memory MiB, median of the second and of the last quarter": [
            float(np.median(memory[quarter : 2 * quarter])),
            float(np.median(memory[-quarter:])),
        ],
        "open files at the end": handles,
        "exit code after SIGTERM": code,
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
    }


def address_of(log: Path, child: subprocess.Popen[bytes]) -> str:
    """Where a server answers, once it does, by what it logs."""
    for _ in range(600):
        found = re.search(r'"event": "serving".*?"port": (\d+)', log.read_text())
        if found:
            return f"127.0.0.1:{found[1]}"
        if child.poll() is not None:
            break
        time.sleep(0.1)
    raise SystemExit(f"the server did not start:\n{log.read_text()}")


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = soak(options.minutes, options.clients, Path(folder))
    text = json.dumps(found, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    failed = found["not expected"] or found["streams taken"] != found["streams given back"]
    return int(bool(failed or found["exit code after SIGTERM"]))


if __name__ == "__main__":
    sys.exit(main())
