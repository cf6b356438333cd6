"""What is measured of a reel, against damage that we did, and on real film."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch

from restore.analysis.telecine import Scan
from restore.degrade.dirt import Dirt
from restore.degrade.film import FilmDamage, degrade
from restore.degrade.jpeg import jpeg_roundtrip
from restore.degrade.scene import moving_clip
from restore.errors import InvalidInput
from restore.inspection.blocks import blocking
from restore.inspection.gauge import guess_gauge
from restore.inspection.reel import inspect
from restore.inspection.words import film_words, shot_words
from restore.time import FrameRange
from tests.damage_material import texture
from tests.stage_clips import frames_of

SIZE = (120, 160)


def scene(count, seed=0, size=SIZE):
    photo = texture(3 * size[0], 3 * size[1], seed)
    return moving_clip((photo * 255).astype(np.uint8), count, size, seed)


@pytest.fixture(scope="module")
def worn():
    damage = FilmDamage(
        seed=5,
        downscale=1,
        weave_px=1.2,
        flicker=0.05,
        grain_rms=0.05,
        grain_size_px=0.7,
        dirt=Dirt(dust_per_mpx=900, dust_px=1.3),
    )
    degraded = degrade(scene(40, 3), damage)
    return degraded, inspect(frames_of(degraded.frames))


def test_weave_flicker_and_dirt_come_out_as_they_were_put_in(worn):
    degraded, found = worn
    (shot,) = found.shots
    assert (shot.span, shot.looked_at) == (FrameRange(0, 40), 40)
    down, across = degraded.weave_px.std(0)
    assert shot.weave_px == pytest.approx((across, down), rel=0.3)
    assert shot.flicker == pytest.approx(degraded.flicker.std(), rel=0.25)
    marks = np.mean(
        [cv2.connectedComponents(m.astype(np.uint8))[0] - 1 for m in degraded.dust_mask]
    )
    assert 0.5 * marks < shot.dirt_marks < 1.2 * marks
    assert shot.scan is Scan.PROGRESSIVE
    assert found.film_fps is None
    assert "gate weave" in shot_words(shot)
    assert "every frame is a new one" in film_words(found)


def test_a_clean_clip_shows_next_to_nothing():
    (shot,) = inspect(frames_of(scene(40, 3))).shots
    assert max(shot.weave_px) < 0.25
    assert shot.flicker < 0.006
    assert shot.dirt_marks < 3
    assert not shot.scratches
    assert shot.perforation is None


def test_grain_is_measured_in_flat_parts():
    flat = np.full((14, 256, 320, 3), 0.5, np.float32)
    flat[:, :, 160:] = 0.4
    damage = FilmDamage(seed=2, downscale=1, grain_rms=0.06, grain_size_px=0.8)
    grainy = degrade(flat, damage).frames
    (shot,) = inspect(frames_of(grainy)).shots
    assert shot.grain == pytest.approx((grainy - flat).std(), rel=0.25)
    assert shot.grain_size_px == pytest.approx(0.8, rel=0.3)


def woven(clip, *, top_first):
    """Two pictures to a frame, a field of each."""
    frames = clip[::2].copy()
    first, second = (clip[::2], clip[1::2]) if top_first else (clip[1::2], clip[::2])
    frames[:, 0::2], frames[:, 1::2] = first[:, 0::2], second[:, 1::2]
    return frames


@pytest.mark.parametrize(("top_first", "scan"), [(True, Scan.TFF), (False, Scan.BFF)])
def test_interlaced_pictures_are_said(top_first, scan):
    found = inspect(frames_of(woven(scene(48, 1), top_first=top_first)))
    assert found.scan is scan
    (shot,) = found.shots
    # Of fields that show the scene at other times nothing may look like dirt.
    assert shot.dirt_marks < 3


def test_telecine_gives_the_films_rate():
    film = scene(24, 1)
    order = [
        (4 * n + a, 4 * n + b)
        for n in range(6)
        for a, b in ((0, 0), (0, 1), (1, 2), (2, 2), (3, 3))
    ]
    video = np.stack([film[a] for a, _ in order])
    video[:, 1::2] = np.stack([film[b] for _, b in order])[:, 1::2]
    found = inspect(frames_of(video, Fraction(30000, 1001)))
    assert found.scan is Scan.TELECINE_TFF
    assert found.film_fps == Fraction(24000, 1001)
    assert found.shots[0].dirt_marks < 3


def test_film_in_faster_video_is_told_by_its_repeats():
    film = degrade(scene(48, 2), FilmDamage(seed=1, downscale=1, weave_px=0.5)).frames
    video = film[[int(n * 16 / 25) for n in range(75)]]
    found = inspect(frames_of(video))
    assert found.film_fps == 16
    assert found.repeats == pytest.approx(9 / 25, abs=0.03)
    assert "16 film frames a second" in film_words(found)
    # Repeats are left out before anything in time is measured.
    assert found.shots[0].looked_at < 32
    assert guess_gauge(found).reasons[0].startswith("about 16 film frames")


def test_cuts_black_and_gaps():
    black = np.zeros((12, *SIZE, 3), np.float32)
    clip = np.concatenate([black, scene(14, 1), scene(14, 5), black[:5]])
    found = inspect(frames_of(clip))
    assert [shot.span.start for shot in found.shots if not shot.is_black][-1] == 26
    assert found.black == (FrameRange(0, 12), FrameRange(40, 45))
    assert found.shots[0].is_black
    assert shot_words(found.shots[0]) == "nothing but black"
    frames = frames_of(scene(10, 1))
    found = inspect([*frames[:4], *frames[7:]])
    assert found.gaps == (FrameRange(4, 7),)
    assert [shot.span for shot in found.shots] == [FrameRange(0, 4), FrameRange(7, 10)]


def test_one_frame_says_what_one_frame_can():
    found = inspect(frames_of(scene(1)))
    (shot,) = found.shots
    assert shot.light is not None
    assert (shot.weave_px, shot.flicker, shot.dirt_marks, shot.grain) == (None,) * 4
    assert guess_gauge(found).text == "not to be told from the pictures"


def test_no_frame_and_frames_of_two_sizes_are_refused():
    with pytest.raises(InvalidInput, match="at least one frame"):
        inspect([])
    frames = frames_of(scene(2))
    frames[1] = replace(frames[1], data=torch.zeros(3, 20, 20))
    with pytest.raises(InvalidInput, match="as the first"):
        inspect(frames)


def test_blocks_of_a_codec_stand_out():
    picture = texture(200, 264, 4)
    coded = jpeg_roundtrip((picture * 255).astype(np.uint8), 15, True)
    clean, blocked = (
        blocking(torch.from_numpy(np.ascontiguousarray(one.transpose(2, 0, 1), np.float32)))
        for one in (picture, coded / 255)
    )
    assert clean < 0.05
    assert blocked > 0.12


def test_a_super8_scan_shows_its_hole(assets):
    path = assets / "media" / "super8" / "Full_Frame_Sample.png"
    picture = cv2.imread(str(path))[..., ::-1].astype(np.float32) / 255
    found = inspect(frames_of(picture[None]))
    assert found.shots[0].perforation == "super8"
    assert guess_gauge(found).text == "probably Super 8"
