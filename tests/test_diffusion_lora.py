"""LoRA files of each naming, against what diffusers makes of the same file."""

from __future__ import annotations

import re

import pytest
import torch
from safetensors.torch import save_file

from restore.diffusion.folder import find_pipeline
from restore.diffusion.load import load_pipeline
from restore.diffusion.lora import apply_lora
from restore.errors import HashMismatch, ModelNotFound, UnsafeWeights, UnsupportedModel
from tests.diffusion_material import save_pipeline

TEXT = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1")
MODEL = ("attn1.to_q", "attn2.to_k", "attn2.to_out.0", "ff.net.2", "proj_in")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("pipelines")
    return {
        kind: find_pipeline(str(save_pipeline(kind, root / kind)))
        for kind in ("sd", "sdxl", "flux")
    }


def load(folders, kind="sd"):
    return load_pipeline(folders[kind], "image-to-image")


def changed(loaded):
    """Layers that a LoRA usually changes, by part and path."""
    parts = loaded.pipeline.components
    return [
        (part, path, layer)
        for part, ends in (("unet", MODEL), ("text_encoder", TEXT), ("text_encoder_2", TEXT))
        if part in parts
        for path, layer in parts[part].named_modules()
        if path.endswith(ends)
    ]


def make(loaded, path, naming, rank=3, alpha=2.0, **metadata):
    generator = torch.Generator().manual_seed(5)
    prefixes = {"unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}
    if "text_encoder_2" not in loaded.pipeline.components:
        prefixes["text_encoder"] = "lora_te_"
    tensors = {}
    for part, name, layer in changed(loaded):
        out, into, *kernel = layer.weight.shape
        down = torch.randn(rank, into, *kernel, generator=generator)
        up = torch.randn(out, rank, *(1 for _ in kernel), generator=generator) * 0.05
        if part != "unet" and not name.startswith("text_model."):
            name = f"text_model.{name}"  # as trainers write it
        if naming == "kohya":
            stem = prefixes[part] + name.replace(".", "_")
            tensors |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
            tensors[f"{stem}.alpha"] = torch.tensor(alpha)
        else:
            stem = f"{part}.{name}"
            tensors |= {f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up}
    save_file(tensors, path, {k: str(v) for k, v in metadata.items()})
    return path


def weights(loaded):
    return {(part, name): layer.weight.clone() for part, name, layer in changed(loaded)}


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_kohya_and_peft_names_say_the_same(folders, tmp_path, kind):
    kohya, peft, plain = (load(folders, kind) for _ in range(3))
    a = apply_lora(kohya, make(plain, tmp_path / "k.safetensors", "kohya", alpha=3.0))
    b = apply_lora(peft, make(plain, tmp_path / "p.safetensors", "peft"))
    assert a.layers == b.layers == len(changed(plain)) > 10
    assert a.ranks == (3, 3)
    before = weights(plain)
    for key, value in weights(kohya).items():
        assert torch.equal(value, weights(peft)[key])
        assert (value - before[key]).abs().max() > 1e-3


def test_it_does_to_the_denoiser_what_diffusers_does(folders, tmp_path):
    ours, theirs = load(folders), load(folders)
    path = make(ours, tmp_path / "k.safetensors", "kohya")
    apply_lora(ours, path, model_strength=0.8, text_strength=0)
    theirs.pipeline.load_lora_weights(str(tmp_path), weight_name=path.name, adapter_name="film")
    theirs.pipeline.set_adapters(["film"], [{"unet": 0.8}])
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(1, 4, 16, 16, generator=generator)
    words = torch.randn(1, 7, 32, generator=generator)
    with torch.inference_mode():
        one, other = (
            x.pipeline.unet(latents, 500, encoder_hidden_states=words).sample
            for x in (ours, theirs)
        )
    assert (one - other).abs().max() < 1e-5


def test_strengths_of_model_and_text_encoder_are_apart(folders, tmp_path):
    plain = load(folders)
    path = make(plain, tmp_path / "k.safetensors", "kohya")
    full, apart = load(folders), load(folders)
    apply_lora(full, path)
    said = str(apply_lora(apart, path, model_strength=0.8, text_strength=0.7))
    assert "strength 0.8, text encoder 0.7" in said
    before, whole, some = weights(plain), weights(full), weights(apart)
    for key, value in before.items():
        strength = 0.8 if key[0] == "unet" else 0.7
        assert torch.allclose(some[key] - value, strength * (whole[key] - value), atol=1e-6)


def test_keys_that_nothing_takes_are_named_and_nothing_is_changed(folders, tmp_path):
    loaded = load(folders)
    path = make(loaded, tmp_path / "k.safetensors", "kohya")
    from safetensors.torch import load_file

    extra = {"lora_unet_no_such_layer.lora_down.weight": torch.zeros(2, 2)}
    extra["lora_unet_mid_block_attentions_0_proj_in.hada_w1_a"] = torch.zeros(2, 2)
    save_file({**load_file(path), **extra}, path)
    before = weights(loaded)
    with pytest.raises(UnsupportedModel, match="no_such_layer") as caught:
        apply_lora(loaded, path)
    assert "hada_w1_a" in str(caught.value)
    assert "2 keys" in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in weights(loaded).items())


