"""Speed: film at its own tempo in any delivery, exact over hours, with its sound in step."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from restore.engine.stage import clock_after
from restore.errors import InvalidInput
from restore.frames import Frame
from restore.recipe import Recipe, Step
from restore.restoration import Job, run_job
from restore.stages import StageContext, build_stage, check_settings
from restore.time import Clock, FrameRange, Timecode
from tests.stage_clips import RGB

PAL, NTSC = Fraction(25), Fraction(30000, 1001)
FILM = st.sampled_from([Fraction(n) for n in (16, 18, 20, 24)] + [Fraction(50, 3)])
VIDEO = st.sampled_from(
    [Fraction(n) for n in (24, 25, 30, 50, 60)] + [Fraction(24000, 1001), NTSC, 2 * NTSC]
)
PICTURE = torch.zeros(3, 2, 2)


def film(count: int, rate: Fraction = PAL, start: int = 0) -> list[Frame]:
    return [Frame(PICTURE, start + n, 1 / rate, RGB, n, duration=1) for n in range(count)]


def speed(rate: Fraction | None = PAL, *, is_vfr: bool | None = False, count=None, **wanted):
    """The stage, told what it will get, and what it says of what it gives."""
    stage = build_stage("speed", wanted, StageContext())
    unit = Fraction(1, 1000) if rate is None else 1 / rate
    return stage, stage.retime(Clock(rate, unit, is_vfr, count))


def shown(count, rate=PAL, start=0, **wanted) -> tuple[list[Frame], Clock]:
    stage, clock = speed(rate, count=count, **wanted)
    return list(stage.stream(iter(film(count, rate, start)))), clock


def end_s(frames) -> Fraction:
    return (frames[-1].pts + frames[-1].duration) * frames[-1].time_base


@settings(max_examples=30, deadline=None)
@given(FILM, VIDEO, VIDEO, st.integers(1, 200), st.integers(0, 3))
def test_repeats_are_even_and_the_length_is_exact_to_half_a_tick(fps, scan, video, count, start):
    if video < fps:
        return
    got, clock = shown(count, scan, start, film_fps=fps, fps=video, how="repeats")
    times = [f.pts * f.time_base for f in got]
    assert {b - a for a, b in pairwise(times)} <= {1 / video}
    assert times[0] == start / scan * scan / fps
    assert abs(len(got) / video - count / fps) <= 1 / video / 2
    assert len(got) == clock.frames
    per_frame = Counter(f.index for f in got)
    assert sorted(per_frame) == list(range(count))
    usual = {int(video / fps), -int(-video // fps)}
    assert set(per_frame.values()) <= usual
    assert not any(f.synthetic for f in got)
    for f in got:
        # Shown within a tick of when a projector would show it.
        due = times[0] + f.index / fps
        assert due - 1 / video <= f.pts * f.time_base < due + 1 / fps + 1 / video
    assert (clock.frame_rate, clock.is_vfr, clock.tempo) == (video, False, fps / scan)


def test_18_in_25_repeats_7_of_18_frames_with_no_two_in_a_row():
    got, _ = shown(18 * 20, film_fps="18", fps=25, how="repeats")
    per_frame = Counter(f.index for f in got)
    counts = [per_frame[n] for n in range(18 * 20)]
    assert all(sum(counts[n : n + 18]) == 25 for n in range(0, 18 * 20, 18))
    runs = [len(run) for run in "".join("1" if c == 1 else " " for c in counts).split()]
    assert set(runs[1:-1]) <= {1, 2}


@settings(max_examples=30, deadline=None)
@given(FILM, VIDEO, st.integers(1, 200), st.integers(0, 3))
def test_timestamps_give_every_film_frame_its_exact_time(fps, scan, count, start):
    got, clock = shown(count, scan, start, film_fps=fps)
    assert [f.index for f in got] == list(range(count))
    assert [f.pts * f.time_base for f in got] == [(start + n) / fps for n in range(count)]
    assert {f.duration * f.time_base for f in got} == {1 / fps}
    assert (clock.frame_rate, clock.is_vfr, clock.frames) == (fps, False, count)
    assert all((f.time_base / clock.time_base).numerator >= 1 for f in got)


def sparse(count: int, rate: Fraction = PAL) -> list[Frame]:
    """The ends of a long film: places come from frame numbers, not from the frames between."""
    return [film(1, rate, n)[0] for n in (0, 1, count - 2, count - 1)]


@pytest.mark.parametrize("fps", [16, 18, 20, Fraction(50, 3)])
@pytest.mark.parametrize("video", [24, 25, NTSC, 30, 50, 60])
@pytest.mark.parametrize("minutes", [10, 120])
def test_long_films_do_not_drift(fps, video, minutes):
    fps, video = Fraction(fps), Fraction(video)
    count = round(60 * minutes * fps)
    stage, clock = speed(PAL, count=count, film_fps=fps, fps=video)
    last = list(stage.stream(iter(sparse(count))))[-1]
    assert abs(end_s([last]) - count / fps) <= 1 / video / 2
    repeated = speed(PAL, count=count, film_fps=fps, fps=video, how="repeats")[1]
    assert abs(repeated.frames / video - 60 * minutes) <= 1 / video
    assert clock.frames == count


def test_ten_minutes_of_18_in_25_are_exact_to_one_frame():
    got, _ = shown(600 * 18, film_fps=18, fps=25, how="repeats")
    assert len(got) == 600 * 25
    assert end_s(got) == 600


def test_ticks_without_repeats():
    got, clock = shown(36, film_fps=18, fps=25)
    assert [f.index for f in got] == list(range(36))
    times = [f.pts * f.time_base for f in got]
    assert all((t * 25).denominator == 1 for t in times)
    assert all(abs(t - Fraction(n, 18)) <= Fraction(1, 50) for n, t in enumerate(times))
    assert {b - a for a, b in pairwise(times)} == {Fraction(1, 25), Fraction(2, 25)}
    assert clock.is_vfr
    assert shown(8, film_fps=25, fps=50)[1].is_vfr is False


def test_missing_frames_leave_their_time():
    stage, _ = speed(PAL, film_fps=18)
    frames = [f for f in film(30) if not 10 <= f.index < 15]
    got = list(stage.stream(iter(frames)))
    assert [f.pts * f.time_base for f in got] == [Fraction(f.pts, 25) * 25 / 18 for f in frames]


def test_rounded_times_are_counted_as_the_frames_that_they_stand_for():
    stage, _ = speed(Fraction(24000, 1001), film_fps=18)
    unit = Fraction(1, 1000)
    frames = [
        Frame(PICTURE, round(n * Fraction(1001, 24)), unit, RGB, n, duration=42) for n in range(500)
    ]
    got = list(stage.stream(iter(frames)))
    assert [f.pts * f.time_base for f in got] == [Fraction(n, 18) for n in range(500)]


def test_uneven_frames_keep_their_times_or_are_refused():
    with pytest.raises(InvalidInput, match="uneven times"):
        speed(None, is_vfr=True, film_fps=18)
    stage, clock = speed(None, is_vfr=True, fps=25, how="repeats")
    at = [0, 40, 130, 150, 155, 400]
    frames = [Frame(PICTURE, t, Fraction(1, 1000), RGB, n, duration=40) for n, t in enumerate(at)]
    got = list(stage.stream(iter(frames)))
    assert [f.pts * f.time_base for f in got] == [Fraction(n, 25) for n in range(11)]
    assert [f.index for f in got] == [0, 1, 1, 2, 4, 4, 4, 4, 4, 4, 5]
    assert stage.facts()["not shown"].startswith("1 frame")
    assert stage.facts()["repeats"] == "6"
    assert (clock.frame_rate, clock.is_vfr, clock.tempo) == (25, False, 1)


def test_after_cadence_the_delivery_has_the_true_rate_and_the_sound_stays():
    stages = [
        build_stage("cadence", {"fps": 18, "keep": "film rate"}, StageContext()),
        build_stage("speed", {"film_fps": 18, "fps": 24, "how": "repeats"}, StageContext()),
    ]
    clock = clock_after(stages, Clock(PAL, 1 / PAL, False, 250))
    assert (clock.frame_rate, clock.is_vfr, clock.tempo, clock.frames) == (24, False, 1, 240)


def test_what_cannot_be_met_is_refused():
    with pytest.raises(InvalidInput, match="is needed"):
        check_settings("speed", {})
    with pytest.raises(InvalidInput, match="needs fps"):
        check_settings("speed", {"film_fps": 18, "how": "repeats"})
    with pytest.raises(InvalidInput, match="needs fps"):
        check_settings("speed", {"film_fps": 18, "how": "interpolate"})
    with pytest.raises(InvalidInput, match="not below the film's"):
        speed(PAL, film_fps=24, fps=18, how="repeats")


def clip_with_sound(path, *, seconds=2, audio="pcm_s16le", extra=None, timecode=None, rate=48000):
    """Grey frames at 25 fps; a click in the sound at every half second of source time."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("ffv1" if path.suffix == ".mkv" else "libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        if timecode:
            video.metadata["timecode"] = timecode
        sound = out.add_stream(audio, rate=rate)
        sound.codec_context.layout = "stereo"
        if extra:
            extra(out)
        for n in range(25 * seconds):
            picture = np.full((48, 64, 3), 40 + 3 * n % 200, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            out.mux(video.encode(frame))
        samples = np.zeros((2, rate * seconds), np.int16)
        samples[:, rate // 4 :: rate // 2] = 20000
        samples[:, -1] = 20000
        for n in range(0, rate * seconds, 1000):
            part = np.ascontiguousarray(samples[:, n : n + 1000].T.reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(part, "s16", "stereo")
            frame.pts, frame.sample_rate, frame.time_base = n, rate, Fraction(1, rate)
            out.mux(sound.encode(frame))
        out.mux(video.encode(None))
        out.mux(sound.encode(None))
    return path


def played(path) -> tuple[list[Fraction], np.ndarray, int]:
    """Times of the pictures; sound as one row from time 0, and its rate."""
    with av.open(str(path)) as file:
        base = file.streams.video[0].time_base
        pictures = sorted(p.pts * base for p in file.demux(file.streams.video[0]) if p.size)
    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        frames = list(file.decode(stream))
        rate = stream.rate
    start = round(frames[0].pts * frames[0].time_base * rate)
    parts = [f.to_ndarray().astype(np.float64) for f in frames]
    parts = [p[0] if len(p) > 1 else p[0].reshape(-1, 2)[:, 0] for p in parts]
    sound = np.concatenate([np.zeros(max(0, start)), *parts])
    return pictures, sound[max(0, -start) :], rate


def clicks(sound: np.ndarray) -> list[int]:
    loud = np.abs(sound) > 0.3 * np.abs(sound).max()
    starts = np.flatnonzero(loud & ~np.roll(loud, 1))
    return [int(n + np.argmax(np.abs(sound[n : n + 8]))) for n in starts]


def job(source, out, *steps, **more):
    return run_job(Job(str(source), str(out), Recipe("x", "", tuple(steps)), **more))


@pytest.mark.parametrize("film_fps", ["18", "16", "50/3", "30", "24000/1001"])
@pytest.mark.parametrize("suffix", [".mkv", ".mov"])
def test_sound_stays_in_step_to_the_sample(tmp_path, film_fps, suffix):
    source = clip_with_sound(tmp_path / "in.mkv", rate=44100)
    out = tmp_path / f"out{suffix}"
    report = job(source, out, Step("speed", {"film_fps": film_fps}))
    tempo = Fraction(film_fps) / 25
    pictures, sound, rate = played(out)
    assert rate == 44100
    due = [(44100 // 4 + n * 22050) / tempo for n in range(4)]
    heard = clicks(sound[: len(sound) - 200])
    assert len(heard) == 4
    assert all(abs(a - b) <= 1 for a, b in zip(heard, due, strict=True))
    assert abs(len(sound) - 2 * 44100 / tempo) <= 1
    assert abs(pictures[-1] - 49 / Fraction(film_fps)) <= Fraction(1, 1000)
    assert abs(len(sound) / rate - float(pictures[-1] + 1 / Fraction(film_fps))) < 0.002
    assert report.written.streams[0].outcome == "converted"
    assert any("times the source's speed" in text for text in report.warnings)


def test_at_the_same_tempo_sound_is_copied_bit_for_bit(tmp_path):
    source = clip_with_sound(tmp_path / "in.mkv")
    out = tmp_path / "out.mkv"
    report = job(source, out, Step("speed", {"film_fps": 25, "fps": 50, "how": "repeats"}))
    assert report.written.streams[0].outcome == "copied"
    before, after = ([bytes(p) for p in packets(path)] for path in (source, out))
    assert before == after
    assert report.run.frames_out == 100


def packets(path):
    with av.open(str(path)) as file:
        return [p for p in file.demux(file.streams.audio[0]) if p.size]


def test_sound_can_be_kept_or_left_out(tmp_path):
    source = clip_with_sound(tmp_path / "in.mkv")
    kept = job(source, tmp_path / "kept.mkv", Step("speed", {"film_fps": 18, "sound": "keep"}))
    assert kept.written.streams[0].outcome == "copied"
    assert any("out of step" in text for text in kept.warnings)
    assert [p.pts for p in packets(tmp_path / "kept.mkv")] == [p.pts for p in packets(source)]
    dropped = job(source, tmp_path / "no.mkv", Step("speed", {"film_fps": 18, "sound": "drop"}))
    assert dropped.written.streams[0].outcome == "dropped"


def test_a_cut_keeps_the_sound_in_step(tmp_path):
    source = clip_with_sound(tmp_path / "in.mkv")
    out = tmp_path / "out.mkv"
    job(source, out, Step("speed", {"film_fps": 18}), range=FrameRange(5, 45))
    pictures, sound, rate = played(out)
    tempo = Fraction(18, 25)
    assert pictures[0] == 0
    due = [(12000 + n * 24000 - 5 * 1920) / tempo for n in range(4)]
    heard = clicks(sound)
    assert len(heard) >= 3
    # Matroska counts in milliseconds where a cut falls between packets.
    assert all(abs(a - b) <= 49 for a, b in zip(heard, due, strict=False))
    assert len(pictures) == 40
    assert rate == 48000


def test_aac_in_mp4_is_in_step_to_a_sample(tmp_path):
    source = clip_with_sound(tmp_path / "in.mov", audio="aac")
    out = tmp_path / "out.mp4"
    job(source, out, Step("speed", {"film_fps": 18}))
    with av.open(str(source)) as file:
        before = clicks(played(source)[1])
        assert file.streams.audio[0].codec_context.name == "aac"
    after = clicks(played(out)[1])
    due = [n * 25 / 18 for n in before]
    assert len(after) >= 4
    assert all(abs(a - b) <= 2 for a, b in zip(after[:4], due[:4], strict=True))


def test_chapters_and_timecode_go_with_the_speed(tmp_path):
    def chapter(out):
        out.set_chapters(
            [
                {"id": 1, "start": 0, "end": 1000, "time_base": Fraction(1, 1000), "metadata": {}},
                {
                    "id": 2,
                    "start": 1000,
                    "end": 2000,
                    "time_base": Fraction(1, 1000),
                    "metadata": {},
                },
            ]
        )

    source = clip_with_sound(tmp_path / "in.mkv", extra=chapter, timecode="01:00:10:05")
    out = tmp_path / "out.mkv"
    report = job(source, out, Step("speed", {"film_fps": 18}))
    with av.open(str(out)) as file:
        starts = [one["start"] * one["time_base"] for one in file.chapters()]
        tags = {k.lower(): v for k, v in file.streams.video[0].metadata.items()}
        assert file.streams.video[0].average_rate == 18
    assert abs(starts[1] - Fraction(25, 18)) < Fraction(1, 500)
    assert tags["timecode"] == "01:00:10:03"
    assert any("01:00:10:05 at 25" in text for text in report.warnings)


@pytest.mark.parametrize(
    ("text", "rate", "other", "wanted"),
    [
        ("01:00:10:05", PAL, Fraction(18), "01:00:10:03"),
        ("01:00:10:24", PAL, Fraction(50), "01:00:10:48"),
        ("00:09:59;28", NTSC, 2 * NTSC, "00:09:59;56"),
        ("00:01:00;02", NTSC, 2 * NTSC, "00:01:00;04"),
        ("00:01:00;02", NTSC, Fraction(24000, 1001), "00:01:00:01"),
    ],
)
def test_timecode_keeps_its_time_of_day(text, rate, other, wanted):
    assert str(Timecode.parse(text, rate).at(other)) == wanted


def moving(count, rate=PAL):
    """A soft bright bar that goes 2 px a frame over a dark ground."""
    x = torch.arange(160, dtype=torch.float32)
    for n in range(count):
        bar = torch.exp(-((x - 20 - 2 * n) ** 2) / 50)
        yield Frame(
            (0.1 + 0.8 * bar).expand(3, 96, 160).contiguous(), n, 1 / rate, RGB, n, duration=1
        )


@pytest.mark.parametrize(("film_fps", "fps"), [("18", "36"), ("16", "24"), ("18", "25")])
def test_frames_between_are_made_on_request_and_flagged(film_fps, fps):
    film_rate, rate = Fraction(film_fps), Fraction(fps)
    stage, clock = speed(PAL, count=30, film_fps=film_fps, fps=fps, how="interpolate")
    assert (clock.frame_rate, clock.is_vfr, clock.tempo) == (rate, False, film_rate / PAL)
    source = list(moving(30))
    got = list(stage.stream(iter(source)))
    times = [f.pts * f.time_base for f in got]
    assert times[0] == 0
    assert {b - a for a, b in pairwise(times)} == {1 / rate}
    assert abs(len(got) / rate - 30 / film_rate) <= 1 / rate
    for n, frame in enumerate(got):
        place = n / rate * film_rate
        if place.denominator == 1 and place < 30:
            assert not frame.synthetic
            assert torch.equal(frame.data, source[int(place)].data)
        elif place < 29:
            assert frame.synthetic
            levels = frame.data[0, 48] - 0.1
            middle = float((levels * torch.arange(160.0)).sum() / levels.sum())
            assert abs(middle - 20 - 2 * float(place)) < 0.3
    made = sum(f.synthetic for f in got)
    assert stage.facts()["made up"] == f"{made} of {len(got)} frames"
    assert stage.facts()["film frames"] == "30"


def test_interpolated_film_keeps_its_sound_in_step(tmp_path):
    source = clip_with_sound(tmp_path / "in.mkv")
    out = tmp_path / "out.mov"
    report = job(source, out, Step("speed", {"film_fps": 18, "fps": 24, "how": "interpolate"}))
    pictures, sound, rate = played(out)
    due = [(12000 + n * 24000) * 25 / 18 for n in range(4)]
    heard = clicks(sound[: len(sound) - 200])[:4]
    assert all(abs(a - b) <= 1 for a, b in zip(heard, due, strict=True))
    assert all(abs(t - Fraction(n, 24)) < Fraction(1, 10**6) for n, t in enumerate(pictures))
    assert abs(len(sound) / rate - len(pictures) / 24) < 0.05
    assert "made up" in report.run.stages[-1].facts
