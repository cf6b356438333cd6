"""Training a LoRA on tiny pipelines of the real classes, and reading what came of it elsewhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from restore.diffusion.extra import need_diffusers
from restore.diffusion.folder import find_pipeline
from restore.diffusion.load import load_pipeline
from restore.diffusion.lora import apply_lora
from restore.diffusion.original_names import sgm_name
from restore.errors import InvalidInput, MissingExtra, ModelNotFound, OutputExists
from restore.lora.families import Item, family_of, to_latent
from restore.lora.images import find_images, read_cropped
from restore.lora.loop import Run, train_lora
from restore.lora.settings import load_lora_recipe
from tests.diffusion_material import save_pipeline

CPU = torch.device("cpu")
SIDE_PX = 32
PROBES = 8
TINY = {"resolution_px": SIDE_PX, "bucket_px": 8, "precision": "fp32", "batch": 2}


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    root = tmp_path_factory.mktemp("bases")
    return {kind: save_pipeline(kind, root / kind) for kind in ("sd", "sdxl", "flux")}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images") / "4_red tram"
    folder.mkdir()
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX]
    picture = np.stack([x * 8, y * 8, (x * y) % 256], -1).astype(np.uint8)
    Image.fromarray(picture).save(folder / "a.png")
    return folder.parent


def train(base, images, output, regularisation=None, stop_after=0, **settings):
    recipe = load_lora_recipe(None, model=str(base), **{**TINY, **settings})
    run = Run(images, output, regularisation, CPU, stop_after=stop_after)
    return train_lora(recipe, run, lambda line: None)


def probe(loaded, images):
    """The loss that the trainer tells, on the same pairs of picture and noise."""
    family = family_of(loaded)
    picture = find_images(images)[0].picture
    pixels, crop = read_cropped(picture, (SIDE_PX, SIDE_PX))
    size = (SIDE_PX, SIDE_PX)
    item = Item("", picture.caption, to_latent(loaded, pixels), size, crop, size, 1.0)
    with torch.no_grad():
        words = family.words([picture.caption], CPU)
        losses = [float(family.loss([item], words, [f"probe:{n}"])) for n in range(PROBES)]
    return sum(losses) / PROBES


SECOND_PROCESS = """
import sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from restore.diffusion.folder import find_pipeline
from restore.diffusion.load import load_pipeline
from restore.diffusion.lora import apply_lora
from tests.test_lora_train import probe
base, images, lora = sys.argv[1:]
loaded = load_pipeline(find_pipeline(base), "text-to-image")
before = probe(loaded, Path(images))
apply_lora(loaded, lora)
print(before, probe(loaded, Path(images)))
"""


def test_it_learns_one_image_and_a_second_process_finds_it_learned(bases, images, tmp_path):
    output = tmp_path / "tram.safetensors"
    settings = {"rank": 8, "conv_rank": 8, "rate": 1e-2, "epochs": 28}
    done = train(bases["sd"], images, output, **settings)
    assert (done.steps, done.total_steps, done.images) == (56, 56, 4)
    assert done.loss_after < 0.5 * done.loss_before
    found = subprocess.run(
        [sys.executable, "-c", SECOND_PROCESS, str(bases["sd"]), str(images), str(output)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert float(found[-2]) == pytest.approx(done.loss_before, rel=1e-5)
    assert float(found[-1]) == pytest.approx(done.loss_after, rel=1e-4)


@pytest.mark.parametrize("kind", ["sd", "sdxl", "flux"])
def test_what_is_written_is_what_was_trained(bases, images, tmp_path, kind):
    output = tmp_path / "tram.safetensors"
    conv_rank = {} if kind == "flux" else {"conv_rank": 2}
    done = train(bases[kind], images, output, rank=4, alpha=2.0, rate=5e-3, epochs=3, **conv_rank)
    assert done.loss_after < done.loss_before
    loaded = load_pipeline(find_pipeline(str(bases[kind])), "text-to-image")
    applied = apply_lora(loaded, output, sha256=done.sha256)
    assert applied.layers == done.layers
    assert probe(loaded, images) == pytest.approx(done.loss_after, rel=1e-4)


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_diffusers_reads_the_file_likewise(bases, images, tmp_path, kind):
    output = tmp_path / "tram.safetensors"
    train(bases[kind], images, output, rank=4, rate=5e-3, epochs=2, text_rate=0.0)
    ours, theirs = (
        load_pipeline(find_pipeline(str(bases[kind])), "text-to-image") for _ in range(2)
    )
    apply_lora(ours, output)
    theirs.pipeline.load_lora_weights(str(tmp_path), weight_name=output.name)
    theirs.pipeline.fuse_lora(components=["unet"])
    theirs.pipeline.unload_lora_weights()
    found, wanted = (each.denoiser.state_dict() for each in (ours, theirs))
    plain = load_pipeline(find_pipeline(str(bases[kind])), "text-to-image").denoiser.state_dict()
    assert any(not torch.equal(plain[key], found[key]) for key in plain)
    assert all(torch.allclose(found[key], wanted[key], atol=1e-5) for key in plain)


NAMES = {
    "sd": (
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight",
        "lora_unet_mid_block_attentions_0_proj_in.alpha",
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight",
    ),
    "sdxl": (
        "lora_unet_input_blocks_3_1_transformer_blocks_0_attn1_to_q.lora_down.weight",
        "lora_unet_middle_block_1_proj_in.alpha",
        "lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_up.weight",
        "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_up.weight",
    ),
    "flux": (
        "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight",
        "lora_unet_double_blocks_0_txt_mlp_0.alpha",
        "lora_unet_single_blocks_0_linear1.lora_up.weight",
    ),
}


@pytest.mark.parametrize("kind", ["sd", "sdxl", "flux"])
def test_names_and_notes_are_those_of_kohyas_scripts(bases, images, tmp_path, kind):
    output = tmp_path / "tram.safetensors"
    train(bases[kind], images, output, rank=4, alpha=2.0, epochs=1, seed=9)
    with safe_open(output, framework="pt") as opened:
        keys, notes = set(opened.keys()), opened.metadata()
    assert set(NAMES[kind]) <= keys
    assert {key.rpartition(".lora")[0] or key.removesuffix(".alpha") for key in keys} == {
        key.removesuffix(".alpha") for key in keys if key.endswith(".alpha")
    }
    assert notes["ss_network_dim"] == "4"
    assert notes["ss_network_alpha"] == "2"
    assert notes["ss_learning_rate"] == "3e-05"
    assert notes["ss_lr_scheduler"] == "constant"
    assert notes["ss_seed"] == "9"
    assert json.loads(notes["ss_tag_frequency"]) == {"4_red tram": {"red tram": 1}}
    assert json.loads(notes["ss_dataset_dirs"])["4_red tram"] == {"n_repeats": 4, "img_count": 1}
    kinds = {"sd": "stable-diffusion-v1", "sdxl": "stable-diffusion-xl-v1-base"}
    kinds["flux"] = "flux-1-dev"
    assert notes["modelspec.architecture"] == kinds[kind] + "/lora"


def test_flux_layers_in_one_change_the_weights_as_each_did(bases, images, tmp_path):
    """Query, key and value are stacked in the file: each gets its own part of the change."""
    output = tmp_path / "tram.safetensors"
    train(bases["flux"], images, output, rank=3, alpha=1.5, rate=5e-3, epochs=2)
    with safe_open(output, framework="pt") as opened:
        stem = "lora_unet_single_blocks_0_linear1"
        up, down = (opened.get_tensor(f"{stem}.lora_{way}.weight") for way in ("up", "down"))
        alpha = float(opened.get_tensor(f"{stem}.alpha"))
    assert (down.shape[0], alpha) == (12, 6.0)
    loaded = load_pipeline(find_pipeline(str(bases["flux"])), "text-to-image")
    block = loaded.denoiser.single_transformer_blocks[0]
    layers = (block.attn.to_q, block.attn.to_k, block.attn.to_v, block.proj_mlp)
    before = torch.cat([layer.weight for layer in layers]).clone()
    apply_lora(loaded, output)
    change = torch.cat([layer.weight for layer in layers]) - before
    assert torch.allclose(change, 0.5 * up @ down, atol=1e-6)
    assert change.abs().max() > 1e-4


def test_every_layer_of_real_sdxl_goes_there_and_back():
    """The names that we write are those that diffusers' own converter reads as the same layers."""
    with torch.device("meta"):
        unet = need_diffusers().UNet2DConditionModel(
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=2,
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(5, 10, 20),
            cross_attention_dim=2048,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
            use_linear_projection=True,
        )
    names = {}
    for path, layer in unet.named_modules():
        if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d):
            original = sgm_name(path, unet.config)
            if original is not None:
                names[original] = path
    known = {
        "input_blocks.4.1.transformer_blocks.0.attn1.to_q",
        "input_blocks.3.0.op",
        "middle_block.1.transformer_blocks.9.ff.net.2",
        "output_blocks.2.2.conv",
        "output_blocks.5.2.conv",
        "output_blocks.8.0.skip_connection",
    }
    assert known <= set(names)
    assert len(set(names.values())) == len(names) > 700
    state = {f"lora_unet_{n.replace('.', '_')}.alpha": torch.tensor(1.0) for n in names}
    module = import_module("diffusers.loaders.lora_conversion_utils")
    mapped = module._maybe_map_sgm_blocks_to_diffusers(dict(state), unet.config)
    from restore.diffusion.lora import _diffusers_name

    found = {_diffusers_name(key) for key in mapped}
    assert found == {f"lora_unet_{path.replace('.', '_')}.alpha" for path in names.values()}


