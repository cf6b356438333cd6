"""Side by side: input, result and truth, with their names."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from restore.media.atomic import AtomicPath

__all__ = ["side_by_side", "write_png"]

_LABEL_PX = 28
_GAP_PX = 4
_PAPER, _INK = 24, 235

Array = NDArray[np.float32]


def _label(text: str, width_px: int) -> NDArray[np.uint8]:
    strip = Image.new("RGB", (width_px, _LABEL_PX), (_PAPER, _PAPER, _PAPER))
    font = ImageFont.load_default(size=17)
    ImageDraw.Draw(strip).text((8, 4), text, fill=(_INK, _INK, _INK), font=font)
    return np.asarray(strip, dtype=np.uint8)


def side_by_side(panels: Sequence[tuple[str, Array]]) -> Array:
    """Pictures next to each other under their names.

    Args:
        panels: names and ``[h, w, 3]`` R'G'B' pictures 0..1 of one size.

    Returns:
        ``[h', w', 3]`` float32 R'G'B' 0..1 of even height and width.
    """
    columns = []
    for number, (name, picture) in enumerate(panels):
        height, width = picture.shape[:2]
        if number:
            columns.append(np.full((height + _LABEL_PX, _GAP_PX, 3), _PAPER / 255.0, np.float32))
        label = _label(name, width).astype(np.float32) / np.float32(255.0)
        columns.append(np.concatenate([label, np.clip(picture, 0.0, 1.0).astype(np.float32)]))
    whole = np.concatenate(columns, axis=1)
    return whole[: whole.shape[0] // 2 * 2, : whole.shape[1] // 2 * 2]


def write_png(path: Path, picture: Array) -> None:
    """Write ``[h, w, 3]`` R'G'B' 0..1 with 8 bit, replacing what has the name.

    Raises:
        OutputError: it could not be written.
    """
    codes = np.rint(np.clip(picture, 0.0, 1.0) * 255.0).astype(np.uint8)
    packed = io.BytesIO()
    Image.fromarray(codes).save(packed, "PNG")
    target = AtomicPath(str(path), overwrite=True)
    try:
        with target.open() as file:
            file.write(packed.getvalue())
    except BaseException:
        target.discard()
        raise
    target.commit()
