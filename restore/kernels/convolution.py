"""3x3 convolutions with all that follows them in one pass: bias, activation, residuals.

Features lie as ``[pictures, h, w, channels]``, the channels of a pixel together, and may be a part
of wider pixels: a dense block writes what it adds beside what it read, and nothing is copied.

Source: Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning", 2014 (convolution as a
product without the unfolded input in memory); Zhao et al., "Swift Parameter-free Attention Network
for Efficient Super-Resolution", 2023, equation 4 (the gate).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import conv2d, gelu, pad

from restore.kernels.choose import difference

__all__ = [
    "Act",
    "Convolution",
    "Residual",
    "compile_ahead",
    "convolve",
    "convolve_plain",
    "convolve_trouble",
    "prepared",
]

_OUT = (16, 32, 48, 64)


class Act(IntEnum):
    """What a convolution's sums go through."""

    NONE = 0
    SLOPE = 1  # times a slope where negative: ReLU, LeakyReLU, PReLU
    SILU = 2
    GATE = 3  # SPAN's: (sum + first residual) * (sigmoid(sum) - 1/2)
    GELU = 4  # by the error function


@dataclass(frozen=True)
class Convolution:
    """A convolution made ready.

    Attributes:
        weights: ``[sets, 9, out, channels]``, in the format of the features; zeros where the
            network has fewer channels.
        bias: ``[out]`` float32.
        slope: ``[out]`` float32; for ``Act.SLOPE``.
        act: what follows.
        inputs: channels that are read.
        kept: channels that are written.
        enlarge: 2 where each pixel of the input is read as a square of four; else 1.
        residuals: that its calls bring: 0, 1 or 2.
    """

    weights: Tensor
    bias: Tensor
    slope: Tensor
    act: Act
    inputs: int
    kept: int
    enlarge: int
    residuals: int


@dataclass(frozen=True)
class Residual:
    """What is added to a convolution's result: ``result * share + features``.

    Attributes:
        features: ``[n, h, w, c]`` as the result; may be a part of wider pixels.
        share: of the result.
    """

    features: Tensor
    share: float = 1.0


