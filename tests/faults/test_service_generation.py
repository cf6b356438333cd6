"""Clips made on the server: jobs like any other, and nothing that a client names is opened."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image
from restore_client import AsyncClient, Client, ServiceError
from restore_client.v1 import job_pb2 as pb

from restore.api import probe
from tests.service_world import World, server_process, serving
from tests.video_material import save_video_pipeline

ANN, BOB = "ann's token, long enough to be one", "bob's token, long enough to be one"
EDIT = "http://cv.iptc.org/newscodes/digitalsourcetype/humanEdits"
TRAINED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


@pytest.fixture(scope="module")
def still(tmp_path_factory) -> Path:
    y, x = np.mgrid[:160, :240]
    picture = np.stack([x % 256, y % 256, (x + y) % 256], -1).astype(np.uint8)
    path = tmp_path_factory.mktemp("still") / "still.png"
    Image.fromarray(picture).save(path)
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("generation")
    named = {"wan": str(save_video_pipeline("wan", folder / "wan")), "gone": "/no/such/folder"}
    tokens = {"ann": ANN, "bob": BOB}
    with serving(folder, tokens=tokens, pipelines=named) as started:
        yield started


@pytest.fixture
def ann(world) -> Iterator[Client]:
    with world.client(token=ANN) as client:
        yield client


def camera(image: str, **more: object) -> dict[str, object]:
    usual = {"name": "in", "kind": "camera", "image": image, "width": 96, "height": 64}
    return {**usual, "fps": 12, "frames": 5, **more}


def fetched(client: Client, name: str, path: Path) -> Path:
    assert client.wait(name).state == pb.JOB_STATE_SUCCEEDED
    client.download(name, path)
    return path


def test_clips_are_made_restored_and_marked(ann, still, tmp_path):
    image = ann.upload(still)
    shots = [camera(image), camera(image, name="loop", move={"zoom": [1.1, 1.3], "loop": True})]
    made = ann.create_clips(shots, request_id="two")
    assert [job.name for job in made] == [
        job.name for job in ann.create_clips(shots, request_id="two")
    ]
    for number, job in enumerate(made):
        path = fetched(ann, job.name, tmp_path / f"{number}.mp4")
        info = probe(path, count_frames=True)
        assert (info.width_px, info.height_px, info.decoded_frames) == (384, 256, 5)
        assert info.frame_rate == 12
        tags = {key.lower(): value for key, value in info.metadata.items()}
        assert tags["digital_source_type"] == EDIT
        assert json.loads(tags["restore_generated"])["kind"] == "camera"
    again = ann.create_clips(shots[:1], request_id="another")[0]
    twin = fetched(ann, again.name, tmp_path / "twin.mp4")
    assert twin.read_bytes() == (tmp_path / "0.mp4").read_bytes()


def test_a_pipeline_of_the_server_paints_for_a_client(ann, tmp_path):
    assert [(p.name, p.class_name) for p in ann.pipelines()] == [
        ("gone", ""),
        ("wan", "WanPipeline"),
    ]
    shot = {"name": "a", "kind": "text-to-video", "model": "wan", "prompt": "a film of the street"}
    shot |= {"steps": 2, "width": 48, "height": 32, "frames": 5, "precision": "exact"}
    (job,) = ann.create_clips([shot], preset="transcode", container=".mkv")
    path = fetched(ann, job.name, tmp_path / "a.mkv")
    tags = {key.lower(): value for key, value in probe(path).metadata.items()}
    assert tags["digital_source_type"] == TRAINED
    said = json.loads(tags["restore_generated"])
    assert said["prompt"] == "a film of the street"
    assert said["model"]["sha256"]


def test_a_pipeline_that_is_gone_fails_its_job_and_no_other(ann, still, tmp_path):
    lost = {"name": "a", "kind": "text-to-video", "model": "gone", "prompt": "x"}
    first, second = ann.create_clips([lost, camera(ann.upload(still))])
    ended = ann.wait(first.name)
    assert ended.state == pb.JOB_STATE_FAILED
    assert ended.failure.reason == "ModelNotFound"
    assert ended.failure.status == "NOT_FOUND"
    assert ann.wait(second.name).state == pb.JOB_STATE_SUCCEEDED


@pytest.mark.parametrize("way", ["pause", "cancel"])
def test_a_clip_in_the_making_is_stopped_and_goes_on(ann, still, tmp_path, way):
    image = ann.upload(still)
    # Turned views take a while for each frame.
    slow = camera(image, width=240, height=160, frames=70)
    slow["move"] = {"zoom": [1.5, 2.5], "roll_deg": [1, 9]}
    (job,) = ann.create_clips([slow], preset="transcode", container=".mkv")
    while ann.job(job.name).state == pb.JOB_STATE_QUEUED:
        time.sleep(0.01)
    time.sleep(0.5)
    if way == "cancel":
        assert ann.cancel(job.name).state == pb.JOB_STATE_CANCELLED
        ann.delete(job.name)
        return
    assert ann.pause(job.name).state == pb.JOB_STATE_PAUSED
    ann.resume(job.name)
    path = fetched(ann, job.name, tmp_path / "a.mkv")
    (other,) = ann.create_clips([slow], preset="transcode", container=".mkv")
    twin = fetched(ann, other.name, tmp_path / "b.mkv")
    assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(twin.read_bytes()).digest()


def test_a_server_that_is_stopped_goes_on_when_it_comes_back(still, tmp_path):
    with serving(tmp_path) as first, first.client() as client:
        shot = camera(client.upload(still), frames=40, width=240, height=160)
        shot["move"] = {"zoom": [1.5, 2.5], "roll_deg": [1, 9]}
        (job,) = client.create_clips([shot], preset="transcode")
        while client.job(job.name).state == pb.JOB_STATE_QUEUED:
            time.sleep(0.01)
    with serving(tmp_path) as second, second.client() as client:
        fetched(client, job.name, tmp_path / "a.mp4")


def makers(folder: Path) -> list[int]:
    """Processes that make a clip somewhere in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if b"generate" in words and any(str(folder).encode() in word for word in words):
                found.append(int(process.name))
    return found


