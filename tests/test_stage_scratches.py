"""Scratches that we drew, and upright things that belong to the scene."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from restore.degrade.dirt import Dirt, draw_dirt
from restore.degrade.scene import moving_clip
from restore.motion.veil import evidence_of, veil_of
from restore.stages import StageContext, build_stage
from tests.damage_material import (
    FILMS,
    film,
    grainy,
    photo_clip,
    real_clip,
    tensor,
    texture,
    windows,
)

SIZE = (288, 384)


def stage(**settings):
    return build_stage("scratches", settings, StageContext())


@pytest.fixture(scope="module")
def pan():
    """A camera that pans over upright and other things, under grain."""
    return grainy(moving_clip(texture(520, 700, 5), 9, SIZE, 8), 0.02, 2)


def scratched(frames, count, seed):
    drawn = [draw_dirt(f, Dirt(scratches=count), (seed, n)) for n, f in enumerate(frames)]
    return np.stack([d[0] for d in drawn]).astype(np.float32), np.stack([d[1] for d in drawn])


def cleaned(frames, which, **settings):
    wins = windows(frames, 2)[which]
    out = stage(**settings).run(wins, [0] * len(wins))
    return out.permute(0, 2, 3, 1).numpy()


def energies(clean, seeds, which):
    """Squared error on the lines before and after, and after beside them, over several reels."""
    before = after = beside = 0.0
    for seed in seeds:
        dirty, mask = scratched(clean, 3, seed)
        error = np.square(cleaned(dirty, which) - clean[which])
        before += np.square(dirty - clean)[which][mask[which]].sum()
        after += error[mask[which]].sum()
        beside += error[~mask[which]].sum()
    return before, after, beside


def test_four_fifths_of_the_lines_go(pan):
    before, after, beside = energies(pan, (1, 2, 3), slice(2, 7))
    assert after <= 0.2 * before
    assert beside <= 0.15 * before


@pytest.mark.parametrize("name", ["roman-colosseum", "oakland-zoo-otters"])
def test_lines_go_from_real_pictures(assets, name):
    clean = photo_clip(assets, name, 8, (432, 576), 3)
    before, after, beside = energies(clean, (1, 2), slice(3, 5))
    assert after <= 0.2 * before
    assert beside <= 0.15 * before


CLIPS = ["bikes.mp4", "carphone_pristine.mp4"]


@pytest.mark.parametrize("source", CLIPS)
def test_lines_go_from_clips_that_stand_nearly_still(assets, source):
    clean = real_clip(assets, source, 20, 6, (432, 576))
    before, after, beside = energies(clean, (1, 2, 3, 4, 5), slice(2, 4))
    assert after <= 0.1 * before
    assert beside <= 0.05 * before


@pytest.mark.parametrize("name", FILMS[1:])
def test_lines_go_from_real_films(assets, name):
    before, after, beside = energies(film(assets, name, 4, 6), (1, 2, 3, 4, 5), slice(2, 4))
    assert after <= 0.2 * before
    assert beside <= 0.1 * before


def test_lines_go_from_a_picture_that_stands_still(assets):
    """Nothing moves but the lines, by parts of a pixel."""
    photo = photo_clip(assets, "roman-colosseum", 1, (432, 576), 3, grain=0)
    clean = grainy(np.repeat(photo, 5, 0), 0.02, 4)
    before, after, beside = energies(clean, (1, 2, 4, 5), slice(2, 3))
    assert after <= 0.1 * before
    assert beside <= 0.05 * before


def test_a_line_that_fades_along_its_length_goes_from_a_pan(pan):
    rows = np.arange(SIZE[0])
    share = 0.45 + 0.3 * np.sin(2 * np.pi * rows / SIZE[0])
    dirty = pan.copy()
    for n, frame in enumerate(dirty):
        middle = 170.3 + 0.8 * np.sin(0.4 * n) + 0.005 * rows
        cover = np.clip(1.3 - np.abs(np.arange(SIZE[1]) - middle[:, None]), 0, 1)[..., None]
        frame += (0.04 - frame) * share[:, None, None] * cover
    which = slice(3, 6)
    left = np.square(cleaned(dirty, which) - pan[which]).sum()
    assert left <= 0.2 * np.square(dirty - pan)[which].sum()


def test_a_veil_is_measured_for_what_it_is(pan):
    rows = np.arange(SIZE[0])
    path = 200.4 + 0.004 * rows
    cover = np.clip(1.5 - np.abs(np.arange(SIZE[1]) - path[:, None]), 0, 1)[..., None]
    picture = tensor((pan[4] + (0.9 - pan[4]) * 0.4 * cover)[None])[0].numpy()
    veil = veil_of(picture, path + 0.3, np.ones(SIZE[0], np.bool_), 3)
    # Where a profile has its middle is free: what counts is where its weight lies.
    weight = veil.profile * (veil.profile > 0.1)
    middle = (weight * (np.arange(len(weight)) - len(weight) // 2)).sum() / weight.sum() / 2
    assert np.abs(veil.path + middle - path).max() <= 0.15
    assert abs(veil.hidden - 0.4) <= 0.05
    assert np.abs(veil.light - 0.36).max() <= 0.03
    evidence = evidence_of(picture, veil, 36)
    assert evidence.share >= 0.9
    assert evidence.misfit <= 0.2


@pytest.mark.parametrize("source", CLIPS)
def test_clean_clips_come_back_bit_for_bit(assets, source):
    wins = windows(real_clip(assets, source, 20, 6, (432, 576)), 2)[2:4]
    assert torch.equal(stage().run(wins, [0, 0]), wins[:, 2])


def fence(height, width, still, count=7):
    """Pickets over three fifths of the height, a window with bars, a pole from top to bottom."""
    wide = texture(height, width + 80, 6)
    for x in range(20, width // 2, 14):
        wide[height * 2 // 5 :, x : x + 3] = 0.9
    left, top, bottom = width * 2 // 3, height // 8, height * 3 // 4
    wide[top:bottom, left : left + 70] = [0.5, 0.55, 0.7]
    for x in (0, 22, 45, 67):
        wide[top:bottom, left + x : left + x + 3] = 0.08
    wide[:, left + 92 : left + 95] = 0.05
    wide = cv2.GaussianBlur(wide, (0, 0), 0.6)
    step = 0 if still else 3
    return grainy(np.stack([wide[:, step * n : step * n + width] for n in range(count)]), 0.02, 3)


@pytest.mark.parametrize("still", [True, False], ids=["still", "panned"])
def test_pickets_windows_and_poles_are_kept(still):
    frames = fence(*SIZE, still)
    wins = windows(frames, 2)[2:5]
    assert stage().mask(wins).sum() == 0
    assert torch.equal(stage().run(wins, [0] * 3), wins[:, 2])
    # In the same pictures a scratch is found.
    dirty, mask = scratched(frames, 1, 7)
    found = stage().mask(windows(dirty, 2)[2:5])[:, 0].numpy() > 0
    if not still:
        assert (found & mask[2:5]).sum() > 0.8 * mask[2:5].sum()


@pytest.mark.parametrize("wide_px", [2, 3, 4])
@pytest.mark.parametrize("level", [0.05, 0.9])
def test_poles_before_a_still_scene_are_kept(wide_px, level):
    scene = texture(*SIZE, 11)
    scene[:, 200 : 200 + wide_px] = level
    frames = grainy(np.repeat(cv2.GaussianBlur(scene, (0, 0), 0.6)[None], 5, 0), 0.02, 6)
    wins = windows(frames, 2)[2:3]
    assert torch.equal(stage().run(wins, [0]), wins[:, 2])


@pytest.mark.parametrize("name", ["beacon-street-sunset", "piazza-gae-aulenti", "valley-midnight"])
def test_no_line_is_found_in_photographs_that_stand_still(assets, name):
    photo = cv2.imread(str(assets / "media" / "photos" / f"{name}.jpg"))[..., ::-1]
    small = cv2.resize(photo, None, fx=0.2, fy=0.2, interpolation=cv2.INTER_AREA)
    for left in range(0, small.shape[1] - 384, 128):
        piece = small[-288:, left : left + 384].astype(np.float32) / 255
        wins = windows(grainy(np.repeat(piece[None], 3, 0), 0.015, left), 2)[1:2]
        assert stage().mask(wins).sum() == 0


def test_a_line_that_sways_in_a_still_scene_is_a_scratch():
    frames = fence(*SIZE, True)
    rows = np.arange(SIZE[0])
    for n, frame in enumerate(frames):
        middle = 225.0 + 1.5 * np.sin(1.3 * n) + 0.004 * rows
        cover = np.clip(1.2 - np.abs(np.arange(SIZE[1]) - middle[:, None]), 0, 1)[..., None]
        frame += (0.95 - frame) * 0.7 * cover
    found = stage().mask(windows(frames, 2)[3:4])[0, 0]
    assert found[:, 219:232].any(1).float().mean() > 0.9
    assert found[:, :210].sum() == 0
    assert found[:, 240:].sum() == 0


def test_only_the_line_is_touched_and_detail_shines_through(pan):
    dirty, _ = scratched(pan, 1, 9)
    wins = windows(dirty, 2)[4:5]
    mask = stage().mask(wins)[0, 0] > 0
    assert 0 < mask.float().mean() < 0.03
    out = stage().run(wins, [0])[0]
    assert torch.equal(out[:, ~mask], wins[0, 2][:, ~mask])
    half = stage(strength=0.5).run(wins, [0])[0]
    assert torch.allclose(half, (out + wins[0, 2]) / 2, atol=1e-5)


def test_tiny_frames_and_single_frames_pass(pan):
    for frames in (pan[:5, :20, :30], pan[:1], pan[:2]):
        wins = windows(frames, 2)
        assert torch.equal(stage().run(wins, [0] * len(wins)), wins[:, 2])


@pytest.mark.parametrize(
    ("name", "first"), [(FILMS[0], 20), (FILMS[1], 4), (FILMS[2], 10), (FILMS[2], 17)]
)
def test_uprights_of_real_films_are_kept(assets, name, first):
    """Frames in which doors, walls and the gate's border look like lines."""
    wins = windows(film(assets, name, first, 7), 2)[2:5]
    assert stage().mask(wins).sum() == 0


