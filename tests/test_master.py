"""The main job on real footage with real weights: film frames in, a master out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from restore.engine.settings import EngineSettings
from restore.models.store import ModelStore
from restore.recipe import load_preset
from restore.restoration import Job, run_job
from restore.stages import StageContext
from restore.time import FrameRange

FILM = "media/film/the_great_train_robbery"
WEIGHTS = "models/realesr-general-x4v3.safetensors"


def facts(path):
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        frames = list(container.decode(video))
        times = [frame.pts * frame.time_base for frame in frames]
        return frames, times, video.average_rate, dict(container.metadata)


def restore(assets, tmp_path, frames):
    weights = assets / WEIGHTS
    recipe = load_preset("default").with_settings("upscale", model=str(weights))
    job = Job(
        source=str(assets / FILM),
        destination=str(tmp_path / "master.mp4"),
        recipe=recipe,
        settings=EngineSettings("cpu", "fast"),
        range=FrameRange(0, frames),
        rate=Fraction(18),
        context=StageContext(ModelStore(tmp_path / "store")),
    )
    return run_job(job)


def check(assets, tmp_path, report, frames):
    assert report.run.frames_in == report.written.frames == frames
    decoded, times, rate, metadata = facts(tmp_path / "master.mp4")
    assert len(decoded) == frames
    assert (decoded[0].width, decoded[0].height) == (1920, 1472)
    assert rate == 18
    assert times == [Fraction(n, 18) for n in range(frames)]
    record = json.loads(metadata["restore"])
    by_stage = {stage["stage"]: stage for stage in record["stages"]}
    assert by_stage["upscale"]["model"] == "realesr-general-x4v3"
    assert len(by_stage["upscale"]["sha256"]) == 64
    assert record["recipe"]["seed"] == 0
    # Each frame of the master, made small again, is the frame that went in and no other.
    paths = sorted((assets / FILM).glob("*.png"))[:frames]
    sources = [np.asarray(Image.open(path).convert("L"), float) for path in paths]
    for number, frame in enumerate(decoded):
        small = frame.to_image().resize((480, 368), Image.Resampling.BOX).convert("L")
        errors = [np.mean((np.asarray(small, float) - source) ** 2) for source in sources]
        assert int(np.argmin(errors)) == number
        assert 10 * np.log10(255**2 / errors[number]) > 29


def test_great_train_robbery_becomes_a_1920x1472_master(assets, tmp_path):
    check(assets, tmp_path, restore(assets, tmp_path, 4), 4)


@pytest.mark.release
@pytest.mark.timeout(1800)
def test_the_whole_scene(assets, tmp_path):
    count = len(list((assets / FILM).glob("*.png")))
    check(assets, tmp_path, restore(assets, tmp_path, count), count)


def test_the_command_line_does_the_same(assets, tmp_path):
    output = tmp_path / "master.mkv"
    command = [
        sys.executable,
        "-m",
        "restore",
        "run",
        str(assets / FILM),
        "-o",
        str(output),
        "--rate",
        "18",
        "--range",
        "0:2",
        "--model",
        str(assets / WEIGHTS),
        "--precision",
        "fast",
        "--device",
        "cpu",
    ]
    environment = {**os.environ, "RESTORE_MODEL_DIR": str(tmp_path / "store")}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, check=False, timeout=280
    )
    assert done.returncode == 0, done.stderr
    decoded, _, _, _ = facts(output)
    assert [(frame.width, frame.height) for frame in decoded] == [(1920, 1472)] * 2
    assert np.isfinite(decoded[0].to_ndarray(format="gray")).all()
