"""Clips between arrays and files, through the same media room as every job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from restore.color import ChromaSite, ColorSpec, Matrix, Primaries, Range, Transfer
from restore.engine.pixels import from_frame, to_frame
from restore.frames import Frame
from restore.media.profiles import Delivery
from restore.media.reader import ClipReader
from restore.media.writer import VideoSpec, open_writer

__all__ = ["array_of", "frames_of", "read_clip", "write_clip"]

Array = NDArray[np.float32]

_RGB = ColorSpec(Matrix.RGB, Primaries.BT709, Transfer.BT709, Range.FULL, ChromaSite.UNSPECIFIED)


def frames_of(clip: Array, rate: Fraction) -> Iterator[Frame]:
    """Frames of ``[T, h, w, 3]`` R'G'B' 0..1."""
    for index, picture in enumerate(clip):
        data = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))
        yield Frame(data, index, 1 / rate, _RGB, index, duration=1)


def array_of(frames: Iterable[Frame]) -> Array:
    """The inverse, clipped to 0..1 as an 8-bit file would."""
    pictures = [frame.data.clamp(0, 1).permute(1, 2, 0).cpu().numpy() for frame in frames]
    return np.stack(pictures).astype(np.float32, copy=False)


def read_clip(path: Path) -> Iterator[Frame]:
    """Frames of a file as the stages see them."""
    with ClipReader(str(path)) as reader:
        for raw in reader:
            yield to_frame(raw, torch.device("cpu"), reader.info.rotation_deg)


def write_clip(path: Path, clip: Array, rate: Fraction, delivery: Delivery) -> int:
    """Write ``[T, h, w, 3]`` R'G'B' 0..1 as a file, replacing what has its name.

    Returns:
        Its length in bytes.

    Raises:
        OutputError: it could not be written.
    """
    video = VideoSpec(
        width_px=clip.shape[2],
        height_px=clip.shape[1],
        time_base=1 / rate,
        color_used=_RGB,
        color=ColorSpec(primaries=Primaries.BT709, transfer=Transfer.BT709),
        frame_rate=rate,
        is_vfr=False,
    )
    with open_writer(str(path), delivery, video, overwrite=True) as writer:
        for frame in frames_of(clip, rate):
            writer.write(from_frame(frame, writer.pixel_format, writer.color))
        return writer.close().bytes
