"""Quotas and limits one by one, jobs that break their worker, and doors that stay shut."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
from restore_client import Client, ServiceError
from restore_client.errors import translated
from restore_client.v1 import common_pb2 as common
from restore_client.v1 import job_pb2 as pb
from restore_client.v1 import transfer_pb2 as transfer

from restore.jobs.executor import LocalProcesses
from restore.jobs.rows import JobState
from restore.jobs.storage import Storage
from restore.service.log import EventLog
from restore.service.serve import Server
from restore.service.settings import load_settings
from tests.faults import barcode
from tests.service_world import ROOT, World, serving

ANN, BOB = "ann's token, long enough to be one", "bob's token, long enough to be one"
FRAMES = 20
PIXELS = FRAMES * barcode.WIDTH_PX * barcode.HEIGHT_PX
TRANSCODE = {
    "recipe": common.Recipe(preset="transcode"),
    "delivery": common.Delivery(container=".mkv"),
}


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    return barcode.write(tmp_path_factory.mktemp("film") / "film.mkv", FRAMES)


def refused(call, words: str, code: grpc.StatusCode, reason: str) -> None:
    with pytest.raises(ServiceError, match=words) as caught:
        call()
    assert (caught.value.code, caught.value.reason) == (code, reason)


def hold_all(world: World) -> None:
    """Keep what is queued or runs from ending, so that it counts."""
    for row in world.server._journal.jobs((JobState.QUEUED, JobState.RUNNING)):
        world.server.dispatcher.move(row.id, row.principal, JobState.PAUSED, "test")


def test_frames_times_pixels_are_a_principals_own_and_come_back(film, tmp_path):
    tokens = {"ann": ANN, "bob": BOB}
    with (
        serving(tmp_path, tokens=tokens, max_job_pixels=2 * PIXELS) as world,
        world.client(token=ANN) as ann,
        world.client(token=BOB) as bob,
    ):
        mine, its = ann.upload(film), bob.upload(film)
        exhausted = (grpc.StatusCode.RESOURCE_EXHAUSTED, "QuotaExceeded")
        large = {**TRANSCODE, "recipe": common.Recipe(preset="upscale")}
        refused(lambda: ann.create_jobs([mine], **large), "frames x pixels", *exhausted)
        two = ann.create_jobs([mine] * 2, request_id="two", **TRANSCODE)
        hold_all(world)
        refused(lambda: ann.create_jobs([mine], **TRANSCODE), "frames x pixels", *exhausted)
        assert bob.create_jobs([its], **TRANSCODE), "another's jobs do not count"
        for job in two:
            ann.cancel(job.name)
        last = ann.create_jobs([mine], **TRANSCODE)[0]
        assert ann.wait(last.name).state == pb.JOB_STATE_SUCCEEDED


def announced(client: Client, size_bytes: int, request_id: str) -> object:
    digest = hashlib.sha256(request_id.encode()).hexdigest()
    request = transfer.CreateUploadRequest(
        request_id=request_id, size_bytes=size_bytes, sha256=digest
    )
    with translated():
        return client._transfers.CreateUpload(request, metadata=client._metadata).upload


def test_bytes_are_a_principals_own_and_come_back(tmp_path):
    tokens = {"ann": ANN, "bob": BOB}
    limits = {"max_upload_bytes": 1000, "max_stored_bytes": 1500}
    with (
        serving(tmp_path, tokens=tokens, **limits) as world,
        world.client(token=ANN) as ann,
        world.client(token=BOB) as bob,
    ):
        wrong = (grpc.StatusCode.INVALID_ARGUMENT, "InvalidInput")
        refused(lambda: announced(ann, 1001, "a"), "1001 bytes", *wrong)
        refused(lambda: announced(ann, 0, "a"), "0 bytes", *wrong)
        first = announced(ann, 1000, "a")
        exhausted = (grpc.StatusCode.RESOURCE_EXHAUSTED, "QuotaExceeded")
        refused(lambda: announced(ann, 501, "b"), "501 bytes beside 1000", *exhausted)
        assert announced(ann, 1000, "a").name == first.name, "the same request is no other"
        assert announced(ann, 500, "c").name
        assert announced(bob, 1000, "a").name != first.name
        ann.delete_upload(first.name)
        assert announced(ann, 501, "b").name


@pytest.mark.parametrize(
    ("limits", "preset", "words"),
    [
        ({"max_width_px": barcode.WIDTH_PX - 1}, "transcode", "a picture of 64x24"),
        ({"max_height_px": barcode.HEIGHT_PX - 1}, "transcode", "a picture of 64x24"),
        ({"max_width_px": 4 * barcode.WIDTH_PX - 1}, "upscale", "a picture of 256x96"),
        ({"max_frames": FRAMES - 1}, "transcode", f"{FRAMES} frames"),
        ({"max_frames": FRAMES}, "8mm", ""),
        ({"max_frames": FRAMES - 1}, "8mm", f"{FRAMES} frames"),
    ],
)
def test_sizes_of_source_and_result(film, tmp_path, limits, preset, words):
    with serving(tmp_path, **limits) as world, world.client() as client:
        name = client.upload(film)
        asked = {**TRANSCODE, "recipe": common.Recipe(preset=preset), "validate_only": True}
        if not words:
            assert client.create_jobs([name], **asked)
            return
        wrong = (grpc.StatusCode.INVALID_ARGUMENT, "InvalidInput")
        refused(lambda: client.create_jobs([name], **asked), words, *wrong)


@pytest.mark.parametrize(
    ("fault", "reason", "words"),
    [
        ("poison", "WorkerLost", "SIGSEGV, for the 3th time at chunk 1"),
        ("memory always", "OutOfMemory", "memory"),
    ],
)
def test_a_job_that_breaks_its_worker_leaves_the_server_and_the_next_job(
    film, tmp_path, monkeypatch, fault, reason, words
):
    """One server throughout: the same dispatcher, and a worker with the same fault."""
    monkeypatch.setenv("FAULT", fault)
    storage = tmp_path / "storage"
    settings = load_settings(
        address="127.0.0.1:0", storage=storage, devices=("cpu",), threads=1, chunk_frames=8
    )
    executor = LocalProcesses(Storage(storage.absolute()), ["cpu"], "tests.faults.broken_worker")
    server = Server(settings, EventLog(io.StringIO()), executor)
    server.start()
    try:
        with Client(f"127.0.0.1:{server.port}") as client:
            asked = {**TRANSCODE, "recipe": common.Recipe(preset="upscale")}
            broken = client.create_jobs([client.upload(film)], **asked)[0]
            short = barcode.write(tmp_path / "short.mkv", 6)
            behind = client.create_jobs([client.upload(short)], **TRANSCODE)[0]
            ended = client.wait(broken.name)
            assert ended.state == pb.JOB_STATE_FAILED
            assert ended.failure.reason == reason
            assert words in ended.failure.message
            assert client.wait(behind.name).state == pb.JOB_STATE_SUCCEEDED
            client.download(behind.name, tmp_path / "out.mkv")
            assert barcode.numbers(tmp_path / "out.mkv") == list(range(6))
    finally:
        server.stop()


LEAVING = """
import os, sys, threading, time
from restore_client import Client, LiveFrame
from restore_client.v1 import common_pb2 as common, restoration_pb2 as pb
spec = pb.LiveSpec(recipe=common.Recipe(preset="transcode"), width_px=64, height_px=48,
    pixel_format="rgb24", color=common.Color(is_rgb=True),
    frame_rate=common.Rational(numerator=25, denominator=1),
    time_base=common.Rational(numerator=1, denominator=25))
