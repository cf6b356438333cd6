"""A server process that is stopped or killed, and what the next one makes of it."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from PIL import Image
from restore_client import Client, LiveFrame, ServiceError
from restore_client.v1 import common_pb2 as common
from restore_client.v1 import job_pb2 as pb

from tests.faults import barcode
from tests.service_world import ServerProcess, rgb24_spec, server_process, serving

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SLOW = '[[steps]]\nstage = "upscale"\n'


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    return barcode.write(tmp_path_factory.mktemp("film") / "film.mkv", 20)


def asked(**recipe: object) -> dict[str, object]:
    given = recipe or {"preset": "transcode"}
    return {"recipe": common.Recipe(**given), "delivery": common.Delivery(container=".mkv")}


@pytest.fixture(scope="module")
def calm_sha256(tmp_path_factory, film) -> str:
    """Of the slow job on a server that nobody disturbs."""
    with (
        serving(tmp_path_factory.mktemp("calm"), chunk_frames=4) as calm,
        calm.client() as client,
    ):
        job = client.create_jobs([client.upload(film)], **asked(toml=SLOW))[0]
        return client.wait(job.name).deliverable.sha256


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_that_is_stopped_or_killed_goes_on_with_its_jobs(film, tmp_path, how, calm_sha256):
    with server_process(tmp_path) as server, Client(server.address) as client:
        job = client.create_jobs([client.upload(film)], **asked(toml=SLOW))[0]
        for state in client.watch(job.name):
            if state.progress.chunks_done:
                break
        assert server.end(how) == (0 if how is signal.SIGTERM else -how)
    with server_process(tmp_path) as server, Client(server.address) as client:
        done = client.wait(job.name)
        assert done.state == pb.JOB_STATE_SUCCEEDED, done.failure.message
        client.download(job.name, tmp_path / "out.mkv")
        assert server.end(signal.SIGTERM) == 0
    assert barcode.numbers(tmp_path / "out.mkv") == list(range(20))
    assert done.deliverable.sha256 == calm_sha256


def _requests(client: Client, film: Path, still: Path) -> list[list[str]]:
    """What three requests make: the names of their jobs."""
    name, image = client.upload(film), client.upload(still)
    shot = {"name": "a", "kind": "camera", "image": image, "width": 96, "height": 64, "frames": 3}
    made = [
        client.create_jobs([name] * 2, request_id="films", **asked()),
        client.create_jobs([name], request_id="one more", **asked()),
        client.create_clips([shot, {**shot, "name": "b"}], request_id="films"),
    ]
    return [[job.name for job in jobs] for jobs in made]


def test_a_request_sent_again_after_a_kill_makes_nothing_new(film, tmp_path):
    still = tmp_path / "still.png"
    Image.linear_gradient("L").convert("RGB").save(still)
    with server_process(tmp_path) as server, Client(server.address) as client:
        first = _requests(client, film, still)
        assert server.end(signal.SIGKILL) == -signal.SIGKILL
    with server_process(tmp_path) as server, Client(server.address) as client:
        assert _requests(client, film, still) == first
        names = [job.name for job in client.jobs()]
        assert sorted(names) == sorted(name for made in first for name in made)
        assert len(set(names)) == 5
        assert {client.wait(name).state for name in names} == {pb.JOB_STATE_SUCCEEDED}
        assert _requests(client, film, still) == first, "when they are done as well"


@pytest.mark.parametrize(("delay_s", "booked"), [(0.02, {0}), (0.2, {0, 6}), (None, {6})])
def test_a_request_that_is_cut_off_books_all_or_nothing(film, tmp_path, delay_s, booked):
    """Killed at once, in the middle, or after the answer; sent again it is made whole."""
    with server_process(tmp_path) as server, Client(server.address) as client:
        name = client.upload(film)

        def ask() -> None:
            with contextlib.suppress(ServiceError):
                client.create_jobs([name] * 6, request_id="cut", **asked(toml=SLOW))

        asking = threading.Thread(target=ask)
        asking.start()
        asking.join(delay_s)
        server.end(signal.SIGKILL)
        asking.join()
    with server_process(tmp_path) as server, Client(server.address) as client:
        there = {job.name for job in client.jobs()}
        assert len(there) in booked
        again = client.create_jobs([name] * 6, request_id="cut", **asked(toml=SLOW))
        assert {job.name for job in again} >= there
        assert len(list(client.jobs())) == 6


class _Stream(threading.Thread):
    """A client that sends a frame every 50 ms, and keeps what comes back."""

    def __init__(self, address: str, count: int) -> None:
        super().__init__()
        self._address, self._count = address, count
        self.back: list[int] = []
        self.error: ServiceError | None = None

    def run(self) -> None:
        def frames() -> Iterator[LiveFrame]:
            for number in range(self._count):
                yield LiveFrame(bytes(64 * 48 * 3), pts=number)
                time.sleep(0.05)

        with Client(self._address) as client:
            try:
                for frame in client.restore(rgb24_spec(), frames()).frames:
                    self.back.append(frame.pts)
            except ServiceError as error:
                self.error = error


def _watch_health(address: str, told: list[int]) -> None:
    with (
        grpc.insecure_channel(address) as channel,
        contextlib.suppress(grpc.RpcError),  # the server has ended
    ):
        for answer in health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()):
            told.append(answer.status)


def _asked_until_it_stops(server: ServerProcess) -> None:
    """SIGTERM; the health check says NOT_SERVING, and does not just go away."""
    with grpc.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "restore.v1.JobService", "restore.v1.RestorationService"):
            request = health_pb2.HealthCheckRequest(service=service)
            assert stub.Check(request).status == SERVING
        server.child.send_signal(signal.SIGTERM)
        while (status := stub.Check(request).status) == SERVING:
            time.sleep(0.01)
        assert status == NOT_SERVING


def test_sigterm_under_load(film, tmp_path, calm_sha256):
    """Short streams end whole, endless ones are cut, chunks stand, exit code 0, equal bytes."""
    told: list[int] = []
    with server_process(tmp_path) as server, Client(server.address) as client:
        short, endless = _Stream(server.address, 100), _Stream(server.address, 10**6)
        watching = threading.Thread(target=_watch_health, args=(server.address, told))
        name = client.upload(film)
        jobs = client.create_jobs([name] * 2, **asked(toml=SLOW))
        for state in client.watch(jobs[0].name):
            if state.progress.chunks_done:
                break
        for thread in (short, endless, watching):
            thread.start()
        while not (short.back and endless.back and told):
            time.sleep(0.02)
        _asked_until_it_stops(server)
        # What is booked now is done by the next server.
        jobs += client.create_jobs([name], request_id="late", **asked(toml=SLOW))
        assert len(short.back) < 100, "it is still under way"
        assert server.end(signal.SIGTERM) == 0, "a second SIGTERM changes nothing"
        for thread in (short, endless, watching):
            thread.join(20)
            assert not thread.is_alive()
    assert told == [SERVING, NOT_SERVING]
    assert (short.error, short.back) == (None, list(range(100)))
    assert endless.error is not None
    assert endless.back == list(range(len(endless.back)))
    with server_process(tmp_path) as server, Client(server.address) as client:
        assert client.job(jobs[0].name).progress.chunks_done, "finished chunks stand"
        for job in jobs:
            done = client.wait(job.name)
            assert done.state == pb.JOB_STATE_SUCCEEDED, done.failure.message
            assert done.deliverable.sha256 == calm_sha256
        assert server.end(signal.SIGTERM) == 0
