"""Frames for the way back, and what it would give with exact numbers."""

from __future__ import annotations

from fractions import Fraction

import torch

from restore.color import ColorSpec, Primaries, Transfer
from restore.engine import chroma, pixels
from restore.frames import Frame


def color_of(matrix, full, site):
    return ColorSpec(matrix, Primaries.BT709, Transfer.BT709, full, site)


def frame_of(size, color, *, is_gray=False, woven=False, device="cpu"):
    """Noise with values outside 0..1, which are clipped, and colours that fill all bits."""
    draw = torch.Generator().manual_seed(size[0] * 10007 + size[1])
    data = (1.1 * torch.rand(3, *size, generator=draw) - 0.05).to(device)
    return Frame(data, 0, Fraction(1, 25), color, 0, is_gray=is_gray, woven=woven)


def exact_codes(frame, fmt, spec):
    """Code values before they are rounded, clipped to their range, in float64."""
    data = frame.data.double()
    data = data.mean(0, keepdim=True).expand_as(data) if frame.is_gray else data
    matrix = pixels._to_yuv_matrix(spec.matrix)
    mixed = torch.einsum("rc,chw->rhw", matrix, data)
    pair = chroma.downsample(mixed[1:], fmt.log2_h, fmt.log2_w, spec.chroma_site)
    codes = []
    for number, plane in enumerate((mixed[0], *pair)):
        scale, offset = pixels._scale_and_offset(fmt, spec.range, is_chroma=number > 0)
        code = plane * scale + offset
        if fmt.depth_bits <= 8:
            code = code + pixels._dither_pattern(*plane.shape, number, plane.device).double()
        codes.append(code.clamp(0, (1 << fmt.depth_bits) - 1).numpy())
    return codes
