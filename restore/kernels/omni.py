"""The parts of an OmniSR block, each in one or two passes over features of 64 channels.

Features lie as ``[n, h, w, 64]``; windows of 8 x 8 pixels are of neighbours, or of a grid over the
whole picture, which is a matter of addressing only.

Source: Wang et al., "Omni Aggregation Networks for Lightweight Image Super-Resolution", CVPR 2023;
Ba et al., "Layer Normalization", 2016; Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import conv2d, gelu, layer_norm, linear, normalize

from restore.kernels.choose import can_try, difference
from restore.kernels.proving import trouble_apart

__all__ = [
    "HEAD",
    "HEADS",
    "SIDE",
    "WIDTH",
    "Rows",
    "attend_channels",
    "attend_spread",
    "attend_windows",
    "depthwise",
    "gated",
    "omni_trouble",
    "rows",
    "shone",
]

WIDTH, HEADS, HEAD, SIDE = 64, 4, 16, 8
_FAMILY = "omni"
_MOST_NUMBERS = 1 << 31  # of one picture: the kernels count in 32 bits


@dataclass(frozen=True)
class Rows:
    """A product of every pixel's channels.

    Attributes:
        weight: ``[out, 64]``; ``out`` is 64, 128 or 192.
        bias: ``[out]`` float32, or None.
        norm: ``[2, 64]`` float32, weight and bias of a norm before it, or None.
        eps: of that norm.
        gelu: whether GELU follows.
    """

    weight: Tensor
    bias: Tensor | None = None
    norm: Tensor | None = None
    eps: float = 1e-6
    gelu: bool = False


def _exact(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _like(bias: Tensor | None, value: Tensor) -> Tensor | None:
    return None if bias is None else bias.to(value.dtype)


def _normed(x: Tensor, norm: Tensor, eps: float) -> Tensor:
    norm = norm.to(x.dtype)
    return layer_norm(x, (WIDTH,), norm[0], norm[1], eps)


def rows_plain(
    by: Rows, x: Tensor, share: Tensor | None = None, residual: Tensor | None = None
) -> Tensor:
    """``[n, h, w, 64]`` to ``[n, h, w, out]``.

    Args:
        by: the product.
        x: features.
        share: ``[n, 64]`` float32: factors of the channels before the product.
        residual: ``[n, h, w, out]``, added at the end.
    """
    value = _exact(x)
    if by.norm is not None:
        value = _normed(value, by.norm, by.eps)
    if share is not None:
        value = value * share.to(value.dtype)[:, None, None]
    bias = _like(by.bias, value)
    # Factors of a product on a GPU are rounded to the features' format.
    value = linear(value.to(x.dtype).to(value.dtype), by.weight.to(value.dtype), bias)
    value = gelu(value) if by.gelu else value
    return (value if residual is None else value + residual.to(value.dtype)).to(x.dtype)


def depthwise_plain(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, with_gelu: bool = False
) -> tuple[Tensor, Tensor]:
    """A 3x3 convolution of each channel by itself; zeros lie around the picture.

    Args:
        x: ``[n, h, w, c]``, ``c`` a multiple of 64.
        weight: ``[9, c]`` float32.
        bias: ``[c]`` float32, or None.
        with_gelu: whether GELU follows.

    Returns:
        The same shape, and its mean over all pixels, ``[n, c]`` float32.
    """
    value = _exact(x).permute(0, 3, 1, 2)
    kernel = weight.to(value.dtype).T.reshape(-1, 1, 3, 3)
    value = conv2d(value, kernel, _like(bias, value), padding=1, groups=x.shape[-1]).permute(
        0, 2, 3, 1
    )
    value = gelu(value) if with_gelu else value
    return value.to(x.dtype), value.mean((1, 2))


def gated_plain(x: Tensor, weight: Tensor, out: Tensor, residual: Tensor) -> Tensor:
    """The end of a gated convolution: depthwise, GELU of one half times the other, a product.

    Args:
        x: ``[n, h, w, 128]``.
        weight: ``[9, 128]`` float32.
        out: ``[64, 64]`` in the features' format.
        residual: ``[n, h, w, 64]``, added at the end.
    """
    value = depthwise_plain(_exact(x), weight)[0]
    both = gelu(value[..., :WIDTH]) * value[..., WIDTH:]
    both = both.to(x.dtype).to(value.dtype)
    return (linear(both, out.to(value.dtype)) + residual.to(value.dtype)).to(x.dtype)


def _cut(x: Tensor, grid: bool) -> Tensor:
    """``[n, h, w, c]`` to windows ``[n, rows, columns, 64, c]``."""
    n, h, w, c = x.shape
    if grid:
        parts = x.view(n, SIDE, h // SIDE, SIDE, w // SIDE, c).permute(0, 2, 4, 1, 3, 5)
    else:
        parts = x.view(n, h // SIDE, SIDE, w // SIDE, SIDE, c).permute(0, 1, 3, 2, 4, 5)
    return parts.reshape(n, h // SIDE, w // SIDE, SIDE * SIDE, c)


def _joined(windows: Tensor, grid: bool) -> Tensor:
    n, rows_, columns, _, c = windows.shape
    parts = windows.view(n, rows_, columns, SIDE, SIDE, c)
    parts = parts.permute(0, 3, 1, 4, 2, 5) if grid else parts.permute(0, 1, 3, 2, 4, 5)
    return parts.reshape(n, rows_ * SIDE, columns * SIDE, c)


def _heads(x: Tensor) -> Tensor:
    """``[..., 64 px, 64]`` to ``[..., heads, 64 px, 16]``."""
    return x.reshape(*x.shape[:-1], HEADS, HEAD).transpose(-2, -3)


def attend_windows_plain(
    x: Tensor, qkv: Rows, out: Tensor, bias: Tensor, scale: float, *, grid: bool
) -> Tensor:
    """Norm, attention within windows, product, and the features added.

    Args:
        x: ``[n, h, w, 64]``; sides are multiples of 8.
        qkv: ``[192, 64]`` with its norm.
        out: ``[64, 64]``.
        bias: ``[4, 64, 64]``, added to the scores.
        scale: factor of the scores.
        grid: whether a window's pixels are spread over the picture.
    """
    value = _exact(x)
    q, k, v = (_heads(part) for part in _cut(rows_plain(qkv, value), grid).chunk(3, -1))
    scores = q @ k.transpose(-1, -2) * scale + bias.to(value.dtype)
    mixed = (scores.softmax(-1) @ v).transpose(-2, -3).flatten(-2)
    return (_joined(linear(mixed, out.to(value.dtype)), grid) + value).to(x.dtype)


def _among_channels(qkv: Tensor, temperature: Tensor) -> Tensor:
    """Attention of channels to each other, ``[..., pixels, 192]`` to ``[..., pixels, 64]``."""
    q, k, v = (_heads(part).transpose(-1, -2) for part in qkv.chunk(3, -1))
    scores = normalize(q, dim=-1) @ normalize(k, dim=-1).transpose(-1, -2)
    scores = scores * temperature.to(qkv.dtype)[:, None, None]
    return (scores.softmax(-1) @ v).transpose(-1, -2).transpose(-2, -3).flatten(-2)


def attend_channels_plain(
    qkv: Tensor, weight: Tensor, temperature: Tensor, out: Tensor, residual: Tensor
) -> Tensor:
    """Attention of the channels of a window to each other, product, and the features added.

    Args:
        qkv: ``[n, h, w, 192]``.
        weight: ``[9, 192]`` float32 of a depthwise convolution before it.
        temperature: ``[4]`` float32, factor of the scores by head.
        out: ``[64, 64]``.
        residual: ``[n, h, w, 64]``.
    """
    value = depthwise_plain(_exact(qkv), weight)[0]
    mixed = linear(_among_channels(_cut(value, False), temperature), out.to(value.dtype))
    return (_joined(mixed, False) + residual.to(value.dtype)).to(qkv.dtype)


def attend_spread_plain(qkv: Tensor, temperature: Tensor, out: Tensor, residual: Tensor) -> Tensor:
    """The same over every eighth pixel of every eighth row of the whole picture.

    Args:
        qkv: ``[n, h, w, 192]``, through the depthwise convolution already.
        temperature: ``[4]`` float32, factor of the scores by head.
        out: ``[64, 64]``.
        residual: ``[n, h, w, 64]``.
    """
    n, h, w, c = qkv.shape
    value = _exact(qkv).view(n, h // SIDE, SIDE, w // SIDE, SIDE, c).permute(0, 2, 4, 1, 3, 5)
    mixed = linear(_among_channels(value.flatten(3, 4), temperature), out.to(value.dtype))
    mixed = mixed.view(n, SIDE, SIDE, h // SIDE, w // SIDE, WIDTH).permute(0, 3, 1, 4, 2, 5)
    return (mixed.reshape(n, h, w, WIDTH) + residual.to(value.dtype)).to(qkv.dtype)


def shone_plain(x: Tensor, inner: Tensor, coarse: Tensor, first: Rows, second: Rows) -> Tensor:
    """Features times a gate: ``sigmoid(second(first(inner) + coarse))``.

    Args:
        x: ``[n, h, w, 64]``.
        inner: ``[n, h, w, 16]``.
        coarse: the same.
        first: ``[16, 16]`` with bias.
        second: ``[64, 16]`` with bias.
    """
    value = _exact(inner)
    kind = value.dtype
    value = linear(value, first.weight.to(kind), _like(first.bias, value)) + coarse.to(kind)
    value = value.to(x.dtype).to(kind)
    gate = linear(value, second.weight.to(kind), _like(second.bias, value)).sigmoid()
    return (x.to(kind) * gate).to(x.dtype)


def rows(
    by: Rows, x: Tensor, share: Tensor | None = None, residual: Tensor | None = None
) -> Tensor:
    """As the twin; by the kernel where it can run. Contiguous."""
    if not _by_kernel(x):
        return rows_plain(by, x, share, residual)
    from restore.kernels.omni_rows_triton import run_rows

    return run_rows(by, x, share, residual)


def depthwise(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, with_gelu: bool = False
) -> tuple[Tensor, Tensor]:
    """As the twin; by the kernel where it can run. Contiguous."""
    if not _by_kernel(x):
        return depthwise_plain(x, weight, bias, with_gelu=with_gelu)
    from restore.kernels.omni_rows_triton import run_depthwise

    return run_depthwise(x, weight, bias, with_gelu=with_gelu)


def gated(x: Tensor, weight: Tensor, out: Tensor, residual: Tensor) -> Tensor:
    """As the twin; by the kernel where it can run. Contiguous."""
    if not _by_kernel(x):
        return gated_plain(x, weight, out, residual)
    from restore.kernels.omni_rows_triton import run_gated

    return run_gated(x, weight, out, residual)


def attend_windows(
    x: Tensor, qkv: Rows, out: Tensor, bias: Tensor, scale: float, *, grid: bool
) -> Tensor:
    """As the twin; by the kernel where it can run. Contiguous."""
    if not _by_kernel(x):
        return attend_windows_plain(x, qkv, out, bias, scale, grid=grid)
    from restore.kernels.omni_windows_triton import run_windows

    return run_windows(x, qkv, out, bias, scale, grid=grid)


def attend_channels(
    qkv: Tensor, weight: Tensor, temperature: Tensor, out: Tensor, residual: Tensor
) -> Tensor:
    """As the twin; by the kernel where it can run. Contiguous."""
    if not _by_kernel(qkv):
        return attend_channels_plain(qkv, weight, temperature, out, residual)
    from restore.kernels.omni_windows_triton import run_channels

    return run_channels(qkv, weight, temperature, out, residual)


def attend_spread(qkv: Tensor, temperature: Tensor, out: Tensor, residual: Tensor) -> Tensor:
    """As the twin; by the kernels where they can run. Contiguous."""
    if not _by_kernel(qkv):
        return attend_spread_plain(qkv, temperature, out, residual)
    from restore.kernels.omni_spread_triton import run_spread

    return run_spread(qkv, temperature, out, residual)


def shone(x: Tensor, inner: Tensor, coarse: Tensor, first: Rows, second: Rows) -> Tensor:
    """As the twin; by the kernel where it can run. Contiguous."""
    if not _by_kernel(x):
        return shone_plain(x, inner, coarse, first, second)
    from restore.kernels.omni_rows_triton import run_shone

    return run_shone(x, inner, coarse, first, second)


def _by_kernel(x: Tensor) -> bool:
    """For features ``[n, h, w, c]``; queries, keys and values have three times their channels."""
    fits = 3 * WIDTH * x.shape[1] * x.shape[2] < _MOST_NUMBERS
    return fits and can_try(x.device, _FAMILY, x.dtype)


def omni_trouble(device: torch.device, dtype: torch.dtype) -> str:
    """Holds the kernels against their twins there; says what is wrong, or nothing."""
    if trouble := trouble_apart(_FAMILY, "restore.kernels.omni:omni_trouble", device, dtype):
        return trouble
    draw = torch.Generator().manual_seed(0)

    def drawn(*shape: int, size: float = 1.0, exact: bool = False) -> Tensor:
        values = size * (2 * torch.rand(shape, generator=draw) - 1)
        return values.to(device, torch.float32 if exact else dtype)

    x, residual = drawn(2, 16, 24, 64), drawn(2, 16, 24, 64)
    norm = drawn(2, 64, exact=True)
    wide = Rows(drawn(192, 64, size=0.2), norm=norm)
    bent = Rows(drawn(64, 64, size=0.2), drawn(64, exact=True), gelu=True)
    out, share = drawn(64, 64, size=0.2), drawn(2, 64, exact=True)
    two, three = drawn(2, 16, 24, 128), drawn(2, 16, 24, 192)
    nine = [drawn(9, c, size=0.3, exact=True) for c in (64, 128, 192)]
    bias, warmth = drawn(4, 64, 64), drawn(4, exact=True)
    small = [Rows(drawn(c, 16, size=0.3), drawn(c, exact=True)) for c in (16, 64)]
    inner, coarse = drawn(2, 16, 24, 16), drawn(2, 16, 24, 16)
    given = drawn(64, exact=True)
    calls: list[tuple[Callable[..., Tensor], Callable[..., Tensor], tuple[object, ...]]] = [
        (rows, rows_plain, (wide, x)),
        (rows, rows_plain, (bent, x, share, residual)),
        (gated, gated_plain, (two, nine[1], out, residual)),
        (shone, shone_plain, (x, inner, coarse, *small)),
    ]
    for part in (0, 1):
        calls.append((partial(_part, part, depthwise), partial(_part, part, depthwise_plain),
                      (x, nine[0], given)))  # fmt: skip
    for grid in (False, True):
        form, twin = partial(attend_windows, grid=grid), partial(attend_windows_plain, grid=grid)
        calls.append((form, twin, (x, wide, out, bias, HEAD**-0.5)))
    calls.append((attend_channels, attend_channels_plain, (three, nine[2], warmth, out, residual)))
    calls.append((attend_spread, attend_spread_plain, (three, warmth, out, residual)))
    for kernel, plain, arguments in calls:
        wrong = difference(
            partial(kernel, *arguments),
            partial(plain, *arguments),
            str(dtype).removeprefix("torch."),
        )
        if wrong:
            return wrong
    return ""


def _part(part: int, form: Callable[..., tuple[Tensor, Tensor]], *arguments: object) -> Tensor:
    return form(*arguments, with_gelu=True)[part]
