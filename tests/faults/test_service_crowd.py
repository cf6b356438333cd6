"""Crowds: two hundred clients of whom a third leave, and four times what the server can take."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest
from restore_client import Client, LiveFrame, ServiceError
from restore_client.v1 import job_pb2 as jobs

from tests.faults import barcode
from tests.service_world import World, rgb24_spec, serving

PLACES = 4


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[World]:
    with serving(tmp_path_factory.mktemp("crowd"), max_streams=PLACES) as started:
        yield started


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    return barcode.write(tmp_path_factory.mktemp("film") / "film.mkv", 40)


def frames(count: int) -> Iterator[LiveFrame]:
    for number in range(count):
        yield LiveFrame(bytes(64 * 48 * 3), pts=number)


def counts(world: World) -> tuple[float, float]:
    metrics = world.server.metrics
    return metrics.acquired._value.get(), metrics.released._value.get()


def one_client(world: World, *, leaves: bool, ends: list[int]) -> None:
    """Read a stream to its end, or leave it in the middle; come back where there is no place."""
    with world.client() as client:
        while True:
            try:
                stream = client.restore(rgb24_spec(), frames(400 if leaves else 6))
                taken = 0
                for taken, _ in enumerate(stream.frames, 1):
                    if leaves and taken == 3:
                        break
                ends.append(taken)
                return
            except ServiceError as error:
                if error.code is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise
                time.sleep(0.05)


def crowd(world: World, film: Path, many: int) -> None:
    before, ends = counts(world)[0], list[int]()
    with world.client() as client:
        job = client.create_job(client.upload(film), preset="transcode", container=".mkv")
        gc.collect()
        held = psutil.Process().memory_info().rss
        threads = [
            threading.Thread(
                target=one_client, args=(world,), kwargs={"leaves": n % 10 < 3, "ends": ends}
            )
            for n in range(many)
        ]
        for start in range(0, many, 2 * PLACES):
            for thread in threads[start : start + 2 * PLACES]:
                thread.start()
            for thread in threads[start : start + 2 * PLACES]:
                thread.join()
        left = time.monotonic()
        while counts(world)[0] != counts(world)[1] and time.monotonic() - left < 2.0:
            time.sleep(0.01)
        # Within two seconds of the last one's going everything is given back.
        assert counts(world) == (before + many, before + many)
        gc.collect()
        assert psutil.Process().memory_info().rss - held < 40 << 20
        assert client.wait(job.name).state == jobs.JOB_STATE_SUCCEEDED
    assert sorted(ends) == [3] * (many * 3 // 10) + [6] * (many * 7 // 10)


def test_clients_leave_and_what_they_held_is_given_back(world, film):
    crowd(world, film, 20)


@pytest.mark.release
@pytest.mark.timeout(900)
def test_two_hundred_clients_of_whom_a_third_leave(world, film):
    crowd(world, film, 200)


def pace(client: Client, seconds: float, stop: threading.Event) -> float:
    """Frames a second of one accepted stream."""
    taken, began = 0, time.monotonic()
    stream = client.restore(rgb24_spec(), frames(10**6))
    for _ in stream.frames:
        taken += 1
        if time.monotonic() - began > seconds or stop.is_set():
            break
    stream.frames.close()
    return taken / (time.monotonic() - began)


def paces(world: World, seconds: float) -> float:
    """Of all places together, each taken by a stream."""
    found, stop = list[float](), threading.Event()

    def work() -> None:
        with world.client() as client:
            found.append(pace(client, seconds, stop))

    threads = [threading.Thread(target=work) for _ in range(PLACES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(found)


def overloaded(world: World, seconds: float, least: float) -> None:
    """Four times as many clients as places; those that are refused come back when told."""
    alone = paces(world, seconds / 2)
    left = time.monotonic()
    while counts(world)[0] != counts(world)[1] and time.monotonic() - left < 2.0:
        time.sleep(0.01)
    refused, stop = list[ServiceError](), threading.Event()

    def knock() -> None:
        with world.client() as client:
            while not stop.is_set():
                try:
                    list(client.restore(rgb24_spec(), frames(1)).frames)
                except ServiceError as error:
                    refused.append(error)
                    stop.wait(error.retry_s or 0.1)

    crowd_threads = [threading.Thread(target=knock) for _ in range(3 * PLACES)]
    holders: list[float] = []
    holding = threading.Thread(target=lambda: holders.append(paces(world, seconds)))
    holding.start()
    time.sleep(0.5)  # the places are taken first
    for thread in crowd_threads:
        thread.start()
    holding.join()
    stop.set()
    for thread in crowd_threads:
        thread.join()
    assert len(refused) >= 3 * PLACES
    assert {error.code for error in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert all(error.reason == "Overloaded" and error.retry_s for error in refused)
    assert holders[0] > least * alone, f"{holders[0]:.0f} frames a second, {alone:.0f} alone"


def test_more_than_there_is_room_for_is_told_to_come_back(world):
    overloaded(world, 4.0, 0.4)


@pytest.mark.release
@pytest.mark.timeout(600)
def test_a_minute_of_four_times_the_capacity_leaves_accepted_work_its_pace(world):
    overloaded(world, 60.0, 0.7)
