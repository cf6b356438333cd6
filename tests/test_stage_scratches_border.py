"""Scratches on films that are scanned with a black border: on the picture and on the border."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import cv2
import numpy as np
import pytest
import torch

from restore.cropping import AUTO, chosen_crop
from restore.degrade.dirt import Dirt, draw_dirt
from restore.engine.pixels import to_frame
from restore.media.reader import ClipReader
from restore.stages import StageContext, build_stage
from restore.time import FrameRange
from tests.damage_material import FILMS, grainy, texture, windows

RATE = Fraction(18)
BLACK_PX = 60
SIZE = (288, 384)


def stage():
    return build_stage("scratches", {}, StageContext())


@cache
def reel(assets, name, first):
    """Six frames ``[6, h, w, 3]``, and the picture on them as ``crop auto`` would find it."""
    path = str(assets / "media" / "film" / name)
    with ClipReader(path, range=FrameRange(first, first + 6), rate=RATE) as reader:
        frames = [to_frame(raw, torch.device("cpu")).data for raw in reader]
    crop, _ = chosen_crop(AUTO, path, FrameRange(0, 60), RATE)
    picture = np.zeros(frames[0].shape[1:], np.bool_)
    height, width = picture.shape
    picture[crop.top_px : height - crop.bottom_px, crop.left_px : width - crop.right_px] = True
    return torch.stack(frames).permute(0, 2, 3, 1).numpy(), picture


def removed(clean, picture, seeds):
    """Share of the lines' energy that goes from the whole frame, and from the picture alone."""
    before, after = np.zeros(2), np.zeros(2)
    for seed in seeds:
        drawn = [draw_dirt(f, Dirt(scratches=3), (seed, n)) for n, f in enumerate(clean)]
        dirty = np.stack([each[0] for each in drawn]).astype(np.float32)
        wins = windows(dirty, 2)
        for n in (2, 3):
            out = stage().run(wins[n : n + 1], [0])[0].permute(1, 2, 0).numpy()
            for at, where in enumerate((drawn[n][1], drawn[n][1] & picture)):
                before[at] += np.square(dirty[n] - clean[n])[where].sum()
                after[at] += np.square(out - clean[n])[where].sum()
    return 1 - after / before


def test_lines_go_from_chaplin_and_from_its_border(assets):
    whole, inside = removed(*reel(assets, "chaplin.mp4", 20), (1, 4, 5))
    assert whole >= 0.85
    assert inside >= 0.9


def test_two_lines_next_to_each_other_go(assets):
    """Of seed 21 two white ones are 4 to 5 px apart."""
    whole, inside = removed(*reel(assets, "chaplin.mp4", 20), (21,))
    assert whole >= 0.97
    assert inside >= 0.97


def test_lines_go_from_the_picture_of_market_street(assets):
    # Of seed 4 one lies on the picture's edge, 3 px from the frame's side, and stays.
    whole, inside = removed(*reel(assets, FILMS[0], 4), (4, 6, 7))
    assert 0.4 < whole < 0.8
    assert inside >= 0.95


@pytest.mark.release
@pytest.mark.parametrize("name", ["chaplin.mp4", FILMS[0]])
def test_lines_go_from_bordered_films_of_24_reels(assets, name):
    _, inside = removed(*reel(assets, name, 20 if name == "chaplin.mp4" else 4), range(1, 25))
    assert inside >= 0.92


def bordered(picture_like):
    """Seven frames of a lit texture that stands still, in a black frame at both sides."""
    wide = texture(*SIZE, 9)
    wide[:, :BLACK_PX] = wide[:, -BLACK_PX:] = 0.01
    picture_like(wide)
    return grainy(np.repeat(cv2.GaussianBlur(wide, (0, 0), 0.6)[None], 7, 0), 0.01, 5)


def line(frame):
    frame[:, 30:32] = 0.6


def mask(frames):
    return stage().mask(windows(frames, 2)[3:4])[0, 0].numpy() > 0


def test_a_line_that_stands_still_on_the_border_goes_and_nothing_else():
    found = mask(bordered(line))
    assert found[:, 30:32].mean() > 0.95
    assert not found[:, :26].any()
    assert not found[:, 36:].any()
    assert not mask(bordered(lambda _: None)).any()


def test_a_line_on_a_border_goes_where_it_is_in_two_frames_more():
    clean, dirty = bordered(lambda _: None), bordered(line)
    for others, goes in (((2,), False), ((2, 4), True)):
        frames = clean.copy()
        for n in (3, *others):
            frames[n] = dirty[n]
        assert mask(frames).any() == goes


def room(frame):
    """No border: a dark room with a lit window, and a lit tube on the wall beside it."""
    frame[:] = 0.01
    frame[40:170, BLACK_PX:-BLACK_PX] = 0.7
    line(frame)


def slope(frame):
    """No border: the dark side of something that leans."""
    frame[:, : 2 * BLACK_PX] = 0.01
    for row in range(SIZE[0]):
        frame[row, BLACK_PX + row // 5 : 2 * BLACK_PX] = 0.5
    line(frame)


@pytest.mark.parametrize("scene", [room, slope])
def test_lines_before_what_is_merely_dark_are_kept(scene):
    frames = bordered(scene)
    wins = windows(frames, 2)[3:4]
    assert torch.equal(stage().run(wins, [0]), wins[:, 2])
