"""Fields: how clips were scanned, whole pictures from fields, and film back from pulldown."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import islice, pairwise

import numpy as np
import pytest
import torch

from restore.analysis.combing import field_metrics, fields_of
from restore.analysis.telecine import Scan
from restore.degrade.telecine import pulldown_32
from restore.demo.clips import read_clip
from restore.engine.run import process
from restore.engine.settings import EngineSettings
from restore.media.roundtrip import roundtrip
from restore.stages import StageContext, build_stage
from restore.time import Clock
from tests.stage_clips import FILMS, array_of, film, frames_of, pan, psnr_db, weathered

CPU = EngineSettings("cpu", batch=1, tile_px=0)
SIZE = (144, 192)
NTSC = Fraction(30000, 1001)
FILM = Fraction(24000, 1001)


def fields(**settings):
    return build_stage("fields", settings, StageContext())


def through(clip, **settings):
    stage = fields(**settings)
    return list(process(frames_of(clip, NTSC), [stage], CPU)), stage


def interlaced(truth, *, top_first=True):
    """Each frame made of two moments of a progressive clip of twice the rate."""
    first, second = (0, 1) if top_first else (1, 0)
    out = truth[0::2].copy()
    out[:, second::2] = truth[1::2, second::2]
    assert (out[:, first::2] == truth[0::2, first::2]).all()
    return out


def coded(clip, quality=3):
    levels = np.rint(np.clip(clip, 0, 1) * 255).astype(np.uint8)
    return roundtrip(levels, "mpeg2", quality).astype(np.float32) / 255


@pytest.fixture(scope="module")
def moving(assets) -> dict[str, np.ndarray]:
    """Progressive truth with real motion: three films and four pans."""
    clips = {name: film(assets, name, SIZE, 40) for name in FILMS}
    return clips | {f"pan{n}": pan(assets, n, 40, SIZE) for n in (1, 4, 8, 13)}


def times_s(frames):
    return [frame.pts * frame.time_base for frame in frames]


@pytest.mark.parametrize(
    ("name", "scan"),
    [
        ("interlaced_tff", Scan.TFF),
        ("interlaced_bff", Scan.BFF),
        ("telecined_hard", Scan.TELECINE_TFF),
    ],
)
def test_published_patterns_are_told(assets, name, scan):
    path = assets / "media" / "clips" / f"bt601-525_480_{name}.mkv"
    stage = fields(method="leave")
    list(process(islice(read_clip(path), 60), [stage], CPU))
    assert stage.verdict is scan
    assert stage.scans[scan] >= 58


def test_pulldown_of_a_published_pattern_is_undone(assets):
    path = assets / "media" / "clips" / "bt601-525_480_telecined_hard.mkv"
    got = list(process(islice(read_clip(path), 60), [fields()], CPU))
    assert abs(len(got) - 48) <= 1
    assert {b - a for a, b in pairwise(times_s(got))} == {1 / FILM}
    combing = []
    for frame in got[1:-1]:
        top, bottom = fields_of(frame)
        combing.append(field_metrics((top, bottom), (top, bottom)).own)
    assert max(combing) < 1e-4  # combed frames of the pattern have 1e-3 and more


@pytest.mark.parametrize("grain", [0.0, 0.06])
def test_interlaced_clips_are_told_from_progressive_ones(moving, grain):
    for number, (name, clip) in enumerate(moving.items()):
        truth = weathered(clip, number, grain=grain, weave_px=0.3)
        for scan, made in (
            (Scan.TFF, interlaced(truth)),
            (Scan.BFF, interlaced(truth, top_first=False)),
            (Scan.PROGRESSIVE, truth[:20]),
        ):
            _, stage = through(coded(made), method="leave")
            assert stage.verdict is scan, name
            assert stage.scans[scan] == len(made), name


def test_still_scenes_are_left_alone(moving):
    still = np.repeat(moving["pan4"][:1], 24, 0)
    noise = np.random.default_rng(0).normal(0, 3 / 255, still.shape)
    for clip in (still, (still + noise).astype(np.float32)):
        got, stage = through(clip)
        assert stage.verdict in (Scan.UNKNOWN, Scan.PROGRESSIVE)
        assert [f.pts for f in got] == list(range(24))
        assert all(np.array_equal(array_of(f), c) for f, c in zip(got, clip, strict=True))


@pytest.mark.parametrize("phase", range(5))
def test_pulldown_is_undone_to_the_very_frames_of_the_film(moving, phase):
    for name in ("pan1", FILMS[2]):
        truth = weathered(moving[name], phase, grain=0.05)
        video, origin = pulldown_32(truth)
        got, stage = through(video[phase:])
        assert stage.verdict is Scan.TELECINE_TFF
        first = int(origin[phase].max())
        inner = [array_of(frame) for frame in got][2:-2]
        start = next(n for n in range(first, first + 5) if np.array_equal(inner[0], truth[n]))
        for number, picture in enumerate(inner):
            assert np.array_equal(picture, truth[start + number])
        steps = {b - a for a, b in pairwise(times_s(got))}
        assert steps == {1 / FILM}
        assert abs(len(got) - len(video[phase:]) * 4 / 5) <= 1


def test_pulldown_with_the_bottom_field_first_and_compression(moving):
    truth = weathered(moving["pan1"], 0, grain=0.04)
    upside_down, _ = pulldown_32(truth[:, ::-1])
    video = coded(upside_down[:, ::-1], 2)
    got, stage = through(video)
    assert stage.verdict is Scan.TELECINE_BFF
    assert abs(len(got) - 40) <= 1
    for frame, wanted in list(zip(got, truth, strict=False))[2:-3]:
        assert psnr_db(array_of(frame), wanted) > 30


def test_a_clip_declared_as_telecine_has_the_films_rate_throughout(moving):
    """A stretch of real video in the middle cannot put it out of step, or make it uneven."""
    film_part, _ = pulldown_32(moving["pan8"])
    clip = np.concatenate([film_part, interlaced(moving["pan1"]), film_part])
    got, stage = through(clip, scan="telecine")
    times = times_s(got)
    assert {b - a for a, b in pairwise(times)} <= {1 / FILM, 2 / FILM}
    assert sum(b - a != 1 / FILM for a, b in pairwise(times)) <= 2
    assert abs(times[-1] + 1 / FILM - len(clip) / NTSC) <= 2 / FILM
    assert all(abs(t - f.index / NTSC) <= 2 / FILM for t, f in zip(times, got, strict=True))
    clock = stage.retime(Clock(NTSC, 1 / NTSC, False, len(clip)))
    assert (clock.frame_rate, clock.is_vfr, clock.tempo) == (FILM, False, 1)
    assert clock.frames == round(len(clip) * Fraction(4, 5))
    assert all((f.pts * f.time_base / clock.time_base).denominator == 1 for f in got)


def test_what_the_settings_say_is_known_beforehand():
    clock = Clock(NTSC, 1 / NTSC, False, 100)
    twice = fields(scan="tff").retime(clock)
    assert (twice.frame_rate, twice.is_vfr, twice.frames) == (2 * NTSC, False, 200)
    assert fields(scan="bff", rate="frame").retime(clock) == clock
    assert fields(scan="tff", method="leave").retime(clock) == clock
    assert fields(scan="progressive").retime(clock) == clock
    assert fields().retime(clock).is_vfr


def test_film_and_video_may_follow_each_other(moving):
    film_part, _ = pulldown_32(moving["pan8"])
    video_part = interlaced(moving["pan1"])
    got, stage = through(np.concatenate([film_part, video_part]), rate="frame")
    assert stage.scans[Scan.TELECINE_TFF] in range(48, 53)
    assert stage.scans[Scan.TFF] in range(17, 23)
    assert abs(len(got) - 60) <= 2
    times = times_s(got)
    assert all(b > a for a, b in pairwise(times))


def test_motion_beats_bwdif_by_a_decibel(moving):
    gains = []
    for number, clip in enumerate(moving.values()):
        for grain in (0.0, 0.03):
            truth = weathered(clip[:16], number, grain=grain)
            made = interlaced(truth)
            quality = {}
            for method in ("motion", "bwdif"):
                got, _ = through(made, scan="tff", method=method)
                assert len(got) == 16
                pictures = [array_of(frame)[4:-4, 4:-4] for frame in got]
                pairs = list(zip(pictures, truth[:, 4:-4, 4:-4], strict=True))[2:-2]
                quality[method] = np.mean([psnr_db(a, b) for a, b in pairs])
            gains.append(quality["motion"] - quality["bwdif"])
    assert np.mean(gains) >= 2.5
    assert min(gains) >= 1


@pytest.mark.parametrize("method", ["motion", "bwdif"])
@pytest.mark.parametrize("top_first", [True, False])
def test_lines_of_a_field_stay_and_fields_get_their_times(moving, method, top_first):
    made = interlaced(moving["pan1"][:12], top_first=top_first)
    got, _ = through(made, scan="tff" if top_first else "bff", method=method)
    assert len(got) == 2 * len(made)
    assert times_s(got) == [Fraction(n, 2) / NTSC for n in range(len(got))]
    for number, frame in enumerate(got):
        row = (number % 2) ^ (not top_first)
        kept = np.abs(array_of(frame)[row::2] - made[number // 2][row::2]).max()
        assert kept <= (0 if method == "motion" else 1e-4)
    single, _ = through(made, scan="tff" if top_first else "bff", method=method, rate="frame")
    assert times_s(single) == [n / NTSC for n in range(len(made))]


def test_no_picture_is_made_across_a_cut(moving):
    made = interlaced(np.concatenate([moving["pan1"][:6], moving["pan8"][:6]]))
    frames = [replace(f, shot=f.index // 3) for f in frames_of(made, NTSC)]
    both = list(process(frames, [fields(scan="tff")], CPU))
    alone = list(process(frames[3:], [fields(scan="tff")], CPU))
    for a, b in zip(both[6:], alone, strict=True):
        assert torch.equal(a.data, b.data)


@pytest.mark.parametrize("size", [(7, 9), (33, 40), (2, 5)])
def test_odd_and_tiny_frames_come_through(size):
    clip = np.random.default_rng(0).random((5, *size, 3), np.float32)
    got, _ = through(clip, scan="tff")
    assert [tuple(f.data.shape[-2:]) for f in got] == [size] * 10
    assert len(through(clip)[0]) >= 5


@pytest.mark.parametrize("count", [0, 1, 2, 16, 17])
def test_short_clips_come_through(moving, count):
    got, _ = through(moving["pan1"][:count])
    assert [f.index for f in got] == list(range(count))


def test_soft_telecine_is_told_by_its_times(moving):
    pts, frames = 0, []
    for number, frame in enumerate(frames_of(moving["pan1"], 2 * NTSC)):
        frames.append(replace(frame, pts=pts, duration=2 + number % 2))
        pts += 2 + number % 2
    stage = fields()
    got = list(process(frames, [stage], CPU))
    assert stage.verdict is Scan.SOFT_TELECINE
    assert [f.pts for f in got] == [f.pts for f in frames]
