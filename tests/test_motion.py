"""Motion between frames against motion that we made."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform

from restore.degrade.grain import grain_field
from restore.degrade.seeds import generator
from restore.errors import InvalidInput
from restore.motion.camera import MotionModel, global_motion
from restore.motion.flow import Effort, inconsistency_px, occluded, optical_flow
from restore.motion.warp import sample, warp


def texture(height, width, seed=0):
    """``[h, w]`` with structure from 3 to 40 px."""
    sizes = ((1.5, 0.06), (5.0, 0.1), (18.0, 0.12))
    parts = [
        amount * grain_field((height, width, 1), size, generator(seed, str(size)))
        for size, amount in sizes
    ]
    return np.clip(0.5 + sum(parts)[..., 0], 0, 1).astype(np.float32)


def moved(picture, matrix):
    """The picture whose point ``matrix @ p`` shows what ``p`` showed; (x, y) as in the room."""
    full = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    swap = full[:2][::-1]
    return affine_transform(picture, swap[:, [1, 0]], swap[:, 2], order=3, mode="mirror")


def planes(*pictures):
    return [torch.from_numpy(np.ascontiguousarray(p, dtype=np.float32))[None] for p in pictures]


def inner(picture, edge=24):
    return picture[..., edge:-edge, edge:-edge]


@pytest.mark.parametrize("downscale", [1, 2])
def test_flow_finds_a_shift_to_a_fraction_of_a_pixel(downscale):
    a = texture(160, 224)
    b = moved(a, np.array([[1, 0, 3.3], [0, 1, -1.6]]))
    one, other = planes(a, b)
    field = optical_flow(one[None], other[None], Effort.MEDIUM, downscale)
    assert field.shape == (1, 2, 160, 224)
    error = inner(field[0]) - torch.tensor([3.3, -1.6])[:, None, None]
    assert error.abs().median() < 0.12 * downscale
    back = warp(other[None], field, "bicubic")
    assert (inner(back[0]) - inner(one)).square().mean() < 2e-4


def test_flow_works_on_tiny_dark_and_flat_frames():
    for height, width in ((1, 1), (9, 17), (33, 40)):
        frames = torch.rand(2, 3, height, width) * 0.02
        field = optical_flow(frames[:1], frames[1:], Effort.FAST, 2)
        assert field.shape == (1, 2, height, width)
        assert bool(torch.isfinite(field).all())
    still = torch.full((1, 3, 64, 64), 0.4)
    assert optical_flow(still, still).abs().max() < 0.01
    with pytest.raises(InvalidInput, match="downscale of 1 or more"):
        optical_flow(still, still, downscale=0)


def test_warping_and_sampling_fetch_what_the_flow_points_at():
    picture = torch.arange(48, dtype=torch.float32).reshape(1, 1, 6, 8)
    flow = torch.zeros(1, 2, 6, 8)
    assert torch.allclose(warp(picture, flow), picture, atol=1e-4)
    flow[:, 0] = 2
    flow[:, 1] = 1
    assert torch.allclose(warp(picture, flow)[..., :5, :6], picture[..., 1:, 2:], atol=1e-4)
    points = torch.tensor([[2.0, 3.0], [2.5, 3.0], [-9.0, 0.0]])
    assert torch.allclose(sample(picture[0], points), torch.tensor([[26.0, 26.5, 0.0]]), atol=1e-3)


def test_what_a_moving_object_hides_is_known():
    ground, piece = texture(160, 224, 1), texture(60, 60, 2)
    a, b = ground.copy(), ground.copy()
    a[50:110, 60:120] = piece
    b[50:110, 72:132] = piece
    one, other = planes(a, b)
    forward = optical_flow(one[None], other[None])
    backward = optical_flow(other[None], one[None])
    hidden = np.zeros(ground.shape, bool)
    hidden[50:110, 120:132] = True
    found = occluded(forward, backward)[0, 0].numpy()
    assert found[hidden].mean() > 0.7
    away = ~hidden
    away[30:130, 40:150] = False
    assert found[away].mean() < 0.02
    gap = inconsistency_px(forward, backward)[0, 0].numpy()
    assert np.median(gap[hidden]) > 10 * np.median(gap[away])


@pytest.mark.parametrize(
    ("model", "matrix"),
    [
        (MotionModel.TRANSLATION, [[1, 0, 1.37], [0, 1, -2.61]]),
        (MotionModel.SIMILARITY, [[1.004, -0.003, 3.4], [0.003, 1.004, -1.2]]),
        (MotionModel.AFFINE, [[1.003, 0.002, -2.2], [-0.001, 0.996, 0.7]]),
    ],
)
def test_the_frame_moves_as_told_under_grain_flicker_and_a_passer_by(model, matrix):
    matrix = np.array(matrix, dtype=np.float64)
    a = texture(240, 320, 3)
    b = moved(a, matrix) * 0.92 + 0.02
    a, b = a.copy(), b.copy()
    passer = texture(90, 90, 4)
    a[80:170, 40:130] = passer
    b[85:175, 90:180] = passer
    noise = np.random.default_rng(0).normal(0, 0.03, (2, 240, 320))
    one, other = planes(a + noise[0], b + noise[1])
    found = global_motion(one, other, model)
    for x, y in ((0, 0), (319, 0), (160, 120), (0, 239), (319, 239)):
        want = matrix @ [x, y, 1] - [x, y]
        assert np.hypot(*(np.array(found.at(x, y)) - want)) < 0.06
    assert 0.4 < found.inliers <= 1


def test_the_motion_of_large_frames_is_told_in_their_own_pixels():
    a = texture(700, 1400, 5)
    one, other = planes(a, np.roll(a, (5, -7), (0, 1)))
    found = global_motion(one, other, MotionModel.TRANSLATION)
    assert np.allclose(found.at(10, 10), (-7, 5), atol=0.05)
