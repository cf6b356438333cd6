"""Later parts of the training room: orthogonalised steps, the loss on luma, drawn scenes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from restore.degrade.seeds import generator
from restore.errors import InvalidInput
from restore.train.bank import Bank
from restore.train.export import export
from restore.train.leaves import dead_leaves
from restore.train.loop import Run, train
from restore.train.muon import Muon, orthogonal
from restore.train.net import build
from restore.train.pairs import MAKERS, Transfers
from restore.train.recipe import Material, Optimiser, Recipe

TINY = Recipe(
    name="tiny",
    scale=4,
    seed=9,
    steps=24,
    batch=4,
    patch_px=12,
    features=8,
    convolutions=2,
    material=(Material("leaves", 6),),
    precision="fp32",
    tile_px=16,
    loss="luma",
    optimiser=Optimiser(rate=4e-3, warmup_steps=5, kind="muon"),
)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def bank():
    random = np.random.default_rng(3)
    colours = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    pairs = [MAKERS["leaves"](colours, 4, 0.0, Transfers(), generator(1, n))[:2] for n in range(6)]
    return Bank(np.stack([low for low, _ in pairs]), np.stack([high for _, high in pairs]))


def test_orthogonal_steps_have_singular_values_near_one():
    matrices = torch.randn(3, 8, 30, generator=torch.Generator().manual_seed(0))
    matrices[1] *= 1e-4  # a small gradient counts as much as a large one
    values = torch.linalg.svdvals(orthogonal(matrices))
    assert values.min() > 0.5
    assert values.max() < 1.35


def test_muon_goes_down_and_along_the_gradient_first():
    source = torch.Generator().manual_seed(1)
    wanted = torch.randn(4, 3, 3, 3, generator=source)
    weight = torch.nn.Parameter(torch.zeros(4, 3, 3, 3))
    optimiser = Muon([weight], lr=0.3)
    losses = []
    for step in range(60):
        optimiser.param_groups[0]["lr"] = 0.3 * (1 - step / 60)
        optimiser.zero_grad()
        loss = (weight - wanted).square().mean()
        loss.backward()
        losses.append(float(loss.detach()))
        optimiser.step()
    assert losses[-1] < 0.1 * losses[0]
    assert losses[1] < losses[0]


def test_the_recipe_decides_the_optimiser_and_old_recipes_keep_their_hash(bank, tmp_path):
    quiet = lambda line: None  # noqa: E731
    ours, _ = train(TINY, bank, Run(tmp_path / "muon"), quiet)
    adam = replace(TINY, optimiser=replace(TINY.optimiser, kind="adam"))
    theirs, _ = train(adam, bank, Run(tmp_path / "adam"), quiet)
    assert not torch.equal(ours["body.2.weight"], theirs["body.2.weight"])
    assert adam.sha256 != TINY.sha256


def test_muon_is_resumed_bit_for_bit(bank, tmp_path):
    quiet = lambda line: None  # noqa: E731
    whole, _ = train(TINY, bank, Run(tmp_path / "whole"), quiet)
    train(TINY, bank, Run(tmp_path / "parts", stop_after=9), quiet)
    parts, facts = train(TINY, bank, Run(tmp_path / "parts"), quiet)
    assert facts["starts"] == 2
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_share_of_the_first_weights_is_kept_where_the_recipe_asks(bank, tmp_path):
    quiet = lambda line: None  # noqa: E731
    start = tmp_path / "start.safetensors"
    first = build(TINY).state_dict()
    export(first, TINY, 0, start)
    recipe = replace(TINY, steps=8, start_from="start")
    alone, _ = train(recipe, bank, Run(tmp_path / "a"), quiet, start)
    recipe = replace(recipe, keep_start=0.25)
    mixed, _ = train(recipe, bank, Run(tmp_path / "b"), quiet, start)
    for name, value in mixed.items():
        assert torch.allclose(value, 0.75 * alone[name] + 0.25 * first[name], atol=1e-6)
    assert not torch.equal(mixed["body.2.weight"], alone["body.2.weight"])
    with pytest.raises(InvalidInput, match="keep_start"):
        replace(TINY, keep_start=0.5)


@pytest.mark.parametrize(("share", "codec"), [(Transfers(dv=1.0), "dv"), (Transfers(), "other")])
def test_dv_comes_in_by_its_share(share, codec):
    tile = np.tile(np.arange(80, dtype=np.uint8)[:, None, None], (1, 80, 3))
    for number in range(3):
        low, high, facts = MAKERS["codec"](tile, 1, 0.5, share, generator(6, number))
        assert (facts["codec"] == "dv") == (codec == "dv")
        assert low.shape == high.shape == (48, 48, 3)


def test_careless_transfers_spoil_the_frame_that_is_learned_from():
    random = np.random.default_rng(2)
    tile = np.repeat(random.integers(0, 2, (96, 96, 1), dtype=np.uint8) * 180, 3, axis=2)
    combed = 0
    for number in range(12):
        telecine = Transfers(telecine=1.0)
        low, high, facts = MAKERS["codec"](tile, 1, 0.0, telecine, generator(8, number))
        error = np.abs(low.astype(int) - high).mean(axis=(1, 2))
        moved = error[1::2].mean() > 20  # the pan may be too slow to show
        if facts["telecine"] == "combed" and moved:
            combed += 1
            assert error[1::2].mean() > 2 * error[::2].mean()
    assert combed >= 2


@pytest.mark.parametrize("kind", ["luma", "luma2"])
def test_the_loss_on_luma_weighs_grey_errors_more(kind):
    from restore.train.loop import _loss

    truth = torch.zeros(1, 3, 4, 4)
    grey = torch.full_like(truth, 0.1)
    # Errors of colour that leave the luma 0.299 R + 0.587 G + 0.114 B as it is.
    colour = torch.tensor([0.1, -0.0315, -0.1]).view(1, 3, 1, 1).expand_as(truth)
    assert float(_loss(kind, grey, truth)) == pytest.approx(0.1 if kind == "luma" else 0.01)
    assert float(_loss(kind, colour, truth)) < 0.3 * float(_loss(kind, grey, truth))


def test_drawn_scenes_come_from_their_key_and_have_flat_parts_and_edges():
    colours = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    scene = dead_leaves(96, colours, generator(4, 1))
    assert scene.shape == (96, 96, 3)
    assert np.array_equal(scene, dead_leaves(96, colours, generator(4, 1)))
    assert not np.array_equal(scene, dead_leaves(96, colours, generator(4, 2)))
    steps = np.abs(np.diff(scene.astype(int), axis=1)).max(axis=2)
    assert (steps <= 4).mean() > 0.3
    assert (steps > 40).mean() > 0.01
