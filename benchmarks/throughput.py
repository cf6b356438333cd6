"""Speed on one device: network alone, whole job, share of the limit, memory, and the peers beside.

    python -m benchmarks.throughput [--quick] [--device cpu|cuda] [--models NAME,...|all]
                                    [--size 720x576] [--out FILE.json]

Rows are model x precision x backend, and the peers with the same weights and the same clip. Rows of
a model take turns, so that a machine that slows down slows all of them; medians are printed. A
whole job reads an H.264 clip, runs the engine and hands packed frames to a sink that drops them.
The limit is what 3x3 convolutions of the same size reach in the same run; on a GPU, whose library
is far from its limit with so few channels, what a product of two large matrices reaches.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch

import av
import torch

from benchmarks.anchors import ANCHORS, Anchor, loaded, weights_of
from benchmarks.machine import (
    conv_peak,
    machine,
    median_s,
    peak_memory_bytes,
    reset_peak_memory,
    settle,
)
from benchmarks.peers import PEERS, NotMeasured, Peer
from benchmarks.stages import film
from restore.backend import choose_backend
from restore.color import ChromaSite, ColorSpec, Matrix, Primaries, Range, Transfer
from restore.demo.clips import write_clip
from restore.engine.device import choose_device
from restore.engine.layout import choose_layout
from restore.engine.run import run
from restore.engine.settings import EngineSettings
from restore.errors import RestoreError
from restore.frames import RawFrame, pixel_format
from restore.hostenv import tune_host
from restore.media.profiles import Delivery
from restore.media.reader import ClipReader
from restore.stages.network import Network

_ON_A_CPU = ("general-x4v3", "span-48", "omnisr-1x")
_MEBIBYTE = 1 << 20


class NullSink:
    """Takes frames as an encoder would, in 10-bit 4:2:0, and drops them."""

    pixel_format = pixel_format("yuv420p10le")
    color = ColorSpec(Matrix.BT709, Primaries.BT709, Transfer.BT709, Range.LIMITED, ChromaSite.LEFT)

    def write(self, frame: RawFrame) -> None:
        """Drop it."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        model: an anchor's name.
        row: precision and backend, or a peer's name.
        size: input, width x height px.
        network_fps: of the network alone; None for peers, whose loops are one.
        job_fps: of a whole job into a sink that drops frames.
        limit_fps: by the measured peak of convolutions and the network's operations.
        peak_gflops: that peak, 10^9 operations a second, in the row's number format.
        share: network_fps over limit_fps.
        memory_mib: peak of the device, or of the program on a CPU, during the job.
        times_peer: job_fps over the job_fps of the anchor's peer.
        layout: how the engine laid it out, or why there is no figure.
    """

    model: str
    row: str
    size: str
    network_fps: float | None = None
    job_fps: float | None = None
    limit_fps: float | None = None
    peak_gflops: float | None = None
    share: float | None = None
    memory_mib: int | None = None
    times_peer: float | None = None
    layout: str = ""


@dataclass
class _Ours:
    """One way of ours to run a network, made ready."""

    stage: Network
    flops_per_px: float
    settings: EngineSettings
    dtype: torch.dtype
    layout: str
    frames: Callable[[], object]
    at_once: int


def _ours(
    anchor: Anchor,
    folder: Path,
    precision: str,
    backend: str,
    device: str,
    size: tuple[int, int],
    frames: int,
) -> _Ours:
    model = loaded(anchor, folder)
    stage = Network("upscale", model, backend=choose_backend(backend, choose_device(device).type))
    settings = EngineSettings(device, precision, backend=backend)
    where = choose_device(device)
    layout = choose_layout(stage, settings, where, *size)
    grid = layout.grid(stage.spec, *size)
    stage.place(layout.device, layout.dtype)
    # As many frames as a job computes together: a batch of them on a GPU, one on a CPU.
    at_once = min(frames, layout.frames_at_once(len(grid.tiles)))
    generator = torch.Generator().manual_seed(1)
    shape = (1, 1, 3, grid.height_px, grid.width_px)
    pictures = [torch.rand(shape, generator=generator).to(where) for _ in range(at_once)]

    def compute() -> object:
        tiles = [tile.cut(picture) for picture in pictures for tile in grid.tiles]
        result: object = None
        with torch.inference_mode():
            for call in layout.calls(len(tiles)):
                part = [tiles[number] for number in call]
                windows = part[0] if len(part) == 1 else torch.cat(part)
                result = stage.run(windows, [0] * len(part))
        return result

    text = f"{layout}; {grid}; {at_once} frames at once"
    return _Ours(stage, model.flops_per_px, settings, layout.dtype, text, compute, at_once)


def _our_job(ours: _Ours, clip: Path) -> Callable[[], object]:
    def job() -> object:
        with ClipReader(str(clip)) as reader:
            return run(reader, NullSink(), [ours.stage], ours.settings)

    return job


def _peer_job(peer: Peer, clip: Path) -> Callable[[], object]:
    """Decode to R'G'B', one picture after the other, convert for an encoder, drop."""

    def job() -> object:
        with av.open(str(clip)) as container:
            for frame in container.decode(video=0):
                result = peer(frame.to_ndarray(format="rgb24"))
                av.VideoFrame.from_ndarray(result, format="rgb24").reformat(format="yuv420p")
        return None

    return job


