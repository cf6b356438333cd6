"""Norms and means of wide features: one pass each where torch takes several.

Source: Ba et al., "Layer Normalization", 2016.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, pad

from restore.kernels.block_end import WIDTH
from restore.kernels.choose import can_run, difference

__all__ = ["features_trouble", "mean", "mean_plain", "norm", "norm_plain"]


def norm_plain(x: Tensor, by: Tensor, channels: int, eps: float) -> Tensor:
    """The twin of ``norm``.

    Args:
        x: ``[n, h, w, WIDTH]``, zeros behind ``channels``.
        by: ``[2, WIDTH]`` float32: weight and bias.
        channels: that the network has.
        eps: added to the variance.

    Returns:
        As ``x``, zeros behind ``channels`` again.
    """
    exact = torch.float64 if x.dtype == torch.float64 else torch.float32
    weight, bias = by[:, :channels].to(exact)
    inner = layer_norm(x[..., :channels].to(exact), (channels,), weight, bias, eps)
    return pad(inner, (0, WIDTH - channels)).to(x.dtype)


def norm(x: Tensor, by: Tensor, channels: int, eps: float) -> Tensor:
    """As the twin; by the kernel where it can run."""
    if not can_run(x.device):
        return norm_plain(x, by, channels, eps)
    from restore.kernels.features_triton import run_norm

    return run_norm(x, by, channels, eps)


def mean_plain(x: Tensor) -> Tensor:
    """The twin of ``mean``: ``[n, h, w, WIDTH]`` to ``[n, WIDTH]`` float32 over all pixels."""
    return x.mean((1, 2), dtype=torch.float64 if x.dtype == torch.float64 else torch.float32)


def mean(x: Tensor) -> Tensor:
    """As the twin; by the kernel where it can run. The same input gives the same bits."""
    if not can_run(x.device):
        return mean_plain(x)
    from restore.kernels.features_triton import run_mean

    return run_mean(x)


def features_trouble(device: torch.device, dtype: torch.dtype) -> str:
    """Holds the kernels against their twins there; says what is wrong, or nothing."""
    draw = torch.Generator().manual_seed(0)
    x = pad(2 * torch.rand((2, 9, 15, 180), generator=draw) - 0.5, (0, WIDTH - 180))
    by = torch.rand((2, WIDTH), generator=draw)
    by[:, 180:] = 0
    x, by = x.to(device, dtype), by.to(device)
    form = str(dtype).removeprefix("torch.")
    return difference(
        partial(norm, x, by, 180, 1e-5), partial(norm_plain, x, by, 180, 1e-5), form
    ) or difference(partial(mean, x), partial(mean_plain, x), "float32")
