"""The training room's part for interpolation: recipe, synthetic motion, batches, resuming."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from restore.errors import InvalidInput
from restore.models.interpolators import load_interpolator
from restore.motion.warp import warp
from restore.train.interpolation import Schedule, export_interpolator, train_interpolator
from restore.train.interpolation_recipe import InterpolationRecipe, load_interpolation_recipe
from restore.train.layered import render_triplet
from restore.train.photos import Photo
from restore.train.triplets import TripletBank, build_triplets, draw_triplets

RECIPES = Path(__file__).parents[1] / "restore" / "train" / "recipes" / "interpolation"
TINY = InterpolationRecipe(
    name="tiny",
    seed=3,
    steps=6,
    batch=2,
    patch_px=32,
    tile_px=48,
    tiles=3,
    widths=(8, 8),
    scales=(2, 1),
    layers=1,
    finish=4,
    rate=1e-3,
    warmup_steps=2,
    shrink=(),
)


def _quiet(_):
    pass


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def photos():
    random = np.random.default_rng(1)
    coarse = torch.from_numpy(random.random((2, 3, 30, 36))).float()
    fine = F.interpolate(coarse, (200, 240), mode="bicubic").clamp(0, 1) * 255
    made = fine.permute(0, 2, 3, 1).round().to(torch.uint8).numpy()
    return [Photo(f"made{n}.png", str(n) * 64, made[n], whole=True) for n in range(2)]


@pytest.fixture(scope="module")
def bank(photos, tmp_path_factory):
    return build_triplets(TINY, photos, tmp_path_factory.mktemp("bank"), _quiet)


def test_the_shipped_recipe_reads():
    recipe = load_interpolation_recipe(RECIPES / "restore-vfi-s.toml")
    assert recipe.name == "restore-vfi-s"
    assert "retina.jpg" in recipe.leave_out


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("batch = ", "bunch = ", "batch"),
        ("patch_px = 128", "patch_px = 512", "patches of 512 px"),
        ("widths = [64, 64, 48]", "widths = [64]", "widths and scales"),
        ("layers = 4", 'layers = "x"', "layers"),
        ("seed", "= seed", "TOML"),
    ],
)
def test_mistakes_in_a_recipe_are_named(tmp_path, old, new, said):
    text = (RECIPES / "restore-vfi-s.toml").read_text("utf-8")
    assert old in text
    path = tmp_path / "r.toml"
    path.write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(InvalidInput, match=said):
        load_interpolation_recipe(path)
    with pytest.raises(InvalidInput, match="cannot be read"):
        load_interpolation_recipe(tmp_path / "none.toml")


def test_a_triplet_depends_on_its_seed_alone_and_moves(photos):
    sources = [(p.name, 0, p.pixels) for p in photos]
    made = [render_triplet(sources, 48, seed) for seed in range(8)]
    again = render_triplet(sources, 48, 5)
    assert np.array_equal(again.first, made[5].first)
    assert np.array_equal(again.truth, made[5].truth)
    assert again.drawn == made[5].drawn
    assert len({t.first.tobytes() for t in made}) == 8
    assert all(0 < t.time < 1 for t in made)
    assert {t.time == 0.5 for t in made} == {True, False}
    for t in made:
        ends = np.abs(t.first.astype(float) - t.second).mean()
        inner = np.abs(t.first.astype(float) - t.truth).mean()
        assert ends > 0.5
        # The truth lies between: nearer to an end than the ends to each other, noise allowed for.
        assert inner < 1.2 * ends + 3


def test_a_bank_is_read_again_and_made_anew_for_another_recipe(photos, tmp_path):
    said = []
    recipe = replace(TINY, tiles=1)
    first = build_triplets(recipe, photos, tmp_path, said.append)
    stamp = (tmp_path / "frames.npy").stat().st_mtime_ns
    again = build_triplets(replace(recipe, rate=1.0), photos, tmp_path, said.append)
    assert (tmp_path / "frames.npy").stat().st_mtime_ns == stamp
    assert np.array_equal(first.frames, again.frames)
    other = build_triplets(replace(recipe, seed=4), photos, tmp_path / "other", said.append)
    assert not np.array_equal(first.frames, other.frames)
    with pytest.raises(InvalidInput, match="large enough"):
        build_triplets(replace(recipe, tile_px=400), photos, tmp_path / "none", said.append)


def test_motion_follows_whatever_is_done_to_a_patch():
    """A pan by (4, -2) px: each varied patch must still be explained by its own motion."""
    wide = torch.rand(1, 3, 14, 14, generator=torch.Generator().manual_seed(1))
    picture = F.interpolate(wide, (80, 80), mode="bicubic").clamp(0, 1)[0]
    at = [picture[:, 10 - y : 58 - y, 10 - x : 58 - x] for x, y in ((0, 0), (4, -2), (1, 0))]
    time = 0.25
    frames = torch.stack(at).permute(0, 2, 3, 1)[None] * 255
    motion = np.zeros((1, 4, 48, 48), np.float16)
    motion[0, 0], motion[0, 1] = 4, -2
    motion[0, 2], motion[0, 3] = 0.25, 0.75
    times = np.array([time], np.float32)
    bank = TripletBank(frames.round().to(torch.uint8).numpy(), motion, times)
    seen = set()
    for step in range(24):
        (first, second, moved, cover, when), truth = draw_triplets(bank, TINY, step)
        for n in range(TINY.batch):
            t = float(when[n])
            assert t in (0.25, 0.75)
            assert float(cover[n, 0].mean()) == (0.25 if t == 0.25 else 0.75)
            ends = warp(first[n : n + 1], -t * moved[n : n + 1])
            far = warp(second[n : n + 1], (1 - t) * moved[n : n + 1])
            inner = (..., slice(6, -6), slice(6, -6))
            # (1, -0.5) px at a quarter of the way, and the truth was cut at (1, 0).
            assert (ends - far)[inner].abs().max() < 0.02
            assert (ends - truth[n : n + 1])[inner].abs().mean() < 0.04
            seen.add((t, tuple(moved[n, :, 0, 0].tolist())))
    # Times two ways, two mirrors, turned or not.
    assert len(seen) > 8


def test_a_batch_depends_on_its_step_alone(bank):
    one, again, other = (draw_triplets(bank, TINY, step)[1] for step in (7, 7, 8))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_a_stopped_run_goes_on_to_the_same_weights_and_exports_what_loads(bank, tmp_path):
    every = Schedule(checkpoint_every=2)
    whole, facts = train_interpolator(TINY, bank, tmp_path / "whole", every, _quiet)
    assert facts["steps"] == 6
    train_interpolator(TINY, bank, tmp_path / "parts", replace(every, stop_after=3), _quiet)
    parts, _ = train_interpolator(TINY, bank, tmp_path / "parts", every, _quiet)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    start = train_interpolator(TINY, bank, tmp_path / "p", replace(every, stop_after=1), _quiet)
    assert any(not torch.equal(start[0][name], whole[name]) for name in whole)
    with pytest.raises(InvalidInput, match="another recipe"):
        train_interpolator(replace(TINY, rate=2e-3), bank, tmp_path / "parts", every, _quiet)
    path = tmp_path / "tiny.safetensors"
    digest, size = export_interpolator(whole, TINY, 6, path)
    assert export_interpolator(whole, TINY, 6, tmp_path / "b.safetensors") == (digest, size)
    model = load_interpolator(path)
    assert model.architecture == "FlowRefiner"
    assert model.between(torch.rand(3, 40, 50), torch.rand(3, 40, 50), [0.4]).shape == (
        1,
        3,
        40,
        50,
    )


def test_training_learns_what_is_to_be_learned(tmp_path):
    """Here that every truth is a little brighter than its ends."""
    frames = np.random.default_rng(1).integers(60, 120, (2, 3, 48, 48, 3), np.uint8)
    frames[:, 1] = frames[:, 0]
    frames[:, 2] = frames[:, 0] + 40
    still = np.zeros((2, 4, 48, 48), np.float16)
    bank = TripletBank(frames, still, np.full(2, 0.5, np.float32))
    recipe = replace(TINY, steps=40, rate=1e-2, ema=0.9)
    lines = []
    train_interpolator(recipe, bank, tmp_path, Schedule(checkpoint_every=10), lines.append)
    losses = [float(line.split('"loss": ')[1].split(",")[0]) for line in lines]
    # It begins at 40 levels of 255.
    assert losses[0] < 0.15
    assert losses[-1] < 0.6 * losses[0]
