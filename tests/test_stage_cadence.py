"""Cadence: the film's own frames in faster video, each once, through noise and compression."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch

from restore.analysis.repeats import LOOKAHEAD
from restore.engine.run import process
from restore.engine.settings import EngineSettings
from restore.errors import InvalidInput
from restore.media.probe import probe
from restore.media.roundtrip import roundtrip
from restore.recipe import Recipe, Step
from restore.restoration import Job, run_job
from restore.stages import StageContext, build_stage, check_settings
from restore.time import Clock
from tests.cli_material import write_clip
from tests.engine_stages import Blur
from tests.stage_clips import film, frames_of, pan, weathered

CPU = EngineSettings("cpu", batch=1, tile_px=0)
SIZE = (96, 128)
PAL, NTSC = Fraction(25), Fraction(30000, 1001)


@pytest.fixture(scope="module")
def films(assets) -> list[np.ndarray]:
    """A real film and pans over photographs, every frame with its own grain and place."""
    clips = [film(assets, "the_great_train_robbery", SIZE, 48)]
    clips += [pan(assets, number, 48, SIZE) for number in (1, 9)]
    return [weathered(clip, n, grain=0.05, weave_px=0.2) for n, clip in enumerate(clips)]


def on_video(clip, fps, video_fps, codec, seed=0):
    """A film scanned at another rate: every video frame with its own noise, then compressed."""
    shown = np.floor(np.arange(int(len(clip) * video_fps / fps)) * float(fps / video_fps) + 0.37)
    shown = shown.astype(int)
    shown = shown[shown < len(clip)]
    noise = np.random.default_rng(seed).normal(0, 2 / 255, (len(shown), *clip.shape[1:]))
    video = np.clip(clip[shown] + noise, 0, 1).astype(np.float32)
    if codec:
        name, _, quality = codec.partition("-")
        coded = roundtrip(np.rint(video * 255).astype(np.uint8), name, int(quality))
        video = coded.astype(np.float32) / 255
    return video, shown


def cadence(**settings):
    return build_stage("cadence", settings, StageContext())


def through(video, rate=PAL, **settings):
    stage = cadence(**settings)
    return list(process(frames_of(video, rate), [stage], CPU)), stage


def first_showings(shown):
    return [0, *(np.flatnonzero(np.diff(shown)) + 1).tolist()]


@pytest.mark.parametrize(
    ("fps", "video_fps", "codec"),
    [
        (Fraction(18), PAL, ""),
        (Fraction(18), PAL, "h264-20"),
        (Fraction(18), PAL, "mpeg2-6"),
        (Fraction(16), PAL, "h264-20"),
        (Fraction(50, 3), PAL, "mpeg2-6"),
        (Fraction(18), NTSC, "mpeg2-6"),
        (Fraction(24000, 1001), NTSC, "h264-20"),
    ],
)
def test_every_film_frame_comes_once_at_its_first_time(films, fps, video_fps, codec):
    for number, clip in enumerate(films):
        video, shown = on_video(clip, fps, video_fps, codec, number)
        got, stage = through(video, video_fps)
        assert [f.index for f in got] == first_showings(shown)
        assert [f.pts for f in got] == first_showings(shown)
        assert all(torch.equal(f.data, frames_of(video[[f.index]])[0].data) for f in got)
        assert sum(f.duration for f in got) == len(video)
        assert abs(stage.film_fps - fps) < fps / 20


def test_what_comes_after_computes_each_film_frame_once(films):
    video, shown = on_video(films[0], Fraction(18), PAL, "h264-20")
    network = Blur()
    got = list(process(frames_of(video, PAL), [cadence(), network], CPU))
    # Each showing has noise of its own: no two of these frames are equal.
    assert len(network.calls) == len(got) == len(set(shown)) < 0.75 * len(video)


def test_the_rate_is_named_exactly(films):
    clip = np.concatenate([films[0], films[1], films[2]])
    for fps, video_fps in ((Fraction(18), PAL), (Fraction(24000, 1001), NTSC)):
        video, _ = on_video(clip, fps, video_fps, "h264-20")
        _, stage = through(video, video_fps)
        assert stage.film_fps == fps


@pytest.mark.parametrize("codec", ["", "h264-20", "mpeg2-6"])
def test_film_at_the_video_rate_loses_nothing(films, codec):
    for clip in films:
        video, _ = on_video(clip, PAL, PAL, codec)
        got, stage = through(video)
        assert len(got) == len(video)
        assert stage.film_fps == PAL


def test_a_still_scene_without_repeats_loses_nothing(films):
    still = weathered(np.repeat(films[1][:1], 60, 0), 5, grain=0.04)
    video, _ = on_video(still, PAL, PAL, "h264-20")
    assert len(through(video)[0]) == len(video)


def test_a_film_whose_speed_changes_is_followed(films):
    slow, first = on_video(films[1], Fraction(16), PAL, "")
    fast, second = on_video(films[2], Fraction(20), PAL, "", 1)
    shown = np.concatenate([first, second + len(films[1])])
    got, _ = through(np.concatenate([slow, fast]))
    wrong = set(first_showings(shown)) ^ {f.index for f in got}
    assert all(abs(n - len(slow)) <= 12 for n in wrong)
    assert len(wrong) <= 2


def test_a_given_rate_sets_even_times(films):
    video, shown = on_video(films[0], Fraction(18), PAL, "h264-20")
    got, _ = through(video, fps="18", keep="film rate")
    times = [f.pts * f.time_base for f in got]
    assert [f.index for f in got] == first_showings(shown)
    assert {b - a for a, b in pairwise(times)} == {Fraction(1, 18)}
    assert all(f.duration * f.time_base == Fraction(1, 18) for f in got)
    assert all(abs(t - f.index / PAL) <= Fraction(1, 18) for t, f in zip(times, got, strict=True))


def test_a_film_that_stands_still_does_not_put_the_sound_out_of_step(films):
    video, _ = on_video(films[0], Fraction(18), PAL, "")
    frames = frames_of(video)
    gap = [f for f in frames if not 20 <= f.index < 35]
    got = list(process(gap, [cadence(fps="18", keep="film rate")], CPU))
    assert all(abs(f.pts * f.time_base - f.index / PAL) <= Fraction(1, 9) for f in got)


@pytest.mark.parametrize("count", [0, 1, 2, 5, 13])
def test_short_clips_come_through(films, count):
    got, _ = through(films[1][:count])
    assert [f.index for f in got] == list(range(count))
    assert [f.duration for f in got] == [1] * count


def test_no_more_than_the_declared_frames_are_held(films):
    stage, taken = cadence(), []

    def source():
        for frame in frames_of(films[0]):
            taken.append(frame.index)
            yield frame

    for frame in process(source(), [stage], CPU):
        assert len(taken) <= frame.index + 1 + stage.spec.delay
    assert stage.spec.delay == LOOKAHEAD + 1


def test_the_films_rate_is_known_beforehand_and_delivered(tmp_path):
    stage = cadence(fps="18", keep="film rate")
    clock = stage.retime(Clock(PAL, 1 / PAL, False, 250))
    assert (clock.frame_rate, clock.is_vfr, clock.frames, clock.tempo) == (18, False, 180, 1)
    assert cadence().retime(Clock(PAL, 1 / PAL, False, 250)).is_vfr
    source = write_clip(tmp_path / "in.mkv", 30)
    out = tmp_path / "out.mp4"
    recipe = Recipe("x", "", (Step("cadence", {"fps": 25, "keep": "film rate"}),))
    run_job(Job(str(source), str(out), recipe))
    found = probe(out, count_frames=True)
    assert (found.frame_rate, found.is_vfr) == (25, False)


def test_settings_that_cannot_be_met_are_refused():
    with pytest.raises(InvalidInput, match="film rate"):
        check_settings("cadence", {"keep": "film rate"})
    with pytest.raises(InvalidInput, match="30 fps in video at 25 fps"):
        through(np.zeros((4, 8, 8, 3), np.float32), fps=30)


def test_a_job_keeps_its_length_and_says_what_it_left_out(tmp_path):
    source = write_clip(tmp_path / "in.mkv", 30)
    recipe = Recipe("x", "", (Step("cadence"),))
    report = run_job(Job(str(source), str(tmp_path / "out.mkv"), recipe))
    assert report.run.frames_out == 30
    assert report.run.stages[0].facts["repeats left out"] == "0 of 30 frames"


@pytest.mark.parametrize(
    "name", ["a_trip_down_market_street_before_the_fire", "san_francisco_earthquake_and_fire"]
)
def test_a_film_with_a_repeat_now_and_then_keeps_every_frame_that_is_new(assets, name):
    # Five or six frames in sixty were copied twice, at no steady pace; patterns fit them by half.
    clip = film(assets, name, (184, 240), 60)
    stage = build_stage("cadence", {}, StageContext())
    kept = {frame.index for frame in process(frames_of(clip), [stage], CPU)}
    new = [n for n in range(1, len(clip)) if np.abs(clip[n] - clip[n - 1]).mean() > 1 / 255]
    assert len(new) >= 34
    assert kept >= set(new)
