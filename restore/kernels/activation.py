"""What follows a convolution: its bias and PReLU, in one pass over memory.

Source: He et al., "Delving Deep into Rectifiers", ICCV 2015 (PReLU). torch adds the bias and takes
the slope in two passes, each of which reads and writes every feature.
"""

from __future__ import annotations

import torch
from torch import Tensor

from restore.kernels.choose import can_run, difference

__all__ = ["bias_prelu", "bias_prelu_plain", "bias_prelu_trouble"]


def bias_prelu_plain(x: Tensor, bias: Tensor | None, slope: Tensor) -> Tensor:
    """The twin: the same by torch's own operations.

    Args:
        x: ``[N, C, h, w]`` floating point.
        bias: ``[C]``, or None for none.
        slope: ``[C]``, or ``[1]`` for all channels.

    Returns:
        ``x + bias`` where that is above 0, else ``slope * (x + bias)``; shape and dtype of ``x``.
    """
    if bias is not None:
        x = x + bias.view(1, -1, 1, 1)
    return torch.nn.functional.prelu(x, slope)


def bias_prelu(x: Tensor, bias: Tensor | None, slope: Tensor) -> Tensor:
    """As the twin; by the kernel where it can run, and then written over ``x``.

    Arithmetic is float32 whatever the format. ``x`` is dense: contiguous or channels_last.
    """
    dense = x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)
    if not (dense and can_run(x.device)):
        return bias_prelu_plain(x, bias, slope)
    from restore.kernels.activation_triton import run

    return run(x, bias, slope)


def bias_prelu_trouble(device: torch.device, dtype: torch.dtype) -> str:
    """Holds the kernel against its twin there; says what is wrong, or nothing."""
    draw = torch.Generator().manual_seed(0)
    x, bias, slope = (
        (2 * torch.rand(shape, generator=draw) - 1).to(device, dtype)
        for shape in ((2, 24, 9, 13), (24,), (24,))
    )
    x = x.contiguous(memory_format=torch.channels_last)
    return difference(
        lambda: bias_prelu(x.clone(), bias, slope),
        lambda: bias_prelu_plain(x, bias, slope),
        str(dtype).removeprefix("torch."),
    )
