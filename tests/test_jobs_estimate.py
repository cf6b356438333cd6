"""What a job is expected to take, before it runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from restore.api import make_job
from restore.engine.settings import EngineSettings
from restore.jobs.estimate import estimate
from restore.plan import JobPlan, plan_job
from restore.recipe import load_preset, preset_names
from tests.faults import barcode


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    return barcode.write(tmp_path_factory.mktemp("film") / "film.mkv", 20)


def planned(film: Path, folder: Path, preset: str, ending: str = ".mp4", **more: object) -> JobPlan:
    job = make_job(film, folder / f"out{ending}", load_preset(preset), more)
    return plan_job(job, measure=True)


@pytest.mark.parametrize("preset", preset_names())
def test_time_and_disk_are_told_of_every_preset(film, tmp_path, preset):
    plan = planned(film, tmp_path, preset)
    told = estimate(plan, cores=2)
    assert told.expected_s > plan.expected_s >= 0
    assert told.disk_bytes > 0
    by_stage = {stage.label: stage.frame_s for stage in plan.stages}
    assert all(spent is not None for spent in by_stage.values()), by_stage
    # Where the clip decides how many frames go on, their number is not told, but what they cost is.
    decides = {"cadence", "fields"} & set(by_stage)
    assert (told.frames is None) is bool(decides)


def test_more_frames_pixels_and_a_lossless_result_take_more(film, tmp_path):
    plain = estimate(planned(film, tmp_path, "transcode"), cores=2)
    lossless = estimate(planned(film, tmp_path, "transcode", ".mkv", codec="ffv1"), cores=2)
    large = estimate(planned(film, tmp_path, "upscale"), cores=2)
    double = estimate(planned(film, tmp_path, "transcode", fps="50"), cores=2)
    assert lossless.disk_bytes > plain.disk_bytes
    assert large.disk_bytes > 4 * plain.disk_bytes
    assert double.frames == 2 * plain.frames
    assert double.disk_bytes == 2 * plain.disk_bytes
    assert min(large.expected_s, double.expected_s) > plain.expected_s
    slower = estimate(planned(film, tmp_path, "transcode"), cores=1)
    assert slower.expected_s > plain.expected_s


def test_memory_counts_the_program_and_every_queue(film, tmp_path):
    plan = planned(film, tmp_path, "default")
    job = replace(plan.job, settings=replace(plan.job.settings, queue_bytes=8 << 20))
    small = plan_job(job)
    stages = len(plan.stages)
    usual = EngineSettings().queue_bytes
    fewer = 2 * (usual - (8 << 20)) + stages * (usual - (8 << 20)) // 8
    assert plan.memory_bytes - small.memory_bytes == fewer
    assert small.memory_bytes > 600 << 20


def test_what_is_tried_leaves_the_job_as_it_is(film, tmp_path):
    """Stages that were tried have seen frames; the job's own have not."""
    plan = planned(film, tmp_path, "film", no_networks=True)
    told = {stage.label: stage.facts for stage in plan.stages}
    again = plan_job(plan.job)
    assert told == {stage.label: stage.facts for stage in again.stages}
