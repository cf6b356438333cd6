"""The film degradation model: deterministic, measurable against its own truth."""

import json
from dataclasses import replace

import numpy as np
import pytest
from skimage import data
from skimage.registration import phase_cross_correlation

from restore.degrade.dirt import Dirt
from restore.degrade.film import Compression, FilmDamage, degrade
from restore.degrade.gauges import GAUGES, blur_px
from restore.degrade.scene import moving_clip
from restore.errors import InvalidInput


@pytest.fixture(scope="module")
def clip():
    return moving_clip(data.coffee(), 4, (192, 256), seed=3)


def _difference(a, b):
    return float(np.sqrt(np.mean((a - b) ** 2)))


def test_same_seed_same_clip_and_another_seed_another(clip):
    one = degrade(clip, FilmDamage.preset("super8", "heavy", 7))
    same = degrade(clip, FilmDamage.preset("super8", "heavy", 7))
    other = degrade(clip, FilmDamage.preset("super8", "heavy", 8))
    assert np.array_equal(one.frames, same.frames)
    assert np.array_equal(one.dust_mask, same.dust_mask)
    assert not np.array_equal(one.frames, other.frames)


def test_a_frame_does_not_depend_on_how_many_follow(clip):
    damage = FilmDamage.preset("16mm", "medium", 11)
    assert np.array_equal(degrade(clip, damage).frames[:2], degrade(clip[:2], damage).frames)


def test_parameters_written_as_json_give_the_clip_again(clip):
    first = degrade(clip, FilmDamage.preset("8mm", 0.7, 5, downscale=2))
    again = degrade(clip, FilmDamage.from_json(json.loads(json.dumps(first.parameters))))
    assert np.array_equal(first.frames, again.frames)


def test_no_damage_is_plain_shrinking(clip):
    out = degrade(clip, FilmDamage(downscale=4))
    assert out.frames.shape == (4, 48, 64, 3)
    assert np.array_equal(out.truth, out.target)
    assert not out.dust_mask.any()
    assert np.array_equal(out.weave_px, np.zeros((4, 2)))
    assert np.array_equal(out.flicker, np.ones(4))


@pytest.mark.parametrize("gauge", GAUGES)
def test_a_stronger_preset_is_farther_from_the_truth(clip, gauge):
    far = [
        _difference(out.frames, degrade(out.target, FilmDamage(downscale=4)).frames)
        for out in (
            degrade(clip, FilmDamage.preset(gauge, strength, 2))
            for strength in ("light", "medium", "heavy")
        )
    ]
    assert far[0] < far[1] < far[2]


def test_a_small_gauge_is_softer_than_a_large_one():
    widths = [blur_px(gauge, 480) for gauge in ("8mm", "super8", "16mm", "35mm")]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 5 * widths[-1]


def test_grain_is_strongest_in_the_middle_and_gone_in_black():
    grey = np.repeat(np.array([0.01, 0.5, 0.98], np.float32), 64)
    frame = np.broadcast_to(grey[None, None, :, None], (1, 64, 192, 3))
    out = degrade(frame, FilmDamage(downscale=1, grain_rms=0.1, grain_size_px=0.6)).frames[0]
    spread = [out[:, i * 64 + 8 : i * 64 + 56].std() for i in range(3)]
    assert spread[1] > spread[2] > spread[0]


def test_silver_grain_is_the_same_in_all_channels_and_dye_grain_is_not():
    frame = np.full((1, 96, 96, 3), 0.5, np.float32)
    for monochrome, least, most in ((True, 0.999, 1.001), (False, 0.1, 0.5)):
        damage = FilmDamage(downscale=1, grain_rms=0.1, monochrome=monochrome)
        noise = degrade(frame, damage).frames[0] - 0.5
        found = np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]
        assert least < found < most


def test_dust_mask_says_where_the_frame_changed(clip):
    damage = FilmDamage.preset("8mm", "heavy", 4)
    clean = FilmDamage.from_json({**damage.to_json(), "dirt": {}, "sharpen": 0.0})
    dirty = FilmDamage.from_json({**damage.to_json(), "sharpen": 0.0})
    with_dirt, without = degrade(clip, dirty), degrade(clip, clean)
    change = np.abs(with_dirt.frames - without.frames).max(axis=-1)
    assert with_dirt.dust_mask.any()
    assert change[~with_dirt.dust_mask].max() <= 0.08 + 1e-6
    assert change[with_dirt.dust_mask].mean() > 0.15


def test_weave_moves_the_frame_by_what_it_says():
    still = np.repeat(moving_clip(data.coffee(), 1, (384, 384), seed=1), 3, axis=0)
    out = degrade(still, FilmDamage(downscale=4, weave_px=1.0, seed=9))
    assert np.abs(out.weave_px).max() > 0.5
    window = np.outer(np.hanning(96), np.hanning(96))
    base = degrade(still[:1], FilmDamage(downscale=4)).frames[0].mean(-1)
    for number in range(3):
        moved = out.frames[number].mean(-1)
        found, _, _ = phase_cross_correlation(
            (moved - moved.mean()) * window, (base - base.mean()) * window, upsample_factor=50
        )
        assert found == pytest.approx(out.weave_px[number], abs=0.15)


def test_flicker_is_what_the_clip_says(clip):
    out = degrade(clip, FilmDamage(downscale=4, flicker=0.1, seed=2))
    plain = degrade(clip, FilmDamage(downscale=4))
    inside = (plain.frames > 0.05) & (plain.frames < 0.7)
    for number in range(4):
        ratio = out.frames[number][inside[number]] / plain.frames[number][inside[number]]
        assert np.median(ratio) == pytest.approx(out.flicker[number], rel=0.01)


def test_target_is_what_is_left_to_a_sharpener(clip):
    preset = FilmDamage.preset("16mm", "medium", 6)
    out = degrade(clip, replace(preset, grain_rms=0.0, dirt=Dirt(), sharpen=0.0))
    small = degrade(out.target, FilmDamage(downscale=4)).frames
    still = degrade(out.truth, FilmDamage(downscale=4)).frames
    assert _difference(out.frames, small) < 0.4 * _difference(out.frames, still)


def test_jpeg_needs_no_roundtrip_and_video_says_that_it_does(clip):
    low = degrade(clip, FilmDamage(compressions=(Compression("jpeg", 10),)))
    plain = degrade(clip, FilmDamage())
    assert 0.005 < _difference(low.frames, plain.frames) < 0.1
    with pytest.raises(InvalidInput, match="without a roundtrip"):
        degrade(clip, FilmDamage(compressions=(Compression("h264", 30),)))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: FilmDamage.preset("9.5mm", "light", 0),
        lambda: FilmDamage.preset("8mm", "ruined", 0),
        lambda: FilmDamage.preset("8mm", 1.5, 0),
        lambda: FilmDamage(kernels=("bicubic", "box")),
        lambda: FilmDamage(telecine="upside down"),
        lambda: degrade(np.zeros((4, 4, 3), np.float32), FilmDamage()),
        lambda: degrade(np.zeros((1, 3, 3, 3), np.float32), FilmDamage()),
    ],
)
def test_wrong_settings_are_named(wrong):
    with pytest.raises(InvalidInput):
        wrong()
