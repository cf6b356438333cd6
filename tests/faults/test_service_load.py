"""Many jobs and bad files: the server neither grows nor falls."""

from __future__ import annotations

import ctypes
import gc
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest
from restore_client import Client, ServiceError
from restore_client.v1 import common_pb2 as common
from restore_client.v1 import job_pb2 as pb

from restore.jobs.executor import LocalProcesses
from restore.jobs.storage import Storage
from tests.faults import barcode
from tests.service_world import World, serving

ROOT = Path(__file__).parent.parent.parent
TYPED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNIMPLEMENTED,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[World]:
    with serving(tmp_path_factory.mktemp("load")) as started:
        yield started


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    return barcode.write(tmp_path_factory.mktemp("film") / "film.mkv", 6)


def asked() -> dict[str, object]:
    return {
        "recipe": common.Recipe(preset="transcode"),
        "delivery": common.Delivery(container=".mkv"),
    }


def _mutated(data: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, a piece cut out, doubled or written over, or the end cut off."""
    changed = bytearray(data)
    kind = rng.randrange(5)
    at = rng.randrange(len(changed))
    length = rng.randrange(1, 400)
    if kind == 0:
        for _ in range(rng.randrange(1, 40)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    elif kind == 1:
        del changed[at : at + length]
    elif kind == 2:
        changed[at:at] = changed[at : at + length]
    elif kind == 3:
        changed[at : at + length] = rng.randbytes(length)
    else:
        del changed[max(1, at) :]
    return bytes(changed) or b"x"


def _tried(client: Client, name: str) -> tuple[ServiceError | None, pb.Job | None]:
    try:
        return None, client.create_jobs([name], **asked())[0]
    except ServiceError as error:
        return error, None


def _bad_files(client: Client, film: Path, folder: Path, count: int, seed: int) -> tuple[int, int]:
    """Mutations of a clip sent, planned, and where that is possible done; refused and done."""
    rng, data = random.Random(seed), film.read_bytes()
    refused = done = 0
    for number in range(count):
        bad = folder / f"bad-{number}.mkv"
        bad.write_bytes(_mutated(data, rng))
        name = client.upload(bad)
        bad.unlink()
        why, job = _tried(client, name)
        if job is None:
            assert why is not None
            assert why.code in TYPED, why
            assert why.reason not in ("", "RestoreError"), why
            refused += 1
        else:
            ended = client.wait(job.name)
            assert ended.state in (pb.JOB_STATE_SUCCEEDED, pb.JOB_STATE_FAILED)
            assert "internal" not in ended.failure.message
            done += ended.state == pb.JOB_STATE_SUCCEEDED
            client.delete(job.name)
        assert len(client.presets()) > 5, "the server answers"
        client.delete_upload(name)
    return refused, done


def test_no_bad_file_brings_the_server_down(world, film, tmp_path):
    with world.client() as client:
        refused, done = _bad_files(client, film, tmp_path, 14, seed=5)
        assert refused
        assert done
        whole = client.create_jobs([client.upload(film)], **asked())[0]
        assert client.wait(whole.name).state == pb.JOB_STATE_SUCCEEDED


@pytest.mark.release
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(10))
def test_a_thousand_bad_files(world, film, tmp_path, seed):
    with world.client() as client:
        _bad_files(client, film, tmp_path, 100, seed=seed)


class _Leaking(LocalProcesses):
    """Keeps some for every job: what the measurement has to find, were the rest even to shrink."""

    kept: list[bytearray]

    def workers(self, job: str) -> list:
        self.kept = [*getattr(self, "kept", []), bytearray(b"x" * (3 << 20))]
        return super().workers(job)


def _growth_bytes(folder: Path, film: Path, jobs: int, warm: int, *, leaks: bool = False) -> int:
    """What this process and the worker have more after some jobs than after the first ones."""
    with serving(folder) as world:
        if leaks:
            storage = Storage((folder / "storage").absolute())
            world.server.dispatcher._executor = _Leaking(storage, ["cpu"])
        with world.client() as client:
            name = client.upload(film)

            def some(count: int) -> None:
                for _ in range(count):
                    job = client.create_jobs([name], **asked())[0]
                    assert client.wait(job.name).state == pb.JOB_STATE_SUCCEEDED
                    client.delete(job.name)

            def held() -> int:
                gc.collect()
                # What other tests freed is given back now, not between the two measurements.
                ctypes.CDLL(None).malloc_trim(0)
                mine = psutil.Process()
                workers = [
                    one
                    for one in mine.children(recursive=True)
                    if "restore.jobs.worker" in one.cmdline()
                ]
                assert workers
                return sum(one.memory_info().rss for one in (mine, *workers))

            some(warm)
            before = held()
            some(jobs)
            return held() - before


def test_memory_does_not_grow_with_jobs(film, tmp_path):
    assert _growth_bytes(tmp_path, film, jobs=12, warm=6) < 10 << 20


def test_a_leak_would_be_found(film, tmp_path):
    """The control: three megabytes kept for each job are more than the bound allows."""
    assert _growth_bytes(tmp_path, film, jobs=12, warm=6, leaks=True) > 10 << 20


@pytest.mark.release
@pytest.mark.timeout(3600)
def test_memory_does_not_grow_with_five_hundred_jobs(film, tmp_path):
    assert _growth_bytes(tmp_path, film, jobs=500, warm=30) < 10 << 20


def _peak_bytes(folder: Path, frames: int) -> int:
    """Most memory that a job's worker and its parent took, from the kernel's own marks."""
    folder.mkdir()
    clip = barcode.write(folder / "long.mkv", frames)
    script = (
        "import sys; from pathlib import Path; from tests.faults.length import main; "
        "main(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(clip), str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return int(done.stdout.splitlines()[-1])


def test_memory_does_not_grow_with_the_clip(tmp_path):
    short = _peak_bytes(tmp_path / "short", 50)
    assert _peak_bytes(tmp_path / "long", 400) < 1.05 * short


@pytest.mark.release
@pytest.mark.timeout(3600)
def test_memory_does_not_grow_with_twenty_thousand_frames(tmp_path):
    short = _peak_bytes(tmp_path / "short", 100)
    assert _peak_bytes(tmp_path / "long", 20_000) < 1.05 * short
