"""Camera moves over a still, parallax and loops: against pictures that are known exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from restore.errors import InvalidInput
from restore.generate.camera import Move, View, frames_along, path, seen
from restore.generate.cinemagraph import find_loop, looped
from restore.generate.layers import cut_layers, frames_with_depth
from restore.generate.resample import at_places, on_grid

SIZE = (96, 64)


def waves(x, y):
    """A picture that is known between its pixels: periods of 11 px and more."""
    red = 0.5 + 0.2 * np.sin(2 * np.pi * x / 13 + 0.3) + 0.2 * np.cos(2 * np.pi * y / 17)
    green = 0.5 + 0.3 * np.sin(2 * np.pi * (x + y) / 23)
    blue = 0.5 + 0.3 * np.cos(2 * np.pi * x / 11) * np.cos(2 * np.pi * y / 19)
    return torch.from_numpy(np.stack([red, green, blue]).astype(np.float32))


def still(width=300, height=200):
    y, x = np.mgrid[:height, :width] + 0.5
    return waves(x, y)


def away_from_edges(a, b, px=4):
    return (a - b)[:, px:-px, px:-px].abs().max()


@pytest.mark.parametrize("roll", [0.0, 7.0, -31.0])
@pytest.mark.parametrize("zoom", [1.7, 2.5, 4.0])
def test_what_is_seen_is_the_picture_at_those_places(roll, zoom):
    view = View(0.5031, 0.4873, zoom, roll)
    found = seen(still(), view, SIZE)
    width = min(300 / 96, 200 / 64) / zoom * 96
    y, x = np.mgrid[:64, :96] + 0.5
    u, v = (x / 96 - 0.5) * width, (y / 64 - 0.5) * width * 64 / 96
    turn = np.deg2rad(roll)
    place_x = 0.5031 * 300 + np.cos(turn) * u - np.sin(turn) * v
    place_y = 0.4873 * 200 + np.sin(turn) * u + np.cos(turn) * v
    # Lanczos of three lobes passes periods of 11 px within a percent, more where it reduces.
    assert away_from_edges(found, waves(place_x, place_y)) < (0.012 if zoom > 3 else 0.02)


def test_a_whole_pixel_is_the_pixel():
    picture = still()
    across, down = np.arange(96) + 50.5, np.arange(64) + 20.5
    found = on_grid(picture, across, down, (1.0, 1.0))
    assert torch.allclose(found, picture[:, 20:84, 50:146], atol=1e-6)
    grid = np.meshgrid(across, down)
    assert torch.allclose(at_places(picture, *grid, 1.0), found, atol=1e-6)


def test_a_slow_pan_moves_by_equal_parts_of_a_pixel():
    """0.07 px a frame: remapping to 1/32 px would stand still and jump."""
    picture, frames = still(), 40
    step_px = 0.07
    first, last = 0.4, 0.4 + step_px * (frames - 1) / 300
    move = Move(View(first, 0.5, 2.0), View(last, 0.5, 2.0), "linear")
    shown = list(frames_along(picture, move, frames, SIZE))
    # The phase of the wave of period 13 px in the red rows' mean over y tells where each frame is.
    scale = min(300 / 96, 200 / 64) / 2.0
    x = (np.arange(96) + 0.5) * scale
    wave = np.exp(-2j * np.pi * x / 13) * np.hanning(96)
    phases = [np.angle((f[0].mean(0).double().numpy() - 0.5) @ wave) for f in shown]
    moved = np.unwrap(phases) * 13 / (2 * np.pi)
    assert np.abs(np.diff(moved) - step_px).max() < 0.004


def test_a_reduced_picture_does_not_alias():
    x = np.mgrid[:400, :600][1] + 0.5
    fine = torch.from_numpy(np.sin(2 * np.pi * x / 2.7).astype(np.float32) * 0.5 + 0.5)
    picture = fine.expand(3, -1, -1)
    for roll in (0.0, 5.0):
        found = seen(picture, View(zoom=1.0 if not roll else 1.2, roll_deg=roll), (96, 64))
        assert (found[:, 4:-4, 4:-4] - 0.5).abs().max() < 0.02


@given(
    st.integers(2, 300),
    st.sampled_from(["linear", "ease", "ease-in", "ease-out"]),
    st.floats(0.5, 8),
    st.floats(0.5, 8),
)
def test_paths_begin_and_end_where_they_shall(frames, ease, near, far):
    move = Move(View(0.2, 0.3, near, -5), View(0.7, 0.6, far, 9), ease)
    views = path(move, frames)
    assert len(views) == frames
    for view, wanted in ((views[0], move.start), (views[-1], move.stop)):
        for name in ("x", "y", "zoom", "roll_deg"):
            assert getattr(view, name) == pytest.approx(getattr(wanted, name), abs=1e-9)
    zooms = np.array([v.zoom for v in views])
    assert (np.diff(zooms) * np.sign(far - near) >= -1e-9).all()


@given(st.integers(3, 200))
def test_a_loop_closes_with_the_speed_it_has(frames):
    views = path(Move(View(zoom=1), View(0.6, 0.5, 1.4), loop=True), frames)
    assert views[0].zoom == 1
    # The frame after the last would be the first; the step to it is the one it began with.
    zooms = [v.zoom for v in views]
    assert zooms[-1] == pytest.approx(zooms[1])
    assert max(zooms) <= 1.4 + 1e-12


def test_zooming_to_a_point_keeps_the_point():
    """The point that both views share stays at its place in the frame, all the way."""
    start, stop = View(0.5, 0.5, 1.0), View(0.6, 0.4, 3.0)
    # Solved for the fixed point: (p - c0) * z0 = (p - c1) * z1.
    fixed = [(c1 * 3 - c0) / 2 for c0, c1 in ((0.5, 0.6), (0.5, 0.4))]
    for view in path(Move(start, stop), 33):
        assert (fixed[0] - view.x) * view.zoom == pytest.approx((fixed[0] - 0.5) * 1.0)
        assert (fixed[1] - view.y) * view.zoom == pytest.approx((fixed[1] - 0.5) * 1.0)


def test_looking_beyond_the_picture_is_refused_with_what_would_do():
    move = Move(View(), View(0.9, 0.5, 1.2))
    with pytest.raises(InvalidInput, match=r"frame \d+.*beyond the picture.*zoom of") as caught:
        list(frames_along(still(), move, 10, SIZE))
    assert "0.9" in str(caught.value) or "zoom" in str(caught.value)
    with pytest.raises(InvalidInput, match="zoom"):
        Move(View(zoom=0))
    with pytest.raises(InvalidInput, match="at least 1"):
        path(Move(), 0)


def test_the_same_move_gives_the_same_bits():
    move = Move(View(zoom=1.1, roll_deg=1), View(0.55, 0.5, 1.5, -2))
    one, two = (list(frames_along(still(), move, 5, SIZE)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def scene():
    """A bright disc near the camera before a far wall of waves."""
    y, x = np.mgrid[:200, :300] + 0.5
    disc = ((x - 150) ** 2 + (y - 100) ** 2 < 40**2).astype(np.float32)
    picture = waves(x, y) * torch.from_numpy(1 - disc) + torch.from_numpy(disc) * torch.tensor(
        [1.0, 0.1, 0.1]
    ).view(3, 1, 1)
    return picture, torch.from_numpy(disc)


def test_near_moves_more_than_far():
    picture, depth = scene()
    move = Move(View(0.46, 0.5, 2.0), View(0.54, 0.5, 2.0), "linear")
    shown = list(frames_with_depth(picture, depth, move, 3, SIZE, strength=1.0))
    assert away_from_edges(shown[0], seen(picture, View(0.46, 0.5, 2.0), SIZE), 2) < 0.15
    scale = min(300 / 96, 200 / 64) / 2.0

    def disc_x(frame):
        red = ((frame[0] - frame[1]) > 0.85).double()
        return float((red.sum(0) @ torch.arange(96.0, dtype=torch.float64)) / red.sum())

    pan_px = 0.08 * 300 / scale
    # Two layers: nearness 3/4 and 1/4, so 1.25 and 0.75 of the camera's way.
    assert disc_x(shown[0]) - disc_x(shown[2]) == pytest.approx(1.25 * pan_px, abs=0.25)
    wall = [frame[:, :, 68:] for frame in shown]
    y, x = np.mgrid[:64, :28] + 0.5
    x = x + 68
    left = 0.54 * 300 - 48 * scale
    shift = -0.25 * 0.08 * 300
    known = waves(x * scale + left + shift, y * scale + 100 - 32 * scale)
    assert away_from_edges(wall[2], known, 3) < 0.03


def test_what_a_near_thing_hid_is_filled_from_around():
    picture, depth = scene()
    layers = cut_layers(picture, depth)
    assert [round(layer.nearness, 2) for layer in layers] == [0.25, 0.75]
    hidden = layers[0].color[:, 100, 150]
    assert not torch.allclose(hidden, torch.tensor([1.0, 0.1, 0.1]), atol=0.2)
    outside = depth < 0.5
    outside[55:145, 105:195] = False
    assert torch.equal(layers[0].color[:, outside], picture[:, outside])
    flat = torch.full((200, 300), 0.4)
    with pytest.raises(InvalidInput, match="same everywhere"):
        next(frames_with_depth(picture, flat, Move(View(zoom=2.0)), 1, SIZE))


@settings(deadline=None, max_examples=15)
@given(st.integers(3, 12), st.floats(0, 2))
def test_depth_with_a_camera_that_stands_still_changes_nothing(steps, strength):
    picture = still()
    ramp = torch.linspace(0, 1, 300).expand(200, 300)
    move = Move(View(zoom=2.0), View(zoom=2.0))
    (shown,) = frames_with_depth(picture, ramp, move, 1, SIZE, strength)
    assert away_from_edges(shown, seen(picture, View(zoom=2.0), SIZE)) < 0.01


def test_over_a_slope_near_parts_move_more_and_nothing_breaks():
    """A ramp from top (far) to bottom (near): rows shear, by what their depth says."""
    picture, height = still(), 200
    depth = ((torch.arange(height) + 0.5) / height)[:, None].expand(height, 300)
    move = Move(View(0.46, 0.5, 2.0), View(0.54, 0.5, 2.0), "linear")
    shown = list(frames_with_depth(picture, depth, move, 2, SIZE, strength=1.0))
    scale = min(300 / 96, 200 / 64) / 2.0
    y, x = np.mgrid[:64, :96] + 0.5
    rows = 100 + (y - 32) * scale
    nearness = (rows - 0.5) / 199  # the ramp, stretched to 0..1
    middle = 300 * (0.46 + 0.08 * (0.5 + nearness))
    known = waves((x - 48) * scale + middle, rows)
    assert away_from_edges(shown[1], known) < 0.03
    assert away_from_edges(shown[0], seen(picture, View(0.46, 0.5, 2.0), SIZE)) < 0.006


def flame(count, period):
    """A flickering middle that comes round every ``period`` frames, with a moving edge outside."""
    clip = []
    for number in range(count):
        frame = torch.full((3, 24, 32), 0.2)
        frame[:, 8:16, 8:24] = 0.5 + 0.4 * np.sin(2 * np.pi * number / period)
        frame[:, :, number % 32] = 1.0
        clip.append(frame)
    mask = torch.zeros(24, 32)
    mask[8:16, 8:24] = 1
    return clip, mask


def test_the_loop_that_closes_is_found_and_has_no_seam():
    clip, mask = flame(60, 14)
    for frame in clip:
        frame[:, 8:16, 8:24] = frame[0, 8, 8 if frame[0, 8, 8] != 1 else 9]
    loop = find_loop(clip, mask, 12, 3)
    assert loop.frames == 14
    shown = list(looped(clip, clip[loop.start], mask, loop))
    assert len(shown) == 14
    assert all(torch.equal(f[:, :8], clip[loop.start][:, :8]) for f in shown)
    inside = [float(f[0, 12, 16]) for f in shown]
    steps = np.abs(np.diff([*inside, inside[0]]))
    assert steps[-1] <= steps[:-1].max() + 0.02


def test_loops_that_cannot_be_are_refused():
    clip, mask = flame(10, 5)
    with pytest.raises(InvalidInput, match="at least 11"):
        find_loop(clip, mask, 8, 3)
    with pytest.raises(InvalidInput, match="without white"):
        find_loop(clip, torch.zeros(24, 32), 4, 2)
    with pytest.raises(InvalidInput, match="fade"):
        find_loop(clip, mask, 4, 4)
