"""Interpolation through whole jobs: sound in step, the report, the options, and its place."""

from __future__ import annotations

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from restore.api import make_job, run
from restore.errors import InvalidInput
from restore.interpolation.flowed import FlowInterpolator
from restore.overrides import Overrides, adapted
from restore.plan import build_pipeline, plan_job
from restore.recipe import Recipe, Step, load_preset
from tests.cli_material import network, write_clip
from tests.test_stage_speed import clicks, clip_with_sound, played

EMPTY = Recipe("x", "", ())


def levels(path):
    """Time and grey level of every picture."""
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        return [
            (float(f.pts * stream.time_base), float(f.to_ndarray(format="rgb24").mean()))
            for f in file.decode(stream)
        ]


@pytest.mark.parametrize(
    ("options", "rate", "slow"),
    [
        ({"fps": "60000/1001"}, Fraction(60000, 1001), 1),
        ({"fps": "2x"}, Fraction(50), 1),
        ({"fps": 24}, Fraction(24), 1),
        ({"slowmo": 2}, Fraction(25), 2),
    ],
)
def test_sound_and_pictures_stay_in_step(tmp_path, options, rate, slow):
    source = clip_with_sound(tmp_path / "in.mkv")
    out = tmp_path / "out.mov"
    report = run(str(source), str(out), EMPTY, codec="prores422hq", **options)
    times, sound, sound_rate = played(out)
    assert len(times) == round(2 * slow * rate)
    assert all(abs(t - n / rate) < Fraction(1, 10**6) for n, t in enumerate(times))
    due = [(sound_rate // 4 + n * sound_rate // 2) * slow for n in range(4)]
    heard = clicks(sound[: len(sound) - 200])[:4]
    assert all(abs(a - b) <= 1 for a, b in zip(heard, due, strict=True))
    assert abs(len(sound) / sound_rate - len(times) / float(rate)) < 0.02
    for time_s, level in levels(out)[: -int(rate * slow / 20) - 1]:
        assert level == pytest.approx(40 + 75 * time_s / slow, abs=4)
    facts = report.run.stages[-1].facts
    made, _, every = facts["made up"].partition(" of ")
    assert every == f"{len(times)} frames"
    assert 0 < int(made) < len(times)
    assert report.to_dict()["stages"][-1]["facts"]["made-up frames"]


def test_options_put_the_stage_in_before_grain_is_given_back():
    film = adapted(load_preset("film"), Overrides(fps="50", slowmo=2))
    names = [step.stage for step in film.steps]
    assert names.index("interpolate") == names.index("regrain") - 1
    assert dict(film.steps[names.index("interpolate")].settings) == {"fps": "50", "slowmo": "2"}
    again = adapted(film, Overrides(fps="60"))
    assert [step.stage for step in again.steps] == names
    with pytest.raises(InvalidInput, match="frame rate"):
        build_pipeline(make_job("a.mp4", "b.mp4", EMPTY, {"fps": "quick"}))


@pytest.mark.parametrize(
    ("place", "is_heavy", "expected"),
    [
        ("auto", False, ["interpolate", "upscale"]),
        ("auto", True, ["upscale", "interpolate"]),
        ("before", True, ["interpolate", "upscale"]),
        ("after", False, ["upscale", "interpolate"]),
    ],
)
def test_its_place_goes_by_cost_and_is_said(tmp_path, monkeypatch, place, is_heavy, expected):
    model = network(tmp_path / "net.safetensors")
    if is_heavy:  # beside an interpolation that costs a thousandth
        monkeypatch.setattr(FlowInterpolator, "flops_per_px", 41.0)
    source = write_clip(tmp_path / "in.mp4", 3)
    interpolate = Step("interpolate", {"fps": "2x", "place": place})
    recipe = Recipe("x", "", (interpolate, Step("upscale", {"model": str(model)})))
    plan = plan_job(make_job(str(source), str(tmp_path / "out.mp4"), recipe, {}))
    assert [stage.label for stage in plan.stages] == expected
    said = next(note for note in plan.notes if "new frames are made" in note)
    assert expected[0] == ("interpolate" if "before" in said else "upscale")
    assert ("MFLOP" in said) == (place == "auto")
    assert plan.video.frame_rate == 50
    assert plan.frames == 6


def write_matted(path, count=12):
    """10 bit pictures with a matte; both move 4 px a frame to the right."""
    ground = cv2.GaussianBlur(np.random.default_rng(3).standard_normal((64, 400)), (0, 0), 3)
    ground = 512 + 120 * ground / ground.std()
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuva444p10le"
        stream.color_range = 1
        for number in range(count):
            frame = av.VideoFrame(96, 64, "yuva444p10le")
            luma = ground[:, 100 - 4 * number : 196 - 4 * number].round().clip(64, 940)
            columns = np.abs(np.arange(96) - 30 - 4 * number)
            matte = np.tile(1023 * np.clip((16 - columns) / 4, 0, 1), (64, 1)).round()
            for plane, values in zip(frame.planes, (luma, 512, 512, matte), strict=True):
                rows = np.zeros((64, plane.line_size // 2), np.uint16)
                rows[:, :96] = values
                plane.update(rows.tobytes())
            frame.pts, frame.time_base = number, Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def planes(path):
    """Luma and alpha of every picture, 10 bit."""
    shown = []
    with av.open(str(path)) as file:
        for frame in file.decode(file.streams.video[0]):
            assert frame.format.name == "yuva444p10le"
            parts = [
                np.frombuffer(plane, np.uint16).reshape(64, -1)[:, :96]
                for plane in (frame.planes[0], frame.planes[3])
            ]
            shown.append([part.astype(int) for part in parts])
    return shown


def test_ten_bit_and_alpha_come_through(tmp_path):
    source = write_matted(tmp_path / "in.mkv")
    out = tmp_path / "out.mkv"
    run(str(source), str(out), EMPTY, codec="ffv1", bit_depth=10, fps="2x")
    before, after = planes(source), planes(out)
    assert len(after) == 24
    for number, (luma, alpha) in enumerate(after[:-1]):
        if number % 2 == 0:
            assert np.array_equal(luma, before[number // 2][0])
            assert np.array_equal(alpha, before[number // 2][1])
            continue
        # Between two steps of 4 px it lies 2 px on.
        assert np.abs(luma[:, 12:-12] - before[number // 2][0][:, 10:-14]).mean() < 4
        middle = (alpha * np.arange(96)).sum() / alpha.sum()
        assert middle == pytest.approx(30 + 2 * number, abs=0.4)
        assert len(np.unique(luma % 4)) == 4  # all of the ten bits


@pytest.mark.parametrize(
    ("speed", "fps", "rate", "of_film"),
    [
        ({"film_fps": 18}, "36", 36, Fraction(1, 2)),
        ({"film_fps": 20}, "50", 50, Fraction(1, 5)),  # every other film frame is due
        ({"film_fps": 18, "fps": 36, "how": "interpolate"}, "2x", 72, Fraction(1, 4)),
    ],
)
def test_behind_the_stage_speed_it_keeps_order_length_and_sound(
    tmp_path, speed, fps, rate, of_film
):
    source = clip_with_sound(tmp_path / "in.mkv")
    out = tmp_path / "out.mov"
    steps = (Step("speed", speed), Step("interpolate", {"fps": fps}))
    report = run(str(source), str(out), Recipe("x", "", steps), codec="prores422hq")
    times, sound, sound_rate = played(out)
    film_fps = speed["film_fps"]
    assert len(times) == round(Fraction(50, film_fps) * rate)
    assert all(abs(t - Fraction(n, rate)) < Fraction(1, 10**6) for n, t in enumerate(times))
    slower = Fraction(25, film_fps)
    due = [(sound_rate // 4 + n * sound_rate // 2) * slower for n in range(4)]
    heard = clicks(sound[: len(sound) - 200])[:4]
    assert all(abs(a - b) <= 1 for a, b in zip(heard, due, strict=True))
    for time_s, level in levels(out)[: -int(rate * slower / 20) - 1]:
        assert level == pytest.approx(40 + 75 * time_s / slower, abs=4)
    facts = report.run.stages[-1].facts
    made, _, every = facts["made up"].partition(" of ")
    assert every == f"{len(times)} frames"
    assert int(made) == pytest.approx(len(times) * (1 - of_film), abs=4)
    assert facts["made-up frames"] != "none"
