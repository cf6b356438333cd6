"""Models over windows of aligned frames: alignment, network, stage and training."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from skimage import data

from restore.color import ColorSpec
from restore.degrade.resize import shrink
from restore.engine.run import process
from restore.engine.settings import EngineSettings
from restore.errors import HashMismatch, InvalidInput, UnsupportedModel
from restore.frames import Frame
from restore.models.catalog import default_catalog
from restore.models.load import load_model
from restore.models.nets.window_compact import WindowCompact
from restore.models.store import ModelStore
from restore.models.windowed import in_strips, is_windowed, load_window_model
from restore.motion.aligned import align
from restore.stages import StageContext, build_stage
from restore.train.photos import Photo
from restore.train.window_recipe import WindowRecipe, load_window_recipe
from restore.train.windowed import Schedule, begin, export_windowed, train_windowed
from restore.train.windows import build_windows, draw_windows

NAME = "restore-4x-temporal-s"
SINGLE = "restore-4x-s"
RECIPES = Path(__file__).parents[1] / "restore" / "train" / "recipes" / "windowed"
CPU = EngineSettings("cpu", batch=1, tile_px=0)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pan(count: int, grain: float = 0.0, step: tuple[int, int] = (1, 2), size: int = 96):
    """``[count, 3, size, size]``: a photograph passing by."""
    photo = torch.from_numpy(shrink(data.astronaut(), 2).copy()).permute(2, 0, 1).float() / 255
    places = [(20 + n * step[0], 60 + n * step[1]) for n in range(count)]
    clip = torch.stack([photo[:, y : y + size, x : x + size] for y, x in places])
    noise = torch.randn(clip.shape, generator=torch.Generator().manual_seed(1))
    return (clip + grain * noise).clamp(0, 1)


def frames_of(clip, shots=None):
    return [
        Frame(one, n, Fraction(1, 24), ColorSpec(), n, duration=1, shot=shots[n] if shots else 0)
        for n, one in enumerate(clip)
    ]


def upscaled(clip, shots=None, model=NAME, settings=CPU):
    stage = build_stage("upscale", {"model": model}, StageContext())
    return torch.stack([f.data for f in process(frames_of(clip, shots), [stage], settings)]), stage


# Alignment


def test_neighbours_come_to_the_centre_and_lower_its_grain():
    clean, noisy = pan(5), pan(5, grain=0.06)
    found = align(list(noisy), 2)
    weights = found.trust[..., None]
    mean = (found.centre + (weights * found.neighbours).sum(0)) / (1 + weights.sum(0))
    truth = clean[2].permute(1, 2, 0).numpy()
    inner = np.s_[12:-12, 12:-12]
    before = np.square(found.centre - truth)[inner].mean()
    after = np.square(mean - truth)[inner].mean()
    assert after < 0.6 * before
    assert found.trust[:, 12:-12, 12:-12].mean() > 0.5


def test_a_repeat_is_no_frame_of_its_own():
    clip = pan(3, grain=0.05)
    found = align([clip[0], clip[0], clip[0], clip[1], clip[1]], 2)
    assert found.trust[[0, 1, 3]].max() == 0
    assert found.trust[2].mean() > 0.5
    alone = align([clip[0]] * 5, 2)
    assert alone.trust.max() == 0
    assert np.array_equal(alone.neighbours[0], alone.centre)


def test_another_picture_is_not_trusted():
    clip = pan(5, grain=0.03)
    other = torch.from_numpy(shrink(data.coffee(), 4)[:96, :96].copy()).permute(2, 0, 1) / 255.0
    found = align([other, other.flip(2), clip[2], clip[3], clip[4]], 2)
    assert found.trust[:2].mean() < 0.1
    assert found.trust[2:].mean() > 0.5


def test_flicker_is_not_taken_for_change():
    clip = pan(5, grain=0.03)
    dim = clip * torch.tensor([1.0, 0.9, 1.0, 1.1, 0.95])[:, None, None, None]
    found = align(list(dim.clamp(0, 1)), 2)
    assert found.trust[:, 12:-12, 12:-12].mean() > 0.4
    apart = np.abs(found.neighbours - found.centre)[:, 12:-12, 12:-12]
    assert apart.mean() < 1.3 * np.abs(np.diff(pan(2, grain=0.03, step=(0, 0)), axis=0)).mean()


def mover(count: int):
    """A bright square crossing a grainy ground by 9 px a frame, and where it is."""
    ground = pan(count, grain=0.03, step=(0, 0)) * 0.6
    masks = torch.zeros(count, 96, 96, dtype=torch.bool)
    for n in range(count):
        masks[n, 36:60, 6 + 9 * n : 30 + 9 * n] = True
        ground[n][:, masks[n]] = torch.tensor([0.95, 0.9, 0.2])[:, None]
    return ground, masks


def test_an_occluding_mover_leaves_no_ghost():
    clip, masks = mover(5)
    result, _ = upscaled(clip)
    single = load_model(SINGLE)(clip[2:3])[0]
    # Ground that the square covers in the frames beside the middle one, but not in it.
    near = torch.nn.functional.max_pool2d(masks[2][None].float(), 9, 1, 4)[0].bool()
    hidden = (masks[1] | masks[3]) & ~near
    large = hidden.repeat_interleave(4, 0).repeat_interleave(4, 1)
    assert int(large.sum()) > 1000
    apart = (result[2] - single).abs().mean(0)
    # Half of the square's colour showing through would be about 0.3.
    assert float(apart[large].mean()) < 0.03
    assert float(apart[large].quantile(0.99)) < 0.12


# Network


def test_it_keeps_to_its_budget():
    model = load_window_model(NAME)
    assert model.parameters <= 150_000
    assert model.flops_per_px <= 300_000
    assert (model.scale, model.frames, model.planes) == (4, 5, 19)


def test_what_it_reads_is_as_far_as_it_says():
    model = load_window_model(NAME)
    window = torch.rand(19, 60, 8, generator=torch.Generator().manual_seed(0))
    other = window.clone()
    other[:, 0] = 1 - other[:, 0]
    reach = 4 * (model.radius_px + 1)
    changed = (model(window) - model(other)).abs().amax((0, 2)) > 0
    assert bool(changed[:reach].any())
    assert not bool(changed[reach:].any())


def test_strips_give_what_the_whole_gives():
    model = load_window_model(NAME)
    window = torch.rand(19, 70, 40, generator=torch.Generator().manual_seed(0))

    def run(part):
        return model.net(window=part[None])[0].clamp(0, 1)

    whole = run(window)
    strips = in_strips(run, window, model.radius_px, strip_px=20 * 40)
    assert strips.shape == whole.shape
    assert (strips - whole).abs().max() <= 1e-6
    assert torch.equal(model(window), whole)


def test_without_trust_in_others_training_begins_with_the_single_frame_network():
    state = load_file(default_catalog().get(SINGLE).embedded_path)
    net = begin(recipe(), state)
    frame = pan(1)[0]
    window = torch.cat([frame.repeat(5, 1, 1), torch.zeros(4, 96, 96)])
    with torch.no_grad():
        made = net(window[None]).clamp(0, 1)
    assert (made - load_model(SINGLE)(frame[None])).abs().max() < 1e-5


def test_it_is_loaded_by_hash(tmp_path):
    entry = default_catalog().get(NAME)
    model = load_window_model(NAME)
    assert model.part.sha256 == entry.published.sha256
    assert is_windowed(NAME, ModelStore(tmp_path))
    assert is_windowed(entry.embedded_path, ModelStore(tmp_path))
    assert not is_windowed(SINGLE, ModelStore(tmp_path))
    assert not is_windowed(tmp_path / "none.safetensors", ModelStore(tmp_path))
    content = bytearray(entry.embedded_path.read_bytes())
    content[-1] ^= 1
    changed = tmp_path / "changed.safetensors"
    changed.write_bytes(content)
    stored = replace(ModelStore(tmp_path).get(NAME), path=changed)
    from restore.models.tensors import read_tensors

    with pytest.raises(HashMismatch):
        read_tensors(stored)
    with pytest.raises(UnsupportedModel, match=r"WindowCompact"):
        load_window_model(SINGLE)
    with pytest.raises(InvalidInput, match=r"\[19, h, w\]"):
        model(torch.zeros(3, 8, 8))


# Stage


def test_no_window_reaches_over_a_cut():
    first, second = pan(3, grain=0.04), pan(3, grain=0.04).flip(3)
    joined, _ = upscaled(torch.cat([first, second]), shots=[0] * 3 + [1] * 3)
    apart = torch.cat([upscaled(first)[0], upscaled(second)[0]])
    assert torch.equal(joined, apart)


def test_a_frame_that_is_alone_goes_through_the_single_frame_network():
    still = pan(1, grain=0.04)
    result, stage = upscaled(still)
    assert torch.equal(result[0], load_model(SINGLE)(still)[0])
    facts = stage.facts()
    assert facts["frames that are alone"] == f"{SINGLE}, used for 1"
    assert len(facts["sha256"].split("+")) == 2
    repeated, _ = upscaled(still.expand(4, -1, -1, -1))
    assert torch.equal(repeated[2], result[0])


def test_the_ends_of_a_shot_use_the_frames_that_are_there():
    clip = pan(5, grain=0.06)
    result, stage = upscaled(clip)
    single = load_model(SINGLE)(clip)
    truth = torch.nn.functional.interpolate(pan(5), scale_factor=4, mode="bicubic")
    inner = np.s_[..., 48:-48, 48:-48]
    for end in (0, 4):
        ours = (result[end] - truth[end])[inner].square().mean()
        assert ours < 0.95 * (single[end] - truth[end])[inner].square().mean()
    assert float(stage.facts()["aligned"].split()[0]) > 2


def test_the_same_clip_gives_the_same_bits_in_any_batch():
    clip = pan(4, grain=0.05, size=64)
    once, again = upscaled(clip)[0], upscaled(clip)[0]
    assert torch.equal(once, again)
    together = upscaled(clip, settings=EngineSettings("cpu", batch=3, tile_px=0))[0]
    assert torch.equal(once, together)


# Training


def recipe(**changes) -> WindowRecipe:
    base = {
        "name": "tiny",
        "start_from": "",
        "seed": 3,
        "material_seed": 4,
        "shots": 2,
        "steps": 6,
        "batch": 2,
        "patch_px": 12,
        "rate": 1e-3,
        "tile_px": 24,
        "shrink": (2,),
        "loss": "log",
        "missing": 0.5,
    }
    return WindowRecipe(**{**base, **changes})


@pytest.fixture(scope="module")
def photos():
    return [Photo("a.png", "0" * 64, data.astronaut(), whole=False)]


@pytest.fixture(scope="module")
def bank(photos, tmp_path_factory):
    return build_windows(recipe(), photos, tmp_path_factory.mktemp("bank"), lambda _: None)


def test_a_bank_is_the_same_again_and_says_what_was_drawn(photos, bank, tmp_path):
    again = build_windows(recipe(), photos, tmp_path, lambda _: None)
    assert np.array_equal(again.low, bank.low)
    assert np.array_equal(again.high, bank.high)
    assert bank.low.shape == (6, 24, 24, 19)
    assert bank.high.shape == (6, 96, 96, 3)
    drawn = [json.loads(line) for line in (tmp_path / "shots.jsonl").read_text().splitlines()]
    assert [one["photo"] for one in drawn] == ["a.png"] * 2
    assert all(one["damage"]["grain_rms"] > 0 for one in drawn)
    # The truth belongs to the centre: shrunk, it is nearer to it than to pictures from elsewhere.
    small = np.stack([shrink(high, 4) for high in bank.high]).astype(float)
    own = np.abs(bank.low[..., :3] - small).mean()
    assert own < 0.7 * np.abs(bank.low[..., :3] - np.roll(small, 3, axis=0)).mean()


def test_a_step_draws_what_it_draws(bank):
    low, high = draw_windows(bank, recipe(), 5)
    again = draw_windows(bank, recipe(), 5)
    assert torch.equal(low, again[0])
    assert torch.equal(high, again[1])
    assert low.shape == (2, 19, 12, 12)
    many = [draw_windows(bank, recipe(missing=1.0), n)[0] for n in range(6)]
    # Neighbours that were taken away are the centre again, and trusted nowhere.
    for window in torch.cat(many):
        gone = [n for n in range(4) if float(window[15 + n].max()) == 0]
        assert any(torch.equal(window[3 * n + 3 : 3 * n + 6], window[:3]) for n in gone)


def test_a_resumed_run_gives_the_same_bits(bank, tmp_path):
    start = WindowCompact(8, 2).state_dict()
    shape = {"features": 8, "convolutions": 2}
    quiet = {"say": lambda _: None}
    whole, facts = train_windowed(
        recipe(**shape), bank, start, tmp_path / "a", Schedule(checkpoint_every=2), **quiet
    )
    for stop in (3, 0):
        parts, _ = train_windowed(
            recipe(**shape),
            bank,
            start,
            tmp_path / "b",
            Schedule(checkpoint_every=2, stop_after=stop),
            **quiet,
        )
    assert facts["steps"] == 6
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert any(not torch.equal(whole[name], start[name]) for name in whole)
    first = export_windowed(whole, recipe(**shape), 6, tmp_path / "a.safetensors")
    assert export_windowed(parts, recipe(**shape), 6, tmp_path / "b.safetensors") == first
    with pytest.raises(InvalidInput, match=r"another recipe"):
        train_windowed(recipe(**shape, rate=2e-3), bank, start, tmp_path / "a", Schedule(), **quiet)


def test_recipes_are_read_and_refused(tmp_path):
    assert {load_window_recipe(path).name for path in RECIPES.glob("*.toml")} >= {NAME}
    bad = tmp_path / "bad.toml"
    bad.write_text((RECIPES / f"{NAME}.toml").read_text() + "\nfoo = 1\n")
    with pytest.raises(InvalidInput, match=r"foo"):
        load_window_recipe(bad)
    with pytest.raises(InvalidInput, match=r"patches of 32 px"):
        recipe(patch_px=32)
