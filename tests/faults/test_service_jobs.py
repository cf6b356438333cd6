"""Jobs, transfers and who may see them."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from restore_client import Client, ServiceError
from restore_client.v1 import common_pb2 as common
from restore_client.v1 import job_pb2 as pb

from restore.api import make_job
from restore.errors import InvalidInput
from restore.media.hardware import encoder_trouble
from restore.media.profiles import Delivery
from restore.plan import plan_job
from restore.recipe import load_preset
from restore.service.names import parse_name, request_id
from restore.service.settings import load_settings
from tests.faults import barcode
from tests.service_world import World, serving

ROOT = Path(__file__).parent.parent.parent
ANN, BOB = "ann's token, long enough to be one", "bob's token, long enough to be one"


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[World]:
    tokens = {"ann": ANN, "bob": BOB}
    with serving(tmp_path_factory.mktemp("jobs"), tokens=tokens, max_jobs=3) as started:
        yield started


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    return barcode.write(tmp_path_factory.mktemp("film") / "film.mkv", 20)


@pytest.fixture
def ann(world) -> Iterator[Client]:
    with world.client(token=ANN) as client:
        yield client


@pytest.fixture
def bob(world) -> Iterator[Client]:
    with world.client(token=BOB) as client:
        yield client


def asked(container: str = ".mkv", **recipe: object) -> dict[str, object]:
    given = recipe or {"preset": "transcode"}
    return {
        "recipe": common.Recipe(**given),
        "delivery": common.Delivery(container=container),
    }


def test_a_job_from_upload_to_download(ann, film, tmp_path):
    name = ann.upload(film)
    assert ann.upload(film) == name, "the same file is sent once"
    job = ann.create_job(name, preset="transcode", container=".mp4")
    assert job.estimate.frames == 20
    assert job.estimate.memory_bytes > 0
    states = list(ann.watch(job.name))
    assert states[-1].state == pb.JOB_STATE_SUCCEEDED, states[-1].failure.message
    assert states[-1].progress.frames_done == 20
    assert states[-1].progress.chunks_done == states[-1].progress.chunks_total == 3
    ann.download(job.name, tmp_path / "out.mp4")
    assert barcode.numbers(tmp_path / "out.mp4") == list(range(20))
    digest = hashlib.sha256((tmp_path / "out.mp4").read_bytes()).hexdigest()
    assert digest == states[-1].deliverable.sha256
    assert not list(tmp_path.glob(".*.part"))
    ann.delete(job.name)
    with pytest.raises(ServiceError, match="there is no job"):
        ann.job(job.name)


def test_a_request_sent_again_makes_nothing_new(ann, film):
    name = ann.upload(film)
    first = ann.create_jobs([name, name], request_id="twice", **asked())
    again = ann.create_jobs([name, name], request_id="twice", **asked())
    assert [job.name for job in first] == [job.name for job in again]
    assert len({job.name for job in first}) == 2
    for job in first:
        assert ann.wait(job.name).state == pb.JOB_STATE_SUCCEEDED
        ann.delete(job.name)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"preset": "upscale", "backend": "tpu"}, "backend 'tpu'"),
        ({"preset": "upscale", "invent": 1.5}, "invent"),
        ({"preset": "transcode", "invent": 0.5}, "in which nothing invents"),
        ({"preset": "upscale", "look": "odd"}, "look 'odd'"),
        ({"preset": "transcode", "fps": "fast"}, "fast"),
        ({"preset": "transcode", "slowmo": "-1"}, "-1"),
    ],
)
def test_options_that_do_not_do_are_refused_by_name(ann, film, recipe, words):
    with pytest.raises(ServiceError, match=words) as refused:
        ann.create_jobs([ann.upload(film)], **asked(**recipe))
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.reason == "InvalidInput"


def test_backend_invention_and_rate_reach_the_job(ann, film, world, tmp_path):
    wishes = {"backend": "torch", "invent": 0.25, "fps": "50"}
    job = ann.create_job(ann.upload(film), preset="upscale", container=".mkv", **wishes)
    done = ann.wait(job.name)
    assert done.state == pb.JOB_STATE_SUCCEEDED, done.failure.message
    plan = json.loads(world.server._journal.job(job.name.removeprefix("jobs/")).plan)
    assert plan["settings"]["backend"] == "torch"
    told = {stage["stage"]: stage["facts"] for stage in plan["stages"]}
    assert "gate" in told["upscale"]
    assert done.deliverable.frames == 40
    ann.delete(job.name)


def hardware_trouble(film: Path) -> str:
    """What keeps a GPU of this machine from encoding the film; empty where one can."""
    plan = plan_job(make_job(film, film.with_name("never.mp4"), load_preset("transcode"), {}))
    try:
        return encoder_trouble(Delivery("h264", encoder="hardware"), plan.video)
    except InvalidInput as error:
        return str(error)


def test_the_choice_of_an_encoder_reaches_the_job(ann, film, tmp_path):
    name = ann.upload(film)
    done = ann.wait(ann.create_job(name, preset="transcode", encoder="hardware", crf=30).name)
    assert done.state == pb.JOB_STATE_SUCCEEDED, done.failure.message
    trouble = hardware_trouble(film)
    assert any("libx264 encodes" in said for said in done.warnings) == bool(trouble)
    with pytest.raises(ServiceError, match="software or hardware") as refused:
        ann.create_job(name, preset="transcode", encoder="gpu")
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT
    ann.delete(done.name)


def test_a_plan_alone_makes_no_job(ann, film):
    before = [job.name for job in ann.jobs()]
    job = ann.create_jobs([ann.upload(film)], validate_only=True, **asked())[0]
    assert job.estimate.frames == 20
    assert [one.name for one in ann.jobs()] == before


def test_others_see_nothing_and_can_do_nothing(ann, bob, film):
    name = ann.upload(film)
    job = ann.create_jobs([name], **asked())[0].name
    assert ann.wait(job).state == pb.JOB_STATE_SUCCEEDED
    assert job not in [one.name for one in bob.jobs()]
    tries = [
        lambda: bob.job(job),
        lambda: bob.cancel(job),
        lambda: bob.pause(job),
        lambda: bob.resume(job),
        lambda: bob.delete(job),
        lambda: list(bob.watch(job)),
        lambda: bob.delete_upload(name),
        lambda: bob.create_jobs([name], **asked()),
        lambda: bob.download(job, Path(os.devnull)),
    ]
    for attempt in tries:
        with pytest.raises(ServiceError) as refused:
            attempt()
        assert refused.value.code is grpc.StatusCode.NOT_FOUND
    ann.delete(job)


@pytest.mark.parametrize("token", [None, "no token of anybody's, though long", "", ANN + "x"])
def test_nobody_else_is_let_in(world, token):
    with world.client(token=token) as client:
        for attempt in (client.presets, lambda: list(client.jobs())):
            with pytest.raises(ServiceError) as refused:
                attempt()
            assert refused.value.code is grpc.StatusCode.UNAUTHENTICATED


def test_more_jobs_than_a_principal_may_have_are_refused(ann, film):
    name = ann.upload(film)
    with pytest.raises(ServiceError, match="at most 3 together") as refused:
        ann.create_jobs([name] * 4, **asked())
    assert refused.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused.value.reason == "QuotaExceeded"


def test_pause_resume_cancel(ann, film, tmp_path):
    name = ann.upload(film)
    # Slow enough to be caught in the middle.
    slow = '[[steps]]\nstage = "upscale"\n[[steps]]\nstage = "upscale"\n'
    first, second = ann.create_jobs([name, name], **asked(toml=slow))
    assert ann.cancel(second.name).state == pb.JOB_STATE_CANCELLED
    for state in ann.watch(first.name):
        if state.state == pb.JOB_STATE_RUNNING:
            break
    paused = ann.pause(first.name)
    if paused.state != pb.JOB_STATE_SUCCEEDED:
        assert paused.state == pb.JOB_STATE_PAUSED
        assert ann.resume(first.name).state in (pb.JOB_STATE_QUEUED, pb.JOB_STATE_RUNNING)
    done = ann.wait(first.name)
    assert done.state == pb.JOB_STATE_SUCCEEDED, done.failure.message
    ann.download(first.name, tmp_path / "out.mkv")
    assert barcode.numbers(tmp_path / "out.mkv") == list(range(20))
    with pytest.raises(ServiceError, match="SUCCEEDED"):
        ann.cancel(first.name)
    for job in (first, second):
        ann.delete(job.name)


def test_jobs_come_in_pages(ann, film):
    name = ann.upload(film)
    made = [job.name for job in ann.create_jobs([name] * 3, **asked())]
    for job in made:
        ann.wait(job)
    seen, token = [], ""
    while True:
        request = pb.ListJobsRequest(page_size=2, page_token=token)
        page = ann._jobs.ListJobs(request, metadata=ann._metadata)
        seen += [job.name for job in page.jobs]
        token = page.next_page_token
        if not token:
            break
    assert [name for name in seen if name in made] == made
    assert len(seen) == len(set(seen))
    for job in made:
        ann.delete(job)


def test_what_is_no_clip_is_refused(ann, tmp_path):
    bad = tmp_path / "notes.mkv"
    bad.write_bytes(b"no film" * 1000)
    name = ann.upload(bad)
    with pytest.raises(ServiceError) as refused:
        ann.create_jobs([name], **asked())
    assert refused.value.code in (
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.PERMISSION_DENIED,
    )
    assert len(ann.presets()) > 5


@given(st.text(max_size=60))
def test_no_name_but_an_id_is_ever_taken(text):
    for name in (text, f"uploads/{text}", f"jobs/{text}"):
        try:
            found = parse_name("uploads", name)
        except InvalidInput:
            continue
        assert name == f"uploads/{found}"
        assert set(found) <= set("0123456789abcdef")
        assert len(found) == 32


def test_ids_are_told_apart():
    ids = {request_id(who, what, n) for who in ("a", "ab") for what in ("b", "") for n in (0, 1)}
    assert len(ids) == 8


UNSAFE = [
    ({"address": "0.0.0.0:1"}, "tls_certificate"),
    ({"address": "[::]:1", "tokens": {"a": ANN}}, "tls_certificate"),
    ({"address": "0.0.0.0:1", "tls_certificate": "c", "tls_key": "k"}, "tokens or tls_client_ca"),
    ({"address": "127.example.org:1"}, "tls_certificate"),
    ({"address": "localhost.example.org:1"}, "tls_certificate"),
    ({"tls_certificate": "c"}, "belong together"),
    ({"tokens": {"a": "short"}}, "24 characters"),
    ({"tokens": {"a": ANN, "b": ANN}}, "same token"),
    ({"max_streams": 0}, "max_streams"),
    ({"no_such": 1}, "no_such"),
]


@pytest.mark.parametrize(("wrong", "words"), UNSAFE)
def test_unsafe_settings_are_refused_before_anything_listens(wrong, words):
    with pytest.raises(InvalidInput, match=words):
        load_settings(**wrong)


def test_settings_come_from_a_file_and_the_environment(tmp_path, monkeypatch):
    file = tmp_path / "service.toml"
    file.write_text(f'max_streams = 7\nmax_jobs = 9\n[tokens]\nann = "{ANN}"\n')
    monkeypatch.setenv("RESTORE_SERVICE_MAX_JOBS", "11")
    settings = load_settings(file, max_frames=5)
    assert (settings.max_streams, settings.max_jobs, settings.max_frames) == (7, 11, 5)
    assert settings.tokens == {"ann": ANN}
    assert load_settings().max_streams == 64, "a file that was read once is not read again"
    with pytest.raises(InvalidInput, match="not there"):
        load_settings(tmp_path / "none.toml")


def test_a_second_server_does_not_take_the_same_storage(tmp_path):
    from restore.errors import OutputError

    with (
        serving(tmp_path),
        pytest.raises(OutputError, match="another server"),
        serving(tmp_path),
    ):
        pass


def test_health_reflection_and_metrics(tmp_path):
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    with serving(tmp_path, tokens={"ann": ANN}, dev=True) as world:
        with grpc.insecure_channel(world.address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            request = health_pb2.HealthCheckRequest(service="restore.v1.JobService")
            assert stub.Check(request).status == health_pb2.HealthCheckResponse.SERVING
            asked_for = reflection_pb2.ServerReflectionRequest(list_services="")
            told = reflection_pb2_grpc.ServerReflectionStub(channel)
            metadata = (("authorization", f"Bearer {ANN}"),)
            answer = next(told.ServerReflectionInfo(iter([asked_for]), metadata=metadata))
            names = {service.name for service in answer.list_services_response.service}
        assert {"restore.v1.RestorationService", "restore.v1.JobService"} <= names
        assert [event["event"] for event in world.events()] == ["serving"]
    assert world.events()[-1]["event"] == "stopped"


def test_a_job_that_is_deleted_the_moment_it_ends_takes_no_other_along(tmp_path, film):
    """Found by a long run: the thread that runs jobs missed the one that was gone, and ended."""
    with serving(tmp_path) as world, world.client() as client:
        journal, deleted = world.server._journal, []
        finish = journal.finish

        def deleting(job: str, result: object) -> object:
            row = finish(job, result)  # it says SUCCEEDED from here on
            gone = threading.Thread(
                target=lambda: (client.delete(f"jobs/{job}"), deleted.append(job))
            )
            gone.start()
            time.sleep(0.3)
            return row

        journal.finish = deleting
        name = client.upload(film)
        first = client.create_jobs([name], **asked())[0]
        while not deleted:
            time.sleep(0.05)
        journal.finish = finish
        second = client.create_jobs([name], **asked())[0]
        assert second.name != first.name
        assert client.wait(second.name).state == pb.JOB_STATE_SUCCEEDED
        assert "dispatch_failed" not in world.log.getvalue()
