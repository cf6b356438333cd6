"""Tiny pipelines of the real diffusers classes, with seeded random weights, saved to folders.

Nothing is fetched: models come from configurations, tokenizers from vocabularies made here.
"""

from __future__ import annotations

import json
import string
from pathlib import Path

import torch

from restore.diffusion.extra import need_diffusers

KINDS = ("sd", "sdxl", "flux", "sd-controlnet")
WORDS = ["film", "street", "horse", "tram", "clock", "face", "snow", "sharp", "clean"]
WORDS += ["frame", "grain", "blurred", "a", "of", "the"]


def _clip_tokenizer(folder: Path, limit: int = 77):
    """A CLIP tokenizer over letters and a few merges, as its files would be on the hub."""
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    letters = list(string.ascii_lowercase)
    tokens = [*letters, *(letter + "</w>" for letter in letters)]
    merges = []
    for word in WORDS:
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            merges.append(f"{pieces[0]} {pieces[1]}")
            pieces[:2] = [pieces[0] + pieces[1]]
            tokens.append(pieces[0])
    merges = list(dict.fromkeys(merges))
    vocabulary = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({t: n for n, t in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    return CLIPTokenizer.from_pretrained(str(folder), model_max_length=limit)


def _t5_tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = ["<pad>", "</s>", "<unk>", *WORDS]
    tokenizer = Tokenizer(
        models.WordLevel({t: n for n, t in enumerate(vocabulary)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=512,
    )


def _clip_text(width: int = 32, *, projected: bool = False):
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        bos_token_id=0,
        eos_token_id=2,
        hidden_size=width,
        intermediate_size=37,
        layer_norm_eps=1e-5,
        num_attention_heads=4,
        num_hidden_layers=2,
        pad_token_id=1,
        vocab_size=1000,
        projection_dim=32,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config).eval()


def _vae(channels: int = 4, **more):
    return need_diffusers().AutoencoderKL(
        block_out_channels=[16, 32],
        in_channels=3,
        out_channels=3,
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        latent_channels=channels,
        norm_num_groups=8,
        sample_size=64,
        **more,
    )


def _unet(**more):
    return need_diffusers().UNet2DConditionModel(
        block_out_channels=(16, 32),
        layers_per_block=1,
        sample_size=32,
        in_channels=4,
        out_channels=4,
        norm_num_groups=8,
        **{
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            "cross_attention_dim": 32,
            "attention_head_dim": 4,
            **more,
        },
    )


def _ddim():
    return need_diffusers().DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def _sd(scratch: Path):
    return need_diffusers().StableDiffusionImg2ImgPipeline(
        vae=_vae(),
        text_encoder=_clip_text(),
        tokenizer=_clip_tokenizer(scratch / "clip"),
        unet=_unet(),
        scheduler=_ddim(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sdxl(scratch: Path):
    tokenizer = _clip_tokenizer(scratch / "clip")
    unet = _unet(
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 2),
        projection_class_embeddings_input_dim=80,
        cross_attention_dim=64,
        use_linear_projection=True,
        attention_head_dim=(2, 4),
    )
    return need_diffusers().StableDiffusionXLImg2ImgPipeline(
        vae=_vae(),
        text_encoder=_clip_text(),
        text_encoder_2=_clip_text(projected=True),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=need_diffusers().EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        ),
        requires_aesthetics_score=False,
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )


def _flux(scratch: Path):
    from transformers import T5Config, T5EncoderModel

    transformer = need_diffusers().FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=[4, 4, 8],
        guidance_embeds=True,
    )
    t5 = T5Config(vocab_size=64, d_model=32, d_kv=8, d_ff=37, num_layers=1, num_heads=4)
    return need_diffusers().FluxImg2ImgPipeline(
        scheduler=need_diffusers().FlowMatchEulerDiscreteScheduler(),
        vae=_vae(use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06),
        text_encoder=_clip_text(),
        tokenizer=_clip_tokenizer(scratch / "clip"),
        text_encoder_2=T5EncoderModel(t5).eval(),
        tokenizer_2=_t5_tokenizer(),
        transformer=transformer,
    )


def save_controlnet(folder: Path, seed: int = 7, kind: str = "sd") -> Path:
    """A tiny ControlNet that fits the pipeline ``sd`` or ``sdxl``."""
    torch.manual_seed(seed)
    more = {"cross_attention_dim": 32, "attention_head_dim": 4}
    if kind == "sdxl":
        more = {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "transformer_layers_per_block": (1, 2),
            "projection_class_embeddings_input_dim": 80,
            "cross_attention_dim": 64,
            "use_linear_projection": True,
            "attention_head_dim": (2, 4),
        }
    net = need_diffusers().ControlNetModel(
        **more,
        block_out_channels=(16, 32),
        layers_per_block=1,
        in_channels=4,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        # The picture is brought down as far as the tiny VAE does, by 2.
        conditioning_embedding_out_channels=(16, 32),
    )
    with torch.no_grad():
        for block in net.controlnet_down_blocks:  # zero as they are born: it would do nothing
            block.weight.normal_(0, 0.2)
        net.controlnet_cond_embedding.conv_out.weight.normal_(0, 0.1)
    net.save_pretrained(folder, safe_serialization=True)
    return folder


def save_pipeline(kind: str, folder: Path, seed: int = 1) -> Path:
    """Save a tiny pipeline; ``kind`` is ``sd``, ``sdxl`` or ``flux``."""
    torch.manual_seed(seed)
    scratch = folder.with_name(folder.name + "-scratch")
    pipeline = {"sd": _sd, "sdxl": _sdxl, "flux": _flux}[kind](scratch)
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder
