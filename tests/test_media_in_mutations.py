"""Three hundred damaged files: the program survives every one, and none takes long."""

from __future__ import annotations

import random
import time
from fractions import Fraction
from pathlib import Path

import av
import pytest

from restore.errors import RestoreError
from restore.media.reader import ClipReader, DecodeLimits
from tests.media_in_make import frame_of, smooth_planes, write_clip, write_image

_COUNT_EACH = 25
_SIZE = (64, 48)
_FRAMES = 8
_KINDS = {
    "h264.mp4": ("libx264", "yuv420p"),
    "hevc.mkv": ("libx265", "yuv420p10le"),
    "ffv1.mkv": ("ffv1", "yuv422p10le"),
    "vp9.webm": ("libvpx-vp9", "yuv420p"),
    "mjpeg.avi": ("mjpeg", "yuvj420p"),
    "prores.mov": ("prores_ks", "yuv422p10le"),
    "mpeg2.ts": ("mpeg2video", "yuv420p"),
    "raw.y4m": ("wrapped_avframe", "yuv420p"),
    "anim.gif": ("gif", "rgb8"),
    "still.png": ("png", "rgb24"),
    "still.tif": ("tiff", "rgb48le"),
    "still.exr": ("exr", "gbrpf32le"),
}
_LIMITS = DecodeLimits(memory_bytes=2**30, cpu_s=20, wall_s_without_progress=20.0)


def _make(folder, name):
    codec, pixel_format = _KINDS[name]
    path = folder / name
    if name.startswith("still"):
        frame = frame_of("gbrp", *_SIZE, smooth_planes("gbrp", *_SIZE, 0))
        return write_image(path, codec, pixel_format, frame.reformat(format=pixel_format))
    if name == "anim.gif":
        return _gif(path)
    if name == "raw.y4m":
        header = b"YUV4MPEG2 W64 H48 F25:1 Ip A1:1 C420mpeg2\n"
        frames = [smooth_planes("yuv420p", *_SIZE, i) for i in range(_FRAMES)]
        body = b"".join(b"FRAME\n" + b"".join(p.tobytes() for p in f) for f in frames)
        path.write_bytes(header + body)
        return path
    planar = pixel_format.replace("yuvj", "yuv")
    frames = [smooth_planes(planar, *_SIZE, i) for i in range(_FRAMES)]
    options = {"x265-params": "log-level=none:pools=1"} if codec == "libx265" else {}
    return write_clip(path, codec, pixel_format, frames, options=options)


def _gif(path):
    with av.open(str(path), "w") as output:
        stream = output.add_stream("gif", rate=25)
        stream.width, stream.height, stream.pix_fmt = *_SIZE, "rgb8"
        for index in range(_FRAMES):
            planes = smooth_planes("gbrp", *_SIZE, index)
            frame = frame_of("gbrp", *_SIZE, planes).reformat(format="rgb8")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def mutate(data: bytes, rng: random.Random) -> bytes:
    """One of: flips anywhere, flips in the head, truncation, a block doubled, zeroed or dropped."""
    kind = rng.choice(["flip", "flip", "head", "cut", "double", "zero", "drop", "length"])
    body = bytearray(data)
    if kind in ("flip", "head"):
        reach = len(body) if kind == "flip" else min(len(body), 512)
        for _ in range(rng.choice([1, 4, 32])):
            body[rng.randrange(reach)] = rng.randrange(256)
        return bytes(body)
    start = rng.randrange(len(body))
    stop = min(len(body), start + rng.choice([1, 16, 256, 4096]))
    if kind == "cut":
        return bytes(body[: max(1, start)])
    if kind == "double":
        return bytes(body[:stop] + body[start:])
    if kind == "zero":
        body[start:stop] = bytes(stop - start)
    elif kind == "drop":
        del body[start:stop]
    else:  # a huge length where a length may be
        body[start : start + 4] = rng.choice([b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0" * 4])
    return bytes(body) or b"\0"


def open_descriptors() -> int:
    """How many descriptors this process holds, where the system tells."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


@pytest.mark.parametrize("name", list(_KINDS))
def test_mutated_files_end_in_frames_or_a_typed_error(name, tmp_path):
    original = _make(tmp_path, name).read_bytes()
    with ClipReader(str(tmp_path / name), limits=_LIMITS) as reader:
        whole = len(list(reader))
    assert whole == (1 if name.startswith("still") else _FRAMES)
    rng = random.Random(f"restore {name}")
    before = open_descriptors()
    outcomes = {"frames": 0, "errors": 0}
    target = tmp_path / f"mutated.{name.rpartition('.')[2]}"
    for number in range(_COUNT_EACH):
        target.write_bytes(mutate(original, rng))
        started = time.monotonic()
        try:
            with ClipReader(str(target), limits=_LIMITS) as reader:
                for frame in reader:
                    assert (frame.width_px, frame.height_px) == frame.planes[0].shape[::-1]
            assert reader.frames_read > 0
            outcomes["frames"] += 1
        except RestoreError:
            outcomes["errors"] += 1
        assert time.monotonic() - started < 30, f"mutation {number} of {name} took too long"
    assert sum(outcomes.values()) == _COUNT_EACH
    assert outcomes["frames"], "no mutation left anything to read: the mutations are too coarse"
    assert open_descriptors() == before
