"""Clips whose frames carry their own number, readable after any stage that keeps the picture."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from restore.color import ChromaSite, ColorSpec, Matrix, Primaries, Range, Transfer
from restore.engine.pixels import from_frame, to_frame
from restore.frames import Frame
from restore.media.profiles import Delivery
from restore.media.reader import ClipReader
from restore.media.writer import VideoSpec, open_writer

BITS = 16
CELL_PX = 4
WIDTH_PX, HEIGHT_PX = BITS * CELL_PX, 24
_RGB = ColorSpec(Matrix.RGB, Primaries.BT709, Transfer.BT709, Range.FULL, ChromaSite.UNSPECIFIED)


def picture(number: int, shade: float = 0.5) -> np.ndarray:
    """``[3, h, w]``: the number as black and white cells above a flat ground."""
    image = np.full((3, HEIGHT_PX, WIDTH_PX), shade, np.float32)
    for bit in range(BITS):
        image[:, :12, bit * CELL_PX : (bit + 1) * CELL_PX] = 0.9 if number >> bit & 1 else 0.1
    return image


def write(
    path: Path,
    frames: int,
    *,
    rate: Fraction = Fraction(25),
    times: list[int] | None = None,
    shots: tuple[int, ...] = (),
    shown: list[int] | None = None,
    sound: Path | None = None,
) -> Path:
    """A lossless clip of numbered frames.

    Args:
        path: where to.
        frames: how many.
        rate: frames in a second; a time base of a hundredth of a frame.
        times: pts in hundredths of a frame; even where None.
        shots: frames from which the ground has another shade.
        shown: the number that each frame carries; its own where None.
        sound: a file whose sound goes along.
    """
    base = 1 / rate / 100
    video = VideoSpec(WIDTH_PX, HEIGHT_PX, base, _RGB, frame_rate=rate, is_vfr=times is not None)
    heard = None if sound is None else str(sound)
    with open_writer(str(path), Delivery("ffv1", bit_depth=8), video, copy_from=heard) as writer:
        for number in range(frames):
            shade = 0.3 + 0.1 * (sum(number >= shot for shot in shots) % 5)
            frame = Frame(
                torch.from_numpy(picture(number if shown is None else shown[number], shade)),
                pts=100 * number if times is None else times[number],
                time_base=base,
                color=_RGB,
                index=number,
            )
            writer.write(from_frame(frame, writer.pixel_format, writer.color))
    return path


def numbers(path: Path) -> list[int]:
    """The numbers that the frames of a clip carry, whatever its size."""
    found = []
    with ClipReader(str(path)) as reader:
        for raw in reader:
            luma = to_frame(raw, torch.device("cpu")).data.mean(0).numpy()
            height, width = luma.shape
            cells = luma[: height * 10 // HEIGHT_PX].mean(0).reshape(BITS, width // BITS)
            inner = cells[:, width // BITS // 4 : -(width // BITS // 4) or None].mean(1)
            found.append(sum(1 << bit for bit in range(BITS) if inner[bit] > 0.5))
    return found
