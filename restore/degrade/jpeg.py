"""Real JPEG, encoded and decoded in memory by libjpeg."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from restore.errors import InvalidInput

__all__ = ["jpeg_roundtrip"]


def jpeg_roundtrip(picture: NDArray[np.uint8], quality: int, chroma_420: bool) -> NDArray[np.uint8]:
    """What is left of a picture after JPEG.

    Args:
        picture: ``[H, W, 3]`` uint8 R'G'B', full range.
        quality: 1..95, the scale of the Independent JPEG Group.
        chroma_420: halve the colour planes both ways; else keep them whole.

    Raises:
        InvalidInput: quality out of range.
    """
    if not 1 <= quality <= 95:
        raise InvalidInput(f"JPEG quality {quality}", "1..95")
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(
        buffer, "JPEG", quality=quality, subsampling=2 if chroma_420 else 0
    )
    with Image.open(buffer) as decoded:
        return np.asarray(decoded.convert("RGB"), dtype=np.uint8)
