"""The quality benchmark's measures give what is known, and its sets hold nothing trained on."""

import os
from pathlib import Path

import numpy as np
import pytest
from skimage import data

from benchmarks.quality_metrics import luma, pan_error, psnr_y, ssim_y
from benchmarks.quality_niqe import Niqe
from benchmarks.quality_sets import PAN_PX, coded, film, held_out_pictures, set5
from restore.degrade.optics import blur
from restore.degrade.resize import resize
from restore.train.holdout import HELD_OUT


@pytest.fixture(scope="module")
def assets():
    root = os.environ.get("RESTORE_TEST_ASSETS")
    if not root:
        pytest.skip("RESTORE_TEST_ASSETS is not set: Set5 and NIQE's statistics are not here")
    return Path(root)


def test_luma_is_studio_range():
    ends = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0]]], np.uint8)
    assert luma(ends)[0] == pytest.approx([16.0, 235.0, 81.481])


def test_psnr_of_a_known_difference():
    grey = np.full((20, 20, 3), 100, np.uint8)
    brighter = grey + 10
    # 10 code values of R'G'B' are 10 * 219 / 255 of luma.
    assert psnr_y(brighter, grey, 0) == pytest.approx(20 * np.log10(255 / (2190 / 255)), abs=1e-9)
    spoiled = brighter.copy()
    spoiled[0] = 255
    assert psnr_y(spoiled, grey, 4) == psnr_y(brighter, grey, 4)
    assert ssim_y(grey, grey, 0) == pytest.approx(1.0)


def test_pan_error_is_zero_on_an_exact_pan_and_sees_noise():
    picture = data.astronaut()
    for step in ((3, 5), (-2, 4), (0, -6)):
        frames = np.stack(
            [picture[60 + n * step[0] :, 60 + n * step[1] :][:200, :240] for n in range(4)]
        )
        assert pan_error(frames, step, 4) == 0.0
        assert pan_error(frames, (step[0] + 1, step[1]), 4) > 5.0
    noise = np.random.default_rng(0).integers(-8, 9, frames.shape)
    noisy = np.clip(frames.astype(int) + noise, 0, 255).astype(np.uint8)
    # A uniform error of 8 either way is 2.8 of luma, and a difference of two frames has twice that
    # variance.
    assert 3.5 < pan_error(noisy, step, 4) < 4.3


def test_niqe_tells_a_photograph_from_a_blurred_and_a_noisy_one(assets):
    niqe = Niqe(assets / "models" / "niqe_pris_params.npz")
    photo = data.coffee()
    soft = blur(photo.astype(np.float32), (2.0, 2.0)).astype(np.uint8)
    noise = np.random.default_rng(0).normal(0, 25, photo.shape)
    noisy = np.clip(photo + noise, 0, 255).astype(np.uint8)
    assert niqe(photo) < 5.0
    assert niqe(soft) > niqe(photo) + 2
    assert niqe(noisy) > niqe(photo) + 2
    assert np.isnan(niqe(photo[:50]))


def test_bicubic_on_set5_is_the_published_figure(assets):
    found = []
    for case in set5(assets):
        high = case.high[0]
        up = resize(case.low[0].astype(np.float32), high.shape[:2], "bicubic")
        found.append(psnr_y(np.clip(np.rint(up), 0, 255).astype(np.uint8), high, 4))
    assert np.mean(found) == pytest.approx(28.42, abs=0.02)


def test_sets_are_the_same_every_time_and_fit_together():
    for cases, scale in ((film(None, "medium", steady=False), 4), (coded(None, "h264", 30), 1)):
        for case in cases:
            assert case.low.shape[0] == case.high.shape[0] == 3
            assert [v * scale for v in case.low.shape[1:3]] == list(case.high.shape[1:3])
    again = film(None, "medium", steady=False)
    first = film(None, "medium", steady=False)
    assert all(np.array_equal(a.low, b.low) for a, b in zip(again, first, strict=True))


def test_steady_clips_pan_by_what_they_say():
    for case in film(None, "light", steady=True):
        step = (4 * PAN_PX[0], 4 * PAN_PX[1])
        assert pan_error(case.high, step, 8) < 0.6


def test_every_test_picture_is_held_out():
    assert {name for name, _ in held_out_pictures(None)} <= set(HELD_OUT)


def test_photographs_of_the_test_sets_are_held_out(assets):
    assert {name for name, _ in held_out_pictures(assets)} <= set(HELD_OUT)
