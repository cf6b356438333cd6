"""Decoding in a child against decoding in the program: what the border costs.

    python benchmarks/decode.py [CLIP ...] [--seconds 4]

Without a clip, a 1920x1080 H.264 and a ProRes clip of noise over a gradient are made first.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from restore.media.planar import sample_dtype
from restore.media.probe import probe
from restore.media.reader import ClipReader

_SIZE = (1920, 1080)
_FRAMES = 120


def make(folder: Path, codec: str, pixel_format: str, name: str) -> Path:
    """A clip with motion and some grain, as film has."""
    rng = np.random.default_rng(0)
    width, height = _SIZE
    y, x = np.mgrid[0:height, 0:width]
    grain = [rng.normal(0, 3, (height, width)) for _ in range(4)]
    path = folder / name
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        for index in range(_FRAMES):
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


def measure(path: Path, seconds: float) -> None:
    """Print the better of several runs of both."""
    info = probe(str(path))
    best = {in_program: 0.0, in_child: 0.0}
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
    )


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
    options = parser.parse_args()
    probe_s = []
    with tempfile.TemporaryDirectory() as folder:
        clips = options.clips or [
            make(Path(folder), "libx264", "yuv420p", "h264.mp4"),
            make(Path(folder), "prores_ks", "yuv422p10le", "prores.mov"),
        ]
        for path in clips:
            measure(path, options.seconds)
            started = time.perf_counter()
            probe(str(path))
            probe_s.append(time.perf_counter() - started)
    print(f"a probe takes {min(probe_s) * 1000:.0f} ms")


if __name__ == "__main__":
    main()
