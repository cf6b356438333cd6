"""Names and shapes of a LoRA's tensors in a file, as kohya's scripts write them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from restore.diffusion.original_names import flux_layers, sgm_name

if TYPE_CHECKING:
    import torch

    from restore.lora.adapters import Factors

__all__ = ["file_tensors"]

_FLUX_LAYERS: Final = {
    "double": (
        "img_attn_qkv",
        "img_attn_proj",
        "img_mlp_0",
        "img_mlp_2",
        "img_mod_lin",
        "txt_attn_qkv",
        "txt_attn_proj",
        "txt_mlp_0",
        "txt_mlp_2",
        "txt_mod_lin",
    ),
    "single": ("linear1", "linear2", "modulation_lin"),
}


def file_tensors(
    factors: Iterable[Factors],
    unet_config: Any,  # noqa: ANN401  diffusers' frozen dictionary
    text_encoders: int,
) -> dict[str, torch.Tensor]:
    """What goes into the file, float32 on the CPU.

    Args:
        factors: the trained layers.
        unet_config: the UNet's where it is SDXL, whose layers go by their original names; None
            for diffusers' names.
        text_encoders: CLIP text encoders of the pipeline; a single one is ``lora_te``.

    Returns:
        ``NAME.lora_down.weight``, ``NAME.lora_up.weight`` and ``NAME.alpha`` for every layer. Of
        FLUX, whose original has query, key and value in one layer, the pieces of such a layer are
        stacked: rank and alpha grow with their number, so that the change stays the same.
    """
    every = list(factors)
    named: dict[str, torch.Tensor] = {}
    fused = {one.path: one for one in every if one.part == "transformer"}
    for one in every:
        if one.part == "transformer":
            continue
        if one.part == "unet":
            original = sgm_name(one.path, unet_config) if unet_config is not None else one.path
            stem = "lora_unet_" + (original or one.path)
        else:
            number = "2" if one.part == "text_encoder_2" else "1" if text_encoders > 1 else ""
            stem = f"lora_te{number}_text_model." + one.path.removeprefix("text_model.")
        named |= _layer(stem.replace(".", "_"), [one])
    return named | (_flux(fused) if fused else {})


def _layer(stem: str, pieces: list[Factors]) -> dict[str, torch.Tensor]:
    import torch

    downs = [one.down.detach().float().cpu() for one in pieces]
    ups = [one.up.detach().float().cpu() for one in pieces]
    if len(pieces) == 1:
        down, up = downs[0], ups[0]
    else:
        down = torch.cat(downs)
        up = torch.zeros(sum(one.shape[0] for one in ups), down.shape[0])
        row = column = 0
        for one in ups:
            up[row : row + one.shape[0], column : column + one.shape[1]] = one
            row, column = row + one.shape[0], column + one.shape[1]
    alpha = sum(one.alpha for one in pieces)
    return {
        f"{stem}.lora_down.weight": down.contiguous(),
        f"{stem}.lora_up.weight": up.contiguous(),
        f"{stem}.alpha": torch.tensor(alpha),
    }


def _flux(fused: dict[str, Factors]) -> dict[str, torch.Tensor]:
    named: dict[str, torch.Tensor] = {}
    for kind, layers in _FLUX_LAYERS.items():
        block = "transformer_blocks" if kind == "double" else "single_transformer_blocks"
        count = 1 + max(
            (int(path.split(".")[1]) for path in fused if path.split(".")[0] == block), default=-1
        )
        for number in range(count):
            for layer in layers:
                stem = f"{kind}_blocks_{number}_{layer}"
                paths = flux_layers(stem) or ()
                if all(path in fused for path in paths):
                    named |= _layer(f"lora_unet_{stem}", [fused[path] for path in paths])
    return named