def test_another_base_model_is_refused_and_named(folders, tmp_path):
    sdxl = load(folders, "sdxl")
    path = make(sdxl, tmp_path / "x.safetensors", "kohya", ss_base_model_version="sdxl_base_v1-0")
    loaded = load(folders)
    before = weights(loaded)
    pattern = "sdxl_base_v1-0.*another base model than.*StableDiffusionImg2ImgPipeline"
    with pytest.raises(UnsupportedModel, match=pattern):
        apply_lora(loaded, path)
    assert all(torch.equal(value, before[key]) for key, value in weights(loaded).items())


def test_half_a_layer_is_refused(folders, tmp_path):
    from safetensors.torch import load_file

    loaded = load(folders)
    path = make(loaded, tmp_path / "k.safetensors", "kohya")
    tensors = load_file(path)
    gone = next(key for key in tensors if key.endswith("lora_up.weight"))
    del tensors[gone]
    save_file(tensors, path)
    with pytest.raises(UnsupportedModel, match=re.escape(gone.removesuffix(".lora_up.weight"))):
        apply_lora(loaded, path)


def test_only_the_recorded_safetensors_file_is_opened(folders, tmp_path):
    loaded = load(folders)
    path = make(loaded, tmp_path / "k.safetensors", "kohya")
    with pytest.raises(HashMismatch):
        apply_lora(loaded, path, sha256="0" * 64)
    with pytest.raises(ModelNotFound):
        apply_lora(loaded, tmp_path / "none.safetensors")
    (tmp_path / "k.pt").write_bytes(b"\x80\x04")
    with pytest.raises(UnsafeWeights):
        apply_lora(loaded, tmp_path / "k.pt")


def flux_kohya(path, more=()):
    """As kohya's scripts name FLUX' layers: by the original code, query, key and value in one."""
    generator = torch.Generator().manual_seed(3)
    tensors = {}
    for stem, out, into in (
        ("lora_unet_double_blocks_0_img_attn_qkv", 96, 32),
        ("lora_unet_double_blocks_0_img_attn_proj", 32, 32),
        ("lora_unet_single_blocks_0_linear2", 32, 160),
        *more,
    ):
        tensors[f"{stem}.lora_down.weight"] = torch.randn(4, into, generator=generator)
        tensors[f"{stem}.lora_up.weight"] = torch.randn(out, 4, generator=generator) * 0.05
        tensors[f"{stem}.alpha"] = torch.tensor(2.0)
    save_file(tensors, path)
    return path


def test_kohyas_names_for_flux_do_what_diffusers_makes_of_them(folders, tmp_path):
    ours, theirs = load(folders, "flux"), load(folders, "flux")
    path = flux_kohya(tmp_path / "f.safetensors")
    applied = apply_lora(ours, path, model_strength=0.5)
    assert applied.layers == 5  # query, key and value apart
    theirs.pipeline.load_lora_weights(str(tmp_path), weight_name=path.name, adapter_name="film")
    theirs.pipeline.set_adapters(["film"], [0.5])
    theirs.pipeline.fuse_lora(components=["transformer"])
    theirs.pipeline.unload_lora_weights()
    before = load(folders, "flux").denoiser.state_dict()
    found, wanted = (x.denoiser.state_dict() for x in (ours, theirs))
    moved = [key for key in before if not torch.equal(before[key], found[key])]
    assert len(moved) == 5
    assert all(torch.allclose(found[key], wanted[key], atol=1e-5) for key in before)


def test_a_flux_lora_with_keys_left_over_is_refused(folders, tmp_path):
    more = (("lora_unet_double_blocks_0_no_such_layer", 32, 32),)
    path = flux_kohya(tmp_path / "f.safetensors", more)
    with pytest.raises(UnsupportedModel, match="no_such_layer"):
        apply_lora(load(folders, "flux"), path)
    with pytest.raises(UnsupportedModel, match="another base model"):
        apply_lora(load(folders), flux_kohya(tmp_path / "g.safetensors"))


def test_sdxls_original_names_of_layers_are_known(folders, tmp_path):
    loaded = load(folders, "sdxl")
    before = loaded.denoiser.state_dict()
    key = "down_blocks.1.attentions.0.proj_in.weight"
    before = before[key].clone()
    generator = torch.Generator().manual_seed(3)
    out, into = before.shape
    stem = "lora_unet_input_blocks_3_1_proj_in"  # this tiny one has one layer a block
    down, up = torch.randn(2, into, generator=generator), torch.randn(out, 2, generator=generator)
    tensors = {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
    save_file({**tensors, f"{stem}.alpha": torch.tensor(1.0)}, tmp_path / "s.safetensors")
    apply_lora(loaded, tmp_path / "s.safetensors")
    assert torch.allclose(loaded.denoiser.state_dict()[key] - before, 0.5 * up @ down, atol=1e-5)
