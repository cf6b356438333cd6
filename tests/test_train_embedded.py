"""The shipped weights: what they are, and that they are worth shipping, on pictures held out."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from skimage import data

from benchmarks.quality_metrics import psnr_y, ssim_y
from benchmarks.quality_models import rows_1x, rows_4x
from benchmarks.quality_sets import coded, film, set5
from restore.degrade.resize import shrink
from restore.models.catalog import default_catalog
from restore.train.holdout import HELD_OUT
from restore.train.recipe import load_recipe
from restore.train.window_recipe import load_window_recipe

RECIPES = Path(__file__).parents[1] / "restore" / "train" / "recipes"
EMBEDDED = [entry for entry in default_catalog() if entry.embedded]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def assets():
    root = os.environ.get("RESTORE_TEST_ASSETS")
    if not root:
        pytest.skip("RESTORE_TEST_ASSETS is not set: Set5 and the photographs are not here")
    return Path(root)


def _row(rows, name):
    return next(row for row in rows if row.name == name)


def _mean(row, cases, border_px, measure=psnr_y):
    return float(
        np.mean(
            [
                measure(row.run(low), high, border_px)
                for case in cases
                for low, high in zip(case.low, case.high, strict=True)
            ]
        )
    )


def test_there_is_one_for_each_role():
    assert {entry.role for entry in EMBEDDED} == {"deartifact", "upscale"}
    assert sum(entry.published.size_bytes for entry in EMBEDDED) <= 4_000_000


@pytest.mark.parametrize("entry", EMBEDDED, ids=lambda e: e.name)
def test_the_file_is_the_catalogued_one_and_names_its_recipe(entry):
    content = entry.embedded_path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == entry.published.sha256
    assert len(content) == entry.published.size_bytes
    if entry.architecture == "WindowCompact":
        recipe = load_window_recipe(RECIPES / "windowed" / f"{entry.name}.toml")
    else:
        recipe = load_recipe(RECIPES / f"{entry.name}.toml")
    with safe_open(entry.embedded_path, "pt") as file:
        facts = file.metadata()
        count = sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118
    assert facts["recipe_sha256"] == recipe.sha256
    assert facts["steps"] == str(recipe.steps)
    # A pupil's licence is its teacher's.
    assert facts["licence"] == entry.licence == ("BSD-3-Clause" if "teacher" in facts else "MIT")
    assert count <= 150_000


def test_4x_beats_lanczos_on_clean_pictures():
    rows = rows_4x(None)
    ours, plain = _row(rows, "restore-4x-s"), _row(rows, "lanczos3")
    gains = []
    for picture in (data.astronaut(), data.coffee(), data.chelsea(), data.rocket()):
        high = picture[: picture.shape[0] // 4 * 4, : picture.shape[1] // 4 * 4]
        low = shrink(high, 4)
        gains.append(psnr_y(ours.run(low), high, 4) - psnr_y(plain.run(low), high, 4))
    assert np.mean(gains) > 0.3
    # docs/models.md names the cat among the weak points: fur is taken for grain, at 0.3 dB.
    assert min(gains) > -0.5


def test_the_vivid_look_has_more_contrast_at_edges_and_stays_near_its_input():
    rows, cases = rows_4x(None), film(None, "light", steady=False)
    plain, vivid = (_row(rows, name) for name in ("restore-4x-s", "restore-4x-vivid-s"))

    def slopes(row):
        shots = [row.run(case.low[0]).astype(float) for case in cases]
        return float(np.mean([np.abs(np.diff(s, axis=1)).mean() for s in shots]))

    assert slopes(vivid) > 1.05 * slopes(plain)
    assert _mean(vivid, cases, 4) > _mean(_row(rows, "lanczos3"), cases, 4) - 1.5


@pytest.mark.parametrize("strength", ["light", "medium", "heavy"])
def test_4x_beats_lanczos_on_film(strength):
    rows, cases = rows_4x(None), film(None, strength, steady=False)
    ours, plain = _row(rows, "restore-4x-s"), _row(rows, "lanczos3")
    assert _mean(ours, cases, 4) > _mean(plain, cases, 4) + 0.1
    assert _mean(ours, cases, 4, ssim_y) > _mean(plain, cases, 4, ssim_y)


@pytest.mark.parametrize(
    ("codec", "quality"), [("jpeg", 10), ("jpeg", 20), ("jpeg", 40), ("h264", 28), ("h264", 36)]
)
def test_1x_takes_artefacts_off(codec, quality):
    rows, cases = rows_1x(), coded(None, codec, quality)
    least = 0.3 if codec == "jpeg" else 0.1
    gain = _mean(_row(rows, "restore-1x-deartifact-s"), cases, 0) - _mean(rows[0], cases, 0)
    assert gain > least


def test_4x_on_set5(assets):
    cases = set5(assets)
    assert len(cases) == 5
    # docs/models.md says 29.91; Lanczos reaches 28.81.
    assert _mean(_row(rows_4x(None), "restore-4x-s"), cases, 4) > 29.8


def test_the_evaluation_set_is_known_by_its_files(assets):
    files = {p.name: p for p in (assets / "media" / "eval").glob("*.png")}
    assert len(files) == 5
    for name, path in files.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == HELD_OUT[name][0]
