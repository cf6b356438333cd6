"""Weave that we put in must go, movement that the camera meant must stay."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.ndimage import shift as spline_shift
from skimage.io import imread

from restore.degrade.film import FilmDamage, degrade
from restore.degrade.grain import grain_field
from restore.degrade.seeds import generator
from restore.degrade.transport import weave_path_px
from restore.engine.run import process
from restore.engine.settings import EngineSettings
from restore.frames import Frame
from restore.motion.camera import MotionModel, global_motion
from restore.registration.intended import IntendedPath, PathRules
from restore.registration.register import Register
from restore.registration.shift import cropped, filled_borders, shifted
from restore.stages import StageContext, build_stage
from tests.engine_stages import RGB

CPU = EngineSettings("cpu", batch=1, tile_px=0)
FILM = FilmDamage(
    seed=5, downscale=1, weave_px=2.0, blur_px=(0.7, 0.7), flicker=0.03, grain_rms=0.05,
    grain_size_px=0.8,
)  # fmt: skip


def ground(height, width, seed=0):
    """``[h, w, 3]`` with structure from 1.5 to 40 px."""
    sizes = ((1.0, 0.05), (5.0, 0.08), (18.0, 0.12))
    parts = [
        amount * grain_field((height, width, 3), size, generator(seed, str(size)))
        for size, amount in sizes
    ]
    return np.clip(0.5 + sum(parts), 0, 1).astype(np.float32)


def filmed(places_px, height=208, width=272, seed=0):
    """A camera whose window on the ground moves across by these px, parts of a pixel included."""
    picture = ground(height, width + int(max(places_px)) + 8, seed)
    rows = []
    for place in places_px:
        whole = int(np.floor(place))
        piece = picture[:, whole : whole + width + 8]
        moved = spline_shift(piece, (0, whole - place, 0), order=3, mode="mirror")
        rows.append(moved[:, :width])
    return np.clip(np.stack(rows), 0, 1)


def as_frames(pictures, shot=0):
    return [
        Frame(
            torch.from_numpy(np.ascontiguousarray(p.transpose(2, 0, 1))),
            pts=n * 100, time_base=Fraction(1, 2500), color=RGB, index=n, shot=shot,
        )
        for n, p in enumerate(pictures)
    ]  # fmt: skip


def steadied(frames, **settings):
    stage = build_stage("stabilise", settings, StageContext())
    return list(process(frames, [stage], CPU)), stage


def places(frames, fresh=False):
    """Where each frame's picture lies (across, down), measured without the stage's own chain."""
    middle = [(n - 1) / 2 for n in frames[0].data.shape[:0:-1]]
    found = [(0.0, 0.0)]
    for last, frame in pairwise(frames):
        first = last if fresh else frames[0]
        motion = global_motion(first.data, frame.data, MotionModel.TRANSLATION)
        found.append(motion.at(*middle))
    path = np.array(found)
    return np.cumsum(path, axis=0) if fresh else path


def test_weave_of_a_still_camera_goes():
    clip = degrade(filmed([0.0] * 36), FILM)
    assert clip.weave_px.std(axis=0).min() > 1.5
    out, stage = steadied(as_frames(clip.frames))
    left = places(out).std(axis=0)
    assert left.max() <= 0.05, left
    assert "px down RMS" in stage.facts()["removed"]


def test_a_pan_keeps_its_speed_and_loses_its_weave():
    speed_px = 3.0
    clip = degrade(filmed(speed_px * np.arange(46)), FILM)
    out, _ = steadied(as_frames(clip.frames))
    path = places(out, fresh=True)
    time = np.arange(len(path))
    slope = np.polyfit(time, path[:, 0], 1)[0]
    assert abs(slope / -speed_px - 1) <= 0.02
    assert np.diff(path[:, 0], 2).std() < 0.15
    assert path[:, 1].std() <= 0.15


def test_the_intended_path_of_many_reels():
    time = np.arange(150)
    standing, panning = [], []
    for seed in range(12):
        error = generator(seed, "errors").normal(0, 0.02, len(time))
        weave = weave_path_px(len(time), 2.0, seed)[:, 0] + error
        standing.append(meant(weave).std())
        panning.append(np.polyfit(time, meant(weave + 3.0 * time), 1)[0] / 3.0 - 1)
    assert np.sqrt(np.mean(np.square(standing))) <= 0.15
    assert np.abs(panning).max() <= 0.02


def test_a_camera_that_starts_and_stops_is_followed():
    time = np.arange(200)
    camera = 3.0 * np.clip(time - 60, 0, 80)
    for seed in range(4):
        path = camera + weave_path_px(len(time), 1.0, seed)[:, 0]
        got = meant(path)
        # A frame is never moved farther than a few times its weave.
        assert np.abs(got - path).max() < 11
        inner = slice(76, 124)
        assert np.polyfit(time[inner], got[inner], 1)[0] == pytest.approx(3.0, rel=0.02)
        assert np.diff(got[:40]).std() < 0.02
        assert np.diff(got, 2).std() < 0.2 * np.diff(path, 2).std()


@pytest.mark.parametrize(
    ("weave_px", "speed_px", "frames"),
    [(1.0, 16, 8), (1.0, 6, 12), (1.0, 6, 30), (2.0, 10, 20), (2.0, 6, 30), (2.0, 3, 40)],
)
def test_a_short_pan_keeps_its_speed_to_its_ends(weave_px, speed_px, frames):
    time = np.arange(frames + 100)
    camera = speed_px * np.clip(time - 50.37, 0, frames)
    speed, ends, left = [], [], []
    for seed in range(20, 30):
        got = meant(camera + weave_path_px(len(time), weave_px, seed)[:, 0])
        steps = np.diff(got[51 : 51 + frames]) / speed_px
        quarter = max(2, frames // 4)
        fit = np.polyfit(time[: frames - 1], got[51 : 50 + frames], 1)[0]
        speed.append(abs(fit / speed_px - 1))
        ends.append(min(steps[: quarter - 1].mean(), steps[1 - quarter :].mean()) - 1)
        left += [got[:46].std(), got[-46:].std()]
    assert np.mean(speed) <= 0.02, speed
    assert np.mean(ends) >= -0.04, ends
    assert np.sqrt(np.mean(np.square(left))) <= 0.15, left


def meant(path, **rules):
    """As the stage asks: with no more of the path than has been seen."""
    found = IntendedPath(PathRules(**rules))
    ahead = found._rules.lookahead
    return np.array([found.at(n, path[: n + ahead + 1]) for n in range(len(path))])


def test_borders_are_filled_from_frames_that_saw_them():
    truth = ground(208 + 40, 272 + 40)
    path = np.rint(weave_path_px(30, 2.0, 3)).astype(int)
    light = 1 + 0.05 * (np.arange(30) % 2)
    frames = as_frames(
        [
            truth[20 - y : 228 - y, 20 - x : 292 - x] * np.float32(gain)
            for (y, x), gain in zip(path, light, strict=True)
        ]
    )
    error = {}
    for borders in ("fill", "repeat"):
        out, _ = steadied(frames, borders=borders)
        # Where the shot is held, by what the first frame was moved.
        x, y = global_motion(frames[0].data, out[0].data, MotionModel.TRANSLATION).at(135.5, 103.5)
        held = spline_shift(truth, (path[0, 0] + y, path[0, 1] + x, 0), order=3)[20:228, 20:292]
        gaps = [
            rim(f.data.permute(1, 2, 0).numpy() - held * g) for f, g in zip(out, light, strict=True)
        ]
        error[borders] = float(np.sqrt(np.mean(np.square(gaps))))
    assert error["fill"] < 0.35 * error["repeat"], error


def test_what_a_move_leaves_open_can_be_cropped_off():
    truth = ground(248, 312)
    path = np.rint(weave_path_px(30, 2.0, 3)).astype(int)
    frames = as_frames([truth[20 - y : 228 - y, 20 - x : 292 - x] for y, x in path])
    out, _ = steadied(frames, borders="crop", limit=0.05)
    assert {frame.data.shape for frame in out} == {frames[0].data.shape}
    moved, _ = steadied(frames, borders="repeat", limit=0.05)
    # 11 px of 208 and, in proportion, 14 of 272 lie outside; a middle that stands still shows
    # the same rim in every frame, where what is repeated changes.
    unrest = {
        name: float(np.std([rim(f.data.permute(1, 2, 0).numpy()) for f in found], 0).mean())
        for name, found in (("crop", out), ("repeat", moved))
    }
    assert unrest["crop"] < 0.3 * unrest["repeat"], unrest
    middle = torch.nn.functional.interpolate(
        moved[9].data[None, :, 11:197, 14:258], (208, 272), mode="bicubic"
    )[0]
    assert torch.equal(out[9].data, middle)


@pytest.mark.parametrize(("height", "width"), [(96, 128), (128, 96), (97, 131)])
def test_a_crop_keeps_proportions_and_cuts_enough(height, width):
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    picture = torch.from_numpy(np.stack([rows, columns]))
    out = cropped(picture, 0.05)
    assert out.shape == picture.shape
    assert out[0].min() >= 0.05 * height - 1
    assert out[1].min() >= 0.05 * height - 1
    across, down = (float(out[n].max() - out[n].min()) for n in (1, 0))
    assert across / down == pytest.approx(width / height, rel=0.02)


def rim(picture):
    """The outermost 2 px on each side."""
    sides = picture[:2], picture[-2:], picture[:, :2], picture[:, -2:]
    return np.concatenate([side.ravel() for side in sides])


@pytest.mark.parametrize("move", [(0.5, 0.0), (-1.3, 2.7), (3.0, -2.0)])
def test_a_shift_is_exact_and_sharp(move):
    rows, columns = np.mgrid[0:96, 0:96].astype(np.float64)

    def wave(y, x):
        return 0.5 + 0.4 * np.sin(2 * np.pi * (0.35 * x + 0.3 * y))

    picture = torch.from_numpy(wave(rows, columns)).float()[None]
    got = shifted(picture, *move)[0].numpy()[12:-12, 12:-12]
    want = wave(rows - move[1], columns - move[0])[12:-12, 12:-12]
    assert np.abs(got - want).max() < (1e-6 if all(float(m).is_integer() for m in move) else 0.025)


def test_shots_are_apart_and_times_stay():
    still = filmed([0.0] * 13)
    one = degrade(still, FILM).frames
    two = degrade(filmed([0.0] * 13, seed=9), replace(FILM, seed=8)).frames
    frames = as_frames(one) + [replace(f, shot=1, index=f.index + 13) for f in as_frames(two)]
    out, _ = steadied(frames, lookahead=12)
    assert [f.index for f in out] == [f.index for f in frames]
    assert [f.pts for f in out] == [f.pts for f in frames]
    alone, _ = steadied(frames[:13], lookahead=12)
    for a, b in zip(out[:13], alone, strict=True):
        assert torch.equal(a.data, b.data)


def test_it_holds_back_no_more_than_it_says():
    taken = []
    clip = degrade(filmed([0.0] * 13), FILM).frames

    def source():
        for frame in as_frames(clip):
            taken.append(frame.index)
            yield frame

    stage = build_stage("stabilise", {"lookahead": 12}, StageContext())
    stream = process(source(), [stage], CPU)
    next(stream)
    assert len(taken) == stage.spec.delay + 1


def test_grain_alone_and_leader_move_nothing():
    noise = [
        (0.5 + 0.1 * grain_field((160, 208, 3), 0.8, generator(n, "noise"))).astype(np.float32)
        for n in range(6)
    ]
    black = [np.zeros((160, 208, 3), np.float32)] * 3
    for clip in (noise, black):
        register = Register()
        path = np.array([register.add(f.data) for f in as_frames(clip)])
        assert np.abs(path).max() <= 1.0


def test_positions_survive_a_long_pan():
    speed_px = 4.0
    register = Register()
    clip = filmed(speed_px * np.arange(24))
    path = np.array([register.add(f.data) for f in as_frames(clip)])
    assert np.abs(path[:, 0] + speed_px * np.arange(24)).max() < 0.15


def test_a_border_that_no_frame_saw_stays_repeated():
    picture = torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(1))
    moved = shifted(picture, 3.0, 0.0)
    out = filled_borders(moved, (3.0, 0.0), [(picture, (4.0, 0.0)), (picture, (3.0, 1.0))])
    assert torch.equal(out, moved)


def test_real_film_comes_to_rest(assets):
    names = sorted((assets / "media" / "film" / "the_great_train_robbery").glob("*.png"))[:14]
    frames = as_frames([imread(name)[..., :3].astype(np.float32) / 255 for name in names])
    before = np.diff(places(frames, fresh=True), 2, axis=0).std()
    out, _ = steadied(frames)
    after = np.diff(places(out, fresh=True), 2, axis=0).std()
    assert before > 1.0
    assert after < 0.1