def test_nothing_is_put_where_a_real_line_stops(assets):
    """A scratch through the lower half of San Francisco; the sky above has next to none of it."""
    wins = windows(film(assets, FILMS[1], 40, 5), 2)[2:3]
    change = (stage().run(wins, [0])[0] - wins[0, 2]).mean(0)
    assert change[200:360, 159].mean() >= 0.03
    assert change[10:55, 150:170].mean(0).abs().max() <= 0.01


def test_a_line_between_uneven_sides_goes(assets):
    """Beside it one side is the brighter here, the other one there, by as much as it stands out."""
    clean = real_clip(assets, "../film/chaplin.mp4", 20, 6, (360, 640))
    before, after, beside = energies(clean, (24,), slice(3, 4))
    assert after <= 0.15 * before
    assert beside <= 0.05 * before


def test_nothing_is_brought_up_beyond_what_is_beside_the_line(assets):
    """Before dark walls with bright windows, where a straight line across says little."""
    clean = film(assets, FILMS[0], 4, 6)
    dirty, _ = scratched(clean, 3, 23)
    out = cleaned(dirty, slice(2, 4))
    for number, frame in enumerate(out):
        about = [frame[:220, 151:156], frame[:220, 164:169]]
        most = cv2.dilate(np.concatenate(about, 1).max(1), np.ones((7, 1), np.uint8))
        most = np.maximum(most, dirty[2 + number][:220, 155:165].max(1))
        assert (frame[:220, 155:165] - most[:, None]).max() <= 0.02
