"""Live streams through shared memory: the same frames, bounded and given back."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from restore_client import AsyncClient, LiveFrame, ServiceError
from restore_client.v1 import common_pb2 as common
from restore_client.v1 import restoration_pb2 as pb

from restore.service.pieces import FrameShape
from tests.faults import barcode
from tests.faults.given_back import mapped, settled
from tests.faults.test_service_live import frame, many, number_of, spec
from tests.service_world import World, serving

# A process of its own that has the client's package and no other of ours.
CLIENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "client")}
SHARED, PIECES = pb.TRANSPORT_SHARED_MEMORY, pb.TRANSPORT_PIECES


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[World]:
    with serving(tmp_path_factory.mktemp("shared"), max_streams=4) as started:
        yield started


@pytest.mark.parametrize("layout", ["yuv420p", "yuv422p10le", "gray", "rgb24", "rgb48le"])
def test_the_same_bytes_as_in_pieces(world, layout):
    shape = FrameShape(layout, 37, 21)
    noise = np.random.default_rng(7).integers(16, 235, (5, shape.nbytes)).astype(np.uint8)
    noise[:, 1::2] //= 64 if layout == "yuv422p10le" else 1
    sent = [LiveFrame(row.tobytes(), pts=3 * n, duration=3) for n, row in enumerate(noise)]
    toml = 'scale = 2\n[[steps]]\nstage = "degrain"\nradius = 1\n[[steps]]\nstage = "upscale"'
    asked = spec(layout, width_px=37, height_px=21, recipe=common.Recipe(toml=toml))
    ways = {}
    with world.client() as client:
        for shared in (True, False):
            stream = client.restore(asked, sent, shared=shared)
            assert stream.started.transport == (SHARED if shared else PIECES)
            ways[shared] = list(stream.frames)
    assert ways[True] == ways[False]
    assert len(ways[True]) == len(sent)
    settled(world)


def test_many_more_frames_than_slots_in_order_with_their_times(world):
    with world.client() as client:
        stream = client.restore(spec(), map(frame, range(60)))
        back = list(stream.frames)
    assert stream.started.transport == SHARED, "it is what is taken where the server is at hand"
    assert [one.pts for one in back] == [3 * n for n in range(60)]
    assert [one.data for one in back] == [frame(n).data for n in range(60)]


def test_with_asyncio(world):
    async def both() -> list[list[LiveFrame]]:
        async with AsyncClient(world.address) as client:
            return [
                [one async for one in client.restore(spec(), map(frame, range(20)), shared=shared)]
                for shared in (None, False)
            ]

    through_slots, in_pieces = asyncio.run(both())
    assert through_slots == in_pieces
    assert len(in_pieces) == 20
    settled(world)


@pytest.mark.parametrize("kind", ["asyncio", "threads"])
def test_results_that_are_taken_after_the_stream_has_ended(world, kind):
    """The server is done with all of them, and the call with it, before the last are looked at."""

    async def slowly() -> list[int]:
        found = []
        async with AsyncClient(world.address) as client:
            async for one in client.restore(spec(), map(frame, range(7)), shared=True):
                found.append(number_of(one.data, barcode.WIDTH_PX, barcode.HEIGHT_PX))
                if len(found) == 1:
                    await asyncio.sleep(1.0)
                time.sleep(0.02)  # the loop that would be told of the end is busy
        return found

    if kind == "asyncio":
        assert asyncio.run(slowly()) == list(range(7))
        return
    with world.client() as client:
        stream = client.restore(spec(), map(frame, range(7)), shared=True)
        time.sleep(1.0)
        back = [number_of(one.data, barcode.WIDTH_PX, barcode.HEIGHT_PX) for one in stream.frames]
    assert back == list(range(7))


def test_what_frames_raise_comes_out_of_asyncio(world):
    def broken() -> Iterator[LiveFrame]:
        yield frame(0)
        raise OSError("the camera is gone")

    async def all_of_it() -> None:
        async with AsyncClient(world.address) as client:
            async for _ in client.restore(spec(), broken(), shared=True):
                pass

    with pytest.raises(OSError, match="the camera is gone"):
        asyncio.run(all_of_it())
    settled(world)


def test_a_slow_reader_holds_its_sender_back(world):
    sent = 0

    def counted() -> Iterator[LiveFrame]:
        nonlocal sent
        for number in range(2000):
            sent += 1
            yield LiveFrame(bytes(640 * 480 * 3), pts=number)

    with world.client() as client:
        stream = client.restore(spec(width_px=640, height_px=480), counted(), shared=True)
        next(stream.frames)
        time.sleep(1.5)
        first = sent
        time.sleep(0.5)
        # Eight slots each way, and what is between them.
        assert first <= sent <= 8 + 8 + 4
        stream.frames.close()
    settled(world)


def test_a_client_that_is_killed_leaves_nothing(world):
    script = f"""
