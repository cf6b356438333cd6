"""Cases of :mod:`benchmarks.kernels` for whole passes: convolutions, HAT's and OmniSR's parts.

The twins of these work in float32, so that their time says nothing; beside each kernel stands what
torch does in the format itself, operation by operation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from restore.kernels.block_end import HIDDEN, WIDTH, BlockEnd, end_block
from restore.kernels.convolution import Act, Convolution, convolve, prepared
from restore.kernels.features import mean, norm
from restore.kernels.image_windows import HEAD, Windows, attend_picture, attend_picture_plain
from restore.kernels.omni import Rows, attend_channels, attend_windows, gated, rows

__all__ = ["Pair", "fused_pairs"]

#: Name, shape, kernel, what torch does, bytes that cannot be avoided, whether both give the same.
Pair = tuple[str, str, Callable[[], Tensor], Callable[[], Tensor], int, bool]


def _drawn(device: torch.device, dtype: torch.dtype, *shape: int, size: float = 1.0) -> Tensor:
    draw = torch.Generator().manual_seed(len(shape))
    return (size * (torch.rand(shape, generator=draw) - 0.5)).to(device, dtype)


def _bytes(*tensors: Tensor) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def fused_pairs(
    size: tuple[int, int], device: torch.device, dtype: torch.dtype, *, untried: bool
) -> list[Pair]:
    """The cases for pictures ``[h, w]``; OmniSR's with ``untried`` only."""
    found = [
        _convolution(size, device, dtype, inputs, outputs, act)
        for inputs, outputs, act in (
            (64, 64, Act.SLOPE),
            (48, 48, Act.SILU),
            (160, 32, Act.SLOPE),
            (192, 64, Act.NONE),
        )
    ]
    found += _hat(size, device, dtype)
    return found + (_omni(size, device, dtype) if untried else [])


def _convolution(
    size: tuple[int, int],
    device: torch.device,
    dtype: torch.dtype,
    inputs: int,
    outputs: int,
    act: Act,
) -> Pair:
    weight = _drawn(device, dtype, outputs, inputs, 3, 3, size=0.1)
    bias = _drawn(device, dtype, outputs)
    conv = prepared(weight, bias, act=act, slope=0.2)
    assert isinstance(conv, Convolution)
    x = _drawn(device, dtype, 1, *size, conv.inputs)
    out = x.new_empty((1, *size, conv.kept))
    weight = weight.contiguous(memory_format=torch.channels_last)

    def by_torch() -> Tensor:
        y = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=1)
        if act is Act.SLOPE:
            y = F.leaky_relu(y, 0.2)
        y = F.silu(y) if act is Act.SILU else y
        return y.permute(0, 2, 3, 1)

    shape = f"{inputs} to {outputs}, {act.name.lower()}"
    kernel = partial(convolve, conv, x, out)
    return ("convolution", shape, kernel, by_torch, _bytes(x, out, weight), True)


def _hat(size: tuple[int, int], device: torch.device, dtype: torch.dtype) -> list[Pair]:
    height, width = (-(-side // 16) * 16 for side in size)
    drawn = partial(_drawn, device, dtype)
    qkv = drawn(1, height, width, 3 * WIDTH)
    found: list[Pair] = []
    for name, cut in (
        ("plain", Windows(16, 16)),
        ("shifted", Windows(16, 16, 8)),
        ("overlapping", Windows(16, 24)),
    ):
        bias = drawn(WIDTH // HEAD, 256, cut.around_px**2)
        given = (qkv, bias, HEAD**-0.5, cut)
        moved = _bytes(qkv) * 4 // 3 + _bytes(bias)
        twin = partial(attend_picture_plain, *given)
        found.append(
            ("picture's windows", name, partial(attend_picture, *given), twin, moved, True)
        )
    wide = [_drawn(device, torch.float32, *shape) for shape in ((WIDTH,), (HIDDEN,), (2, WIDTH))]
    proj, up, down = (
        drawn(*shape, size=0.1) for shape in ((WIDTH, WIDTH), (HIDDEN, WIDTH), (WIDTH, HIDDEN))
    )
    end = BlockEnd(WIDTH, proj, wide[0], wide[2], up, wide[1], down, wide[0], wide[2])
    x = drawn(1, height, width, WIDTH)
    share = _drawn(device, torch.float32, 1, WIDTH)

    def by_torch() -> Tensor:
        weight, shift = wide[2].to(dtype)
        total = x + F.linear(x, proj, wide[0].to(dtype)) + x * share.to(dtype)[:, None, None]
        inner = F.linear(F.layer_norm(total, (WIDTH,), weight, shift), up, wide[1].to(dtype))
        total = total + F.linear(F.gelu(inner), down, wide[0].to(dtype))
        return F.layer_norm(total, (WIDTH,), weight, shift)

    def normed() -> Tensor:
        weight, shift = wide[2].to(dtype)
        return F.layer_norm(x, (WIDTH,), weight, shift, 1e-5)

    text = f"{height}x{width}x{WIDTH}"
    found.append(("block's end", text, lambda: end_block(end, x, x, x, share)[1], by_torch,
                  5 * _bytes(x), True))  # fmt: skip
    found.append(("norm", text, lambda: norm(x, wide[2], WIDTH, 1e-5), normed, 2 * _bytes(x), True))
    found.append(("mean", text, lambda: mean(x), lambda: x.mean((1, 2)).float(), _bytes(x), True))
    return found


def _omni(size: tuple[int, int], device: torch.device, dtype: torch.dtype) -> list[Pair]:
    height, width = (-(-side // 8) * 8 for side in size)
    drawn = partial(_drawn, device, dtype)
    x, two, three = (drawn(1, height, width, channels) for channels in (64, 128, 192))
    by = Rows(drawn(128, 64), norm=_drawn(device, torch.float32, 2, 64))
    qkv = Rows(drawn(192, 64), norm=by.norm)
    taps = [_drawn(device, torch.float32, 9, channels) for channels in (128, 192)]
    out, bias = drawn(64, 64), drawn(4, 64, 64)
    warmth = _drawn(device, torch.float32, 4)
    calls: list[tuple[str, Callable[[], Tensor], int]] = [
        ("rows", lambda: rows(by, x), _bytes(x, two)),
        ("gated", lambda: gated(two, taps[0], out, x), _bytes(x, two, x)),
        ("windows", lambda: attend_windows(x, qkv, out, bias, 0.25, grid=False), 2 * _bytes(x)),
        ("channels", lambda: attend_channels(three, taps[1], warmth, out, x), _bytes(x, three, x)),
    ]
    text = f"{height}x{width}x64"
    # torch has no single counterpart: the copy of the features is what stands beside.
    return [("OmniSR's " + n, text, call, x.clone, moved, False) for n, call, moved in calls]
