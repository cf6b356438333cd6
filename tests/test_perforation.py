"""Frames registered by the film's perforation: the gate comes to rest, the picture is not asked."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from skimage.io import imread

from restore.engine.run import process
from restore.engine.settings import EngineSettings
from restore.errors import InvalidInput
from restore.motion.camera import MotionModel, global_motion
from restore.registration.edges import fitted_edge
from restore.registration.gate import picture_area
from restore.registration.perforation import Gauge, PerforationFinder
from restore.stages import StageContext, build_stage
from tests.scans import (
    MIDDLE,
    OUTER,
    PER_MM,
    SIZE,
    drifted,
    dusty,
    frames_of,
    ground,
    moved,
    rounded,
    super8,
    weaving,
)  # fmt: skip

CPU = EngineSettings("cpu", batch=1, tile_px=0)
SCANS = ("Full_Frame_Sample.png", "grab.jpg")


def steadied(frames, **settings):
    stage = build_stage("stabilise", settings, StageContext())
    return list(process(frames, [stage], CPU)), stage


def found(clip):
    finder = PerforationFinder()
    return [finder.find(frame.data) for frame in frames_of(clip)]


def weave_left(clip, path):
    """RMS over down and across, px, of what measuring the hole leaves of a known path."""
    holes = found(clip)
    assert None not in holes
    places = np.array([(hole.middle_px, hole.outer_px) for hole in holes])
    return (places - path).std(axis=0)


def still(count=16, **changes):
    return [super8(ground(150, 200), **changes)] * count


@pytest.mark.parametrize(
    "changes", [{}, {"blown": True}, {"leak": 0.25}], ids=["plain", "blown picture", "light leak"]
)
def test_the_hole_is_measured_to_a_tenth_of_a_pixel(changes):
    path = weaving(16)
    assert path.std(axis=0).min() > 1.2
    clip = moved(still(**changes), path)
    assert weave_left(clip, path).max() <= 0.1
    assert weave_left(dusty(clip), path).max() <= 0.15


def test_exposure_of_the_picture_does_not_move_the_hole():
    path = weaving(12)
    scene = ground(150, 200)
    clip = [super8(scene * gain, blown=gain > 1) for gain in np.linspace(0.1, 1.1, 12)]
    assert weave_left(moved(clip, path), path).max() <= 0.1


@pytest.mark.parametrize("on_right", [False, True])
def test_where_the_hole_lies(on_right):
    scan = super8(ground(150, 200))
    hole = found([scan[:, ::-1] if on_right else scan])[0]
    assert hole.on_right is on_right
    assert hole.gauge is Gauge.SUPER8
    outer = SIZE[1] - OUTER if on_right else OUTER
    assert abs(hole.outer_px - outer) < 0.4
    assert abs(hole.middle_px - MIDDLE) < 0.1
    assert abs(hole.height_px - 1.143 * PER_MM) < 0.8


def test_a_hole_of_16_mm_is_told_from_one_of_super_8():
    film = np.full((*SIZE, 3), 0.03, np.float32)
    film[:, 90:] = ground(SIZE[0], SIZE[1] - 90)
    hole = rounded(SIZE, 12.0, 60.0, 1.829 * PER_MM, 1.27 * PER_MM, 0.25 * PER_MM)[..., None]
    got = found([np.clip(cv2.GaussianBlur(film * (1 - hole) + hole, (0, 0), 0.8), 0, 1)])[0]
    assert got.gauge is Gauge.WIDE
    assert abs(got.middle_px - 60.0 - 0.635 * PER_MM) < 0.2


def window_at_the_side():
    """A bright window in a dark wall: upright, of a hole's proportions, with square corners."""
    room = np.full((*SIZE, 3), 0.06, np.float32)
    top = round(MIDDLE - 0.5715 * PER_MM)
    room[top : top + round(1.143 * PER_MM), 14 : 14 + round(0.914 * PER_MM)] = 0.95
    return cv2.GaussianBlur(room, (0, 0), 0.8)


def test_what_is_no_hole():
    assert found([window_at_the_side()]) == [None]
    assert found([ground(*SIZE)]) == [None]
    assert found([np.zeros((*SIZE, 3), np.float32), np.ones((*SIZE, 3), np.float32)]) == [None] * 2
    # Its outer edge is cut off by the scan.
    assert found([super8(ground(150, 200))[:, 20:]]) == [None]
    assert found([np.ones((9, 9, 3), np.float32)]) == [None]


def test_a_weaving_scan_comes_to_rest():
    path = weaving(30)
    clip = moved(still(30), path)
    out, stage = steadied(frames_of(clip))
    left = weave_left([f.data.permute(1, 2, 0).numpy() for f in out], np.zeros(2))
    assert left.max() <= 0.1
    assert stage.facts()["by perforation"] == "30 frames, 0 of them between two"


