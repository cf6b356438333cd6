"""Every refusal of JobService says what came, for people, and which error it is, for programs."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from restore_client import Client, ServiceError
from restore_client.errors import translated
from restore_client.v1 import common_pb2 as common
from restore_client.v1 import job_pb2 as pb

from tests.faults import barcode
from tests.service_world import World, serving

NOBODY = "jobs/" + "0" * 32


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[World]:
    with serving(tmp_path_factory.mktemp("refusals"), max_jobs=2, max_frames=10) as started:
        yield started


@pytest.fixture(scope="module")
def client(world) -> Iterator[Client]:
    with world.client() as opened:
        yield opened


@pytest.fixture(scope="module")
def source(client, tmp_path_factory) -> str:
    return client.upload(barcode.write(tmp_path_factory.mktemp("film") / "film.mkv", 6))


def create(source: str, **changes: object) -> pb.CreateJobsRequest:
    given = {
        "request_id": "one",
        "sources": [source],
        "recipe": common.Recipe(preset="transcode"),
        "delivery": common.Delivery(container=".mkv"),
    }
    return pb.CreateJobsRequest(**{**given, **changes})


CREATES = {
    "no request id": ({"request_id": ""}, "InvalidInput", "request id"),
    "long request id": ({"request_id": "x" * 201}, "InvalidInput", "request id"),
    "no source": ({"sources": []}, "InvalidInput", "no source"),
    "no such upload": ({"sources": ["uploads/" + "0" * 32]}, "JobNotFound", "no upload"),
    "a path": ({"sources": ["/etc/passwd"]}, "InvalidInput", "hexadecimal"),
    "no recipe": ({"recipe": common.Recipe()}, "InvalidInput", "no recipe"),
    "no such preset": ({"recipe": common.Recipe(preset="x")}, "InvalidInput", "preset 'x'"),
    "container": ({"delivery": common.Delivery(container=".exe")}, "InvalidInput", ".exe"),
    "codec": ({"delivery": common.Delivery(codec="x")}, "InvalidInput", "'x'"),
    "range": ({"range": common.FrameRange(start=5, stop=5)}, "InvalidInput", "5"),
    "beyond the end": ({"range": common.FrameRange(start=99)}, "InvalidInput", "99"),
    "backwards": ({"range": common.FrameRange(start=-3)}, "InvalidInput", "-3"),
}


@pytest.mark.parametrize("kind", CREATES)
def test_what_cannot_be_made_is_refused_by_name(client, source, kind):
    changes, reason, words = CREATES[kind]
    with pytest.raises(ServiceError, match=words) as refused, translated():
        client._jobs.CreateJobs(create(source, **changes))
    assert refused.value.reason == reason
    assert refused.value.code is not grpc.StatusCode.UNKNOWN
    assert list(client.jobs()) == []


@pytest.mark.parametrize("verb", ["job", "pause", "resume", "cancel", "delete"])
@pytest.mark.parametrize(
    ("name", "reason"),
    [(NOBODY, "JobNotFound"), ("jobs/../x", "InvalidInput"), ("", "InvalidInput")],
)
def test_names_of_no_job(client, verb, name, reason):
    with pytest.raises(ServiceError) as refused:
        getattr(client, verb)(name)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    "fields",
    [
        {"states": [0]},
        {"states": [99]},
        {"page_size": -1},
        {"page_token": "x"},
        {"page_token": "1.0/../../x"},
    ],
)
def test_pages_that_are_none(client, fields):
    with pytest.raises(ServiceError) as refused, translated():
        client._jobs.ListJobs(pb.ListJobsRequest(**fields))
    assert refused.value.reason == "InvalidInput"
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT


def test_too_long_a_clip_and_too_many_jobs(client, source, tmp_path):
    long = client.upload(barcode.write(tmp_path / "long.mkv", 11))
    with pytest.raises(ServiceError, match="11 frames; expected at most 10"):
        client.create_job(long, preset="transcode")
    with pytest.raises(ServiceError) as refused, translated():
        client._jobs.CreateJobs(create(source, sources=[source] * 3))
    assert refused.value.reason == "QuotaExceeded"
    assert list(client.jobs()) == [], "all of a batch or none"


def test_a_list_by_state(client, source):
    job = client.create_job(source, preset="transcode")
    assert client.wait(job.name).state == pb.JOB_STATE_SUCCEEDED
    assert [one.name for one in client.jobs([pb.JOB_STATE_SUCCEEDED])] == [job.name]
    others = [pb.JOB_STATE_QUEUED, pb.JOB_STATE_RUNNING, pb.JOB_STATE_FAILED]
    assert list(client.jobs(others)) == []
    with pytest.raises(ServiceError) as refused:
        client.pause(job.name)
    assert (refused.value.reason, refused.value.code) == (
        "JobError",
        grpc.StatusCode.FAILED_PRECONDITION,
    )
    client.delete(job.name)