import sys
from restore_client import Client, LiveFrame
from restore_client.v1 import restoration_pb2 as pb
spec = pb.LiveSpec.FromString(bytes.fromhex(sys.argv[1]))
def frames():
    for n in range(10**6):
        yield LiveFrame(bytes(1280 * 720 * 3), pts=n)
stream = Client({world.address!r}).restore(spec, frames(), shared=True)
assert stream.started.transport == pb.TRANSPORT_SHARED_MEMORY
for n, _ in enumerate(stream.frames):
    print(n, flush=True)
"""
    asked = spec(width_px=1280, height_px=720).SerializeToString().hex()
    with subprocess.Popen(
        [sys.executable, "-c", script, asked], stdout=subprocess.PIPE, text=True, env=CLIENT
    ) as client:
        for _ in range(5):
            assert client.stdout.readline().strip().isdigit()
        assert mapped()
        client.send_signal(signal.SIGKILL)
        client.wait()
        settled(world)


def test_a_client_of_another_user_gets_pieces(world):
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    script = f"""
import os, sys
from restore_client import Client, LiveFrame
from restore_client.v1 import restoration_pb2 as pb
os.setgroups([]); os.setgid(65534); os.setuid(65534)
spec = pb.LiveSpec.FromString(bytes.fromhex(sys.argv[1]))
frames = [LiveFrame(bytes(64 * 24 * 3), pts=0)]
stream = Client({world.address!r}).restore(spec, frames, shared=True)
print(stream.started.transport, stream.started.transport_note, len(list(stream.frames)))
"""
    asked = spec().SerializeToString().hex()
    ran = subprocess.run(
        [sys.executable, "-c", script, asked],
        capture_output=True,
        text=True,
        check=True,
        env=CLIENT,
    )
    assert ran.stdout == "1 the client could not open it 1\n"
    settled(world)


def test_no_more_shared_memory_than_is_allowed(tmp_path):
    one_stream = 2 * (4096 + 8 * 8192)
    with serving(tmp_path, shared_bytes=one_stream) as small, small.client() as client:
        stop = threading.Event()
        held = client.restore(spec(), many(stop))
        second = client.restore(spec(), [frame(0)])
        assert (held.started.transport, second.started.transport) == (SHARED, PIECES)
        assert "are more than" in second.started.transport_note
        assert [one.data for one in second.frames] == [frame(0).data]
        stop.set()
        assert [one.pts for one in held.frames][:2] == [0, 3]
        settled(small)
        assert client.restore(spec(), [frame(0)]).started.transport == SHARED


def test_what_the_frames_raise_comes_out_where_results_are_taken(world):
    def broken() -> Iterator[LiveFrame]:
        yield frame(0)
        raise OSError("the camera is gone")

    with world.client() as client:
        with pytest.raises(OSError, match="the camera is gone"):
            list(client.restore(spec(), broken(), shared=True).frames)
        with pytest.raises(ValueError, match="frame 0 of 3 bytes; expected 4608"):
            list(client.restore(spec(), [LiveFrame(b"xyz", 0)], shared=True).frames)
    settled(world)


def threads() -> int:
    """Of streams, on both sides; gRPC's own pool may grow."""
    names = [thread.name for thread in threading.enumerate()]
    return sum(name.startswith("live") or "consume_request" in name for name in names)


def test_no_thread_stays_behind(world):
    settled(world)
    with world.client() as client:
        for _ in range(3):
            list(client.restore(spec(), [frame(0)]).frames)
        before = threads()
        for number in range(12):
            stop = threading.Event()
            stream = client.restore(spec(), many(stop) if number % 2 else [LiveFrame(b"x", 0)])
            if number % 2:
                next(stream.frames)
                stop.set()
            stream.frames.close()
            with pytest.raises((ValueError, ServiceError)):
                list(client.restore(spec(), [LiveFrame(b"x", 0)]).frames)
    ends = time.monotonic() + 2.0
    while threads() > before and time.monotonic() < ends:
        time.sleep(0.02)
    assert threads() <= before
    settled(world)


def test_barcodes_come_back_through_a_network(world):
    toml = 'scale = 2\n[[steps]]\nstage = "upscale"'
    with world.client() as client:
        stream = client.restore(
            spec(recipe=common.Recipe(toml=toml)), map(frame, range(20)), shared=True
        )
        width, height = stream.started.width_px, stream.started.height_px
        assert [number_of(one.data, width, height) for one in stream.frames] == list(range(20))