def waited(until: Callable[[], bool], seconds: float = 60) -> bool:
    end_s = time.monotonic() + seconds
    while not until() and time.monotonic() < end_s:
        time.sleep(0.02)
    return until()


def test_a_killed_server_leaves_no_maker_and_the_next_one_makes_the_same_clip(still, tmp_path):
    with server_process(tmp_path) as server, Client(server.address) as client:
        shot = camera(client.upload(still), frames=60, width=240, height=160)
        shot["move"] = {"zoom": [1.5, 2.5], "roll_deg": [1, 9]}
        (job,) = client.create_clips([shot], preset="transcode", container=".mkv")
        assert waited(lambda: any(tmp_path.rglob("clip.mkv*")))
        assert makers(tmp_path)
        server.end(signal.SIGKILL)
    assert waited(lambda: not makers(tmp_path), 10)
    with server_process(tmp_path) as server, Client(server.address) as client:
        done = client.wait(job.name)
        assert done.state == pb.JOB_STATE_SUCCEEDED, done.failure.message
        assert server.end(signal.SIGTERM) == 0
    with serving(tmp_path / "calm", chunk_frames=4) as world, world.client() as client:
        shot["image"] = client.upload(still)
        (twin,) = client.create_clips([shot], preset="transcode", container=".mkv")
        assert client.wait(twin.name).deliverable.sha256 == done.deliverable.sha256


def test_checking_books_nothing(ann, still):
    before = len(list(ann.jobs()))
    (job,) = ann.create_clips([camera(ann.upload(still))], validate_only=True)
    assert job.estimate.frames == 5
    assert job.estimate.disk_bytes > 0
    assert len(list(ann.jobs())) == before


PATHS = ["/etc/passwd", "../../etc/passwd", "uploads/../../etc/passwd", "still.png", "uploads/x"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("field", ["image", "depth"])
def test_no_path_that_a_client_gives_is_opened(ann, still, path, field):
    shot = camera(ann.upload(still)) | {field: path}
    with pytest.raises(ServiceError) as caught:
        ann.create_clips([shot])
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "root:" not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"model": "/etc", "prompt": "x"}, "one of gone, wan"),
        ({"model": "owner/name", "prompt": "x"}, "one of gone, wan"),
        ({"model": "wan", "prompt": "x", "lora": [{"file": "/a.safetensors"}]}, "no LoRAs"),
        ({"model": "wan"}, "prompt"),
        ({"model": "wan", "prompt": "x", "width": 8000}, "at most"),
        ({"model": "wan", "prompt": "x", "colour": 1}, "colour"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_runs(ann, more, said):
    with pytest.raises(ServiceError) as caught:
        ann.create_clips([{"name": "a", "kind": "text-to-video", **more}])
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert said in str(caught.value)


def test_uploads_and_jobs_of_others_are_not_there(world, ann, still):
    image = ann.upload(still)
    (job,) = ann.create_clips([camera(image)])
    with world.client(token=BOB) as bob:
        for call in (lambda: bob.create_clips([camera(image)]), lambda: bob.job(job.name)):
            with pytest.raises(ServiceError) as caught:
                call()
            assert caught.value.code is grpc.StatusCode.NOT_FOUND


def test_the_asyncio_client_asks_likewise(world, ann, still):
    image = ann.upload(still)

    async def ask() -> pb.Job:
        async with AsyncClient(world.address, token=ANN) as client:
            (job,) = await client.create_clips([camera(image)], request_id="async")
            return job

    assert asyncio.run(ask()).name == ann.create_clips([camera(image)], request_id="async")[0].name
