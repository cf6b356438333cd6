"""Interpolate: even times of any rate, originals untouched, nothing made where nothing moves."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from restore.degrade.grain import add_grain
from restore.engine.run import process
from restore.engine.settings import EngineSettings
from restore.errors import InvalidInput
from restore.grain.learn import GrainLearner
from restore.interpolation.target import Target, Ticks, runs
from restore.stages import StageContext, build_stage
from restore.time import Clock, parse_rate
from tests.stage_clips import frames_of

CPU = EngineSettings("cpu", batch=1, tile_px=0)
RATES = ("24", "25", "29.97", "60000/1001", "50", "120", "15")


def cloth(seed, height=96, width=400, soft=2.0):
    noise = np.random.default_rng(seed).standard_normal((height, width, 3)).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), soft)
    return np.clip(0.5 + 0.15 * blurred / blurred.std(), 0, 1)


def panned(seed, frames, step, size=(64, 96), start=20.0):
    """A camera that moves evenly over cloth; frame n shows what lies at ``start + n * step``."""
    ground = cloth(seed)
    out = []
    for number in range(frames):
        move = np.array([[1, 0, -start - number * step], [0, 1, -16]], np.float32)
        shown = cv2.warpAffine(ground, move, size[::-1], flags=cv2.INTER_CUBIC)
        out.append(np.clip(shown, 0, 1))
    return np.stack(out).astype(np.float32)


def place(picture, seed):
    """Where on the cloth a picture was taken, px across, to a part of a pixel."""
    shown = picture.permute(1, 2, 0).numpy()[:, 8:-8]
    scores = cv2.matchTemplate(cloth(seed)[16:80], shown, cv2.TM_CCOEFF_NORMED)[0]
    best = int(scores[1:-1].argmax()) + 1
    left, middle, right = scores[best - 1 : best + 2]
    return best - 8 + 0.5 * (left - right) / (left - 2 * middle + right)


def through(clip, rate=Fraction(25), frames=None, **settings):
    stage = build_stage("interpolate", settings, StageContext())
    frames = frames_of(clip, rate) if frames is None else frames
    return list(process(frames, [stage], CPU)), stage


def seconds(frame):
    return frame.pts * frame.time_base


@given(
    own=st.sampled_from([Fraction(24), Fraction(25), Fraction(24000, 1001), Fraction(30)]),
    fps=st.sampled_from(RATES),
    slow=st.sampled_from(["1", "2", "3/2", "0.5"]),
    number=st.integers(0, 7_200 * 60),
)
def test_times_are_exact_two_hours_in(own, fps, slow, number):
    target = Target.parse(fps, slow)
    ticks = Ticks(target.rate(own), target.slow, Fraction(0))
    unit = ticks.unit(Fraction(1, 12800))
    pts, duration = ticks.pts(number, unit)
    assert pts * unit == number / parse_rate(fps)
    assert pts + duration == ticks.pts(number + 1, unit)[0]
    assert ticks.source_s(number) * Fraction(slow) == pts * unit


def test_no_drift_at_frame_143856():
    ticks = Ticks(Fraction(24000, 1001), Fraction(1), Fraction(0))
    # 6000 s are this many frames at 23.976; the last one is where it belongs.
    assert ticks.count(Fraction(143856 * 1001, 24000)) == 143856
    assert ticks.source_s(143856) == Fraction(143856 * 1001, 24000)


@pytest.mark.parametrize(
    ("fps", "slow", "rate", "frames", "tempo"),
    [
        ("2x", 1, Fraction(50), 500, 1),
        ("60000/1001", 1, Fraction(60000, 1001), 599, 1),
        ("29.97", 1, Fraction(30000, 1001), 300, 1),
        (None, 4, Fraction(25), 1000, Fraction(1, 4)),
        ("50", "3/2", Fraction(50), 750, Fraction(2, 3)),
    ],
)
def test_the_clock_is_known_beforehand(fps, slow, rate, frames, tempo):
    stage = build_stage("interpolate", {"fps": fps, "slowmo": slow}, StageContext())
    clock = stage.retime(Clock(Fraction(25), Fraction(1, 12800), False, 250))
    assert (clock.frame_rate, clock.frames, clock.tempo) == (rate, frames, tempo)
    assert not clock.is_vfr
    assert ((1 / rate) / clock.time_base).denominator == 1


def test_a_multiple_of_no_rate_is_refused_and_a_rate_is_not():
    clock = Clock(None, Fraction(1, 1000), True)
    with pytest.raises(InvalidInput, match="not known beforehand"):
        build_stage("interpolate", {"fps": "2x"}, StageContext()).retime(clock)
    assert build_stage("interpolate", {"fps": 50}, StageContext()).retime(clock).frame_rate == 50
    for wrong in ("0x", "fast", "-3"):
        with pytest.raises(InvalidInput, match="frame rate"):
            build_stage("interpolate", {"fps": wrong}, StageContext())


@pytest.mark.parametrize("fps", ["24", "60000/1001", "12.5"])
def test_every_time_is_there_and_originals_pass_untouched(fps):
    clip = panned(1, 16, 2.0)
    out, stage = through(clip, fps=fps)
    rate = parse_rate(fps)
    assert len(out) == round(Fraction(16, 25) * rate)
    assert [seconds(frame) for frame in out] == [n / rate for n in range(len(out))]
    source = frames_of(clip)
    for number, frame in enumerate(out[:-2]):
        at = number / rate * 25
        # A fiftieth of a frame beside a source frame is its time.
        assert frame.synthetic == (abs(at - round(at)) > Fraction(1, 50))
        if not frame.synthetic:
            assert torch.equal(frame.data, source[round(at)].data)
        assert place(frame.data, 1) == pytest.approx(20 + 2.0 * float(at), abs=0.15)
    made = sum(frame.synthetic for frame in out)
    assert stage.facts()["made up"] == f"{made} of {len(out)} frames"


def test_slow_motion_spreads_the_frames():
    out, stage = through(panned(2, 10, 3.0), slowmo=3)
    assert len(out) == 30
    assert [seconds(f) for f in out[:4]] == [0, Fraction(1, 25), Fraction(2, 25), Fraction(3, 25)]
    assert [f.synthetic for f in out[:6]] == [False, True, True, False, True, True]
    assert place(out[4].data, 2) == pytest.approx(24.0, abs=0.15)
    assert "1..2" in stage.facts()["made-up frames"]


def test_uneven_source_times_are_taken_as_they_are():
    clip = panned(3, 12, 2.0)
    uneven = [0, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17]  # in 1/50 s; moves 2 px each
    frames = [
        type(f)(f.data, t, Fraction(1, 50), f.color, f.index, duration=1)
        for f, t in zip(frames_of(clip), uneven, strict=True)
    ]
    out, _ = through(clip, frames=frames, fps="50")
    places = np.interp(np.arange(18), uneven, 20 + 2.0 * np.arange(12))
    assert len(out) == 18
    for number, frame in enumerate(out[:-1]):
        assert place(frame.data, 3) == pytest.approx(places[number], abs=0.2)


def test_repeats_are_missing_frames_not_motion():
    film = panned(4, 21, 3.0)
    shown = [n for n in range(20) for _ in range(1 + (n % 4 == 3))]  # 4 film frames in 5
    out, stage = through(film[shown], Fraction(30), fps="60")
    places = np.array([place(frame.data, 4) for frame in out[:-6]])
    # The film runs at 24: 1.2 px in 1/60 s, evenly but for when each frame was first shown.
    steps = np.diff(places)
    assert steps.min() > 0.5
    assert steps.max() < 2.0
    assert "repeats left out" in stage.facts()
    kept, _ = through(film[shown], Fraction(30), fps="60", repeats="keep")
    assert np.diff([place(f.data, 4) for f in kept[:-6]]).min() < 0.2


def test_a_single_stutter_is_bridged():
    film = panned(5, 16, 3.0)
    shown = [*range(9), 8, *range(10, 16)]  # frame 9 was lost and frame 8 shown again
    out, _ = through(film[shown], fps="25")
    assert out[9].synthetic
    assert place(out[9].data, 5) == pytest.approx(20 + 27, abs=0.3)


def test_a_pan_goes_on_to_the_cut_and_nothing_crosses_it():
    clip = np.concatenate([panned(6, 8, 4.0), 1 - panned(7, 8, 4.0)])
    out, stage = through(clip, fps="4x")
    before = np.array([place(frame.data, 6) for frame in out[:32]])
    assert np.abs(np.diff(before) - 1.0).max() < 0.35  # no stutter up to the last
    after = [place(1 - frame.data, 7) for frame in out[32:60]]
    assert np.abs(np.diff(after) - 1.0).max() < 0.35
    assert "moved on before a cut or the end" in stage.facts()
    held, _ = through(clip, fps="4x", at_cuts="hold")
    assert torch.equal(held[31].data, held[28].data)
    assert not held[31].synthetic


def test_a_flash_stays_one_frame():
    clip = panned(8, 10, 2.0)
    clip[5] = np.clip(clip[5] * 0.3 + 0.65, 0, 1)
    out, _ = through(clip, fps="4x")
    level = np.array([float(frame.data.mean()) for frame in out])
    assert set(np.flatnonzero(level > level[:16].mean() + 0.1)) == {20, 21, 22, 23}
    assert place(out[18].data, 8) == pytest.approx(20 + 2.0 * 4.5, abs=0.2)


def test_a_dissolve_is_mixed_not_smeared():
    one, other = panned(9, 40, 0.5), 1 - panned(10, 40, -0.5)
    share = np.clip((np.arange(40) - 14) / 12, 0, 1).astype(np.float32)[:, None, None, None]
    clip = one * (1 - share) + other * share
    out, stage = through(clip, fps="2x")
    assert int(stage.facts()["mixed in dissolves"].split()[0]) >= 8
    middle = 2 * 20 + 1
    mix = (clip[20] + clip[21]) / 2
    assert np.abs(out[middle].data.permute(1, 2, 0).numpy() - mix).max() < 1e-5


def test_new_frames_are_as_grainy_as_the_old_ones():
    ground = cloth(11, 128, 200, soft=8.0)
    smooth = np.stack([0.35 + 0.3 * ground[:, n : n + 160] for n in range(10)])
    clip = np.stack([add_grain(f, 0.1, 0.5, 0.3, (1, n)) for n, f in enumerate(smooth)])
    out, stage = through(clip.astype(np.float32), fps="2x")
    assert "with grain of their own" in stage.facts()

    def strength(frames):
        profile = GrainLearner().shot([frame.data for frame in frames])
        return profile.strength[:, 6:10].mean()

    old = strength([f for f in out if not f.synthetic])
    new = strength([f for f in out[2:-2] if f.synthetic])
    assert new == pytest.approx(old, rel=0.15)
    kept, _ = through(clip.astype(np.float32), fps="2x", grain="keep")
    assert strength([f for f in kept[2:-2] if f.synthetic]) < 0.8 * old
    # Nothing blinks: fine detail is as strong in every other frame.
    fine = [float((f.data - torch.roll(f.data, 1, -1)).std()) for f in out[2:-2]]
    assert max(abs(a - b) / a for a, b in pairwise(fine)) < 0.1


def test_the_same_job_gives_the_same_frames():
    clip = panned(12, 4, 2.0)
    first, second = (through(clip, fps="60")[0] for _ in range(2))
    assert all(torch.equal(a.data, b.data) for a, b in zip(first, second, strict=True))


def test_few_frames_are_enough():
    assert through(panned(13, 1, 0), fps="50")[0][0].pts == 0
    assert len(through(panned(13, 2, 2.0), fps="50")[0]) == 4
    assert through(panned(13, 2, 2.0), frames=[], fps="50")[0] == []


@pytest.mark.parametrize(
    ("numbers", "spans"),
    [
        ([], []),
        ([3], [(3, 3, 1)]),
        ([1, 3, 5, 7], [(1, 7, 2)]),
        ([1, 2, 5, 6, 9], [(1, 2, 1), (5, 6, 1), (9, 9, 1)]),
        ([1, 9], [(1, 1, 1), (9, 9, 1)]),
    ],
)
def test_numbers_are_told_in_runs(numbers, spans):
    assert list(runs(numbers)) == spans


def matted(frames, step):
    """Cloth that pans, and a soft matte of 24 px whose edges go the same way."""
    clip = panned(14, frames, step)
    columns = np.arange(96, dtype=np.float32)
    mattes = [
        np.clip(12 - np.abs(columns - 30 - n * step), 0, 1) * np.ones((64, 1), np.float32)
        for n in range(frames)
    ]
    alphas = torch.from_numpy(np.stack(mattes).astype(np.float32))
    frames_ = frames_of(clip)
    return clip, [
        type(f)(f.data, f.pts, f.time_base, f.color, f.index, alpha=a[None], duration=1)
        for f, a in zip(frames_, alphas, strict=True)
    ]


def test_alpha_goes_the_way_of_the_picture():
    clip, frames = matted(8, 4.0)
    out, _ = through(clip, frames=frames, fps="2x")
    off = []
    for number, frame in enumerate(out[:-1]):
        assert frame.alpha.shape == (1, 64, 96)
        row = frame.alpha[0, 32].numpy()
        middle = float((row * np.arange(96)).sum() / row.sum())
        assert middle == pytest.approx(30 + 2.0 * number, abs=0.5)
        truth = np.clip(12 - np.abs(np.arange(96) - 30 - 2.0 * number), 0, 1)
        off.append(float(np.abs(row - truth).mean()))
        assert 0 <= row.min() <= row.max() <= 1
        if not frame.synthetic:
            assert torch.equal(frame.alpha, frames[number // 2].alpha)
    # Two mattes mixed would be half see-through for 4 px at each edge.
    assert np.mean(off[1::2]) < 0.5 * (8 * 0.5 / 96)


def test_a_matte_that_moves_over_a_still_picture_moves():
    clip, frames = matted(6, 4.0)
    still = [
        type(f)(frames[0].data, f.pts, f.time_base, f.color, f.index, alpha=f.alpha, duration=1)
        for f in frames
    ]
    out, _ = through(clip, frames=still, fps="2x", repeats="keep")
    rows = [frame.alpha[0, 32].numpy() for frame in out[:-1]]
    middles = [float((row * np.arange(96)).sum() / row.sum()) for row in rows]
    assert np.diff(middles) == pytest.approx(np.full(len(middles) - 1, 2.0), abs=0.3)


def test_uneven_times_with_repeats_among_them():
    film = panned(15, 30, 3.0)
    # Shown at uneven times, every fourth frame a second time; in 1/100 s.
    shown, times, now = [], [], 0
    for number in range(30):
        for again in range(1 + (number % 4 == 3)):
            shown.append(number)
            times.append(now)
            now += 3 + (number + again) % 2
    source = [
        type(f)(f.data, t, Fraction(1, 100), f.color, f.index, duration=d)
        for f, t, d in zip(
            frames_of(film[shown]), times, np.diff([*times, now]).tolist(), strict=True
        )
    ]
    out, stage = through(film, frames=source, fps="50")
    assert [seconds(frame) for frame in out] == [Fraction(n, 50) for n in range(len(out))]
    assert abs(len(out) - now / 2) <= 1
    assert "repeats left out" in stage.facts()
    first_shown = dict(zip(reversed(shown), reversed(times), strict=True))
    due = np.interp(
        2.0 * np.arange(len(out)),
        [first_shown[n] for n in range(30)],
        20 + 3.0 * np.arange(30),
    )
    got = np.array([place(frame.data, 15) for frame in out[:-8]])
    assert np.abs(got - due[:-8]).max() < 0.4


@pytest.mark.parametrize("length", [24, 48])
def test_no_frame_of_a_long_dissolve_of_two_pans_is_smeared(length):
    # At twice the rate, so that the frames between are known.
    count = 2 * (length + 40)

    def half_steps(seed, step):
        ground = cloth(seed, soft=4.0)
        moves = [np.array([[1, 0, -120 - n * step], [0, 1, -16]], np.float32) for n in range(count)]
        shown = [cv2.warpAffine(ground, m, (96, 64), flags=cv2.INTER_CUBIC) for m in moves]
        return np.clip(np.stack(shown), 0, 1)

    share = np.clip((np.arange(count) / 2 - 20) / length, 0, 1)[:, None, None, None]
    truth = half_steps(16, 0.5) * (1 - share) + (1 - half_steps(17, -0.5)) * share
    out, _ = through(truth[::2].astype(np.float32), fps="2x")
    for number in range(41, 40 + 2 * length, 2):
        made = out[number].data.permute(1, 2, 0).numpy()
        assert np.sqrt(np.square(made - truth[number]).mean()) < 0.6 / 255, number
