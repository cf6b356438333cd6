"""The encoder's speed ``auto``: as slow as the rest of the job allows, and settled once."""

from __future__ import annotations

import json
from dataclasses import replace

import av
import pytest

from restore import plan as planning
from restore.api import make_job
from restore.engine.settings import CancelToken
from restore.errors import Cancelled, InvalidInput
from restore.jobs.durable import make_durable
from restore.jobs.resume import run_durable
from restore.media.profiles import Delivery
from restore.overrides import Overrides, adapted
from restore.pace import Pace, has_choice, settled
from restore.plan import plan_job
from restore.recipe import Recipe, load_preset
from restore.restoration import run_job
from tests.faults import barcode
from tests.test_hardware_encoder import here

RESULT = (2880, 2304)
AUTO = Delivery("h264", speed="auto")
HAS_NVENC = not here["h264"]
COPY = Recipe("copy", "", (), delivery={"speed": "auto"})


@pytest.mark.parametrize(
    ("others_fps", "speed"),
    # x264 with the conversion before it, two cores: faster 2.8, veryfast 3.2, superfast 3.7, ...
    [
        (0.2, None),
        (2.8, None),
        (3.0, "veryfast"),
        (3.5, "superfast"),
        (4.5, "ultrafast"),
        (90, "ultrafast"),
    ],
)
def test_it_is_the_slowest_that_keeps_up(others_fps, speed):
    parts = [Pace("decode", 40.0), Pace("upscale", others_fps), Pace("encode", 0.1)]
    found, said = settled(AUTO, parts, RESULT, cores=2)
    assert found == Delivery("h264", speed=speed)
    if speed is None:
        assert said == ""
    else:
        assert said == f"encoder speed {speed}: faster would be slower than the rest of the job"


def test_more_cores_take_a_slower_one():
    parts = [Pace("upscale", 4.5)]
    speeds = [settled(AUTO, parts, RESULT, cores=cores)[0].speed for cores in (2, 4, 8, 16)]
    assert speeds == ["ultrafast", None, None, None]


@pytest.mark.parametrize("profile", ["prores422hq", "ffv1", "png"])
def test_a_codec_without_speeds_has_nothing_to_choose(profile):
    delivery = Delivery(profile, speed="auto")
    assert not has_choice(delivery)
    assert settled(delivery, [Pace("upscale", 99.0)], RESULT) == (Delivery(profile), "")


def test_a_speed_that_is_named_stays():
    delivery = Delivery("h264", speed="slow")
    assert settled(delivery, [Pace("upscale", 99.0)], RESULT, cores=2) == (delivery, "")
    with pytest.raises(InvalidInput, match="speed 'quick' for h264"):
        Delivery("h264", speed="quick")


def test_presets_that_people_look_at_have_it_and_archives_have_not():
    for name in ("default", "upscale", "generated"):
        assert load_preset(name).delivery["speed"] == "auto"
    for name in ("transcode", "archive-faithful"):
        assert "speed" not in load_preset(name).delivery
    recipe = load_preset("default")
    assert adapted(recipe, Overrides(speed="slow")).delivery["speed"] == "slow"
    assert adapted(recipe, Overrides(codec="av1")).delivery == {"profile": "av1", "speed": "auto"}


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return barcode.write(tmp_path_factory.mktemp("film") / "film.mkv", 12)


def others(monkeypatch, fps: float) -> None:
    monkeypatch.setattr(planning, "job_paces", lambda *_: (Pace("decode", fps),))


def job(film, destination, **delivery):
    recipe = replace(COPY, delivery=delivery or COPY.delivery)
    return make_job(film, destination, recipe, {})


def told(path) -> dict:
    with av.open(str(path)) as file:
        return json.loads(file.metadata["restore"])["recipe"]["delivery"]


