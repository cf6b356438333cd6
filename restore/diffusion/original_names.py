"""What the authors of SDXL and FLUX call the layers that diffusers calls otherwise."""

from __future__ import annotations

import re
from typing import Any, Final

__all__ = ["flux_layers", "sgm_name"]

_FLUX: Final = re.compile(r"(?P<kind>double|single)_blocks_(?P<number>\d+)_(?P<layer>\w+)")
_FLUX_DOUBLE: Final = {
    "img_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "img_attn_proj": ("attn.to_out.0",),
    "img_mlp_0": ("ff.net.0.proj",),
    "img_mlp_2": ("ff.net.2",),
    "img_mod_lin": ("norm1.linear",),
    "txt_attn_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "txt_attn_proj": ("attn.to_add_out",),
    "txt_mlp_0": ("ff_context.net.0.proj",),
    "txt_mlp_2": ("ff_context.net.2",),
    "txt_mod_lin": ("norm1_context.linear",),
}
_FLUX_SINGLE: Final = {
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
    "modulation_lin": ("norm.linear",),
}
_RESNET: Final = {
    "conv1": "in_layers.2",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_UNET: Final = re.compile(
    r"(?:(?P<side>down|up)_blocks\.(?P<block>\d+)|(?P<mid>mid_block))\."
    r"(?P<kind>attentions|resnets|downsamplers|upsamplers)\.(?P<number>\d+)\.(?P<rest>.+)"
)


def flux_layers(stem: str) -> tuple[str, ...] | None:
    """Layers of diffusers' FLUX transformer that one layer of the original stands for.

    Args:
        stem: ``double_blocks_0_img_attn_qkv``, as trainers write it.

    Returns:
        Paths in the transformer whose outputs, in that order, are the rows of the original layer;
        None where the original has no such layer.
    """
    match = _FLUX.fullmatch(stem)
    if match is None:
        return None
    is_double = match["kind"] == "double"
    names = (_FLUX_DOUBLE if is_double else _FLUX_SINGLE).get(match["layer"])
    if names is None:
        return None
    block = "transformer_blocks" if is_double else "single_transformer_blocks"
    return tuple(f"{block}.{match['number']}.{name}" for name in names)


def sgm_name(path: str, config: Any) -> str | None:  # noqa: ANN401  diffusers' frozen dictionary
    """The original name of a layer of diffusers' UNet.

    Args:
        path: ``down_blocks.1.attentions.0.proj_in``.
        config: the UNet's; its number of layers a block decides the numbering.

    Returns:
        ``input_blocks.4.1.proj_in``; None for layers outside of the blocks.
    """
    match = _UNET.fullmatch(path)
    if match is None:
        return None
    number, rest = int(match["number"]), match["rest"]
    kind = match["kind"]
    if kind == "resnets":
        first, _, more = rest.partition(".")
        rest = ".".join(part for part in (_RESNET.get(first, first), more) if part)
    if match["mid"]:
        return f"middle_block.{2 * number if kind == 'resnets' else 1}.{rest}"
    block, layers = int(match["block"]), int(config["layers_per_block"])
    if match["side"] == "down":
        if kind == "downsamplers":
            return f"input_blocks.{(block + 1) * (layers + 1)}.0.op"
        place = 1 + block * (layers + 1) + number
        return f"input_blocks.{place}.{int(kind == 'attentions')}.{rest}"
    if kind == "upsamplers":
        has_attention = "CrossAttn" in config["up_block_types"][block]
        return f"output_blocks.{block * (layers + 1) + layers}.{1 + has_attention}.{rest}"
    return f"output_blocks.{block * (layers + 1) + number}.{int(kind == 'attentions')}.{rest}"
