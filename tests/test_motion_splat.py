"""Splatting, and the motion through a moment between two frames."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from restore.motion.midway import midway, passage
from restore.motion.splat import splat


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def even(x, y, shape=(5, 6)):
    return torch.tensor([x, y]).view(1, 2, 1, 1).expand(1, 2, *shape).contiguous()


def by_hand(values, flow, weight):
    """The definition, pixel by pixel."""
    n, c, h, w = values.shape
    sums, weights = torch.zeros(n, c, h, w), torch.zeros(n, 1, h, w)
    for i in range(n):
        for y in range(h):
            for x in range(w):
                tx, ty = x + float(flow[i, 0, y, x]), y + float(flow[i, 1, y, x])
                for yy in range(h):
                    for xx in range(w):
                        near = max(0, 1 - abs(xx - tx)) * max(0, 1 - abs(yy - ty))
                        share = near * float(weight[i, 0, y, x])
                        sums[i, :, yy, xx] += share * values[i, :, y, x]
                        weights[i, 0, yy, xx] += share
    return sums, weights


def test_it_is_its_definition():
    source = torch.Generator().manual_seed(1)
    values = torch.rand(2, 3, 5, 6, generator=source)
    flow = torch.randn(2, 2, 5, 6, generator=source) * 3
    weight = torch.rand(2, 1, 5, 6, generator=source)
    sums, weights = splat(values, flow, weight)
    expected = by_hand(values, flow, weight)
    assert (sums - expected[0]).abs().max() < 1e-5
    assert (weights - expected[1]).abs().max() < 1e-5
    again = splat(values, flow, weight)
    assert torch.equal(again[0], sums)


def test_whole_steps_move_and_what_leaves_is_lost():
    values = torch.arange(30.0).view(1, 1, 5, 6)
    sums, weights = splat(values, even(2.0, -1.0))
    assert torch.equal(sums[0, 0, :4, 2:], values[0, 0, 1:, :4])
    assert float(weights.sum()) == 16
    assert float(weights[0, 0, 4].sum()) == 0
    sums, weights = splat(values, even(100.0, 0.0))
    assert float(weights.sum()) == 0


def test_the_heavier_pixel_wins_where_two_land():
    values = torch.zeros(1, 1, 1, 4)
    values[..., 0], values[..., 2] = 1.0, 5.0
    flow = torch.zeros(1, 2, 1, 4)
    flow[0, 0, 0, 0], flow[0, 0, 0, 2] = 1.0, -1.0
    weight = torch.exp(-torch.tensor([9.0, 0.0, 0.0, 0.0])).view(1, 1, 1, 4)
    weight[..., 1] = 0
    sums, weights = splat(values, flow, weight)
    assert float(sums[..., 1] / weights[..., 1]) == pytest.approx(5.0, abs=0.01)


@pytest.mark.parametrize("size", [(64, 96), (65, 97)])
@pytest.mark.parametrize("time", [0.25, 0.5, 0.9])
def test_motion_of_a_pan_at_any_moment(size, time):
    source = torch.Generator().manual_seed(2)
    wide = torch.rand(1, 3, 16, 26, generator=source)
    picture = F.interpolate(wide, (size[0], size[1] + 8), mode="bicubic").clamp(0, 1)
    first, second = picture[..., 8:], picture[..., : size[1]]
    motion, cover = midway(passage(first, second), time)
    assert motion.shape == (1, 2, *size)
    assert cover.shape == (1, 2, *size)
    inner = (slice(None), slice(None), slice(16, -16), slice(20, -20))
    found = motion[inner].median(dim=-1).values.median(dim=-1).values[0]
    assert float(found[0]) == pytest.approx(8.0, abs=0.3)
    assert float(found[1]) == pytest.approx(0.0, abs=0.3)
    assert 0.6 < float(cover[inner].mean()) < 1.2
    # What comes in at the left is seen in the second frame only.
    assert float(cover[:, 0, 16:-16, :1].mean()) < 0.5 * float(cover[:, 1, 16:-16, :1].mean())
