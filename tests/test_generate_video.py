"""Clips by diffusion: tiny pipelines of the real classes, windows in time, regions, errors."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from restore.api import probe
from restore.demo.clips import write_clip
from restore.diffusion.folder import PipelineFolder, find_pipeline
from restore.diffusion.load import load_pipeline
from restore.engine.settings import CancelToken
from restore.errors import (
    Cancelled,
    GatedModel,
    InvalidInput,
    ModelNotFound,
    OutOfMemory,
    UnsupportedModel,
)
from restore.generate.families import Grid, class_for
from restore.generate.make import make_clip
from restore.generate.painted import Painter
from restore.generate.queue import Queue
from restore.generate.shot import Shot, seed_of
from restore.generate.shotlist import ShotList
from restore.generate.still import read_frames
from restore.generate.windows import in_windows, spans
from restore.media.profiles import Delivery
from tests.diffusion_material import save_pipeline
from tests.video_material import save_video_pipeline

CPU = torch.device("cpu")
TRAINED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Pipelines, a picture, a clip that a camera made of it, and a mask."""
    folder = tmp_path_factory.mktemp("video")
    for kind in ("cogvideox", "cogvideox-i2v", "wan", "svd"):
        save_video_pipeline(kind, folder / kind)
    save_pipeline("sdxl", folder / "sdxl")
    save_pipeline("sd", folder / "sd")
    save_pipeline("flux", folder / "flux")
    noise = np.random.default_rng(0).integers(0, 256, (12, 18, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((72, 48), Image.Resampling.BICUBIC).save(folder / "p.png")
    mask = np.zeros((32, 48), np.uint8)
    mask[8:24, 16:32] = 255
    Image.fromarray(mask).save(folder / "m.png")
    source = shot(kind="camera", image="p.png", frames=17, move={"zoom": (1, 1.3)}, model="")
    make_clip(source, folder, folder / "src.mkv", None)
    return folder


def shot(**more):
    usual = {"name": "a", "prompt": "a film of the street", "steps": 3, "width": 48, "height": 32}
    return Shot(**{**usual, "precision": "exact", "frames": 9, **more})


def painted(root, **more):
    source = Painter(root, CPU).paint(shot(**more), root, CancelToken())
    return list(source.frames), source


@pytest.mark.parametrize(
    ("kind", "model", "more"),
    [
        ("text-to-image", "sdxl", {}),
        ("text-to-image", "sd", {}),
        ("text-to-image", "flux", {}),
        ("text-to-video", "cogvideox", {}),
        ("text-to-video", "wan", {}),
        ("image-to-video", "cogvideox-i2v", {"image": "p.png"}),
        ("image-to-video", "svd", {"image": "p.png", "frames": 4}),
        ("video-to-video", "cogvideox", {"video": "src.mkv"}),
        ("video-to-video", "wan", {"video": "src.mkv"}),
        ("inpaint", "cogvideox", {"video": "src.mkv", "mask": "m.png"}),
        ("inpaint", "wan", {"video": "src.mkv", "mask": "m.png"}),
    ],
)
def test_every_kind_paints_the_same_again(root, kind, model, more):
    first, source = painted(root, kind=kind, model=model, **more)
    wanted = 1 if kind == "text-to-image" else more.get("frames", 9)
    assert len(first) == wanted
    assert all(f.shape == (3, 32, 48) and f.min() >= 0 and f.max() <= 1 for f in first)
    assert source.facts["model"]["sha256"] == find_pipeline(str(root / model)).sha256
    again, _ = painted(root, kind=kind, model=model, **more)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    other, _ = painted(root, kind=kind, model=model, seed="another", **more)
    assert not torch.equal(first[0], other[0]) or not torch.equal(first[-1], other[-1])


@pytest.mark.parametrize("model", ["cogvideox", "wan"])
def test_a_clip_of_one_window_is_the_plain_pipelines(root, model):
    """Bit for bit what diffusers makes with the same generator."""
    windowed, _ = painted(root, kind="text-to-video", model=model, window=9, overlap=4)
    loaded = load_pipeline(
        find_pipeline(str(root / model)),
        class_for(find_pipeline(str(root / model)), "text-to-video"),
    )
    plain = loaded.pipeline(
        prompt="a film of the street",
        width=48,
        height=32,
        num_frames=9,
        num_inference_steps=3,
        guidance_scale=5.0,
        generator=torch.Generator().manual_seed(seed_of("a")),
        output_type="pt",
    ).frames[0]
    assert torch.equal(torch.stack(windowed), plain.float().clamp(0, 1))
    with in_windows(loaded, 3, 1, 1):
        inside = loaded.pipeline(
            prompt="a film of the street",
            width=48,
            height=32,
            num_frames=9,
            num_inference_steps=3,
            guidance_scale=5.0,
            generator=torch.Generator().manual_seed(seed_of("a")),
            output_type="pt",
        ).frames[0]
    assert torch.equal(inside, plain)
    assert "forward" not in vars(loaded.denoiser)


@pytest.mark.parametrize("model", ["cogvideox", "wan"])
def test_windows_do_not_show_where_they_meet(root, model):
    """Steps between frames where windows meet are like those inside; not so for clips in a row."""
    frames, _ = painted(root, kind="text-to-video", model=model, frames=33, window=17, overlap=8)
    assert len(frames) == 33
    steps = np.array([float((b - a).square().mean()) for a, b in pairwise(frames)])
    # Latents 0..4 | 2..6 | 4..8 of 9: their middles meet at about frames 9..12 and 17..20.
    meets = steps[8:24]
    assert meets.max() < 3 * np.median(steps)


def test_svd_runs_in_windows_too(root):
    frames, source = painted(
        root, kind="image-to-video", model="svd", image="p.png", frames=8, window=4, overlap=2
    )
    assert len(frames) == 8
    assert any("no negative" in note for note in source.notes) is False


@given(st.integers(1, 60), st.integers(2, 20), st.data())
def test_windows_cover_all_and_share_enough(total, window, data):
    overlap = data.draw(st.integers(0, window - 1))
    found = spans(total, window, overlap)
    assert found[0][0] == 0
    assert found[-1][1] == total
    assert all(b - a == min(window, total) for a, b in found)
    for one, two in pairwise(found):
        assert one[0] < two[0]
        assert one[1] - two[0] >= overlap


@pytest.mark.parametrize("model", ["cogvideox", "wan"])
def test_outside_the_region_the_source_stays_bit_for_bit(root, model):
    frames, _ = painted(
        root, kind="inpaint", model=model, video="src.mkv", mask="m.png", strength=1.0
    )
    source, _ = read_frames(root / "src.mkv", 9)
    for a, b in zip(frames, source, strict=True):
        assert torch.equal(a[:, :8], b[:, :8])
        assert torch.equal(a[:, :, 32:], b[:, :, 32:])
        assert (a[:, 8:24, 16:32] - b[:, 8:24, 16:32]).abs().mean() > 0.02


def test_a_region_may_move(root):
    """A mask clip: each frame keeps what is outside its own mask."""
    shown = np.zeros((9, 32, 48, 3), np.float32)
    for number in range(9):
        shown[number, 8:24, 2 * number : 2 * number + 16] = 1
    write_clip(root / "mask.mkv", shown, Fraction(12), Delivery("ffv1", bit_depth=8))
    frames, _ = painted(
        root, kind="inpaint", model="cogvideox", video="src.mkv", mask="mask.mkv", strength=1.0
    )
    source, _ = read_frames(root / "src.mkv", 9)
    for number, (a, b) in enumerate(zip(frames, source, strict=True)):
        inside = torch.from_numpy(shown[number, :, :, 0] > 0)
        assert torch.equal(a[:, ~inside], b[:, ~inside])
        assert (a[:, inside] - b[:, inside]).abs().mean() > 0.02


def test_less_strength_stays_nearer_to_the_video(root):
    source, _ = read_frames(root / "src.mkv", 9)
    away = []
    for strength in (0.34, 1.0):
        frames, _ = painted(
            root, kind="video-to-video", model="cogvideox", video="src.mkv", strength=strength
        )
        away.append(
            sum(float((a - b).square().mean()) for a, b in zip(frames, source, strict=True))
        )
    assert away[0] < away[1]


def test_a_picture_is_painted_first_where_none_is_given(root):
    more = {"kind": "image-to-video", "model": "cogvideox-i2v"}
    frames, source = painted(root, **more, picture={"model": "sdxl", "steps": 2})
    assert source.facts["picture.model"]["sha256"] == find_pipeline(str(root / "sdxl")).sha256
    assert len(frames) == 9
    other, _ = painted(root, **more, picture={"model": "sdxl", "steps": 2, "seed": "x"})
    assert not torch.equal(frames[0], other[0])


def test_the_clip_says_that_it_is_generated(root, tmp_path):
    text = shot(
        name="said", kind="text-to-video", model="cogvideox", seed="lantern", negative_prompt="snow"
    )
    queue = Queue(ShotList(root / "list.toml", (text,)), tmp_path, Painter(root, CPU))
    (outcome,) = queue.run(CancelToken(), lambda *a: None, lambda o: None)
    assert outcome.state == "made"
    tags = {key.lower(): value for key, value in probe(outcome.clip).metadata.items()}
    assert tags["digital_source_type"] == TRAINED
    said = json.loads(tags["restore_generated"])
    assert said["prompt"] == "a film of the street"
    assert said["negative_prompt"] == "snow"
    assert said["seed"] == seed_of("lantern")
    assert said["model"]["sha256"] == find_pipeline(str(root / "cogvideox")).sha256
    (again,) = queue.run(CancelToken(), lambda *a: None, lambda o: None)
    assert again.state == "there"


def test_loras_are_used_hashed_and_told(root, tmp_path):
    loaded = load_pipeline(find_pipeline(str(root / "sdxl")), "text-to-image")
    layer = loaded.denoiser.down_blocks[1].attentions[0].proj_in
    generator = torch.Generator().manual_seed(1)
    down = torch.randn(2, layer.weight.shape[1], generator=generator)
    up = torch.randn(layer.weight.shape[0], 2, generator=generator)
    stem = "lora_unet_down_blocks_1_attentions_0_proj_in"
    save_file(
        {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up},
        root / "l.safetensors",
        {"ss_base_model_version": "sdxl_base_v1-0"},
    )
    plain, _ = painted(root, kind="text-to-image", model="sdxl")
    use = {"file": "l.safetensors", "strength": 0.8, "trigger": "tram"}
    with_it, source = painted(root, kind="text-to-image", model="sdxl", lora=[use])
    assert not torch.equal(plain[0], with_it[0])
    assert "strength 0.8" in source.facts["lora 1"]
    with pytest.raises(UnsupportedModel, match="another base model"):
        painted(root, kind="text-to-image", model="sd", lora=[use])
    with pytest.raises(InvalidInput, match="no-lora"):
        make_clip(
            shot(kind="text-to-image", model="sdxl", lora=[{"file": "no-lora"}]),
            root,
            tmp_path / "a.png",
            Painter(root, CPU),
        )


def test_sizes_and_lengths_that_cannot_be_are_named(root):
    with pytest.raises(InvalidInput, match=r"multiples of 16.*48x32"):
        painted(root, kind="text-to-video", model="cogvideox", width=50, height=36)
    with pytest.raises(InvalidInput, match=r"17 frames.*48x32.*as the shot"):
        painted(root, kind="video-to-video", model="cogvideox", video="src.mkv", frames=20)


@given(st.integers(1, 300), st.sampled_from([1, 4, 8]), st.sampled_from([1, 2]))
def test_a_length_that_a_pipeline_makes_is_enough(frames, each, step):
    made = Grid(8, each, step).frames(frames)
    assert made >= frames
    assert each == 1 or (made - 1) % each == 0


def test_what_a_family_cannot_do_is_said(root):
    with pytest.raises(UnsupportedModel, match=r"video-to-video.*StableVideoDiffusionPipeline"):
        painted(root, kind="video-to-video", model="svd", video="src.mkv")
    with pytest.raises(UnsupportedModel, match="refine"):
        painted(root, kind="video-to-video", model="sdxl", video="src.mkv")


def test_weights_that_are_missing_or_gated_are_named_with_their_size_and_licence(root):
    commit = "0" * 40
    with pytest.raises(GatedModel, match=r"34.0 GB, licence FLUX.*gated"):
        painted(root, kind="text-to-image", model="black-forest-labs/FLUX.1-dev", revision=commit)
    with pytest.raises(ModelNotFound, match=r"22.0 GB.*hf download zai-org/CogVideoX1.5-5B-I2V"):
        painted(
            root,
            kind="image-to-video",
            image="p.png",
            model="zai-org/CogVideoX1.5-5B-I2V",
            revision=commit,
        )


def test_a_prompt_that_is_too_long_says_what_is_cut(root):
    words = "street horse tram clock face snow " * 20
    _, source = painted(root, kind="text-to-image", model="sdxl", prompt=words)
    assert any("cut off" in note and "snow" in note for note in source.notes)


def test_memory_that_is_too_little_says_what_would_do(root, monkeypatch):
    painter = Painter(root, CPU)

    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("injected")

    monkeypatch.setattr("restore.generate.painted.Painter._called", full)
    with pytest.raises(OutOfMemory, match=r"9 frames of 48x32 px.*offload.*window"):
        painter.paint(shot(kind="text-to-video", model="cogvideox"), root, CancelToken())


def test_cancelling_stops_between_steps(root, tmp_path):
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        Painter(root, CPU).paint(shot(kind="text-to-video", model="wan"), root, cancel)


@pytest.mark.parametrize(
    ("index", "kind", "wanted"),
    [
        ("LTXPipeline", "text-to-video", "LTXPipeline"),
        ("LTXPipeline", "image-to-video", "LTXImageToVideoPipeline"),
        ("HunyuanVideoPipeline", "image-to-video", "HunyuanVideoImageToVideoPipeline"),
        ("WanImageToVideoPipeline", "image-to-video", "WanImageToVideoPipeline"),
        ("WanPipeline", "video-to-video", "WanVideoToVideoPipeline"),
        ("CogVideoXPipeline", "image-to-video", "CogVideoXImageToVideoPipeline"),
        ("MochiPipeline", "text-to-video", "MochiPipeline"),
    ],
)
def test_families_are_found_by_the_names_of_their_classes(index, kind, wanted):
    folder = PipelineFolder("x", "", Path(), index, {}, (), "", "unknown")
    assert class_for(folder, kind) == wanted


def test_what_is_made_of_painted_pictures_and_clips_stays_marked(root, tmp_path):
    """A camera over a painted PNG, and a loop of a painted clip; not so for another picture."""
    base = ShotList(
        tmp_path / "list.toml",
        (
            shot(name="still", kind="text-to-image", model=str(root / "sd")),
            shot(name="clip", kind="text-to-video", model=str(root / "wan"), frames=17),
        ),
    )
    made = Queue(base, tmp_path, Painter(root, CPU)).run(
        CancelToken(), lambda *a: None, lambda o: None
    )
    still, clip = (outcome.clip for outcome in made)
    still = still.rename(tmp_path / "another name, without a record.png")
    over = shot(name="over", kind="camera", image=str(still), model="", frames=3)
    loop = shot(name="loop", kind="cinemagraph", video=str(clip), mask="m.png", model="")
    loop = loop.model_copy(update={"frames": 5, "loop_fade": 2})
    for one in (over, loop):
        made_clip = make_clip(one, root, tmp_path / f"{one.name}.mkv", None)
        tags = {k.lower(): v for k, v in probe(made_clip.path).metadata.items()}
        assert tags["digital_source_type"] == TRAINED
        assert json.loads(tags["restore_generated"])["source"]["prompt"]
    still.write_bytes((root / "p.png").read_bytes())
    plain = make_clip(over, root, tmp_path / "plain.mkv", None)
    assert plain.tags["digital_source_type"].endswith("humanEdits")
