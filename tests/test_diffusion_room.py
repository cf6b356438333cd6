from __future__ import annotations

import json
import shutil

import pytest
import torch

from restore.diffusion.folder import find_pipeline
from restore.diffusion.load import load_pipeline
from restore.diffusion.place import choose_format, place_pipeline, weights_bytes
from restore.diffusion.prompts import cut_words
from restore.diffusion.schedule import set_scheduler
from restore.errors import (
    HashMismatch,
    InvalidInput,
    ModelError,
    OutOfMemory,
    UnsafeWeights,
)
from tests.diffusion_material import save_pipeline


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("pipelines")
    return {kind: save_pipeline(kind, root / kind) for kind in ("sd", "sdxl", "flux")}


@pytest.mark.parametrize("kind", ["sd", "sdxl", "flux"])
def test_a_saved_pipeline_loads_with_every_weights_file_hashed(folders, kind):
    found = find_pipeline(str(folders[kind]))
    names = {file.name.split("/")[0] for file in found.weights}
    assert {"vae", "text_encoder"} <= names
    assert all(len(file.sha256) == 64 and file.size_bytes > 0 for file in found.weights)
    loaded = load_pipeline(found, "image-to-image")
    assert "Img2Img" in type(loaded.pipeline).__name__
    assert loaded.denoiser is not None


def test_a_folder_is_held_to_its_recorded_hash(folders):
    found = find_pipeline(str(folders["sd"]))
    assert find_pipeline(str(folders["sd"]), sha256=found.sha256).weights == found.weights
    with pytest.raises(HashMismatch, match=found.sha256):
        find_pipeline(str(folders["sd"]), sha256="0" * 64)


def test_pickles_and_foreign_code_are_refused(folders, tmp_path):
    copied = tmp_path / "pickled"
    shutil.copytree(folders["sd"], copied)
    (weights,) = (copied / "unet").glob("*.safetensors")
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(UnsafeWeights, match="can run code"):
        find_pipeline(str(copied))
    foreign = tmp_path / "foreign"
    shutil.copytree(folders["sd"], foreign)
    index = json.loads((foreign / "model_index.json").read_text())
    index["unet"] = ["my_unet", "MyUnet"]
    (foreign / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(UnsafeWeights, match="code of its own"):
        find_pipeline(str(foreign))


def test_a_branch_is_no_revision():
    with pytest.raises(InvalidInput, match="40 hex digits"):
        find_pipeline("stabilityai/stable-diffusion-xl-base-1.0", revision="main")


def test_a_damaged_part_is_said_by_name(folders, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(folders["sd"], damaged)
    (weights,) = (damaged / "vae").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_pipeline(find_pipeline(str(damaged)), "image-to-image")


def test_too_little_memory_on_a_gpu_names_what_would_fit(folders):
    loaded = load_pipeline(find_pipeline(str(folders["sdxl"])), "image-to-image")
    held = weights_bytes(loaded, torch.float32)
    with pytest.raises(OutOfMemory) as caught:
        place_pipeline(
            loaded, torch.device("cuda"), torch.float32, limit_bytes=int(sum(held.values()) * 0.7)
        )
    said = str(caught.value)
    assert "bfloat16" in said
    assert "offload = 'model'" in said
    assert "offload = 'layers'" in said
    with pytest.raises(InvalidInput, match="no GPU"):
        place_pipeline(loaded, torch.device("cpu"), torch.float32, offload="model")


@pytest.mark.parametrize("kind", ["sd", "flux"])
def test_formats_are_those_that_the_model_bears(folders, kind):
    name = find_pipeline(str(folders[kind])).class_name
    assert choose_format(name, "exact", "cuda") is torch.float32
    assert choose_format(name, "bfloat16", "cuda") is torch.bfloat16
    if kind == "flux":
        with pytest.raises(InvalidInput, match="bears"):
            choose_format(name, "float16", "cuda")
    else:
        assert choose_format(name, "float16", "cuda") is torch.float16


@pytest.mark.parametrize("kind", ["sd", "flux"])
def test_schedulers_by_name_keep_the_models_own_settings(folders, kind):
    loaded = load_pipeline(find_pipeline(str(folders[kind])), "image-to-image")
    before = dict(loaded.pipeline.scheduler.config)
    names = {"sd": "dpm++_2m_karras", "flux": "flow_heun"}
    wrong = {"sd": "flow_euler", "flux": "ddim"}
    assert set_scheduler(loaded, names[kind]) == type(loaded.pipeline.scheduler).__name__
    kept = {"beta_schedule", "beta_start", "shift"} & set(before)
    assert kept
    assert all(loaded.pipeline.scheduler.config[key] == before[key] for key in kept)
    with pytest.raises(InvalidInput, match=wrong[kind]):
        set_scheduler(loaded, wrong[kind])


def test_what_is_cut_of_a_prompt_is_said_encoder_by_encoder(folders):
    loaded = load_pipeline(find_pipeline(str(folders["flux"])), "image-to-image")
    assert cut_words(loaded, "a street") == ()
    (cut,) = cut_words(loaded, " ".join(["film"] * 80 + ["horse"]))
    assert (cut.encoder, cut.limit, cut.tokens) == ("tokenizer", 77, 83)
    assert cut.words.endswith("horse")