def film_clip(folder: Path, size: tuple[int, int], frames: int) -> Path:
    """A clip of film in H.264, written once."""
    path = folder / f"film-{size[1]}x{size[0]}-{frames}.mkv"
    if not path.exists():
        delivery = Delivery("h264", crf=18, speed="ultrafast")
        write_clip(path, film(frames, size), Fraction(25), delivery)
    return path


def _network_and_peaks(
    ways: dict[str, _Ours], device: torch.device, size: tuple[int, int], limit_s: float
) -> tuple[dict[str, float], dict[torch.dtype, float]]:
    """Seconds of each network, and operations a second of convolutions, measured in turns."""
    calls = {name: way.frames for name, way in ways.items()}
    operations = {}
    for dtype in {way.dtype for way in ways.values()}:
        calls[str(dtype)], operations[dtype] = conv_peak(device, dtype, size)
    spent_s = median_s(calls, device, limit_s)
    return spent_s, {dtype: count / spent_s[str(dtype)] for dtype, count in operations.items()}


def measure(
    anchor: Anchor,
    folder: Path,
    device: str,
    size: tuple[int, int],
    *,
    frames: int,
    limit_s: float,
    peers: tuple[str, ...],
    peer_frames: int,
    precisions: tuple[str, ...],
    backends: tuple[str, ...],
) -> list[Row]:
    """All rows of one network."""
    where, text = choose_device(device), f"{size[1]}x{size[0]}"
    rows: dict[str, Row] = {}
    ways: dict[str, _Ours] = {}
    for precision, backend in product(precisions, backends):
        name = f"{precision}, {backend}"
        try:
            ways[name] = _ours(anchor, folder, precision, backend, device, size, frames)
        except RestoreError as error:
            rows[name] = Row(anchor.name, name, text, layout=f"not measured: {error}")
    jobs: dict[str, Callable[[], object]] = {}
    clip, short = (film_clip(folder, size, count) for count in (frames, peer_frames))
    for name in peers:
        try:
            peer = PEERS[name](weights_of(anchor, folder), where)
            jobs[name] = _peer_job(peer, short)
        except NotMeasured as why:
            rows[name] = Row(anchor.name, name, text, layout=f"not measured: {why}")
    network_s, peaks = _network_and_peaks(ways, where, size, limit_s)
    jobs |= {name: _our_job(way, clip) for name, way in ways.items()}
    memory = {}
    for name, job in jobs.items():
        reset_peak_memory(where)
        job()
        settle(where)
        memory[name] = peak_memory_bytes(where) // _MEBIBYTE
    job_s = median_s(jobs, where, limit_s, most=3, warm_up=False)
    count = {name: frames if name in ways else peer_frames for name in jobs}
    held = peer_frames / job_s[anchor.peer] if anchor.peer in job_s else None
    area = size[0] * size[1]
    for name in jobs:
        way, fps = ways.get(name), count[name] / job_s[name]
        row: dict[str, Any] = {"job_fps": round(fps, 3), "memory_mib": memory[name]}
        if held:
            row["times_peer"] = round(fps / held, 2)
        if way is not None:
            network_fps = way.at_once / network_s[name]
            limit = peaks[way.dtype] / (way.flops_per_px * area)
            row |= {
                "network_fps": round(network_fps, 3),
                "limit_fps": round(limit, 3),
                "peak_gflops": round(peaks[way.dtype] / 1e9, 1),
                "share": round(network_fps / limit, 3),
                "layout": "; ".join(
                    filter(
                        None,
                        (
                            way.layout,
                            dict(way.stage.facts()).get("backend note", ""),
                            dict(way.stage.facts()).get("kernels", ""),
                        ),
                    )
                ),
            }
        rows[name] = Row(anchor.name, name, text, **row)
    return [rows[name] for name in (*ways, *peers) if name in rows] + [
        row for name, row in rows.items() if name not in ways and name not in peers
    ]