def command(base, images, output, *more):
    return [
        *(sys.executable, "-m", "restore", "lora", "train", str(images), "-o", str(output)),
        *("--model", str(base), "--resolution", "32", "--bucket", "8", "--precision", "fp32"),
        *("--rank", "4", "--rate", "5e-3", "--epochs", "3", "--checkpoint-every", "2", *more),
    ]


def test_a_killed_training_goes_on_to_the_same_bytes(bases, images, tmp_path):
    whole, cut = tmp_path / "whole.safetensors", tmp_path / "cut" / "whole.safetensors"
    cut.parent.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command(bases["sd"], images, whole), check=True, env=environment)
    child = subprocess.Popen(
        command(bases["sd"], images, cut), stderr=subprocess.DEVNULL, env=environment
    )
    checkpoint = cut.parent / "whole.safetensors.training" / "checkpoint.safetensors"
    until = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < until:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert not cut.exists()
    again = subprocess.run(
        command(bases["sd"], images, cut), check=True, env=environment, capture_output=True
    )
    assert b"goes on after step" in again.stderr
    assert cut.read_bytes() == whole.read_bytes()
    assert not checkpoint.exists()


def test_a_checkpoint_of_other_settings_is_refused(bases, images, tmp_path):
    output = tmp_path / "a.safetensors"
    done = train(bases["sd"], images, output, rank=4, epochs=3, stop_after=2)
    assert (done.sha256, done.steps, done.total_steps) == ("", 2, 6)
    assert not output.exists()
    with pytest.raises(InvalidInput, match="other settings, images or base"):
        train(bases["sd"], images, output, rank=4, epochs=3, seed=1)
    assert train(bases["sd"], images, output, rank=4, epochs=3).steps == 6


