"""Old uploads and results make room; nothing that a job needs goes; a restart changes nothing."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from restore_client import Client, ServiceError
from restore_client.v1 import common_pb2 as common
from restore_client.v1 import job_pb2 as pb

from restore.errors import JobError
from tests.faults import barcode
from tests.service_world import World, serving

DAY_S = 86_400.0
ASKED = {
    "recipe": common.Recipe(preset="transcode"),
    "delivery": common.Delivery(container=".mkv"),
}


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("films")
    return [barcode.write(folder / f"{frames}.mkv", frames) for frames in (30, 4, 5)]


def held(folder: Path, kind: str) -> set[str]:
    return {path.name.partition(".")[0] for path in (folder / "storage" / kind).iterdir()}


def age(folder: Path, upload: str, days: float) -> None:
    """Let an upload be one that was used so long ago."""
    path = folder / "storage" / upload / "content"
    then = time.time() - days * DAY_S
    os.utime(path, (then, then))


def done(client: Client, name: str) -> pb.Job:
    job = client.create_jobs([name], **ASKED)[0]
    ended = client.wait(job.name)
    assert ended.state == pb.JOB_STATE_SUCCEEDED, ended.failure.message
    return ended


def pause_all(world: World) -> None:
    """Keep jobs from running: they wait, and need what they need."""
    for row in world.server._journal.jobs():
        if not row.state.is_final:
            world.server.dispatcher.move(row.id, row.principal, type(row.state).PAUSED, "test")


def counted(world: World, kind: str, why: str) -> float:
    return world.server.metrics.removed.labels(kind, why)._value.get()


def test_what_was_not_used_for_long_goes_and_what_a_job_needs_stays(tmp_path, films):
    with serving(tmp_path) as world, world.client() as client:
        old, needed, fresh = (client.upload(film) for film in films)
        client.create_jobs([needed], request_id="waits", **ASKED)
        pause_all(world)
        for name in (old, needed):
            age(tmp_path, name, 31)
        age(tmp_path, fresh, 29)
        world.server.retention.sweep()
        assert held(tmp_path, "uploads") == {name.partition("/")[2] for name in (needed, fresh)}
        (told,) = (event for event in world.events() if event["event"] == "removed")
        assert (told["kind"], told["id"], told["why"]) == ("upload", old[8:], "age")
        assert told["bytes"] == films[0].stat().st_size
        assert counted(world, "upload", "age") == 1
        with pytest.raises(ServiceError, match="there is no upload"):
            client.create_jobs([old], **ASKED)
        assert client.upload(films[0]) == old, "it can be sent again"


def test_a_picture_that_a_shot_is_made_of_is_needed_too(tmp_path):
    y, x = np.mgrid[:64, :96]
    Image.fromarray(np.stack([x, y, x + y], -1).astype(np.uint8)).save(tmp_path / "still.png")
    with serving(tmp_path) as world, world.client() as client:
        image = client.upload(tmp_path / "still.png")
        shot = {"name": "a", "kind": "camera", "image": image, "width": 96, "height": 64}
        client.create_clips([{**shot, "frames": 200}])
        pause_all(world)
        age(tmp_path, image, 100)
        world.server.retention.sweep()
        assert held(tmp_path, "uploads") == {image[8:]}
        with pytest.raises(ServiceError, match="which a job still needs"):
            client.delete_upload(image)


def test_jobs_go_with_their_results_when_their_time_is_up(tmp_path, films):
    with serving(tmp_path) as world, world.client() as client:
        job = done(client, client.upload(films[0]))
        for days, there in ((89, True), (91, False)):
            world.server.retention.sweep(time.time() + days * DAY_S)
            assert (job.name in [one.name for one in client.jobs()]) is there
            assert bool(held(tmp_path, "deliverables")) is there
        assert counted(world, "job", "age") == 1


def test_nothing_goes_where_the_settings_say_for_ever(tmp_path, films):
    forever = {"keep_uploads_s": 0, "keep_jobs_s": 0, "max_kept_bytes": 0}
    with serving(tmp_path, **forever) as world, world.client() as client:
        job = done(client, client.upload(films[0]))
        world.server.retention.sweep(time.time() + 10_000 * DAY_S)
        assert len(held(tmp_path, "uploads")) == 1
        assert held(tmp_path, "deliverables") == {job.name[5:]}


def test_where_room_is_short_the_oldest_goes_first_and_uploads_before_results(tmp_path, films):
    limit = sum(film.stat().st_size for film in films)
    with serving(tmp_path, max_kept_bytes=limit) as world, world.client() as client:
        names = [client.upload(film) for film in films]
        job = done(client, names[1])
        world.server.retention.sweep()
        assert len(held(tmp_path, "uploads")) == 3, "nothing goes that was used within the hour"
        assert world.events()[-1]["event"] == "over_limit"
        for name, days in zip(names, (3, 1, 2), strict=True):
            age(tmp_path, name, days)
        world.server.retention.sweep()
        assert held(tmp_path, "uploads") == {names[1][8:], names[2][8:]}, "the oldest is enough"
        assert counted(world, "upload", "room") == 1
        assert world.server.metrics.kept_bytes._value.get() <= limit
        assert client.job(job.name).state == pb.JOB_STATE_SUCCEEDED
    # With no room for anything the results go as well; a restart has forgotten nothing.
    with serving(tmp_path, max_kept_bytes=1) as world, world.client() as client:
        names[2] = client.upload(films[2])
        waiting = client.create_jobs([names[2]], **ASKED)[0]
        pause_all(world)
        world.server.retention.sweep(time.time() + DAY_S)
        assert held(tmp_path, "uploads") == {names[2][8:]}, "a job needs it"
        assert held(tmp_path, "deliverables") == set()
        assert [one.name for one in client.jobs()] == [waiting.name]
        client.resume(waiting.name)
        assert client.wait(waiting.name).state == pb.JOB_STATE_SUCCEEDED


def test_use_in_the_last_moment_keeps_an_upload(tmp_path, films):
    """A job is booked after the sweep has looked, and before it removes."""
    with serving(tmp_path) as world, world.client() as client:
        name = client.upload(films[0])
        age(tmp_path, name, 31)
        uploads = world.server.retention._uploads
        upload = uploads.get(name[8:], "local")
        seen_s, _ = uploads.used(upload)
        assert client.upload(films[0]) == name, "asked for again"
        with pytest.raises(JobError, match="used since"):
            uploads.delete(upload, unused_since_s=seen_s)
        assert done(client, name).progress.frames_done == 30


def test_a_job_that_was_taken_up_again_is_not_removed(tmp_path, films):
    with serving(tmp_path) as world, world.client() as client:
        job = done(client, client.upload(films[0])).name[5:]
        with pytest.raises(JobError, match="changed since"):
            world.server._journal.delete(job, unchanged_since_s=1.0)
        assert client.job(f"jobs/{job}").state == pb.JOB_STATE_SUCCEEDED


def test_a_start_tidies_what_a_kill_left(tmp_path, films):
    with serving(tmp_path) as world, world.client() as client:
        job = done(client, client.upload(films[0])).name[5:]
        upload = client.upload(films[1])[8:]
    root, gone = tmp_path / "storage", "0" * 32
    (root / "uploads" / gone).mkdir()
    (root / "uploads" / gone / "content").write_bytes(b"no facts")
    (root / "deliverables" / f"{gone}.mkv").write_bytes(b"no job")
    (root / "deliverables" / f".{gone}.mp4.0123abcd.part").write_bytes(b"no job")
    for name in (gone, job):
        (root / "jobs" / name / "chunks").mkdir(parents=True)
    with serving(tmp_path) as world, world.client() as client:
        assert gone not in held(tmp_path, "uploads")
        assert upload in held(tmp_path, "uploads")
        assert held(tmp_path, "deliverables") == {job}
        assert held(tmp_path, "jobs") == set()
        client.download(f"jobs/{job}", tmp_path / "out.mkv")
        assert barcode.numbers(tmp_path / "out.mkv") == list(range(30))
    first = json.loads(world.log.getvalue().splitlines()[0])
    assert (first["event"], first["leftovers"]) == ("tidied", 5)
