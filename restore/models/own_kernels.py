"""Puts our own kernels into a network that runs on a GPU, where they prove themselves there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from restore.kernels.activation import bias_prelu, bias_prelu_trouble
from restore.kernels.block_end import end_block_trouble
from restore.kernels.choose import can_run
from restore.kernels.convolution import convolve_trouble
from restore.kernels.enlarge import enlarge, enlarge_trouble
from restore.kernels.features import features_trouble
from restore.kernels.image_windows import attend_picture_trouble
from restore.kernels.omni import omni_trouble
from restore.kernels.windows import attend_trouble
from restore.models.fused_attention import attend_by_kernel
from restore.models.fused_convolutions import fuse_convolutions
from restore.models.fused_hat import fuse_hat
from restore.models.fused_omni import fuse_omni

__all__ = ["use_kernels"]


def use_kernels(model: nn.Module, device: torch.device, dtype: torch.dtype) -> str:
    """Replaces parts of a network by kernels that compute the same.

    Each kernel is held against its twin on this device first; one that does not run, or is off by
    more than the number format explains, is left out.

    Args:
        model: any network, on the device in the format; changed in place.
        device: where it runs.
        dtype: what it runs in.

    Returns:
        Which kernels it uses and which were left out and why, for the report; empty for none.
    """
    if not can_run(device):
        return ""
    from spandrel.architectures.Compact import Compact

    said, whole = _as_a_whole(model, device, dtype)
    if whole:
        return ", ".join(said)
    if isinstance(model, Compact) and model.act_type == "prelu":
        trouble = bias_prelu_trouble(device, dtype)
        said.append(f"the activation's {trouble}" if trouble else "activation")
        if not trouble:
            _merge_activations(model.body)
        trouble = enlarge_trouble(device, dtype)
        said.append(f"the enlargement's {trouble}" if trouble else "enlargement")
        if not trouble:
            compact: Any = model
            compact.forward = partial(_compact, model)
    elif attend_by_kernel(model, wanted=False):
        trouble = attend_trouble(device, dtype)
        said.append(f"the window attention's {trouble}" if trouble else "window attention")
        attend_by_kernel(model, wanted=not trouble)
    return ", ".join(said)


def _as_a_whole(
    model: nn.Module, device: torch.device, dtype: torch.dtype
) -> tuple[list[str], bool]:
    """Lets the network run by fused passes from end to end, where its kind and the format allow.

    Returns:
        Which kernels it uses, or which were left out and why; and whether it runs so.
    """
    from spandrel.architectures.Compact import Compact
    from spandrel.architectures.ESRGAN import ESRGAN
    from spandrel.architectures.HAT import HAT
    from spandrel.architectures.OmniSR import OmniSR
    from spandrel.architectures.SPAN import SPAN

    if dtype not in (torch.float16, torch.bfloat16) or device.type != "cuda":
        return [], False
    if not isinstance(model, Compact | ESRGAN | HAT | OmniSR | SPAN):
        return [], False
    if isinstance(model, HAT):
        proofs: dict[str, Callable[[torch.device, torch.dtype], str]] = {
            "convolution": convolve_trouble,
            "picture attention": attend_picture_trouble,
            "block's end": end_block_trouble,
            "norm and mean": features_trouble,
        }
        fuse: Callable[[nn.Module], bool] = fuse_hat
    else:
        proofs = {"convolution": convolve_trouble, "enlargement": enlarge_trouble}
        fuse = fuse_convolutions
        if isinstance(model, OmniSR):
            proofs["parts of OmniSR"], fuse = omni_trouble, fuse_omni
    for name, proof in proofs.items():
        if trouble := proof(device, dtype):
            return [f"the {name}'s {trouble}"], False
    return ([*proofs], True) if fuse(model) else ([], False)


class _Activated(nn.Module):
    """A convolution, its bias and its PReLU."""

    def __init__(self, conv: nn.Conv2d, activation: nn.PReLU) -> None:
        super().__init__()
        self.conv, self.activation = conv, activation

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        padding: Any = conv.padding
        y = conv2d(x, conv.weight, None, conv.stride, padding, conv.dilation, conv.groups)
        return bias_prelu(y, conv.bias, self.activation.weight)


def _merge_activations(body: nn.ModuleList) -> None:
    """Numbers in the list stay: what was merged leaves an empty place."""
    for at in range(len(body) - 1):
        conv, activation = body[at], body[at + 1]
        if isinstance(conv, nn.Conv2d) and isinstance(activation, nn.PReLU):
            body[at], body[at + 1] = _Activated(conv, activation), nn.Identity()


def _compact(model: Any, x: Tensor) -> Tensor:  # noqa: ANN401
    """``[N, C, h, w]`` to float32 ``[N, C, h * scale, w * scale]``, as spandrel's form does."""
    features = x
    for layer in model.body:
        features = layer(features)
    return enlarge(features, x, int(model.upscale))
