"""Which part of a job is said to be its limit, and what would help."""

from __future__ import annotations

import pytest

from restore.media.profiles import Delivery
from restore.pace import Pace, advice, encoder_fps, job_paces, limit

SOURCE, RESULT = (720, 576), (2880, 2304)


def paces_of(stage_s, delivery):
    return job_paces([("upscale", stage_s), ("dust", None)], SOURCE, delivery, RESULT, cores=2)


@pytest.mark.parametrize(
    ("delivery", "fps"),
    [
        (Delivery("h264"), 5.45),
        (Delivery("h264", speed="medium"), 2.9),
        (Delivery("h264", speed="veryfast"), 6.9),
        (Delivery("h264", speed="ultrafast"), 31),
        (Delivery("ffv1"), 14.8),
    ],
)
def test_encoders_are_told_as_they_were_measured(delivery, fps):
    assert encoder_fps(delivery, RESULT, cores=2) == pytest.approx(fps, rel=0.02)


def test_an_encoder_takes_no_more_cores_than_it_has_threads():
    one = encoder_fps(Delivery("ffv1", threads=1), RESULT, cores=64)
    assert one == encoder_fps(Delivery("ffv1", threads=1), RESULT, cores=1)


def test_a_slow_network_is_the_limit_and_nothing_is_advised():
    paces = paces_of(5.0, Delivery("h264"))
    assert limit(paces) == Pace("upscale", 0.2)
    assert [pace.part for pace in paces] == ["decode", "upscale", "encode"]
    assert advice(paces, Delivery("h264"), RESULT, cores=2) == ""


def test_the_encoder_as_the_limit_names_the_least_change_that_helps():
    delivery = Delivery("h264", speed="medium")
    said = advice(paces_of(0.4, delivery), delivery, RESULT, cores=2)
    assert "encoder will be the limit at about 1.9 fps" in said
    assert "--speed faster" in said
    assert "--speed ultrafast" in advice(paces_of(0.01, delivery), delivery, RESULT, cores=2)


def test_what_was_not_measured_is_left_out():
    delivery = Delivery("prores422hq")
    paces = paces_of(0.01, delivery)
    assert [pace.part for pace in paces] == ["decode", "upscale"]
    assert advice(paces, delivery, RESULT) == ""