@pytest.mark.parametrize("by", ["auto", "perforation"])
def test_a_pan_in_the_picture_is_left_alone(by):
    scene = ground(150, 330)
    speed_px = 2.5
    place = speed_px * np.clip(np.arange(24) - 8, 0, 8)  # short and sudden
    clip = [super8(window_on(scene, at)) for at in place]
    path = weaving(24)
    out, _ = steadied(frames_of(moved(clip, path, grain=0.01)), by=by)
    inner = [frame.data[:, 20:150, 60:215] for frame in out]
    steps = [global_motion(a, b, MotionModel.TRANSLATION).at(77, 65) for a, b in pairwise(inner)]
    across, down = np.array(steps).T
    assert np.sqrt(np.mean(np.square(-across - np.diff(place)))) <= 0.15
    assert abs(-across[8:16].sum() / (speed_px * 8) - 1) <= 0.02
    assert np.abs(across[:7].sum()) <= 0.15
    assert np.abs(across[17:].sum()) <= 0.15
    assert np.sqrt(np.mean(np.square(down))) <= 0.15


def window_on(scene, at):
    whole = int(at)
    part = np.float32(at - whole)
    return (1 - part) * scene[:, whole : whole + 200] + part * scene[:, whole + 1 : whole + 201]


def test_frames_whose_hole_is_hidden_lie_between_their_neighbours():
    path = np.zeros((20, 2))
    path[:, 0] = np.linspace(0, 3, 20)
    clip = moved(still(20), path)
    clip[7, :, :60] = 0.02
    out, stage = steadied(frames_of(clip), by="auto")
    assert stage.facts()["by perforation"] == "20 frames, 1 of them between two"
    inner = [frame.data[:, 20:150, 70:210] for frame in out]
    across, down = global_motion(inner[6], inner[7], MotionModel.TRANSLATION).at(70, 65)
    assert np.hypot(across, down) < 0.15


def test_auto_takes_only_what_is_steadily_seen():
    clip = moved(still(20), weaving(20, 1.0))
    clip[::4, :, :60] = 0.02
    _, stage = steadied(frames_of(clip))
    assert "by perforation" not in stage.facts()
    with pytest.raises(InvalidInput, match=r"seen in 15 of 20 frames"):
        steadied(frames_of(clip), by="perforation")
    _, plain = steadied(frames_of(clip[:6]), by="picture")
    assert "by perforation" not in plain.facts()


def test_auto_without_holes_is_the_picture_s_own_way():
    clip = moved([ground(*SIZE)] * 16, weaving(16))
    auto, _ = steadied(frames_of(clip), lookahead=12)
    plain, _ = steadied(frames_of(clip), lookahead=12, by="picture")
    for a, b in zip(auto, plain, strict=True):
        assert torch.equal(a.data, b.data)


def test_each_shot_is_judged_by_itself():
    scan = frames_of(moved(still(8), weaving(8)))
    bare = frames_of(moved([ground(*SIZE)] * 8, weaving(8)), shot=1, start=8)
    _, stage = steadied(scan + bare)
    assert stage.facts()["by perforation"] == "8 frames, 0 of them between two"


def test_an_edge_lies_where_it_was_put():
    for at in np.linspace(20, 21, 9):
        y = np.arange(40) + 0.5
        fall = 1 / (1 + np.exp((y - at) / 0.7))
        plane = np.repeat((0.05 + 0.9 * fall)[:, None], 30, 1).astype(np.float32)
        plane[17:24, 4:9] = 0.05  # dirt
        kind = {"columns": slice(0, 30), "reach_px": 8, "level": 0.95}
        below = fitted_edge(plane, 22.0, upwards=False, **kind)
        above = fitted_edge(plane[::-1], 18.0, upwards=True, **kind)
        assert abs(below.at_px - at) < 0.03
        assert abs(above.at_px - (40 - at)) < 0.03
        assert fitted_edge(plane, 34.0, upwards=False, **kind) is None


def scan_of(assets, name):
    return imread(assets / "media" / "super8" / name).astype(np.float32) / 255


@pytest.mark.parametrize("name", SCANS)
def test_real_scans_moved_by_known_amounts(assets, name):
    scan = scan_of(assets, name)
    scan = scan[:, : round(0.45 * scan.shape[1])]
    path = weaving(8, 2.0, seed=4)
    random = np.random.default_rng(0)
    clip = [
        np.clip(one + random.normal(0, 0.03, one.shape), 0, 1).astype(np.float32)
        for one in drifted(scan, path)
    ]
    assert np.sqrt(np.mean(np.square(weave_left(clip, path)))) <= 0.15


def test_the_picture_of_a_real_scan_is_cut_out_as_its_maker_did(assets):
    scan = scan_of(assets, SCANS[0])
    left, top, width, height = picture_area(found([scan] * 4), scan.shape[1], scan.shape[0])
    ours = scan[top : top + height, left : left + width]
    # The maker's version shows a tenth less finely a little more on the left.
    theirs = scan_of(assets, "Aligned_Sample.png")
    factor = theirs.shape[0] / height
    small = cv2.resize(ours, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    score = cv2.matchTemplate(theirs, small[40:-40, :-60], cv2.TM_CCOEFF_NORMED)
    _, best, _, (_, y) = cv2.minMaxLoc(score)
    assert best > 0.9
    assert abs(y - 40) <= 0.015 * theirs.shape[0]
