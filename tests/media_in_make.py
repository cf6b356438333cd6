"""Small media files with known content, made on the spot."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from restore.frames import PIXEL_FORMATS
from restore.media.planar import sample_dtype


def random_planes(name, width, height, rng):
    """Planes of a planar format with random samples over its whole range."""
    form = PIXEL_FORMATS[name]
    planes = []
    for number in range(form.planes):
        shape = form.plane_shape(number, width, height)
        if form.is_float:
            planes.append(rng.normal(0.5, 2.0, shape).astype("<f4"))
        else:
            planes.append(rng.integers(0, 1 << form.depth_bits, shape).astype(sample_dtype(form)))
    return planes


def smooth_planes(name, width, height, index):
    """A gradient that moves with the index: cheap to code, different in every frame."""
    form = PIXEL_FORMATS[name]
    planes = []
    for number in range(form.planes):
        rows, cols = form.plane_shape(number, width, height)
        y, x = np.mgrid[0:rows, 0:cols]
        value = (x * 3 + y * 2 + index * 5 + number * 40) % 200 + 20
        scale = 1 / 255 if form.is_float else 1 << max(0, form.depth_bits - 8)
        planes.append((value * scale).astype(sample_dtype(form)))
    return planes


def fill_plane(plane, data):
    """Write an array ``[rows, bytes]`` into a frame's plane, respecting its line size."""
    lines = np.frombuffer(plane, np.uint8).reshape(-1, abs(plane.line_size))
    rows = np.ascontiguousarray(data).view(np.uint8).reshape(data.shape[0], -1)
    lines[: rows.shape[0], : rows.shape[1]] = rows


def frame_of(name, width, height, planes):
    """A frame of a planar format from arrays."""
    frame = av.VideoFrame(width, height, name)
    for plane, data in zip(frame.planes, planes, strict=True):
        fill_plane(plane, data)
    return frame


def write_clip(
    path: Path,
    codec: str,
    pixel_format: str,
    frames,
    *,
    size=(64, 48),
    rate=Fraction(25),
    times=None,
    options=None,
    container=None,
    time_base=None,
    setup=None,
):
    """Write frames (lists of planes) to a container; ``times`` are in ``time_base`` units."""
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        base = time_base or 1 / rate
        stream.codec_context.time_base = base
        stream.codec_context.thread_count = 1
        if setup is not None:
            setup(output, stream)
        count = 0
        for index, planes in enumerate(frames):
            count += 1
            frame = frame_of(pixel_format, *size, planes)
            frame.pts = times[index] if times is not None else index
            frame.time_base = base
            output.mux(stream.encode(frame))
        for packet in stream.encode(None):
            if codec == "libx265" and count <= 2:
                packet.dts = packet.pts  # x265 leaves it uninitialised in clips this short
            output.mux(packet)
    return path


def write_image(path: Path, codec: str, pixel_format: str, frame: av.VideoFrame):
    """Encode one picture to a file, without a container."""
    context = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt = frame.width, frame.height, pixel_format
    context.time_base = Fraction(1, 25)
    frame.pts = 0
    packets = context.encode(frame) + context.encode(None)
    path.write_bytes(b"".join(bytes(packet) for packet in packets))
    return path
