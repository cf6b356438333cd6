"""Where the time of a job goes: a table of its parts, how long the network waited, and a trace.

    python -m benchmarks.pipeline [--quick] [--device cpu|cuda] [--model NAME] [--size 720x576]
                                  [--profile h264] [--speed veryfast] [--trace FILE.json]
                                  [--out FILE.json]

A job reads a clip, enlarges it and writes a file. The table has the seconds in which each part
worked: parts work side by side, so that they add up to more than the job took. The trace opens in
Perfetto or chrome://tracing.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch

from torch import Tensor

from benchmarks.anchors import ANCHORS, loaded
from benchmarks.machine import machine, settle
from benchmarks.throughput import NullSink, film_clip
from restore.engine.device import choose_device
from restore.engine.run import FrameSink, run
from restore.engine.settings import EngineSettings
from restore.frames import RawFrame
from restore.media.probe import probe
from restore.media.profiles import Delivery
from restore.media.reader import ClipReader
from restore.media.writer import VideoSpec, open_writer
from restore.stages.network import Network


@dataclass
class Spans:
    """What worked when, as a Chrome trace has it."""

    events: list[dict[str, object]] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Count the time within."""
        start = time.perf_counter()
        yield
        self.events.append(
            {
                "name": name,
                "ph": "X",
                "pid": 1,
                "tid": threading.current_thread().name,
                "ts": round(1e6 * (start - self.began)),
                "dur": round(1e6 * (time.perf_counter() - start)),
            }
        )

    def spent_s(self, name: str) -> float:
        """Seconds in which a part worked."""
        return sum(int(str(e["dur"])) for e in self.events if e["name"] == name) / 1e6


class _Timed:
    """A network as a stage that notes when it works."""

    def __init__(self, network: Network, spans: Spans) -> None:
        self._network, self._spans = network, spans
        self.spec = network.spec
        self.facts, self.place, self.plain = network.facts, network.place, network.plain

    def run(self, windows: Tensor, seeds: Sequence[int]) -> Tensor:
        """As the network's."""
        with self._spans.of("network"):
            result = self._network.run(windows, seeds)
            settle(result.device)
        return result


class _TimedSink:
    def __init__(self, sink: FrameSink, spans: Spans) -> None:
        self._sink, self._spans = sink, spans
        self.pixel_format, self.color = sink.pixel_format, sink.color

    def write(self, frame: RawFrame) -> None:
        with self._spans.of("encode"):
            self._sink.write(frame)


def _timed_source(reader: ClipReader, spans: Spans) -> Iterator[RawFrame]:
    frames = iter(reader)
    while True:
        with spans.of("decode"):
            frame = next(frames, None)
        if frame is None:
            return
        yield frame


def measure(options: argparse.Namespace, folder: Path) -> tuple[dict[str, object], Spans]:
    """Run the job once to warm up and once with the clock running."""
    width, height = map(int, options.size.split("x"))
    where = choose_device(options.device)
    clip = film_clip(folder, (height, width), options.frames)
    network = Network("upscale", loaded(ANCHORS[options.model], folder), backend="torch")
    settings = EngineSettings(str(where), options.precision, backend="torch")
    spans = Spans()
    for part in (1, options.frames):
        spans = Spans()
        began = time.perf_counter()
        stage = _Timed(network, spans)
        with ClipReader(str(clip)) as reader:
            source = _timed_source(reader, spans)
            frames = (frame for _, frame in zip(range(part), source, strict=False))
            if options.profile == "none":
                run(frames, _TimedSink(NullSink(), spans), [stage], settings)
            else:
                _encoded(frames, clip, folder, stage, settings, spans, options)
        elapsed_s = time.perf_counter() - began
    parts = {name: round(spans.spent_s(name), 3) for name in ("decode", "network", "encode")}
    busy = parts["network"] / elapsed_s
    return {
        "machine": machine(where),
        "model": options.model,
        "size": options.size,
        "precision": options.precision,
        "delivery": options.profile if options.profile == "none" else
        f"{options.profile} {options.speed}",
        "frames": options.frames,
        "elapsed_s": round(elapsed_s, 3),
        "fps": round(options.frames / elapsed_s, 3),
        "worked_s": parts,
        "network idle share": round(1 - busy, 3),
    }, spans  # fmt: skip


def _encoded(
    frames: Iterator[RawFrame],
    clip: Path,
    folder: Path,
    stage: _Timed,
    settings: EngineSettings,
    spans: Spans,
    options: argparse.Namespace,
) -> None:
    info = probe(str(clip))
    width, height = info.upright_px
    scale = int(stage.spec.scale)
    video = VideoSpec(
        width_px=width * scale,
        height_px=height * scale,
        time_base=info.time_base,
        color_used=info.resolved_color,
        frame_rate=info.frame_rate,
    )
    delivery = Delivery(options.profile, speed=options.speed or None)
    with open_writer(str(folder / "out.mkv"), delivery, video, overwrite=True) as writer:
        run(frames, _TimedSink(writer, spans), [stage], settings)
        with spans.of("encode"):
            writer.close()


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--model", default="general-x4v3", choices=tuple(ANCHORS))
    parser.add_argument("--precision", default="fast")
    parser.add_argument("--size", help="input, WIDTHxHEIGHT px")
    parser.add_argument("--frames", type=int)
    parser.add_argument("--profile", default="h264", help="delivery profile, or none")
    parser.add_argument("--speed", default="veryfast", help="of the encoder; empty for its own")
    parser.add_argument("--quick", action="store_true", help="a small clip, under a minute")
    parser.add_argument("--trace", type=Path, help="write a Chrome trace here")
    parser.add_argument("--out", type=Path, help="write the figures here too")
    options = parser.parse_args()
    on_gpu = choose_device(options.device).type == "cuda"
    options.size = options.size or ("720x576" if on_gpu else "180x144" if options.quick
                                    else "360x288")  # fmt: skip
    options.frames = options.frames or (96 if on_gpu else 6)
    with tempfile.TemporaryDirectory() as name:
        table, spans = measure(options, Path(name))
    print(json.dumps(table, indent=1))
    if options.trace:
        options.trace.write_text(json.dumps({"traceEvents": spans.events}), encoding="utf-8")
    if options.out:
        options.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
