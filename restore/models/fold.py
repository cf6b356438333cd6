"""Folding of blocks whose training-time branches amount to one convolution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from restore.models.onnx_reader import SPAN_MEAN, SPAN_RANGE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

__all__ = ["complete_span", "fold_span", "set_normalisation"]

_MERGED = "_r.eval_conv.weight", "conv_1.eval_conv.weight", "conv_2.eval_conv.weight"


def complete_span(state: dict[str, Tensor]) -> bool:
    """Adds empty training branches to the weights of a SPAN network that was folded already.

    Such weights (from an ONNX graph) hold the merged convolutions only; spandrel recognises the
    network by its branches.

    Args:
        state: tensors by name; changed in place.

    Returns:
        Whether the merged convolutions are final, so that ``fold_span`` must not merge again.
    """
    import torch

    merged = [key.removesuffix("eval_conv.weight") for key in state if key.endswith(_MERGED)]
    if not merged or any(f"{prefix}sk.weight" in state for prefix in merged):
        return False
    for prefix in merged:
        c_out, c_in = state[f"{prefix}eval_conv.weight"].shape[:2]
        branches = {
            "sk": (c_out, c_in, 1, 1),
            "conv.0": (2 * c_in, c_in, 1, 1),
            "conv.1": (2 * c_out, 2 * c_in, 3, 3),
            "conv.2": (c_out, 2 * c_out, 1, 1),
        }
        for name, shape in branches.items():
            state[f"{prefix}{name}.weight"] = torch.zeros(shape)
            state[f"{prefix}{name}.bias"] = torch.zeros(shape[0])
    return True


def set_normalisation(model: nn.Module, facts: Mapping[str, str]) -> None:
    """Sets a SPAN network's mean colour and factor where its file states them.

    They are no weights, so spandrel assumes 0.4488, 0.4371, 0.4040 and 255 for every network; a
    published graph says otherwise.

    Args:
        model: any network; changed in place if it is a SPAN.
        facts: metadata of the safetensors file.
    """
    import torch
    from spandrel.architectures.SPAN import SPAN

    if isinstance(model, SPAN) and SPAN_MEAN in facts and SPAN_RANGE in facts:
        mean = [float(value) for value in facts[SPAN_MEAN].split(",")]
        model.mean = torch.tensor(mean).view(1, 3, 1, 1)
        model.img_range = float(facts[SPAN_RANGE])


def fold_span(model: nn.Module, *, merged_already: bool = False) -> int:
    """Replaces each ``Conv3XC`` of a SPAN network by the 3x3 convolution that it amounts to.

    spandrel computes that convolution anew in each forward pass from the block's 1x1, 3x3, 1x1
    and skip branches. The merged weights are computed here once, by spandrel's own function on
    float32, so the result is bit-identical to spandrel's in float32 and closer to it than
    spandrel itself comes in half precision, where it merges rounded weights.

    Source: Wan et al., "Swift Parameter-free Attention Network for Efficient Super-Resolution",
    2023, section 3.2 (re-parameterisation).

    Args:
        model: any network with float32 weights; changed in place.
        merged_already: its merged weights are final (see ``complete_span``).

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
            if not merged_already:
                block.update_params()
            merged: nn.Module = block.eval_conv
            if block.has_relu:
                merged = torch.nn.Sequential(merged, torch.nn.LeakyReLU(0.05))
            setattr(parent, name, merged.requires_grad_(False).eval())
            folded += 1
    return folded
