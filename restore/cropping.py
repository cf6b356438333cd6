"""What is cut off a job's pictures: as it was asked for, or as its borders show."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from restore.analysis.borders import BorderFinder
from restore.engine.pixels import to_frame
from restore.errors import InvalidInput
from restore.media.crop import Crop, parse_crop
from restore.media.probe import probe
from restore.media.reader import ClipReader
from restore.time import FrameRange

__all__ = ["AUTO", "chosen_crop"]

AUTO: Final = "auto"
_LOOKS: Final = 12  # frames that are looked at, evenly over the job's range
_UNKNOWN: Final = 96  # frames that are read where the clip does not say how many it has


def chosen_crop(
    wanted: str,
    source: str,
    frames: FrameRange,
    rate: Fraction | None,
) -> tuple[Crop, str]:
    """The crop in pixels, and what is said of it.

    Args:
        wanted: ``LEFT:TOP:RIGHT:BOTTOM``, or ``auto``.
        source: the clip.
        frames: that the job takes.
        rate: of an image sequence.

    Raises:
        InvalidInput: no crop, or ``auto`` for a pipe, which can be read once.
    """
    if wanted != AUTO:
        crop = parse_crop(wanted)
        return crop, f"{crop} px are cut off (left, top, right, bottom), as asked for"
    if source == "-":
        raise InvalidInput(
            "crop 'auto' on a pipe, which can be read once", "LEFT:TOP:RIGHT:BOTTOM in pixels"
        )
    finder = BorderFinder()
    for luma in _looked_at(source, frames, rate):
        finder.add(luma)
    crop = Crop(*finder.margins())
    if crop.is_nothing:
        return crop, f"no black border was found in {finder.frames} frames; nothing is cut off"
    return crop, (
        f"a black border was found in {finder.frames} frames: {crop} px are cut off "
        "(left, top, right, bottom)"
    )


def _looked_at(
    source: str, frames: FrameRange, rate: Fraction | None
) -> Iterator[NDArray[np.float32]]:
    info = probe(source, rate=rate)
    total = info.decoded_frames or info.declared_frames
    stop = total if frames.stop is None else min(frames.stop, total or frames.stop)
    if stop is None or stop <= frames.start:
        step = _UNKNOWN // _LOOKS
        pieces = [FrameRange(frames.start, frames.start + _UNKNOWN)]
    else:
        count = min(_LOOKS, stop - frames.start)
        step = 1
        places = [frames.start + (stop - frames.start) * n // count for n in range(count)]
        pieces = [FrameRange(place, place + 1) for place in places]
    for piece in pieces:
        with ClipReader(source, range=piece, rate=rate) as reader:
            for number, raw in enumerate(reader):
                # Of a clip whose length is not known the first ones, and then fewer.
                if number % step == 0 or number < step:
                    frame = to_frame(raw, torch.device("cpu"), reader.info.rotation_deg)
                    yield frame.data.mean(0).numpy()
