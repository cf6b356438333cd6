"""Between code values and R'G'B': ranges, matrices, bit depths, dither and orientation.

Code values follow ITU-T H.273 section 8.3: limited range is 219 (luma) or 224 (chroma) steps of
2^(n-8) above 16 or around 128; full range spans 0..2^n - 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from restore.color import ChromaSite, ColorSpec, Matrix, Range, luma_weights
from restore.engine import chroma as chroma_filters
from restore.engine.transfer import Packed, brought, fetched, used_here
from restore.errors import UnsupportedMedia
from restore.frames import Frame, PixelFormat, RawFrame
from restore.kernels.planes import Halving, Plan, can_write, write_planes

__all__ = ["from_frame", "planes_by_kernel", "planes_by_torch", "to_frame", "turned_upright"]

_QUARTER_TURNS = {0: 0, 90: 3, 180: 2, 270: 1}


def to_frame(raw: RawFrame, device: torch.device, rotation_deg: int = 0) -> Frame:
    """Convert a raw frame into what stages see.

    Args:
        raw: planes as the file holds them.
        device: where the result lives; samples are copied there before they are converted.
        rotation_deg: clockwise turn that displays the picture upright.

    Returns:
        The frame, ``[3, h, w]`` float32 R'G'B', values outside 0..1 kept.

    Raises:
        UnsupportedMedia: a matrix that is not linear in R'G'B' (constant luminance, ICtCp).
    """
    fmt, spec = raw.format, raw.color
    planes = [_widened(plane) for plane in brought(raw.planes, device)]
    alpha = None
    if fmt.has_alpha:
        top = 1.0 if fmt.is_float else float((1 << fmt.depth_bits) - 1)
        alpha = planes.pop().unsqueeze(0) / top
    if fmt.kind == "yuv":
        luma = _normalised(planes[0], fmt, spec.range, is_chroma=False)
        pair = _normalised(torch.stack(planes[1:3]), fmt, spec.range, is_chroma=True)
        pair = chroma_filters.upsample(
            pair,
            raw.height_px,
            raw.width_px,
            fmt.log2_h,
            fmt.log2_w,
            spec.chroma_site,
            woven=raw.woven,
        )
        data = _mix(_to_rgb_matrix(spec.matrix), (luma, *pair))
    else:
        stack = torch.stack(planes if fmt.kind == "gray" else [planes[2], planes[0], planes[1]])
        data = _normalised(stack, fmt, spec.range, is_chroma=False)
        if fmt.kind == "gray":
            data = data.expand(3, -1, -1).contiguous()
    return Frame(
        data=turned_upright(data, rotation_deg),
        pts=raw.pts,
        time_base=raw.time_base,
        color=spec,
        index=raw.index,
        alpha=None if alpha is None else turned_upright(alpha, rotation_deg),
        duration=raw.duration,
        is_gray=fmt.kind == "gray" or _has_no_color(raw),
        woven=raw.woven and rotation_deg % 180 == 0,
    )


def from_frame(frame: Frame, fmt: PixelFormat, spec: ColorSpec) -> RawFrame:
    """Convert a frame into samples for a delivery.

    A frame that was black and white stays so: networks tint grey pictures by a few code values,
    and by more along edges. Eight-bit samples are dithered with a fixed pattern of less than
    half a code value, so that gradients do not band and values that are exact code values come back
    unchanged. Deeper samples are rounded.

    Args:
        frame: what the last stage gave.
        fmt: layout wanted.
        spec: matrix, range and chroma siting wanted; nothing unspecified.

    Returns:
        The raw frame, on the CPU.
    """
    height, width = frame.data.shape[-2:]
    packed = planes_by_kernel(frame, fmt, spec)
    planes = packed.fetched() if packed else fetched(planes_by_torch(frame, fmt, spec))
    return RawFrame(
        planes=tuple(planes),
        format=fmt,
        width_px=width,
        height_px=height,
        pts=frame.pts,
        time_base=frame.time_base,
        color=spec,
        index=frame.index,
        duration=frame.duration,
        woven=frame.woven,
    )


def planes_by_torch(frame: Frame, fmt: PixelFormat, spec: ColorSpec) -> list[Tensor]:
    """The planes of :func:`from_frame` where the frame lies; takes every layout."""
    data = _without_tint(frame.data.float()) if frame.is_gray else frame.data.float()
    height, width = data.shape[-2:]
    if fmt.kind == "yuv":
        mixed = _mix(_to_yuv_matrix(spec.matrix), data.unbind())
        pair = chroma_filters.downsample(
            mixed[1:], fmt.log2_h, fmt.log2_w, spec.chroma_site, woven=frame.woven
        )
        planes = [
            _quantised(mixed[0], fmt, spec.range, is_chroma=False, number=0),
            _quantised(pair[0], fmt, spec.range, is_chroma=True, number=1),
            _quantised(pair[1], fmt, spec.range, is_chroma=True, number=2),
        ]
    elif fmt.kind == "gray":
        weights = luma_weights(spec.matrix if spec.matrix is not Matrix.RGB else Matrix.BT709)
        row = data.new_tensor([weights[0], 1 - weights[0] - weights[1], weights[1]])
        gray = torch.einsum("c,chw->hw", row, data)
        planes = [_quantised(gray, fmt, spec.range, is_chroma=False, number=0)]
    else:
        planes = [
            _quantised(data[channel], fmt, spec.range, is_chroma=False, number=number)
            for number, channel in enumerate((1, 2, 0))
        ]
    if fmt.has_alpha:
        alpha = data.new_ones(height, width) if frame.alpha is None else frame.alpha[0].float()
        planes.append(_quantised(alpha, fmt, Range.FULL, is_chroma=False, number=3))
    return planes


def planes_by_kernel(frame: Frame, fmt: PixelFormat, spec: ColorSpec) -> Packed | None:
    """The same by kernels, in the block they are sent in; None where they cannot."""
    data, site = frame.data, spec.chroma_site
    is_flipped = site in (ChromaSite.BOTTOM, ChromaSite.BOTTOMLEFT)
    covers = fmt.kind == "yuv" and not (fmt.is_float or fmt.has_alpha)
    if (
        not covers
        or max(fmt.log2_h, fmt.log2_w) > 1
        or (fmt.log2_h and (frame.woven or is_flipped))
    ):
        return None
    height, width = data.shape[-2:]
    plan = Plan(
        matrix=_to_yuv_rows(spec.matrix),
        luma=_scale_and_offset(fmt, spec.range, is_chroma=False),
        chroma=_scale_and_offset(fmt, spec.range, is_chroma=True),
        top=(1 << fmt.depth_bits) - 1,
        down=_halving(fmt.log2_h, site.is_top),
        across=_halving(fmt.log2_w, site.is_left),
        taps=chroma_filters.MEAN_UNDONE,
        is_gray=frame.is_gray,
    )
    if not can_write(data.device, height, width, plan):
        return None
    shapes = [fmt.plane_shape(number, width, height) for number in range(3)]
    noise = None
    if fmt.depth_bits <= 8:
        noise = [
            used_here(_dither_pattern(*shape, number, data.device))
            for number, shape in enumerate(shapes)
        ]
    form = torch.uint8 if fmt.depth_bits <= 8 else torch.uint16
    packed = Packed.of(
        [torch.empty(shape, dtype=form, device="meta") for shape in shapes], data.device
    )
    write_planes(data, plan, noise, packed.planes)
    return packed


def _halving(log2: int, cosited: bool) -> Halving:
    if not log2:
        return Halving.NONE
    return Halving.COSITED if cosited else Halving.CENTRED


def _has_no_color(raw: RawFrame) -> bool:
    """Whether no sample of a frame has any colour: chroma at its zero, or R, G and B equal."""
    if raw.format.kind == "rgb":
        green, blue, red = raw.planes[:3]
        return bool((green == blue).all() and (green == red).all())
    zero = 1 << (raw.format.depth_bits - 1)
    return all(bool((plane == zero).all()) for plane in raw.planes[1:3])


def _without_tint(data: Tensor) -> Tensor:
    """Each pixel of ``[3, h, w]`` as the mean of its channels."""
    return data.mean(0, keepdim=True).expand_as(data)


def turned_upright(data: Tensor, rotation_deg: int) -> Tensor:
    """Turn ``[..., h, w]`` clockwise by a multiple of 90 degrees."""
    turns = _QUARTER_TURNS[rotation_deg % 360]
    return torch.rot90(data, turns, (-2, -1)).contiguous() if turns else data


def _widened(plane: Tensor) -> Tensor:
    # torch has few operations on uint16, so deep samples travel as they are and widen on arrival.
    return plane.to(torch.int32).float() if plane.dtype == torch.uint16 else plane.float()


def _scale_and_offset(fmt: PixelFormat, full: Range, *, is_chroma: bool) -> tuple[float, float]:
    """Code value = value * scale + offset."""
    if fmt.is_float:
        return 1.0, 0.0
    if full is Range.FULL:
        return float((1 << fmt.depth_bits) - 1), float(1 << (fmt.depth_bits - 1)) * is_chroma
    step = float(1 << (fmt.depth_bits - 8))
    return (224.0 * step, 128.0 * step) if is_chroma else (219.0 * step, 16.0 * step)


def _normalised(samples: Tensor, fmt: PixelFormat, full: Range, *, is_chroma: bool) -> Tensor:
    scale, offset = _scale_and_offset(fmt, full, is_chroma=is_chroma)
    return samples if scale == 1.0 else (samples - offset) / scale


def _quantised(
    values: Tensor, fmt: PixelFormat, full: Range, *, is_chroma: bool, number: int
) -> Tensor:
    if fmt.is_float:
        return values.contiguous()
    scale, offset = _scale_and_offset(fmt, full, is_chroma=is_chroma)
    codes = values.mul(scale).add_(offset)
    if fmt.depth_bits <= 8:
        size = values.shape[-2], values.shape[-1]
        codes.add_(used_here(_dither_pattern(*size, number, codes.device)))
    codes.round_().clamp_(0, (1 << fmt.depth_bits) - 1)
    return codes.to(torch.uint8) if fmt.depth_bits <= 8 else codes.to(torch.int32).to(torch.uint16)


@lru_cache(maxsize=8)
def _dither_pattern(height_px: int, width_px: int, number: int, device: torch.device) -> Tensor:
    """Interleaved gradient noise (Jimenez, SIGGRAPH 2014) within +-0.49, shifted for each plane.

    Made in float64 on the CPU, so that every device adds the same bits; kept where it is used.
    """
    rows = np.arange(height_px, dtype=np.float64)[:, None] + 47.0 * number
    cols = np.arange(width_px, dtype=np.float64)[None, :] + 17.0 * number
    noise = np.modf(52.9829189 * np.modf(0.06711056 * cols + 0.00583715 * rows)[0])[0]
    return torch.from_numpy(((noise - 0.5) * 0.98).astype(np.float32)).to(device)


@lru_cache(maxsize=16)
def _to_yuv_rows(matrix: Matrix) -> tuple[tuple[float, float, float], ...]:
    if matrix is Matrix.YCGCO:
        return ((0.25, 0.5, 0.25), (-0.25, 0.5, -0.25), (0.5, 0.0, -0.5))
    if matrix is Matrix.RGB:
        # "RGB" in a YUV layout is GBR in the order of its planes (H.273, MatrixCoefficients 0).
        return ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0))
    try:
        kr, kb = luma_weights(matrix)
    except KeyError:
        raise UnsupportedMedia(
            f"matrix {matrix.name}",
            "BT.601, BT.709, BT.2020 non-constant luminance, SMPTE 240M, FCC or YCgCo",
            "Convert the clip to one of these first.",
        ) from None
    kg = 1 - kr - kb
    b_scale, r_scale = 2 * (1 - kb), 2 * (1 - kr)
    return (
        (kr, kg, kb),
        (-kr / b_scale, -kg / b_scale, (1 - kb) / b_scale),
        ((1 - kr) / r_scale, -kg / r_scale, -kb / r_scale),
    )


def _to_yuv_matrix(matrix: Matrix) -> Tensor:
    return torch.tensor(_to_yuv_rows(matrix), dtype=torch.float64)


def _to_rgb_matrix(matrix: Matrix) -> Tensor:
    inverse: Tensor = torch.linalg.inv(_to_yuv_matrix(matrix))
    return inverse


def _mix(matrix: Tensor, planes: Sequence[Tensor]) -> Tensor:
    """Apply a 3x3 matrix to three planes ``[h, w]`` as plain multiply-adds; gives ``[3, h, w]``.

    A library product may pick another order of additions by size and device (and TF32 on CUDA);
    written out, the same frame gives the same bits.
    """
    rows = planes[0].new_empty(3, *planes[0].shape)
    for row, weights in zip(rows, matrix.tolist(), strict=True):
        torch.mul(planes[0], weights[0], out=row)
        for weight, plane in zip(weights[1:], planes[1:], strict=True):
            if weight:
                row.add_(plane, alpha=weight)
    return rows
