"""Folding of blocks whose training-time branches amount to one convolution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

__all__ = ["fold_span"]


def fold_span(model: nn.Module) -> int:
    """Replaces each ``Conv3XC`` of a SPAN network by the 3x3 convolution that it amounts to.

    spandrel computes that convolution anew in each forward pass from the block's 1x1, 3x3, 1x1
    and skip branches. The merged weights are computed here once, by spandrel's own function on
    float32, so the result is bit-identical to spandrel's in float32 and closer to it than
    spandrel itself comes in half precision, where it merges rounded weights.

    Source: Wan et al., "Swift Parameter-free Attention Network for Efficient Super-Resolution",
    2023, section 3.2 (re-parameterisation).

    Args:
        model: any network with float32 weights; changed in place.

    Returns:
        How many blocks were folded; 0 for a network that is no SPAN.
    """
    import torch
    from spandrel.architectures.SPAN import SPAN

    if not isinstance(model, SPAN):
        return 0
    block_type: Any = type(model.conv_1)
    folded = 0
    for parent in list(model.modules()):
        for name, block in list(parent.named_children()):
            if not isinstance(block, block_type):
                continue
            block.update_params()
            merged: nn.Module = block.eval_conv
            if block.has_relu:
                merged = torch.nn.Sequential(merged, torch.nn.LeakyReLU(0.05))
            setattr(parent, name, merged.requires_grad_(False).eval())
            folded += 1
    return folded
