"""The demonstration: its reel, its measures, its files and its honesty."""

from __future__ import annotations

import json
import math
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from restore.cli import app
from restore.commands.demo import show_report
from restore.demo.clips import array_of, frames_of, read_clip, write_clip
from restore.demo.measure import Score, changes, enlarged, score
from restore.demo.reel import DOWNSCALE, RATE, make_reel
from restore.demo.show import FILES, DemoReport, run_demo
from restore.errors import InvalidInput, OutputExists
from restore.media.profiles import Delivery
from tests.cli_material import network, pictures


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> DemoReport:
    """The demonstration as it ships, on a short reel."""
    return run_demo(tmp_path_factory.mktemp("demo") / "out", frames=3)


def test_a_reel_is_the_same_again_and_damaged():
    first, second, other = make_reel(3, 5), make_reel(3, 5), make_reel(3, 6)
    assert np.array_equal(first.frames, second.frames)
    assert not np.array_equal(first.frames, other.frames)
    assert first.shots == (0, 1, 2)
    assert first.truth.shape[1:3] == tuple(DOWNSCALE * side for side in first.frames.shape[1:3])
    before = score("x", first.frames, first.target, first.truth)
    assert before.psnr_db < 40
    assert before.psnr_db > before.truth_psnr_db  # the target knows of weave, fading and flicker


def test_a_reel_needs_a_frame_for_each_shot():
    with pytest.raises(InvalidInput, match="2 frames"):
        make_reel(2, 0)


def test_scores_are_those_of_the_definitions():
    reference = pictures(2)
    worse = np.clip(reference + np.float32(0.1), 0, 1.2)
    found = score("x", worse, reference, reference)
    luma = np.array([0.2126, 0.7152, 0.0722], np.float32)
    clipped = np.clip(worse, 0, 1) @ luma
    each = [
        10 * math.log10(1 / float(np.mean((a - b) ** 2)))
        for a, b in zip(clipped, reference @ luma, strict=True)
    ]
    assert found.psnr_db == pytest.approx(np.mean(each), abs=1e-3)
    assert 0.5 < found.ssim < 1
    assert score("y", reference + np.float32(1e-4), reference, reference).ssim > 0.9999


def test_a_worse_clip_is_called_worse():
    good, bad = Score("a", 30.0, 0.9, 1.0, 0.1), Score("b", 29.0, 0.8, 1.0, 0.1)
    mixed = Score("c", 31.0, 0.7, 1.0, 0.1)
    assert changes([bad, good, bad, mixed, mixed]) == ("better", "worse", "mixed", "as before")


def test_enlarging_keeps_a_flat_picture():
    flat = np.full((1, 8, 6, 3), 0.25, np.float32)
    assert enlarged(flat, (32, 24)).shape == (1, 32, 24, 3)
    assert np.abs(enlarged(flat, (32, 24)) - 0.25).max() < 1e-6


def test_clips_go_through_files_unharmed(tmp_path):
    clip = pictures(3)
    write_clip(tmp_path / "clip.mkv", clip, RATE, Delivery("ffv1", bit_depth=16))
    back = array_of(read_clip(tmp_path / "clip.mkv"))
    assert back.shape == clip.shape
    assert np.abs(back - clip).max() < 1e-3
    assert np.array_equal(array_of(frames_of(clip, RATE)), clip)


def frames_in(path: Path) -> tuple[int, int, int]:
    with av.open(str(path)) as file:
        frames = list(file.decode(file.streams.video[0]))
    return frames[0].width, frames[0].height, len(frames)


def test_the_demonstration_writes_what_it_says(report):
    folder = report.folder
    assert sorted(entry.name for entry in folder.iterdir()) == sorted(FILES.values())
    assert frames_in(folder / FILES["film"]) == (128, 96, 3)
    assert frames_in(folder / FILES["restored"]) == (512, 384, 3)
    assert frames_in(folder / FILES["truth"]) == (512, 384, 3)
    width, height, frames = frames_in(folder / FILES["clip"])
    assert (width > 3 * 512, height > 384, frames) == (True, True, 3)
    with Image.open(folder / FILES["picture"]) as picture:
        assert picture.width == width
        assert picture.height == 3 * height
        panels = np.asarray(picture, dtype=np.float32)
    # The three panels of a row show the same scene, and are not the same picture.
    left, middle, right = (panels[40:400, x : x + 500] for x in (0, 516, 1032))
    for a, b in ((left, middle), (middle, right), (left, right)):
        assert 0.5 < np.abs(a - b).mean() < 40


def test_the_demonstration_measures_every_stage(report):
    labels = [each.name for each in report.scores]
    assert labels[0].startswith("input")
    assert labels[1:-1] == [f"after {stage.label}" for stage in report.job.plan.stages]
    assert labels[-1].startswith("master")
    assert len(report.verdicts) == len(report.scores) - 1
    numbers = json.loads((report.folder / FILES["numbers"]).read_text())
    assert [each["psnr_db"] for each in numbers["scores"]] == [e.psnr_db for e in report.scores]
    assert numbers["verdicts"] == list(report.verdicts)
    assert numbers["job"]["stages"][0]["facts"]["sha256"]
    # The master is the last stage's result but for the delivery's coding.
    assert abs(report.scores[-1].psnr_db - report.scores[-2].psnr_db) < 0.5


def test_the_shipped_networks_beat_lanczos(report):
    assert report.scores[-2].psnr_db > report.scores[0].psnr_db
    assert report.scores[-2].ssim > report.scores[0].ssim


def test_a_stage_that_harms_is_named(report, tmp_path, capsys, monkeypatch):
    """An untrained network: nothing about it may be praised."""
    monkeypatch.setenv("COLUMNS", "160")
    bad = run_demo(
        tmp_path / "out",
        frames=3,
        options={
            "model": str(network(tmp_path / "untrained.safetensors")),
            "deartifact_model": "none",
        },
    )
    assert bad.verdicts[0] == "worse"
    show_report(bad)
    shown = capsys.readouterr().out
    assert "after upscale: worse than what it was given" in shown
    show_report(report)
    assert "after upscale: worse" not in capsys.readouterr().out


def test_the_command_and_what_is_in_the_way(tmp_path):
    runner = CliRunner()
    weights = str(network(tmp_path / "tiny.safetensors"))
    out = tmp_path / "out"
    arguments = ["demo", "--out", str(out), "--frames", "3", "--no-deartifact", "--model", weights]
    first = runner.invoke(app, [*arguments, "--json"])
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout)["frames"] == 3
    assert runner.invoke(app, arguments).exit_code == 0  # replaces its own files
    (out / "thesis.doc").write_text("mine")
    refused = runner.invoke(app, arguments)
    assert refused.exit_code == OutputExists.exit_code
    assert "thesis.doc" in refused.stderr
    both = runner.invoke(app, ["demo", "--out", str(out), "--frames", "9", "--seconds", "1"])
    assert both.exit_code == 2
