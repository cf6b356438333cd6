"""Blending: film frames mixed by a bad conversion are told from all that merely moves."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from restore.analysis.blending import BlendFinder
from restore.analysis.telecine import Scan
from restore.degrade.telecine import pulldown_32
from restore.engine.run import process
from restore.engine.settings import EngineSettings
from restore.inspection.reel import inspect
from restore.inspection.words import film_words, shot_words
from restore.media.roundtrip import roundtrip
from restore.stages import StageContext, build_stage
from tests.stage_clips import FILMS, film, frames_of, pan, weathered

CPU = EngineSettings("cpu", batch=1, tile_px=0)
SIZE = (80, 96)
FRAMES = 30


@pytest.fixture(scope="module")
def moving(assets) -> dict[str, np.ndarray]:
    """Progressive truth with real motion, grain and weave."""
    clips = {name: film(assets, name, SIZE, FRAMES) for name in FILMS}
    clips |= {f"pan{n}": pan(assets, n, FRAMES, SIZE) for n in (1, 4)}
    return {
        name: weathered(clip, number, grain=0.03, weave_px=0.5)
        for number, (name, clip) in enumerate(clips.items())
    }


def by_time(clip, fps, video_fps=25):
    """Each frame the mean of the film over its time."""
    ratio = Fraction(fps, video_fps)
    out = []
    for number in range(int(len(clip) / ratio)):
        start, stop = number * ratio, (number + 1) * ratio
        shares = [max(Fraction(0), min(stop, k + 1) - max(start, k)) for k in range(len(clip))]
        out.append(np.tensordot(np.array(shares, np.float32) / np.float32(ratio), clip, 1))
    return np.stack(out)


def deinterlaced_by_mixing(clip):
    """3:2 pulldown whose fields were averaged: two frames in five are mixes."""
    _, origin = pulldown_32(clip)
    return (clip[origin[:, 0]] + clip[origin[:, 1]]) / 2


def interlaced(clip):
    out = clip[0::2].copy()
    out[:, 1::2] = clip[1::2, 1::2]
    return out


def coded(clip, quality=2):
    levels = np.rint(np.clip(clip, 0, 1) * 255).astype(np.uint8)
    return roundtrip(levels, "mpeg2", quality).astype(np.float32) / 255


def ratio_of(clip):
    finder = BlendFinder()
    for picture in clip:
        finder.push(torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1))
    return finder.ratio


def test_mixed_frames_are_told(moving):
    for name, clip in moving.items():
        for made in (by_time(clip, 18), by_time(clip, 16), deinterlaced_by_mixing(clip)):
            levels = np.rint(np.clip(made, 0, 1) * 255).astype(np.float32) / 255
            assert ratio_of(levels) < 0.3, name


def test_mixed_frames_are_told_behind_a_light_codec(moving):
    for made in (by_time(moving[FILMS[0]], 18), deinterlaced_by_mixing(moving[FILMS[0]])):
        assert ratio_of(coded(made)) < 0.4


def controls(clip, other):
    rng = np.random.default_rng(5)
    share = np.clip((np.arange(len(clip)) - 4) / 22, 0, 1).astype(np.float32)[:, None, None, None]
    gain = rng.normal(1, 0.08, (len(clip), 1, 1, 1)).astype(np.float32)
    again = clip[(np.arange(FRAMES) * 18) // 25]
    still = np.repeat(clip[:1], FRAMES, 0)
    yield "progressive", clip
    yield "dissolve", (1 - share) * clip + share * other
    yield "dissolve of stills", (1 - share) * clip[:1] + share * other[:1]
    yield "flicker", clip * gain
    yield "repeats", again
    yield "grain alone", still + rng.normal(0, 0.03, still.shape).astype(np.float32)


def test_nothing_else_is_called_mixed(moving):
    clips = list(moving.values())
    for number, (name, clip) in enumerate(moving.items()):
        for kind, made in controls(clip, clips[number - 1]):
            ratio = ratio_of(made)
            assert ratio is None or ratio > 0.6, (name, kind)


def test_motion_blur_is_not_called_mixed(assets):
    clip = weathered(pan(assets, 1, 2 * FRAMES, SIZE), 0, grain=0.03, weave_px=0.5)
    blurred = (clip[0::2] + clip[1::2]) / 2
    assert ratio_of(blurred) > 0.6


def test_too_little_says_nothing(moving):
    clip = next(iter(moving.values()))
    assert ratio_of(by_time(clip[:8], 18)) is None
    assert ratio_of(np.repeat(clip[:1], FRAMES, 0)) is None


def test_stage_says_so_and_changes_nothing(moving):
    clip = by_time(moving[FILMS[0]], 18)
    stage = build_stage("fields", {}, StageContext())
    given = frames_of(clip)
    got = list(process(iter(given), [stage], CPU))
    assert stage.verdict is Scan.BLENDED
    assert "passed through unchanged" in stage.facts()["blended"]
    assert all(torch.equal(a.data, b.data) for a, b in zip(got, given, strict=True))


def test_fields_of_two_frames_are_not_called_mixed(assets, moving):
    for made, scan in (
        (pulldown_32(moving[FILMS[0]])[0], Scan.TELECINE_TFF),
        (moving[FILMS[0]], Scan.PROGRESSIVE),
        (interlaced(pan(assets, 13, 60, SIZE)), Scan.TFF),
        (deinterlaced_by_mixing(moving[FILMS[0]]), Scan.BLENDED),
    ):
        stage = build_stage("fields", {"method": "leave"}, StageContext())
        list(process(frames_of(made), [stage], CPU))
        assert stage.verdict is scan
        assert ("blended" in stage.facts()) == (scan is Scan.BLENDED)


def test_a_reel_is_said_to_be_blended(moving):
    for made, scan in (
        (by_time(moving[FILMS[0]], 18), Scan.BLENDED),
        (moving[FILMS[0]], Scan.PROGRESSIVE),
    ):
        found = inspect(frames_of(made))
        assert found.scan is scan
        assert ("mixed" in film_words(found)) == (scan is Scan.BLENDED)
        assert ("blended" in shot_words(found.shots[0])) == (scan is Scan.BLENDED)
