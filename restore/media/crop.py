"""Sides cut off a clip's pictures, on the grid of its chroma samples."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from restore.errors import InvalidInput, UnsupportedMedia
from restore.frames import ClipInfo, PixelFormat, RawFrame, pixel_format

__all__ = ["Crop", "asked_crop", "cropped", "cropped_info", "cut_info", "parse_crop"]

_TEXT: Final = re.compile(r"\s*(\d+)\s*[:,]\s*(\d+)\s*[:,]\s*(\d+)\s*[:,]\s*(\d+)\s*")
_LEAST_PX: Final = 16


@dataclass(frozen=True)
class Crop:
    """Pixels cut off each side of the upright picture."""

    left_px: int = 0
    top_px: int = 0
    right_px: int = 0
    bottom_px: int = 0

    def __str__(self) -> str:
        return f"{self.left_px}:{self.top_px}:{self.right_px}:{self.bottom_px}"

    @property
    def is_nothing(self) -> bool:
        """Whether no side is cut."""
        return not any((self.left_px, self.top_px, self.right_px, self.bottom_px))

    def coded(self, rotation_deg: int) -> Crop:
        """The sides of the picture as it is stored, which a clockwise turn makes upright."""
        sides = [self.left_px, self.top_px, self.right_px, self.bottom_px]
        turns = rotation_deg // 90 % 4
        # After a clockwise quarter turn the stored bottom is on the left, the stored left on top.
        return Crop(*(sides[(n + turns) % 4] for n in range(4)))

    def on_grid(self, info: ClipInfo) -> Crop:
        """Rounded up so that whole chroma samples are cut, and fields keep their order.

        Args:
            info: of the clip; this is in its stored orientation.
        """
        fmt = _planar(info)
        across, down = 1 << fmt.log2_w, 1 << fmt.log2_h
        return Crop(
            _up(self.left_px, across),
            # Two lines at a time: an odd number would swap the fields.
            _up(self.top_px, 2 * down),
            _up(self.right_px, across),
            _up(self.bottom_px, 2 * down),
        )


def _up(value: int, step: int) -> int:
    return -(-value // step) * step


def _planar(info: ClipInfo) -> PixelFormat:
    """The planar format that frames come in; one with the coarsest grid where that is not known."""
    try:
        return pixel_format(info.pixel_format.replace("yuvj", "yuv"))
    except UnsupportedMedia:  # packed formats are unpacked on the way
        return pixel_format("yuv420p")


def parse_crop(text: str) -> Crop:
    """``LEFT:TOP:RIGHT:BOTTOM`` in pixels.

    Raises:
        InvalidInput: something else.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        raise InvalidInput(f"crop {text!r}", "LEFT:TOP:RIGHT:BOTTOM in pixels, or auto")
    return Crop(*(int(part) for part in match.groups()))


def cropped_info(info: ClipInfo, crop: Crop) -> tuple[ClipInfo, Crop]:
    """A clip's facts once it is cropped, and the crop in its stored orientation, on its grid.

    Raises:
        InvalidInput: too little would be left.
    """
    coded = crop.coded(info.rotation_deg).on_grid(info)
    width = info.width_px - coded.left_px - coded.right_px
    height = info.height_px - coded.top_px - coded.bottom_px
    if width < _LEAST_PX or height < _LEAST_PX:
        upright = info.upright_px
        raise InvalidInput(
            f"crop {crop} of a picture of {upright[0]}x{upright[1]}",
            f"at least {_LEAST_PX} px left each way",
        )
    return replace(info, width_px=width, height_px=height), coded


def asked_crop(text: str) -> Crop | None:
    """The crop of a recipe's words; None where it has none.

    Raises:
        InvalidInput: no crop in pixels.
    """
    return parse_crop(text) if text else None


def cut_info(info: ClipInfo, text: str) -> ClipInfo:
    """A clip's facts after the crop of a recipe's words.

    Raises:
        InvalidInput: no crop in pixels, or too little would be left.
    """
    crop = asked_crop(text)
    return info if crop is None or crop.is_nothing else cropped_info(info, crop)[0]


def cropped(raw: RawFrame, coded: Crop) -> RawFrame:
    """A frame without its sides; its planes are views where they can be.

    Args:
        raw: as stored.
        coded: as :func:`cropped_info` gave it.
    """
    fmt = raw.format
    width = raw.width_px - coded.left_px - coded.right_px
    height = raw.height_px - coded.top_px - coded.bottom_px
    planes = []
    for number, plane in enumerate(raw.planes):
        is_chroma = fmt.kind == "yuv" and number in (1, 2)
        x, y = (
            (coded.left_px >> fmt.log2_w, coded.top_px >> fmt.log2_h)
            if is_chroma
            else (
                coded.left_px,
                coded.top_px,
            )
        )
        rows, columns = fmt.plane_shape(number, width, height)
        planes.append(np.ascontiguousarray(plane[y : y + rows, x : x + columns]))
    return replace(raw, planes=tuple(planes), width_px=width, height_px=height)
