"""Small synthetic clips and ways of reading them back, for the tests of what writers write."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from restore.color import ChromaSite, ColorSpec, Matrix, Primaries, Range, Transfer
from restore.frames import PIXEL_FORMATS, PixelFormat, RawFrame
from restore.media.writer import ClipWriter, VideoSpec, WriteReport

BT709 = ColorSpec(Matrix.BT709, Primaries.BT709, Transfer.BT709, Range.LIMITED, ChromaSite.LEFT)


def planes_of(
    layout: PixelFormat, width_px: int, height_px: int, seed: int
) -> tuple[np.ndarray, ...]:
    """A moving gradient with some texture, in legal values of the layout."""
    planes = []
    for number in range(layout.planes):
        rows, cols = layout.plane_shape(number, width_px, height_px)
        y, x = np.mgrid[0:rows, 0:cols]
        wave = 0.5 + 0.3 * np.sin((x + 3 * seed) / 9 + number) * np.cos(y / 7)
        grain = np.random.default_rng([seed, number]).normal(0, 0.004, (rows, cols))
        value = np.clip(wave + grain, 0.1, 0.9)
        if layout.is_float:
            planes.append(value.astype(np.float32))
        else:
            dtype = np.uint8 if layout.depth_bits <= 8 else np.uint16
            planes.append((value * (2**layout.depth_bits - 1)).astype(dtype))
    return tuple(planes)


def write_clip(
    writer: ClipWriter,
    video: VideoSpec,
    times: Sequence[int],
    *,
    durations: Sequence[int | None] | None = None,
) -> tuple[list[RawFrame], WriteReport]:
    """Write synthetic frames at the given pts (in the video's time base) and close."""
    frames = []
    layout = writer.pixel_format
    with writer:
        for index, pts in enumerate(times):
            frame = RawFrame(
                planes_of(layout, video.width_px, video.height_px, index),
                layout,
                video.width_px,
                video.height_px,
                pts,
                video.time_base,
                writer.color,
                index,
                durations[index] if durations else None,
            )
            frames.append(frame)
            writer.write(frame)
        return frames, writer.close()


@dataclass
class ReadBack:
    times_s: list[Fraction]
    lengths_s: list[Fraction]
    frames: list[av.VideoFrame]
    color: tuple[int, int, int, int]
    sar: Fraction | None
    rate: Fraction | None
    metadata: dict[str, str]
    video_metadata: dict[str, str]
    chapters: list[dict]


def read_back(path: Path | str) -> ReadBack:
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        frames = list(file.decode(stream))
        first = frames[0]
        return ReadBack(
            [f.pts * f.time_base for f in frames],
            [f.duration * f.time_base for f in frames],
            frames,
            (
                int(first.colorspace),
                int(first.color_primaries),
                int(first.color_trc),
                int(first.color_range),
            ),
            stream.sample_aspect_ratio,
            stream.average_rate,
            dict(file.metadata),
            dict(stream.metadata),
            file.chapters(),
        )


def decoded_planes(frame: av.VideoFrame, layout: PixelFormat) -> list[np.ndarray]:
    """Planes of a decoded frame in the order of our layout, packed RGB taken apart."""
    name = frame.format.name
    packed = {
        "rgb24": ("u1", 3, (1, 2, 0)),
        "rgba": ("u1", 4, (1, 2, 0, 3)),
        "rgb48le": ("<u2", 3, (1, 2, 0)),
        "rgb48be": (">u2", 3, (1, 2, 0)),
        "rgba64le": ("<u2", 4, (1, 2, 0, 3)),
        "rgba64be": (">u2", 4, (1, 2, 0, 3)),
        "bgr0": ("u1", 4, (1, 0, 2)),
        "bgra": ("u1", 4, (1, 0, 2, 3)),
    }
    if name in packed:
        dtype, channels, order = packed[name]
        rows = np.frombuffer(frame.planes[0], np.uint8).reshape(-1, frame.planes[0].line_size)
        width = frame.width * channels * np.dtype(dtype).itemsize
        block = np.ascontiguousarray(rows[: frame.height, :width]).view(dtype)
        block = block.reshape(frame.height, frame.width, channels)
        return [block[:, :, channel] for channel in order]
    dtype = np.dtype("<f4" if layout.is_float else "u1" if layout.depth_bits <= 8 else "<u2")
    if name.endswith("be"):
        dtype = dtype.newbyteorder(">")
    planes = []
    for number, plane in enumerate(frame.planes):
        rows, cols = layout.plane_shape(number, frame.width, frame.height)
        lines = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        cut = np.ascontiguousarray(lines[:rows, : cols * dtype.itemsize])
        planes.append(cut.view(dtype))
    if (
        name in ("yuv444p12le", "yuva444p12le") and layout.depth_bits == 10
    ):  # ProRes 4444 is decoded at 12 bit
        return [(plane + 2) >> 2 for plane in planes]
    return planes


def psnr_db(ours: Iterable[np.ndarray], theirs: Iterable[np.ndarray], peak: float) -> float:
    total, count = 0.0, 0
    for a, b in zip(ours, theirs, strict=True):
        total += float(np.sum((a.astype(np.float64) - b.astype(np.float64)) ** 2))
        count += a.size
    return 120.0 if total == 0 else 10 * np.log10(peak * peak * count / total)


def layout_named(name: str) -> PixelFormat:
    return PIXEL_FORMATS[name]


def packet_hashes(path: Path | str) -> dict[int, list[str]]:
    """md5 of every packet's payload by stream."""
    found: dict[int, list[str]] = {}
    with av.open(str(path)) as file:
        for packet in file.demux():
            if packet.size:
                digest = hashlib.md5(bytes(packet), usedforsecurity=False).hexdigest()
                found.setdefault(packet.stream_index, []).append(digest)
    return found


def packet_times(path: Path | str) -> dict[int, list[Fraction]]:
    """pts of every packet in seconds by stream, in the order of the file."""
    found: dict[int, list[Fraction]] = {}
    with av.open(str(path)) as file:
        for packet in file.demux():
            if packet.size and packet.pts is not None:
                found.setdefault(packet.stream_index, []).append(packet.pts * packet.time_base)
    return found