def test_epochs_in_between_are_kept(bases, images, tmp_path):
    output = tmp_path / "a.safetensors"
    train(bases["sd"], images, output, rank=2, epochs=3, save_every_epochs=1, text_rate=0.0)
    names = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert names == ["a-000001.safetensors", "a-000002.safetensors", "a.safetensors"]
    with safe_open(tmp_path / "a-000001.safetensors", framework="pt") as opened:
        assert opened.metadata()["ss_epoch"] == "1"
        assert not [key for key in opened.keys() if key.startswith("lora_te")]  # noqa: SIM118


def test_regularisation_images_take_part_by_their_weight(bases, images, tmp_path):
    folder = tmp_path / "class" / "1_tram"
    folder.mkdir(parents=True)
    Image.new("RGB", (48, 32), (10, 200, 30)).save(folder / "b.png")
    results = {}
    for name, weight in (("with", 1.0), ("half", 0.5)):
        output = tmp_path / f"{name}.safetensors"
        done = train(
            bases["sd"],
            images,
            output,
            regularisation=folder.parent,
            rank=2,
            epochs=1,
            regularisation_weight=weight,
        )
        assert done.images == 8
        with safe_open(output, framework="pt") as opened:
            assert opened.metadata()["ss_num_reg_images"] == "4"
        results[name] = done.sha256
    assert results["with"] != results["half"]


def test_bf16_and_recomputed_activations_train_too(bases, images, tmp_path):
    settings = {"rank": 4, "rate": 5e-3, "epochs": 3}
    half = train(bases["sd"], images, tmp_path / "a.safetensors", precision="bf16", **settings)
    assert half.loss_after < half.loss_before
    plain = train(bases["sd"], images, tmp_path / "b.safetensors", **settings)
    again = train(bases["sd"], images, tmp_path / "c.safetensors", checkpointing=True, **settings)
    assert again.loss_after == pytest.approx(plain.loss_after, rel=1e-3)


def test_what_cannot_be_is_said(bases, images, tmp_path):
    base, output = bases["sd"], tmp_path / "a.safetensors"
    with pytest.raises(InvalidInput, match=r"\.safetensors"):
        train(base, images, tmp_path / "a.ckpt")
    with pytest.raises(ModelNotFound):
        train("stabilityai/stable-diffusion-xl-base-1.0", images, output, revision="0" * 40)
    with pytest.raises(InvalidInput, match="multiple of"):
        train(bases["flux"], images, output, bucket_px=12)
    with pytest.raises(InvalidInput, match="no base model"):
        load_lora_recipe(None)
    with pytest.raises(InvalidInput, match="rank"):
        load_lora_recipe(None, model="x", rank=0)
    output.write_bytes(b"mine")
    with pytest.raises(OutputExists):
        train(base, images, output)
    assert output.read_bytes() == b"mine"


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is here")
def test_the_8_bit_optimiser_says_what_it_needs(bases, images, tmp_path):
    with pytest.raises(MissingExtra, match="bitsandbytes"):
        train(bases["sd"], images, tmp_path / "a.safetensors", optimiser="adamw8bit")