def prepared(
    weight: Tensor,
    bias: Tensor | None,
    *,
    act: Act = Act.NONE,
    slope: Tensor | float = 0.0,
    enlarge: int = 1,
    residuals: int = 0,
) -> Convolution | None:
    """Order a convolution's weights as the kernel reads them.

    Args:
        weight: ``[out, in, 3, 3]`` on its device, in the format of the features.
        bias: ``[out]``, or None.
        act: what follows.
        slope: ``[out]``, ``[1]`` or a number; for ``Act.SLOPE``.
        enlarge: see ``Convolution``.
        residuals: see ``Convolution``; ``Act.GATE`` has one.

    Returns:
        None for more than 64 outputs, and for more than 16 inputs that are no multiple of 32 and
        not 48: there is no kernel for those.
    """
    out, inputs = weight.shape[:2]
    channels = 16 if inputs <= 16 else inputs if inputs in (48, 64) else 32
    if out > _OUT[-1] or weight.shape[2:] != (3, 3) or (inputs > 16 and inputs % channels):
        return None
    wide = next(size for size in _OUT if size >= out)
    sets = -(-inputs // channels)
    full = pad(weight, (0, 0, 0, 0, 0, sets * channels - inputs, 0, wide - out))
    lines = full.view(wide, sets, channels, 9).permute(1, 3, 0, 2).contiguous()

    def numbers(values: Tensor | float | None) -> Tensor:
        given = values if isinstance(values, Tensor) else torch.tensor(values or 0.0)
        row = given.detach().to(weight.device, torch.float32).reshape(-1)
        return pad(row.expand(out) if row.numel() == 1 else row, (0, wide - out)).contiguous()

    return Convolution(
        lines,
        numbers(bias),
        numbers(slope),
        act,
        inputs=sets * channels,
        kept=-(-out // 8) * 8,
        enlarge=enlarge,
        residuals=residuals,
    )


def convolve_plain(
    conv: Convolution,
    x: Tensor,
    out: Tensor,
    first: Residual | None = None,
    second: Residual | None = None,
) -> Tensor:
    """The twin: the same by torch's own operations, in float32 (float64 for float64).

    Args:
        conv: made by ``prepared``.
        x: ``[n, h, w, inputs]``, or wider pixels' first channels; zeros lie around it.
        out: ``[n, h * enlarge, w * enlarge, kept]``; written. May be a part of wider pixels, those
            of ``x`` too, but not of the channels that are read.
        first: residual; needed by ``Act.GATE``, which takes its features alone.
        second: a further one, added to the result of the first.

    Returns:
        ``out``.
    """
    exact = torch.float64 if x.dtype == torch.float64 else torch.float32
    sets, _, wide, channels = conv.weights.shape
    weight = conv.weights.to(exact).permute(2, 0, 3, 1).reshape(wide, sets * channels, 3, 3)
    picture = x[..., : conv.inputs].to(exact).permute(0, 3, 1, 2)
    if conv.enlarge > 1:
        picture = picture.repeat_interleave(conv.enlarge, 2).repeat_interleave(conv.enlarge, 3)
    value = conv2d(picture, weight, conv.bias.to(exact), padding=1).permute(0, 2, 3, 1)
    value = value[..., : conv.kept]
    if conv.act is Act.SLOPE:
        value = torch.where(value > 0, value, value * conv.slope[: conv.kept].to(exact))
    elif conv.act is Act.SILU:
        value = value * value.sigmoid()
    elif conv.act is Act.GELU:
        value = gelu(value)
    elif conv.act is Act.GATE and first is not None:
        value = (value + first.features.to(exact)) * (value.sigmoid() - 0.5)
        first = None
    for residual in (first, second):
        if residual is not None:
            value = value * residual.share + residual.features.to(exact)
    return out.copy_(value)


def compile_ahead(convs: Iterable[Convolution]) -> None:
    """Compiles what the calls of these convolutions will want, side by side; nothing on a CPU."""
    there = [conv for conv in convs if conv.weights.device.type == "cuda"]
    if there:
        from restore.kernels.convolution_cuda import compile_all

        compile_all(there)


def convolve(
    conv: Convolution,
    x: Tensor,
    out: Tensor,
    first: Residual | None = None,
    second: Residual | None = None,
) -> Tensor:
    """As the twin; by the kernel on CUDA, where ``convolve_trouble`` found nothing."""
    if x.device.type != "cuda":
        return convolve_plain(conv, x, out, first, second)
    from restore.kernels.convolution_cuda import run

    return run(conv, x, out, first, second)


def convolve_trouble(device: torch.device, dtype: torch.dtype) -> str:
    """Holds the kernel against its twin there; says what is wrong, or nothing."""
    if dtype not in (torch.float16, torch.bfloat16):
        return "is for float16 and bfloat16"
    shapes = (
        (3, 48, Act.NONE, 1, 0),
        (48, 48, Act.GATE, 1, 1),
        (64, 64, Act.SLOPE, 2, 0),
        (96, 32, Act.SLOPE, 1, 0),
        (192, 64, Act.GELU, 1, 0),
        (192, 64, Act.NONE, 1, 2),
    )
    cases = [_sample(device, dtype, *shape) for shape in shapes]
    with contextlib.suppress(ImportError, RuntimeError):  # it is said below
        compile_ahead(conv for conv, *_ in cases)
    for conv, x, out, residuals in cases:
        wrong = difference(
            partial(convolve, conv, x, out.clone(), *residuals),
            partial(convolve_plain, conv, x, out.clone(), *residuals),
            str(dtype).removeprefix("torch."),
        )
        if wrong:
            return wrong
    return ""


def _sample(
    device: torch.device,
    dtype: torch.dtype,
    inputs: int,
    outputs: int,
    act: Act,
    enlarge: int,
    residuals: int,
) -> tuple[Convolution, Tensor, Tensor, list[Residual]]:
    """A convolution, its input, room for its result (with no numbers in it), its residuals."""
    draw = torch.Generator().manual_seed(inputs)

    def drawn(*shape: int) -> Tensor:
        return (2 * torch.rand(shape, generator=draw) - 1).to(device, dtype)

    weight, bias, slope = drawn(outputs, inputs, 3, 3), drawn(outputs), drawn(outputs)
    conv = prepared(
        weight * (2 * inputs) ** -0.5,
        bias,
        act=act,
        slope=slope,
        enlarge=enlarge,
        residuals=residuals,
    )
    if conv is None:
        raise ValueError(f"no kernel for {inputs} to {outputs} channels")
    x, size = drawn(2, 37, 45, conv.inputs), (2, 37 * enlarge, 45 * enlarge, conv.kept)
    rest = [Residual(drawn(*size), 0.2) for _ in range(residuals)]
    return conv, x, x.new_full(size, float("nan")), rest