def test_the_plan_says_what_was_settled_and_so_does_the_result(film, tmp_path, monkeypatch):
    others(monkeypatch, 1e12)
    planned = plan_job(job(film, tmp_path / "a.mp4"))
    assert planned.delivery == Delivery("h264", speed="ultrafast")
    assert any(note.startswith("encoder speed ultrafast: faster") for note in planned.notes)
    report = run_job(planned)
    assert any("encoder speed ultrafast" in warning for warning in report.warnings)
    assert told(tmp_path / "a.mp4") == {"speed": "ultrafast"}
    # Whoever repeats what the result says gets the same bytes, however fast the machine is.
    others(monkeypatch, 1.0)
    run_job(job(film, tmp_path / "b.mp4", speed="ultrafast"))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.skipif(bool(HAS_NVENC), reason="there is a hardware encoder")
def test_where_a_gpu_encoder_is_missing_software_keeps_up_too(film, tmp_path, monkeypatch):
    others(monkeypatch, 1e12)
    asked = job(film, tmp_path / "a.mp4", profile="h264", encoder="hardware", speed="auto")
    planned = plan_job(asked)
    assert planned.delivery == Delivery("h264", speed="ultrafast")
    assert [note.partition(" ")[0] for note in planned.notes[:2]] == ["no", "encoder"]
    durable, pinned, _ = make_durable(asked)
    assert pinned.recipe.delivery == {
        "profile": "h264",
        "encoder": "software",
        "speed": "ultrafast",
    }
    assert [note.partition(" ")[0] for note in durable.body["notes"]] == ["encoder", "no"]


def test_it_is_timed_though_nobody_asked_for_times(film, tmp_path):
    recipe = load_preset("upscale")
    timed = plan_job(make_job(film, tmp_path / "a.mp4", recipe, {}))
    assert all(stage.frame_s for stage in timed.stages)
    recipe = adapted(recipe, Overrides(speed="slow"))
    named = plan_job(make_job(film, tmp_path / "a.mp4", recipe, {}))
    assert all(stage.frame_s is None for stage in named.stages)


def test_a_job_that_was_begun_keeps_its_speed(film, tmp_path, monkeypatch):
    others(monkeypatch, 1e12)
    cancel = CancelToken()
    asked, place = job(film, tmp_path / "a.mp4"), tmp_path / "work"
    cancel_at_once = lambda _: cancel.cancel()  # noqa: E731
    with pytest.raises(Cancelled):
        run_durable(asked, folder=place, chunk_frames=4, on_progress=cancel_at_once, cancel=cancel)
    begun, _, _ = make_durable(asked, chunk_frames=4)
    others(monkeypatch, 1.0)
    today, _, _ = make_durable(asked, chunk_frames=4)
    assert today.id != begun.id
    assert today.is_as_begun(begun)
    other, _, _ = make_durable(asked, chunk_frames=6)
    assert not other.is_as_begun(begun)
    report = run_durable(asked, folder=place, chunk_frames=4)
    assert any("encoder speed ultrafast" in warning for warning in report.warnings)
    assert report.plan.delivery.speed == "ultrafast"
    run_durable(job(film, tmp_path / "b.mp4", speed="ultrafast"), chunk_frames=4)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    run_durable(job(film, tmp_path / "c.mp4"), chunk_frames=4)
    assert told(tmp_path / "c.mp4") == {}
    assert (tmp_path / "a.mp4").read_bytes() != (tmp_path / "c.mp4").read_bytes()


def test_a_named_speed_is_never_taken_for_one_that_was_settled(film, tmp_path, monkeypatch):
    others(monkeypatch, 1e12)
    settled_one, _, _ = make_durable(job(film, tmp_path / "a.mp4"))
    named, pinned, _ = make_durable(job(film, tmp_path / "a.mp4", speed="ultrafast"))
    assert not named.is_as_begun(settled_one)
    assert not settled_one.is_as_begun(named)
    assert pinned.recipe.delivery == {"speed": "ultrafast"}
    assert "speed" not in named.body
