"""Film on video: 3:2 pulldown, and the combed and blended frames that careless transfers leave."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["CADENCE", "careless", "pulldown_32"]

Array = NDArray[np.float32]
# The fields (top, bottom) of five video frames made of four film frames, ITU-R BT.601 countries.
CADENCE = ((0, 0), (0, 1), (1, 2), (2, 2), (3, 3))


def pulldown_32(frames: Array) -> tuple[Array, NDArray[np.intp]]:
    """Four film frames to five video frames, top field first.

    Args:
        frames: ``[T, h, w, C]``; frames beyond a multiple of four are done as far as they go.

    Returns:
        ``[T * 5 // 4, h, w, C]``, and of each video frame which film frame its top and its bottom
        field came from (``[T', 2]``).
    """
    count = frames.shape[0] * 5 // 4
    origin = np.empty((count, 2), np.intp)
    out = np.empty((count, *frames.shape[1:]), frames.dtype)
    for number in range(count):
        group, place = divmod(number, 5)
        origin[number] = [min(4 * group + f, frames.shape[0] - 1) for f in CADENCE[place]]
        out[number] = frames[origin[number, 0]]
        out[number, 1::2] = frames[origin[number, 1], 1::2]
    return out, origin


def careless(frames: Array, kind: str, phase: int) -> Array:
    """A transfer whose cadence was undone badly, with the frame count kept.

    Args:
        frames: ``[T, h, w, C]``.
        kind: ``combed`` (two frames in five carry the next frame's bottom field) or ``blended``
            (the same two are averages with their successor); anything else changes nothing.
        phase: place of the first frame in the cycle of five.

    Returns:
        A new array of the same shape.
    """
    out = frames.copy()
    for number in range(frames.shape[0] - 1):
        if (number + phase) % 5 not in (1, 2):
            continue
        if kind == "combed":
            out[number, 1::2] = frames[number + 1, 1::2]
        elif kind == "blended":
            out[number] = 0.5 * (frames[number] + frames[number + 1])
    return out
