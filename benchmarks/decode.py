"""Decoding in a child against decoding in the program: what the border costs.

    python -m benchmarks.decode [CLIP ...] [--seconds 4] [--nvdec] [--frames 120] [--out FILE.json]

Without a clip, a 1920x1080 H.264 and a ProRes clip of noise over a gradient are made first; with
``--nvdec`` an HEVC clip, too, and a GPU's decoder is measured in the child beside software's.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from benchmarks.machine import machine
from restore.media.planar import sample_dtype
from restore.media.probe import probe
from restore.media.reader import ClipReader

_SIZE = (1920, 1080)
_FRAMES = 120


def make(folder: Path, codec: str, pixel_format: str, name: str, frames: int) -> Path:
    """A clip with motion and some grain, as film has."""
    rng = np.random.default_rng(0)
    width, height = _SIZE
    y, x = np.mgrid[0:height, 0:width]
    grain = [rng.normal(0, 3, (height, width)) for _ in range(4)]
    path = folder / name
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        for index in range(frames):
            value = (x / 8 + y / 6 + index * 4) % 200 + 20 + grain[index % 4]
            picture = np.repeat(value.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            output.mux(stream.encode(frame.reformat(format=pixel_format)))
        output.mux(stream.encode(None))
    return path


def in_program(path: Path) -> tuple[int, float]:
    """Decode here, copying the planes out as a caller has to."""
    started, count = time.perf_counter(), 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_type = "AUTO"
        for frame in container.decode(stream):
            for plane in frame.planes:
                np.frombuffer(plane, np.uint8).reshape(-1, abs(plane.line_size)).copy()
            count += 1
    return count, time.perf_counter() - started


def in_child(path: Path) -> tuple[int, float]:
    """Decode through :class:`ClipReader`, from the first frame asked for to the last."""
    with ClipReader(str(path)) as reader:
        started = time.perf_counter()
        count = sum(1 for _ in reader)
        return count, time.perf_counter() - started


def by_nvdec(path: Path) -> tuple[int, float]:
    """The same by a GPU's decoder; by software, and so it is said, where that cannot be had."""
    os.environ["RESTORE_DECODER"] = "nvdec"
    try:
        with ClipReader(str(path)) as reader:
            started = time.perf_counter()
            count = sum(1 for _ in reader)
            _SAID[path.name] = next(note for note in reader.warnings if "NVDEC" in note)
            return count, time.perf_counter() - started
    finally:
        del os.environ["RESTORE_DECODER"]


_SAID: dict[str, str] = {}


def measure(path: Path, seconds: float, *, nvdec: bool = False) -> dict[str, Any]:
    """Print the better of several runs of each; gives the figures."""
    info = probe(str(path))
    best = {in_program: 0.0, in_child: 0.0} | ({by_nvdec: 0.0} if nvdec else {})
    deadline = time.perf_counter() + seconds
    while True:
        for run in best:
            count, wall_s = run(path)
            best[run] = max(best[run], count / wall_s)
        if time.perf_counter() > deadline:
            break
    share = best[in_child] / best[in_program]
    size_bytes = sample_dtype_bytes(info.pixel_format)
    print(
        f"{path.name}: {info.width_px}x{info.height_px} {info.codec} {info.pixel_format} "
        f"({size_bytes} B a sample): in the program {best[in_program]:.1f} fps, "
        f"in a child {best[in_child]:.1f} fps ({share:.0%})"
        + (f", {best[by_nvdec]:.1f} fps: {_SAID[path.name]}" if nvdec else "")
    )
    row = {run.__name__: round(fps, 1) for run, fps in best.items()}
    return {"clip": path.name, "codec": info.codec, "said": _SAID.get(path.name, ""), **row}


def sample_dtype_bytes(name: str) -> int:
    """Bytes of a sample where the format is planar, else 0."""
    from restore.frames import PIXEL_FORMATS

    form = PIXEL_FORMATS.get(name.replace("yuvj", "yuv"))
    return sample_dtype(form).itemsize if form else 0


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--nvdec", action="store_true", help="a GPU's decoder, too")
    parser.add_argument("--frames", type=int, default=_FRAMES, help="of the clips that are made")
    parser.add_argument("--out", type=Path, help="write the figures here too")
    options = parser.parse_args()
    probe_s, rows, frames = [], [], options.frames
    with tempfile.TemporaryDirectory() as folder:
        clips = options.clips or [
            make(Path(folder), "libx264", "yuv420p", "h264.mp4", frames),
            make(Path(folder), "prores_ks", "yuv422p10le", "prores.mov", frames),
        ]
        if options.nvdec and not options.clips:
            clips[1:] = [make(Path(folder), "libx265", "yuv420p10le", "hevc.mkv", frames)]
        for path in clips:
            rows.append(measure(path, options.seconds, nvdec=options.nvdec))
            started = time.perf_counter()
            probe(str(path))
            probe_s.append(time.perf_counter() - started)
    print(f"a probe takes {min(probe_s) * 1000:.0f} ms")
    if options.out:
        table = {"machine": machine(torch.device("cpu")), "rows": rows}
        options.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
