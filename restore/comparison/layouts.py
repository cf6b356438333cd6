"""Two pictures in one, under their names."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

__all__ = ["HOWS", "How", "composed", "composed_px"]

How = Literal["side", "stack", "wipe", "difference"]
HOWS: Final = ("side", "stack", "wipe", "difference")

_GAP_PX: Final = 4
_PAPER: Final = 24 / 255
_INK: Final = 235
_MIDDLE: Final = 0.5


def label_px(height_px: int) -> int:
    """Height of the strip with the names."""
    return max(20, height_px // 24) // 2 * 2


def composed_px(size_px: tuple[int, int], how: How) -> tuple[int, int]:
    """Width and height of what :func:`composed` gives for pictures of a size; even."""
    width, height = size_px
    strip = label_px(height)
    wide, high = {
        "side": (2 * width + _GAP_PX, height + strip),
        "stack": (width, 2 * (height + strip)),
        "wipe": (width, height + strip),
        "difference": (width, height + strip),
    }[how]
    return wide + wide % 2, high + high % 2


def composed(
    first: Tensor, second: Tensor, names: tuple[str, str], how: How, gain: float, at: float
) -> Tensor:
    """One picture of two.

    Args:
        first: ``[3, h, w]`` float32 R'G'B'.
        second: of the same size and colour.
        names: for people.
        how: ``side`` by side, ``stack`` (one above the other), ``wipe`` (the first left of an
            upright line, the second right of it), or ``difference`` (second less first about
            middle grey).
        gain: of the difference.
        at: where the line of the wipe stands, share of the width.

    Returns:
        ``[3, h', w']`` of the size that :func:`composed_px` says.
    """
    height, width = first.shape[-2:]
    one, other = (f"{letter}: {name}" for letter, name in zip("AB", names, strict=True))
    if how == "side":
        gap = first.new_full((3, height + label_px(height), _GAP_PX), _PAPER)
        whole = torch.cat([_titled(first, one), gap, _titled(second, other)], -1)
    elif how == "stack":
        whole = torch.cat([_titled(first, one), _titled(second, other)], -2)
    elif how == "wipe":
        line = min(max(round(at * width), 1), width - 1)
        both = torch.cat([first[..., :line], second[..., line:]], -1)
        both[..., line - 1 : line + 1] = 1.0
        whole = _titled(both, f"{one} | {other}")
    else:
        apart = _MIDDLE + gain * (second - first)
        whole = _titled(apart, f"(B - A) x {gain:g}, grey where alike; {one}, {other}")
    wide, high = composed_px((width, height), how)
    below, right = high - whole.shape[-2], wide - whole.shape[-1]
    return F.pad(whole, (0, right, 0, below), value=_PAPER).clamp(0, 1)


def _titled(picture: Tensor, text: str) -> Tensor:
    height, width = picture.shape[-2:]
    return torch.cat([_label(text, width, label_px(height)).to(picture), picture], -2)


@lru_cache(maxsize=8)
def _label(text: str, width_px: int, height_px: int) -> Tensor:
    paper = round(_PAPER * 255)
    strip = Image.new("RGB", (width_px, height_px), (paper, paper, paper))
    font = ImageFont.load_default(size=round(height_px * 0.62))
    ImageDraw.Draw(strip).text(
        (height_px // 4, height_px // 7), text, fill=(_INK, _INK, _INK), font=font
    )
    return torch.from_numpy(np.array(strip)).permute(2, 0, 1).float() / 255