def show(rows: list[Row]) -> None:
    """Print a table."""
    print(f"{'model':14} {'row':18} {'network':>8} {'job':>8} {'limit':>8} {'share':>6} "
          f"{'MiB':>6} {'x peer':>6}")  # fmt: skip
    for r in rows:
        cells = [
            "-" if value is None else f"{value:{form}}"
            for value, form in (
                (r.network_fps, "8.2f"),
                (r.job_fps, "8.2f"),
                (r.limit_fps, "8.2f"),
                (r.share, "6.1%"),
                (r.memory_mib, "6d"),
                (r.times_peer, "6.2f"),
            )
        ]
        widths = (8, 8, 8, 6, 6, 6)
        line = " ".join(f"{c:>{w}}" for c, w in zip(cells, widths, strict=True))
        print(f"{r.model:14} {r.row:18} {line}  {r.layout}", flush=True)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--models", help="names with commas, or all")
    parser.add_argument("--size", help="input, WIDTHxHEIGHT px")
    parser.add_argument("--frames", type=int, help="of the clip")
    parser.add_argument("--seconds", type=float, help="limit of each measurement")
    parser.add_argument("--peers", help="names with commas, all, or none")
    parser.add_argument("--peer-frames", type=int, help="of the peers' clip, if not the same")
    parser.add_argument("--precisions", default="exact,fast")
    parser.add_argument(
        "--backends", help="as --backend has them; else torch, on a CPU openvino too"
    )
    parser.add_argument("--quick", action="store_true", help="under four minutes")
    parser.add_argument("--out", type=Path, help="write the figures here too")
    options = parser.parse_args()
    tune_host()
    where = choose_device(options.device)
    on_gpu = where.type == "cuda"
    every = (
        tuple(ANCHORS) if on_gpu and not options.quick else _ON_A_CPU[: 1 if options.quick else 3]
    )
    names = tuple(ANCHORS) if options.models == "all" else every
    if options.models and options.models != "all":
        names = tuple(options.models.split(","))
    peers = tuple(PEERS) if options.peers in (None, "all") else tuple(options.peers.split(","))
    peers = () if options.peers == "none" else peers
    text = options.size or ("720x576" if on_gpu else "128x96" if options.quick else "360x288")
    width, height = map(int, text.split("x"))
    frames = options.frames or (48 if on_gpu else 2 if options.quick else 4)
    usual = "torch" if on_gpu else "torch,openvino"
    limit_s = options.seconds or (3.0 if on_gpu else 1.0 if options.quick else 10.0)
    began, rows = time.perf_counter(), []
    head = {
        "machine": machine(where),
        "frames": frames,
        "frames of peers": options.peer_frames or frames,
        "passive waiting": os.environ.get("OMP_WAIT_POLICY"),
    }
    with tempfile.TemporaryDirectory() as name:
        for model in names:
            rows += measure(ANCHORS[model], Path(name), str(where), (height, width), frames=frames,
                            limit_s=limit_s, peers=peers,
                            peer_frames=options.peer_frames or frames,
                            precisions=tuple(options.precisions.split(",")),
                            backends=tuple((options.backends or usual).split(",")))  # fmt: skip
            show([row for row in rows if row.model == model])
            if options.out:  # after each: the next one may take longer than there is time
                table = {
                    **head,
                    "elapsed_s": round(time.perf_counter() - began, 1),
                    "rows": [asdict(row) for row in rows],
                }
                options.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(head, indent=1))


if __name__ == "__main__":
    main()
