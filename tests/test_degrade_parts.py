"""Parts of the degradation model that stand alone: resampling, telecine, scenes, seeds."""

import subprocess
import sys

import numpy as np
import pytest
from skimage import data

from restore.degrade.jpeg import jpeg_roundtrip
from restore.degrade.resize import KERNELS, resize, shrink
from restore.degrade.scene import moving_clip
from restore.degrade.seeds import generator
from restore.degrade.telecine import careless, pulldown_32
from restore.errors import InvalidInput


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("size", [(30, 50), (7, 9), (131, 64)])
def test_resize_keeps_a_flat_picture_flat(kernel, size):
    flat = np.full((40, 64, 3), 0.37, np.float32)
    out = resize(flat, size, kernel)
    assert out.shape == (*size, 3)
    assert out == pytest.approx(0.37, abs=1e-6)


def test_resize_keeps_a_ramp_straight():
    ramp = np.repeat(np.linspace(0, 1, 64, dtype=np.float32)[None, :, None], 8, axis=0)
    out = resize(ramp, (8, 16), "bicubic")[0, 2:-2, 0]
    centres = (np.arange(16)[2:-2] * 4 + 1.5) / 63
    assert out == pytest.approx(centres, abs=1e-5)


def test_bicubic_weights_are_those_of_matlab():
    # imresize(x, 1/2) of an impulse: cubic(a=-1/2) stretched twofold, normalised.
    impulse = np.zeros((16, 16, 1), np.float32)
    impulse[:, 8] = 1.0
    row = resize(impulse, (16, 8), "bicubic")[0, :, 0]
    expected = np.array([-3, 29, 111 - 0, 111, 29, -9]) / 256
    assert row[3] == pytest.approx(29 / 256, abs=1e-6)
    assert row[4] == pytest.approx(111 / 256, abs=1e-6)
    assert row[5] == pytest.approx(-9 / 256, abs=1e-6)
    assert row[2] == pytest.approx(-3 / 256, abs=1e-6)
    assert expected[3] == pytest.approx(float(row[4]))


def test_shrink_cuts_to_a_multiple():
    assert shrink(data.coffee(), 4).shape == (100, 150, 3)
    assert shrink(data.coffee()[:399, :597], 4).shape == (99, 149, 3)


def test_unknown_kernel_is_named():
    with pytest.raises(InvalidInput, match="nearest"):
        resize(np.zeros((4, 4, 3), np.float32), (2, 2), "nearest")


def test_pulldown_gives_five_for_four_and_says_where_fields_came_from():
    film = np.broadcast_to(np.arange(8, dtype=np.float32)[:, None, None, None], (8, 6, 4, 3))
    video, origin = pulldown_32(film)
    assert video.shape[0] == 10
    assert np.array_equal(video[:, 0, 0, 0], origin[:, 0])
    assert np.array_equal(video[:, 1, 0, 0], origin[:, 1])
    assert (origin[:, 0] != origin[:, 1]).tolist() == [False, True, True, False, False] * 2
    # Each film frame is held for two or three fields, turn about.
    assert np.bincount(origin.ravel()).tolist() == [3, 2, 3, 2] * 2


def test_careless_telecine_combs_or_blends_two_frames_in_five():
    film = np.broadcast_to(np.arange(11, dtype=np.float32)[:, None, None, None], (11, 6, 4, 3))
    combed, blended = careless(film, "combed", 0), careless(film, "blended", 0)
    assert [n for n in range(10) if combed[n, 1, 0, 0] != n] == [1, 2, 6, 7]
    assert [n for n in range(10) if blended[n, 0, 0, 0] != n] == [1, 2, 6, 7]
    assert combed[1, 0, 0, 0] == 1
    assert blended[1, 0, 0, 0] == 1.5


def test_a_scene_moves_and_is_the_same_every_time():
    one = moving_clip(data.astronaut(), 3, (72, 96), seed=5)
    assert one.shape == (3, 72, 96, 3)
    assert one.dtype == np.float32
    assert one.min() >= 0.0
    assert one.max() <= 1.0
    assert np.array_equal(one, moving_clip(data.astronaut(), 3, (72, 96), seed=5))
    assert np.abs(one[0] - one[1]).mean() > 1e-3


def test_a_long_pan_stays_inside_the_photograph():
    clip = moving_clip(data.coffee(), 200, (20, 30), seed=1)
    assert clip.std(axis=(1, 2, 3)).min() > 0.02


def test_generators_are_named_by_their_key():
    assert generator(1, "a", 2).random() == generator(1, "a", 2).random()
    assert generator(1, "a", 2).random() != generator(1, "a", 3).random()
    assert generator(1, "a").random() != generator(2, "a").random()


def test_jpeg_gets_worse_with_lower_quality():
    picture = data.coffee()[:64, :96]
    errors = [
        np.abs(jpeg_roundtrip(picture, q, True).astype(int) - picture).mean() for q in (90, 40, 10)
    ]
    assert errors == sorted(errors)
    with pytest.raises(InvalidInput):
        jpeg_roundtrip(picture, 0, True)


def test_the_room_imports_no_torch():
    code = "import sys, restore.degrade.film, restore.degrade.scene; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