def frames():
    for number in range(10**6):
        yield LiveFrame(bytes(64 * 48 * 3), pts=number)
        time.sleep(0.01)
def one():
    with Client(sys.argv[1]) as client:
        for number, _ in enumerate(client.restore(spec, frames()).frames):
            if number == 3:
                os.write(1, b"under way\\n")  # whole lines from every thread
for _ in range(int(sys.argv[2])):
    threading.Thread(target=one).start()
"""


def _killed(world: World, streams: int, within_s: float) -> None:
    """A client process with several streams, killed in the middle of all of them."""
    metrics = world.server.metrics
    before = metrics.acquired._value.get()
    env = {**os.environ, "PYTHONPATH": str(ROOT / "client")}
    child = subprocess.Popen(
        [sys.executable, "-c", LEAVING, world.address, str(streams)],
        stdout=subprocess.PIPE,
        text=True,
        env=env,
    )
    assert child.stdout is not None
    try:
        said = [child.stdout.readline() for _ in range(streams)]
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    assert said == ["under way\n"] * streams
    gone_s = time.monotonic()
    while metrics.released._value.get() < before + streams:
        assert time.monotonic() - gone_s < within_s, "what a killed client held is still held"
        time.sleep(0.01)
    assert metrics.acquired._value.get() == metrics.released._value.get() == before + streams


def test_what_killed_client_processes_held_is_given_back(film, tmp_path):
    """Other tests may share the machine: the two seconds are held where it is quiet."""
    with serving(tmp_path, max_streams=4) as world, world.client() as client:
        job = client.create_jobs([client.upload(film)], **TRANSCODE)[0]
        for _ in range(3):
            _killed(world, 4, within_s=10.0)
        assert client.wait(job.name).state == pb.JOB_STATE_SUCCEEDED, "jobs go on"


@pytest.mark.release
@pytest.mark.timeout(600)
def test_sixty_streams_of_killed_client_processes_within_two_seconds(tmp_path):
    with serving(tmp_path, max_streams=4) as world:
        for _ in range(15):
            _killed(world, 4, within_s=2.0)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([], "tls_certificate"),
        (["--address", "[::]:0"], "tls_certificate"),
    ],
)
def test_the_program_does_not_start_where_anybody_could_reach_it(tmp_path, more, words):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    command = [sys.executable, "server.py", "--storage", str(tmp_path / "storage")]
    command += more or ["--address", f"0.0.0.0:{port}"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode not in (0, -signal.SIGTERM)
    assert words in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert '"serving"' not in done.stderr
    assert not (tmp_path / "storage").exists(), "nothing was begun"
