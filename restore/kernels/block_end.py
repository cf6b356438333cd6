"""The second half of a transformer's block in one pass over the features.

What attention found is projected and added to the features, with what a convolution found beside
it; the sum is normed, goes through the two layers of the perceptron and is added again; and the
result is normed once more for the block that follows. In plain torch these are some twenty passes.

Source: Liu et al., "Swin Transformer", ICCV 2021; Ba et al., "Layer Normalization", 2016; Hendrycks
and Gimpel, "Gaussian Error Linear Units", 2016.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, linear, pad

from restore.kernels.choose import can_run, difference

__all__ = ["HIDDEN", "WIDTH", "BlockEnd", "end_block", "end_block_plain", "end_block_trouble"]

#: Channels of the features, zeros behind those that the network has.
WIDTH = 192
#: The same for the layer between.
HIDDEN = 384


@dataclass(frozen=True)
class BlockEnd:
    """Weights, ``[out, in]`` in the features' format, padded by zeros; vectors in float32.

    Attributes:
        channels: that the network has, of ``WIDTH``.
        proj: ``[WIDTH, WIDTH]``, with ``proj_bias``.
        norm: ``[2, WIDTH]``: weight and bias of the norm before the perceptron.
        up: ``[HIDDEN, WIDTH]``, with ``up_bias``.
        down: ``[WIDTH, HIDDEN]``, with ``down_bias``.
        after: ``[2, WIDTH]``: of the norm for the block that follows; None for none.
        eps: of the norms.
    """

    channels: int
    proj: Tensor
    proj_bias: Tensor
    norm: Tensor
    up: Tensor
    up_bias: Tensor
    down: Tensor
    down_bias: Tensor
    after: Tensor | None
    eps: float = 1e-5


def end_block_plain(
    end: BlockEnd, x: Tensor, found: Tensor, near: Tensor | None, share: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The twin: the same by torch's own operations, in float32 (float64 for float64).

    Args:
        end: the weights.
        x: ``[n, h, w, WIDTH]``, zeros behind ``channels``.
        found: the same, what attention found.
        near: the same, what the convolution found; None for none.
        share: ``[n, WIDTH]`` float32, factors of ``near``.

    Returns:
        The features after the block, and normed by ``after``; both as ``x``. Without ``after`` the
        features twice.
    """
    exact = torch.float64 if x.dtype == torch.float64 else torch.float32

    def wide(values: Tensor) -> Tensor:
        return values.to(exact)

    def normed(values: Tensor, by: Tensor) -> Tensor:
        held = end.channels
        inner = layer_norm(
            values[..., :held], (held,), wide(by[0, :held]), wide(by[1, :held]), end.eps
        )
        return pad(inner, (0, WIDTH - held))

    total = wide(x) + linear(wide(found), wide(end.proj), wide(end.proj_bias))
    if near is not None and share is not None:
        total = total + wide(near) * wide(share)[:, None, None]
    # The products take the features' format on a GPU; the twin rounds where the kernel does.
    inner = gelu(
        linear(normed(total, end.norm).to(x.dtype).to(exact), wide(end.up), wide(end.up_bias))
    )
    total = total + linear(inner.to(x.dtype).to(exact), wide(end.down), wide(end.down_bias))
    out = total.to(x.dtype)
    return out, out if end.after is None else normed(total, end.after).to(x.dtype)


def end_block(
    end: BlockEnd, x: Tensor, found: Tensor, near: Tensor | None, share: Tensor | None
) -> tuple[Tensor, Tensor]:
    """As the twin; by the kernel where it can run. All contiguous."""
    if not can_run(x.device):
        return end_block_plain(end, x, found, near, share)
    from restore.kernels.block_end_triton import run

    return run(end, x, found, near, share)


def end_block_trouble(device: torch.device, dtype: torch.dtype) -> str:
    """Holds the kernel against its twin there; says what is wrong, or nothing."""
    draw = torch.Generator().manual_seed(0)
    channels, hidden = 180, 360

    def drawn(*shape: int, within: tuple[int, ...] = (), size: float = 1.0) -> Tensor:
        values = size * (2 * torch.rand(within or shape, generator=draw) - 1)
        grown = [(0, full - has) for full, has in zip(shape, within or shape, strict=True)]
        return pad(values, [edge for pair in reversed(grown) for edge in pair]).to(device)

    small = channels**-0.5
    end = BlockEnd(
        channels,
        drawn(WIDTH, WIDTH, within=(channels, channels), size=small).to(dtype),
        drawn(WIDTH, within=(channels,)),
        drawn(2, WIDTH, within=(2, channels)),
        drawn(HIDDEN, WIDTH, within=(hidden, channels), size=small).to(dtype),
        drawn(HIDDEN, within=(hidden,)),
        drawn(WIDTH, HIDDEN, within=(channels, hidden), size=small).to(dtype),
        drawn(WIDTH, within=(channels,)),
        drawn(2, WIDTH, within=(2, channels), size=0.5),
    )
    size, held = (2, 9, 15, WIDTH), (2, 9, 15, channels)
    x, found, near = (drawn(*size, within=held, size=0.5).to(dtype) for _ in range(3))
    share = drawn(2, WIDTH, within=(2, channels))
    for part in (0, 1):
        for given in (near, None):
            wrong = difference(
                partial(_one, end_block, part, end, x, found, given, share),
                partial(_one, end_block_plain, part, end, x, found, given, share),
                str(dtype).removeprefix("torch."),
            )
            if wrong:
                return wrong
    return ""


def _one(form: Callable[..., tuple[Tensor, Tensor]], part: int, *given: Any) -> Tensor:  # noqa: ANN401
    return form(*given)[part]
