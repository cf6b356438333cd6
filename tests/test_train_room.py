"""The training room: recipes, material, held-out pictures, the loop and resuming."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from spandrel import ModelLoader

from restore.errors import InvalidInput
from restore.train.bank import build_bank, draw_batch
from restore.train.export import export
from restore.train.holdout import HELD_OUT
from restore.train.loop import Run, rate_at, train
from restore.train.net import build, flop_per_px, parameters, receptive_radius_px
from restore.train.photos import BUNDLED, load_photos
from restore.train.recipe import Material, Optimiser, Recipe, load_recipe

RECIPES = sorted((Path(__file__).parents[1] / "restore" / "train" / "recipes").glob("*.toml"))
TINY = Recipe(
    name="tiny",
    scale=4,
    seed=9,  # draws MPEG, not H.264, whose encoder is not bit-exact under load
    steps=40,
    batch=4,
    patch_px=12,
    features=8,
    convolutions=2,
    material=(Material("clean", 6), Material("film", 2), Material("jpeg", 2)),
    precision="fp32",
    tile_px=16,
    shrink=(1,),
    bundled=False,
    optimiser=Optimiser(rate=4e-3, warmup_steps=5),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos")
    Image.fromarray(data.retina()[200:700, 200:700]).save(path / "one.png")
    Image.fromarray(data.immunohistochemistry()).save(path / "two.png")
    return path


@pytest.fixture(scope="module")
def bank(folder, tmp_path_factory):
    return build_bank(
        TINY, load_photos(folder, False), tmp_path_factory.mktemp("bank"), lambda line: None
    )


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _quiet(line):
    assert line


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_each_recipe_is_a_small_convolutional_net_that_spandrel_loads(path):
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    net = build(recipe)
    assert sum(p.numel() for p in net.parameters()) == parameters(recipe) <= 150_000
    assert flop_per_px(recipe) <= 300_000
    loaded = ModelLoader().load_from_state_dict(net.state_dict())
    assert loaded.scale == recipe.scale
    assert loaded.architecture.id == "Compact"


def test_receptive_radius_is_how_far_an_output_looks():
    net = build(TINY)
    radius = receptive_radius_px(TINY)
    picture = torch.rand(1, 3, 21, 21, generator=torch.Generator().manual_seed(0))
    changed = picture.clone()
    changed[..., 10, 10] += 0.5
    with torch.inference_mode():
        where = (net(changed) - net(picture)).abs().amax(dim=(0, 1)).nonzero()
    assert where.min().item() == (10 - radius) * 4
    assert where.max().item() == (10 + radius) * 4 + 3


def test_a_bank_is_the_same_again_and_kept(folder, bank, tmp_path):
    photos = load_photos(folder, False)
    again = build_bank(TINY, photos, tmp_path, _quiet)
    assert np.array_equal(bank.low, again.low)
    assert np.array_equal(bank.high, again.high)
    notes = [json.loads(x) for x in (tmp_path / "tiles.jsonl").read_text().splitlines()]
    assert [n["kind"] for n in notes] == ["clean"] * 6 + ["film"] * 2 + ["jpeg"] * 2
    assert notes[6]["damage"]["downscale"] == 4
    (tmp_path / "low.npy").touch()
    said = []
    kept = build_bank(TINY, photos, tmp_path, said.append)
    assert not said
    assert np.array_equal(kept.low, bank.low)


def test_a_batch_depends_on_its_step_alone(bank):
    low, high = draw_batch(bank, TINY, 7)
    assert low.shape == (4, 3, 12, 12)
    assert high.shape == (4, 3, 48, 48)
    assert np.array_equal(draw_batch(bank, TINY, 7)[0], low)
    assert not np.array_equal(draw_batch(bank, TINY, 8)[0], low)
    # Input and target stay one picture through turning and mirroring.
    small = high.reshape(4, 3, 12, 4, 12, 4).mean(axis=(3, 5))
    for a, b in zip(low, small, strict=True):
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.6


def test_the_rate_rises_then_falls():
    rates = [rate_at(TINY, step) for step in range(TINY.steps)]
    assert rates[0] < rates[4] == max(rates)
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[-1] < 0.01 * max(rates)


def _loss_on(net, bank, recipe):
    low, high = (torch.from_numpy(a) for a in draw_batch(bank, replace(recipe, batch=32), 10**6))
    with torch.inference_mode():
        return float((net(low) - high).abs().mean())


def test_training_lowers_the_loss(bank, tmp_path):
    recipe = replace(TINY, steps=150)
    net = build(recipe)
    before = _loss_on(net, bank, recipe)
    weights, facts = train(recipe, bank, Run(tmp_path, log_every=50), _quiet)
    net.load_state_dict(weights)
    assert _loss_on(net, bank, recipe) < 0.9 * before
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [50, 100, 150]
    assert facts["steps"] == 150


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_stopped_and_resumed_is_bit_for_bit_the_same(bank, tmp_path, precision):
    recipe = replace(TINY, steps=20, precision=precision)
    whole, _ = train(recipe, bank, Run(tmp_path / "whole"), _quiet)
    train(recipe, bank, Run(tmp_path / "parts", stop_after=7), _quiet)
    parts, facts = train(recipe, bank, Run(tmp_path / "parts"), _quiet)
    assert facts["starts"] == 2
    assert facts["steps"] == 20
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_another_recipes_checkpoint_is_refused(bank, tmp_path):
    train(replace(TINY, steps=2), bank, Run(tmp_path), _quiet)
    with pytest.raises(InvalidInput, match="another recipe"):
        train(replace(TINY, steps=3), bank, Run(tmp_path), _quiet)


def test_the_same_weights_give_the_same_file(tmp_path):
    state = build(TINY).state_dict()
    first = export(state, TINY, 0, tmp_path / "a.safetensors")
    for _ in range(3):
        assert export(state, TINY, 0, tmp_path / "b.safetensors") == first
    loaded = ModelLoader().load_from_file(tmp_path / "a.safetensors")
    assert torch.equal(loaded.model.state_dict()["body.0.weight"], state["body.0.weight"])


def test_held_out_pictures_are_refused_by_file_and_by_pixels(tmp_path):
    with pytest.raises(InvalidInput, match="no training photograph"):
        load_photos(tmp_path, False)
    # The bundled ones that belong to the demonstration, saved anew under another name.
    Image.fromarray(data.coffee()).save(tmp_path / "holiday.tiff")
    Image.fromarray(data.astronaut()).save(tmp_path / "friend.png")
    with pytest.raises(InvalidInput, match="no training photograph"):
        load_photos(tmp_path, False)
    Image.fromarray(data.coffee()[::-1]).save(tmp_path / "other.png")
    assert [p.name for p in load_photos(tmp_path, False)] == ["other.png"]


def test_nothing_held_out_is_among_the_bundled(folder):
    assert not set(BUNDLED) & set(HELD_OUT)
    names = [p.name for p in load_photos(folder, True)]
    assert names == ["one.png", "two.png", *BUNDLED]
    assert "text.png" not in [p.name for p in load_photos(folder, True, ("text.png",))]


@pytest.mark.parametrize(
    "text",
    [
        "name = 1 +",
        'name = "x"',
        'name = "x"\nfrobnicate = 3',
        'name = "x"\nscale = 3\nseed = 1\nsteps = 1\nbatch = 1\npatch_px = 8\nfeatures = 8\n'
        'convolutions = 2\n[[material]]\nkind = "clean"\ntiles = 1',
    ],
)
def test_a_wrong_recipe_is_named(tmp_path, text):
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(InvalidInput):
        load_recipe(path)


COMMAND = """\
name = "killed"
scale = 1
seed = 3
steps = 60
batch = 2
patch_px = 16
features = 8
convolutions = 2
tile_px = 24
shrink = [1]
bundled = false
[[material]]
kind = "jpeg"
tiles = 6
[[material]]
kind = "clean"
tiles = 2
"""


def test_the_command_goes_on_after_a_kill_and_ends_with_the_same_file(folder, tmp_path):
    recipe = tmp_path / "killed.toml"
    recipe.write_text(COMMAND)

    def command(out):
        start = [sys.executable, "-m", "restore.train", str(recipe), "--data", str(folder)]
        return [*start, "--out", str(tmp_path / out), "--threads", "1", "--checkpoint-every", "5"]

    running = subprocess.Popen(
        command("killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    checkpoint = tmp_path / "killed" / "killed" / "checkpoint.pt"
    until = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < until:
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert checkpoint.exists()
    told = []
    for out in ("killed", "whole"):
        done = subprocess.run(command(out), capture_output=True, text=True, check=True)
        told.append(json.loads(done.stdout))
    assert told[0]["steps"] == told[1]["steps"] == 60
    assert told[0]["starts"] == 2
    assert told[0]["sha256"] == told[1]["sha256"]


def test_the_command_says_what_is_missing(folder, tmp_path):
    start = [sys.executable, "-m", "restore.train", str(tmp_path / "none.toml")]
    done = subprocess.run(
        [*start, "--data", str(folder), "--out", str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "none.toml" in done.stderr
