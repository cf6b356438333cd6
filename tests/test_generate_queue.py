"""A shot list from end to end: skipped, resumed, marked, restored; no weights but the shipped."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from restore.api import probe
from restore.engine.settings import CancelToken
from restore.errors import Cancelled, OutputExists
from restore.generate.make import make_clip
from restore.generate.queue import Queue
from restore.generate.shot import Shot
from restore.generate.shotlist import load_shots
from restore.generate.still import read_frames

EDIT = "http://cv.iptc.org/newscodes/digitalsourcetype/humanEdits"

LIST = """
[defaults]
kind = "camera"
image = "still.png"
width = 96
height = 64
fps = 12
frames = {frames}

[[shots]]
name = "in"
[shots.move]
zoom = [1.0, 1.5]

[[shots]]
name = "gone"
image = "nowhere.png"

[[shots]]
name = "loop"
[shots.move]
zoom = [1.1, 1.3]
loop = true
"""


@pytest.fixture
def shots(tmp_path):
    y, x = np.mgrid[:160, :240]
    picture = np.stack([x % 256, y % 256, (x + y) % 256], -1).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "still.png")
    path = tmp_path / "shots.toml"
    path.write_text(LIST.format(frames=5))
    return path


def queue(path, finish=None, **more):
    return Queue(load_shots(path), path.parent / "out", None, finish, **more)


def run(made):
    return made.run(CancelToken(), lambda *a: None, lambda o: None)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_clips_are_made_and_then_there_and_one_failure_stops_nothing(shots):
    first = run(queue(shots))
    assert [o.state for o in first] == ["made", "failed", "made"]
    assert "nowhere.png is not there" in str(first[1].error)
    before = {o.shot: digest(o.clip) for o in first if o.error is None}
    again = run(queue(shots))
    assert [o.state for o in again] == ["there", "failed", "there"]
    record = json.loads((shots.parent / "out" / "clips" / "in.json").read_text())
    assert record["sha256"] == before["in"]
    assert record["shot"]["move"]["zoom"] == [1.0, 1.5]
    # The same inputs give the same bytes.
    for name in before:
        (shots.parent / "out" / "clips" / f"{name}.mkv").unlink()
    run(queue(shots))
    assert before == {n: digest(shots.parent / "out" / "clips" / f"{n}.mkv") for n in before}


def test_a_clip_of_other_settings_or_of_nobody_is_left_alone(shots):
    clip = run(queue(shots))[0].clip
    old = digest(clip)
    shots.write_text(LIST.format(frames=6))
    refused = run(queue(shots))[0]
    assert isinstance(refused.error, OutputExists)
    assert "other settings" in str(refused.error)
    assert digest(clip) == old
    assert run(queue(shots, overwrite=True))[0].state == "made"
    assert digest(clip) != old
    clip.with_suffix(".json").unlink()
    assert "nothing says how" in str(run(queue(shots))[0].error)


def test_a_damaged_clip_is_made_again_only_when_asked(shots):
    clip = run(queue(shots))[0].clip
    data = bytearray(clip.read_bytes())
    data[len(data) // 2] ^= 1
    clip.write_bytes(data)
    assert run(queue(shots))[0].state == "failed"
    assert run(queue(shots, overwrite=True))[0].state == "made"


def test_what_is_written_says_how_it_was_made(shots):
    run(queue(shots))
    tags = {
        k.lower(): v for k, v in probe(shots.parent / "out" / "clips" / "in.mkv").metadata.items()
    }
    assert tags["digital_source_type"] == EDIT
    said = json.loads(tags["restore_generated"])
    assert said["files"]["image"] == digest(shots.parent / "still.png")
    assert said["kind"] == "camera"
    assert said["move"]["zoom"] == [1.0, 1.5]


def test_a_still_that_was_generated_stays_marked(shots, tmp_path):
    from restore.generate.marks import clip_tags

    shot = load_shots(shots).shots[0]
    mark = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    assert clip_tags(shot, {}, {"DIGITAL_SOURCE_TYPE": mark})["digital_source_type"] == mark
    assert clip_tags(shot, {}, {})["digital_source_type"] == EDIT


def test_a_looped_clip_begins_again_where_it_ends(shots):
    shots.write_text(LIST.format(frames=24))
    run(queue(shots))
    frames, _ = read_frames(shots.parent / "out" / "clips" / "loop.mkv", 99)
    assert len(frames) == 24
    steps = [
        float((a - b).abs().mean()) for a, b in zip([*frames[1:], frames[0]], frames, strict=True)
    ]
    assert steps[-1] <= max(steps[:-1]) * 1.05


def test_the_command_makes_restores_and_skips(shots):
    call = [sys.executable, "-m", "restore", "generate", str(shots), "-o", str(shots.parent / "o")]
    call += ["--only", "in", "--json"]
    first = subprocess.run(call, check=True, capture_output=True, text=True)
    (row,) = json.loads(first.stdout)
    assert row["state"] == "made"
    info = probe(row["master"])
    assert (info.width_px, info.height_px, info.frame_rate) == (384, 256, 12)
    assert info.codec == "h264"
    tags = {k.lower(): v for k, v in info.metadata.items()}
    assert tags["digital_source_type"] == EDIT
    assert json.loads(tags["restore_generated"])["kind"] == "camera"
    assert "restore" in tags
    before = digest(shots.parent / "o" / "masters" / "in.mp4")
    second = subprocess.run(call, check=True, capture_output=True, text=True)
    assert json.loads(second.stdout)[0]["state"] == "there"
    assert digest(shots.parent / "o" / "masters" / "in.mp4") == before


def test_a_master_of_another_preset_or_hand_is_not_taken_for_this_one(shots):
    call = [sys.executable, "-m", "restore", "generate", str(shots), "-o", str(shots.parent / "o")]
    call += ["--only", "in", "--json"]

    def asked(*more: str) -> dict[str, object]:
        done = subprocess.run([*call, *more], capture_output=True, text=True, check=False)
        (row,) = json.loads(done.stdout)
        return row

    master = shots.parent / "o" / "masters" / "in.mp4"
    assert asked()["state"] == "made"
    assert asked("--dry-run")["master"] == str(master)
    first = digest(master)
    for other in (["--preset", "transcode"], ["--no-networks", "--dry-run"]):
        refused = asked(*other)
        assert "another preset, other networks" in str(refused["error"])
        assert "--overwrite" in str(refused["error"])
    assert digest(master) == first
    assert asked("--preset", "transcode", "--overwrite")["state"] == "made"
    assert digest(master) != first
    master.write_bytes(master.read_bytes() + b"x")
    assert "changed after it was made" in str(asked("--preset", "transcode")["error"])
    assert asked("--overwrite")["state"] == "made"
    assert digest(master) == first


def test_after_a_failure_a_file_that_a_person_made_is_theirs(shots):
    call = [sys.executable, "-m", "restore", "generate", str(shots), "-o", str(shots.parent / "o")]
    call += ["--only", "in", "--preset", "transcode", "--json"]

    def error() -> str:
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        assert done.returncode
        return str(json.loads(done.stdout)[0]["error"])

    master = shots.parent / "o" / "masters" / "in.mp4"
    master.mkdir(parents=True)
    assert "in.mp4" in error()
    assert [path.name for path in master.parent.iterdir()] == ["in.mp4"]
    master.rmdir()
    master.write_bytes(b"somebody's own")
    assert "in.mp4" in error()
    assert master.read_bytes() == b"somebody's own"


def test_a_dry_run_says_all_and_writes_nothing(shots):
    call = [sys.executable, "-m", "restore", "generate", str(shots), "-o", str(shots.parent / "o")]
    done = subprocess.run(
        [*call, "--dry-run", "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1  # one shot's still is missing
    rows = json.loads(done.stdout)
    assert [row["state"] for row in rows] == ["to make", "", "to make"]
    assert "nowhere.png" in rows[1]["error"]
    assert rows[0]["frames"] == 5
    assert not (shots.parent / "o").exists()


def test_after_a_kill_the_same_command_goes_on(shots):
    shots.write_text(LIST.format(frames=60).replace("nowhere.png", "still.png"))
    whole = queue(shots)
    run(whole)
    wanted = {s.name: digest(whole.clip_of(s)) for s in load_shots(shots).shots}
    out = shots.parent / "killed"
    call = [sys.executable, "-m", "restore", "generate", str(shots), "-o", str(out)]
    call += ["--preset", "none"]
    child = subprocess.Popen(call, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not (out / "clips" / "in.mkv").exists() and time.monotonic() < until:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (out / "clips" / "loop.mkv").exists()
    subprocess.run(call, check=True, stdout=subprocess.DEVNULL, env=dict(os.environ))
    assert {n: digest(out / "clips" / f"{n}.mkv") for n in wanted} == wanted
    names = sorted(path.name for path in (out / "clips").iterdir())
    assert names == ["gone.json", "gone.mkv", "in.json", "in.mkv", "loop.json", "loop.mkv"]


def test_cancelling_leaves_nothing_half_made(shots, tmp_path):
    shot = load_shots(shots).shots[0]
    cancel = CancelToken()
    with pytest.raises(Cancelled):
        make_clip(
            shot,
            tmp_path,
            tmp_path / "a.mkv",
            None,
            cancel=cancel,
            on_frame=lambda n, of: cancel.cancel() if n == 2 else None,
        )
    assert [p.name for p in tmp_path.iterdir() if "a.mkv" in p.name] == []


def test_animate_is_one_command(shots):
    out = shots.parent / "a.mkv"
    call = [sys.executable, "-m", "restore", "animate", str(shots.parent / "still.png")]
    call += ["-o", str(out), "--size", "96x64", "--frames", "4", "--zoom", "1:2", "--roll", "0"]
    done = subprocess.run(call, check=True, capture_output=True, text=True)
    assert digest(out) in done.stdout
    assert probe(out, count_frames=True).decoded_frames == 4
    call[call.index("-o") + 1] = str(out.with_name("b.mkv"))
    bad = subprocess.run([*call, "--x", "0.1"], capture_output=True, text=True, check=False)
    assert bad.returncode == 2
    assert "looks beyond the picture" in bad.stderr


def test_a_cinemagraph_keeps_what_is_still(tmp_path):
    for number in range(24):
        frame = np.full((32, 48, 3), 60, np.uint8)
        frame[8:24, 16:32] = 128 + int(100 * np.sin(2 * np.pi * number / 8))
        frame[:, number] = 255
        Image.fromarray(frame).save(tmp_path / f"f_{number:03}.png")
    mask = np.zeros((32, 48), np.uint8)
    mask[8:24, 16:32] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    shot = Shot(
        name="flame",
        kind="cinemagraph",
        video="f_%03d.png",
        mask="mask.png",
        width=48,
        height=32,
        frames=8,
        loop_fade=2,
        fps=8,
    )
    # A sequence is no file to hash; it is made into a clip first.
    from restore.api import run as restored

    restored(str(tmp_path / "f_%03d.png"), tmp_path / "c.mkv", "transcode", codec="ffv1")
    shot = shot.model_copy(update={"video": "c.mkv"})
    made = make_clip(shot, tmp_path, tmp_path / "out.mkv", None)
    frames, _ = read_frames(tmp_path / "out.mkv", 99)
    assert made.frames == len(frames) == 8
    outside = [frame[:, :6] for frame in frames]
    assert all((a - outside[0]).abs().max() == 0 for a in outside)
    inside = [float(frame[0, 12, 20]) for frame in frames]
    assert max(inside) - min(inside) > 0.5
