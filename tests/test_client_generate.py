"""``restore-client``: lists of shots from a folder on this side to clips in another one."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from restore_client import AsyncClient, ServiceError
from restore_client.clips import ClipList
from restore_client.v1 import job_pb2 as pb

from restore.api import probe
from tests.faults import barcode
from tests.service_world import World, serving

ROOT = Path(__file__).parent.parent
LIST = """
[defaults]
kind = "camera"
image = "stills/street.png"
width = 96
height = 64
fps = 12
frames = 4

[[shots]]
name = "in"

[[shots]]
name = "another"
image = "stills/house.png"
move = { zoom = [1.2, 1.0] }
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[World]:
    gone = {"gone": "/no/such/folder"}
    with serving(tmp_path_factory.mktemp("clips"), pipelines=gone) as started:
        yield started


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("list")
    (path / "stills").mkdir()
    shaded = Image.linear_gradient("L").convert("RGB")
    shaded.save(path / "stills/street.png")
    shaded.rotate(90).save(path / "stills/house.png")
    (path / "shots.toml").write_text(LIST)
    return path


def command(world: World, *given: object) -> subprocess.CompletedProcess[str]:
    """The command as a process, anywhere else than beside the list."""
    return subprocess.run(
        [sys.executable, "-m", "restore_client.cli", *map(str, given)],
        env={**os.environ, "RESTORE_ADDRESS": world.address, "PYTHONPATH": str(ROOT / "client")},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def jobs_of(world: World) -> set[str]:
    with world.client() as client:
        return {job.name for job in client.jobs()}


def test_a_list_becomes_clips_and_the_same_list_makes_nothing_new(world, folder, tmp_path):
    done = command(world, "generate", folder / "shots.toml", tmp_path / "clips")
    assert done.returncode == 0, done.stderr
    assert "in: jobs/" in done.stdout
    assert "SUCCEEDED  4/4 frames" in done.stdout
    clips = {path.name: path for path in (tmp_path / "clips").iterdir()}
    assert set(clips) == {"in.mp4", "another.mp4"}
    info = probe(clips["in.mp4"], count_frames=True)
    assert (info.width_px, info.height_px, info.decoded_frames) == (384, 256, 4)
    assert clips["in.mp4"].read_bytes() != clips["another.mp4"].read_bytes()
    before = jobs_of(world)

    async def again() -> list[pb.Job]:
        async with AsyncClient(world.address) as client:
            assert [found.name for found in await client.pipelines()] == ["gone"]
            return await client.generate(folder / "shots.toml", tmp_path / "again")

    assert {job.state for job in asyncio.run(again())} == {pb.JOB_STATE_SUCCEEDED}
    assert jobs_of(world) == before
    for name, path in clips.items():
        assert (tmp_path / "again" / name).read_bytes() == path.read_bytes()


def test_one_shot_that_fails_does_not_keep_the_others(world, folder, tmp_path):
    table = {
        "defaults": {"width": 96, "height": 64, "frames": 3},
        "shots": [
            {"name": "lost", "kind": "text-to-video", "model": "gone", "prompt": "a street"},
            {"name": "kept", "kind": "camera", "image": str(folder / "stills/street.png")},
        ],
    }
    (tmp_path / "shots.json").write_text(json.dumps(table))
    done = command(world, "generate", tmp_path / "shots.json", tmp_path, "--container", ".mkv")
    assert done.returncode == 1
    assert "FAILED" in done.stdout
    assert [path.name for path in tmp_path.glob("*.mkv")] == ["kept.mkv"]
    before = jobs_of(world)
    with world.client() as client:
        ended = client.generate(tmp_path / "shots.json", tmp_path, container=".mkv")
    assert [job.state for job in ended] == [pb.JOB_STATE_FAILED, pb.JOB_STATE_SUCCEEDED]
    assert jobs_of(world) == before, "asked again, what failed is tried anew and not booked anew"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "name,kind\na,camera\n", "expected .toml or .json"),
        ("a.json", "[1]", "expected a table defaults and rows shots"),
        ("a.json", '{"shots": 3}', "expected rows shots of fields"),
        ("a.json", '{"shots": []}', "expected rows shots of fields"),
        ("a.json", "{", "Expecting property name"),
        ("a.toml", '[[shots]]\nimage = "none.png"\n', "none.png"),
        ("a.toml", '[[shots]]\nname = "a"\nkind = "odd"\n', "kind"),
    ],
)
def test_what_is_no_list_is_told_and_makes_nothing(world, tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    before = jobs_of(world)
    with world.client() as client, pytest.raises((ServiceError, ValueError, OSError), match=words):
        client.generate(tmp_path / name, tmp_path / "out")
    assert jobs_of(world) == before
    assert not (tmp_path / "out").exists()


def test_a_clip_stays_in_its_folder_whatever_its_shot_is_called(tmp_path):
    shots = ({"name": "../../up"}, {"name": "/etc/passwd"}, {})
    places = ClipList({}, shots, tmp_path).places(tmp_path, ".mp4")
    assert [place.parent for place in places] == [tmp_path] * 3
    assert len(set(places)) == 3


def test_the_other_commands(world, tmp_path):
    film = barcode.write(tmp_path / "film.mkv", 3)
    out = tmp_path / "out.mp4"
    done = command(world, "submit", film, out, "--preset", "transcode")
    assert done.returncode == 0, done.stderr
    assert barcode.numbers(out) == [0, 1, 2]
    job = next(line.split()[0] for line in done.stdout.splitlines() if line.startswith("jobs/"))
    assert job in command(world, "list").stdout
    assert command(world, "pipelines").stdout == "gone  \n"
    assert "generated" in command(world, "presets").stdout
    assert command(world, "download", job, tmp_path / "same.mp4").returncode == 0
    assert (tmp_path / "same.mp4").read_bytes() == out.read_bytes()
    assert command(world, "delete", job).returncode == 0
    refused = command(world, "watch", job)
    assert refused.returncode == 1
    assert "there is no job" in refused.stderr
