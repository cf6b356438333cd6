"""Live streams through shared memory: the same frames, bounded, given back, and never trusted."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

import grpc
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from restore_client import AsyncClient, LiveFrame, ServiceError
from restore_client.slots import opened
from restore_client.v1 import common_pb2 as common
from restore_client.v1 import restoration_pb2 as pb

from restore.color import ChromaSite, ColorSpec, Matrix, Primaries, Range, Transfer
from restore.engine.pixels import to_frame
from restore.errors import InvalidInput
from restore.frames import PIXEL_FORMATS
from restore.service.live_spec import prepared
from restore.service.pieces import FrameShape, raw_of
from restore.service.settings import load_settings
from restore.service.shared import Exchange
from restore.service.slots import Budget, Handed, NoRoom, Segment, Segments
from tests.faults import barcode
from tests.faults.test_service_live import frame, many, number_of, spec
from tests.service_world import World, serving

SHARED, PIECES = pb.TRANSPORT_SHARED_MEMORY, pb.TRANSPORT_PIECES


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[World]:
    with serving(tmp_path_factory.mktemp("shared"), max_streams=4) as started:
        yield started


def mapped() -> list[str]:
    """Segments that this process still has."""
    return [line for line in Path("/proc/self/maps").read_text().splitlines() if "live" in line]


def settled(world: World, within_s: float = 2.0) -> None:
    """Everything is given back in time."""
    ends, metrics = time.monotonic() + within_s, world.server.metrics
    while time.monotonic() < ends:
        taken, free = metrics.acquired._value.get(), metrics.released._value.get()
        if taken == free and not mapped():
            break
        time.sleep(0.01)
    assert taken == free
    assert mapped() == []
    assert next(iter(metrics.shared_bytes.collect())).samples[0].value == 0


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


@pytest.mark.parametrize("layout", sorted(PIXEL_FORMATS))
def test_nothing_looks_at_a_slot_once_its_frame_was_taken(layout):
    """The client may write there at once."""
    shape = FrameShape(layout, 12, 8)
    matrix = Matrix.RGB if shape.format.kind == "rgb" else Matrix.BT709
    color = ColorSpec(matrix, Primaries.BT709, Transfer.BT709, Range.FULL, ChromaSite.LEFT)
    memory = bytearray(np.random.default_rng(1).integers(0, 60, shape.nbytes).astype(np.uint8))
    raw = raw_of(shape, memoryview(memory), 0, barcode.Fraction(1, 25), color, 0, 0)
    taken = to_frame(raw, torch.device("cpu"))
    before = taken.data.clone(), None if taken.alpha is None else taken.alpha.clone()
    memory[:] = bytes(shape.nbytes)
    assert torch.equal(taken.data, before[0])
    assert taken.alpha is None or torch.equal(taken.alpha, before[1])


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
        [sys.executable, "-c", script, asked], stdout=subprocess.PIPE, text=True
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
        [sys.executable, "-c", script, asked], capture_output=True, text=True, check=True
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


@dataclass
class Bare:
    """A client that says what a test wants it to."""

    answers: Iterator[pb.RestoreResponse]
    say: Callable[[pb.RestoreRequest | None], None]
    seen: list[pb.RestoreResponse] = field(default_factory=list)

    def until(self, kind: str) -> pb.RestoreResponse:
        for answer in self.answers:
            self.seen.append(answer)
            if answer.WhichOneof("message") == kind:
                return answer
        raise AssertionError(f"no {kind}")


@pytest.fixture
def bare(world) -> Iterator[Bare]:
    outbox: SimpleQueue[pb.RestoreRequest | None] = SimpleQueue()
    outbox.put(pb.RestoreRequest(spec=spec(wants_shared_memory=True)))
    with world.client() as client:
        answers = client._live.Restore(iter(outbox.get, None))
        yield Bare(answers, outbox.put)
        outbox.put(None)
        answers.cancel()
    settled(world)


def begun(bare: Bare) -> None:
    slots = opened(bare.until("offer").offer)
    bare.say(slots.answer())
    assert bare.until("started").started.transport == SHARED
    slots.close()


def said(slot: int = 0, **fields: int) -> pb.RestoreRequest:
    return pb.RestoreRequest(shared_frame=pb.SharedFrame(slot=slot, **fields))


def freed(slot: int) -> pb.RestoreRequest:
    return pb.RestoreRequest(slot_freed=pb.SlotFreed(slot=slot))


ENDED = pb.RestoreRequest(frames_ended=pb.FramesEnded())
WRONG = {
    "no slot": ([said(8)], "input slot 8; expected 0 to 7"),
    "a slot below": ([said(-1)], "input slot -1"),
    "freed, never given": ([freed(0)], "output slot 0, which the server has"),
    "freed, no slot": ([freed(99)], "output slot 99; expected 0 to 7"),
    "a piece": (
        [pb.RestoreRequest(piece=pb.FramePiece(data=b"x"))],
        "a message 'piece' in a stream with shared memory",
    ),
    "opened twice": ([pb.RestoreRequest(opened=pb.SharedMemoryOpened())], "a message 'opened'"),
    "the spec again": ([pb.RestoreRequest(spec=spec())], "a message 'spec'"),
    "nothing": ([pb.RestoreRequest()], "a message None"),
    "time that falls": ([said(0, pts=5), said(1, index=1, pts=5)], "time 5 after 5"),
    "a frame again": ([said(0), said(1)], "frame 0 after frame 0"),
    "too many": ([said(0, index=10**9)], "at most 1000000 frames"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_said_out_of_turn_is_refused_and_the_server_lives(world, bare, kind):
    messages, words = WRONG[kind]
    begun(bare)
    for one in messages:
        bare.say(one)
    with pytest.raises(grpc.RpcError) as refused:
        bare.until("summary")
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert words in refused.value.details()
    with world.client() as client:
        assert len(list(client.restore(spec(), [frame(0)]).frames)) == 1


def test_a_slot_that_the_server_still_has_is_refused(bare):
    """Results are not freed, so the pipeline stands and frames wait in their slots."""
    begun(bare)
    for number in range(100):
        bare.say(said(number % 8, index=number, pts=number))
    with pytest.raises(grpc.RpcError) as refused:
        bare.until("summary")
    assert "which the server has" in refused.value.details()
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_slots_are_freed_though_no_result_was_taken(bare):
    """One after the other, well beyond the eight that results can lie in: none is freed here."""
    begun(bare)
    for number in range(8):
        bare.say(said(number, index=number, pts=number))
    given = set()
    for _ in range(8):
        given.add(bare.until("slot_freed").slot_freed.slot)
    assert given == set(range(8))
    told = [one for one in bare.seen if one.WhichOneof("message") == "shared_frame"]
    assert [one.shared_frame.slot for one in told] == list(range(len(told)))
    bare.say(ENDED)
    bare.until("summary")


def test_a_frame_after_the_last_one():
    segments = Segments(Budget(1 << 20), 1 << 20, 4608, 4608)
    exchange = Exchange(segments, prepared(spec(), load_settings()), 10)
    exchange.read(iter([said(), ENDED, said(1, index=1, pts=1)]))
    with pytest.raises(InvalidInput, match="frame 1 after the last one"):
        list(exchange.answers())
    segments.close()


def test_a_side_that_is_closed_before_its_results_were_taken(bare):
    begun(bare)
    for number in range(8):
        bare.say(said(number, index=number, pts=number))
    for number in range(8, 16):
        bare.say(said(bare.until("slot_freed").slot_freed.slot, index=number, pts=number))
    bare.say(None)
    with pytest.raises(grpc.RpcError) as refused:
        bare.until("summary")
    assert "closed its side with results to come" in refused.value.details()


@pytest.mark.parametrize("tokens", [{}, {"input_token": b"x" * 32}, {"output_token": b"\xff" * 99}])
def test_who_does_not_prove_it_gets_pieces(bare, tokens):
    bare.until("offer")
    bare.say(pb.RestoreRequest(opened=pb.SharedMemoryOpened(**tokens)))
    started = bare.until("started").started
    assert (started.transport, started.transport_note) == (PIECES, "the client could not open it")
    assert mapped() == []
    data = frame(0).data
    bare.say(pb.RestoreRequest(piece=pb.FramePiece(data=data, is_last=True)))
    assert bare.until("piece").piece.data == data


def test_an_offer_that_is_not_answered(bare):
    bare.until("offer")
    bare.say(said())
    with pytest.raises(grpc.RpcError) as refused:
        bare.until("started")
    assert "no answer to an offer of shared memory" in refused.value.details()


def test_one_that_did_not_ask_is_not_offered_any(world):
    with world.client() as client:
        answers = client._live.Restore(iter([pb.RestoreRequest(spec=spec())]))
        assert next(answers).started.transport == PIECES


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


PLACES = st.lists(st.tuples(st.sampled_from("al"), st.integers(-2, 6)), max_size=40)


@given(PLACES, st.booleans())
def test_a_slot_is_on_one_end_at_a_time(moves, here):
    slots, model = Handed(4, here=here, what="some"), set(range(4)) if here else set()
    for move, slot in moves:
        if move == "a" and (slot in model or not 0 <= slot < 4):
            with pytest.raises(InvalidInput, match="some slot"):
                slots.arrive(slot)
        elif move == "a":
            slots.arrive(slot)
            model.add(slot)
        elif model:
            left = slots.leave()
            assert left in model
            model.remove(left)
        assert bool(slots) == bool(model)


@given(st.lists(st.integers(0, 60), max_size=20))
def test_the_budget_holds_and_is_given_back(sizes):
    budget, taken = Budget(100), []
    for size in sizes:
        if sum(taken) + size > 100:
            with pytest.raises(NoRoom):
                budget.take(size)
        else:
            budget.take(size)
            taken.append(size)
    assert budget.taken_bytes == sum(taken) <= 100
    for size in taken:
        budget.give_back(size)
    assert budget.taken_bytes == 0


@settings(max_examples=25)
@given(st.integers(1, 5000), st.integers(1, 70_000), st.integers(1, 1 << 20))
def test_segments_hold_what_is_written_and_no_more_than_was_booked(sent, back, limit):
    budget = Budget(1 << 30)
    made = Segments(budget, limit, sent, back)
    assert budget.taken_bytes == made.input.size_bytes + made.output.size_bytes
    for segment in (made.input, made.output):
        assert 2 <= segment.slots <= 8
        assert segment.slots == 2 or segment.slots * segment.slot_bytes <= limit
        for slot in range(segment.slots):
            segment.view(slot)[:] = bytes([slot]) * segment.frame_bytes
        for slot in range(segment.slots):
            assert bytes(segment.view(slot)) == bytes([slot]) * segment.frame_bytes
    made.close()
    made.close()
    assert budget.taken_bytes == 0


def test_a_segment_cannot_be_cut_short_nor_opened_later():
    segment = Segment(2, 100)
    fd = os.open(segment.path, os.O_RDWR)
    for size in (0, segment.size_bytes + 1):
        with pytest.raises(PermissionError):
            os.ftruncate(fd, size)
    os.close(fd)
    path = segment.path
    segment.settle()
    with pytest.raises(OSError, match="No such file"):
        os.open(path, os.O_RDWR)
    segment.close()


def test_a_client_opens_nothing_but_segments(tmp_path):
    """A server that names other things learns nothing of them."""
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(4096 + 2 * 4096))
    unsealed = os.memfd_create("x")
    os.truncate(unsealed, 4096 + 2 * 4096)
    good = Segment(2, 100)
    told = {"slots": 2, "slot_bytes": 4096, "frame_bytes": 100}
    with secret.open("rb") as file:
        for changes in (
            {"path": str(secret)},
            {"path": f"/proc/self/fd/{file.fileno()}"},
            {"path": f"/proc/{os.getpid()}/fd/{file.fileno()}"},
            {"path": f"/proc/{os.getpid()}/fd/{unsealed}"},
            {"path": f"/proc/{os.getpid()}/fd/../../../etc/passwd"},
            {"path": ""},
            {"slots": 3},
            {"slots": -1},
            {"slots": 10**6},
            {"frame_bytes": 4097},
            {"frame_bytes": 0},
        ):
            segment = pb.SharedSegment(**{**told, "path": good.path, **changes})
            right = pb.SharedSegment(**told, path=good.path)
            assert opened(pb.SharedMemoryOffer(input=segment, output=right)) is None
            assert opened(pb.SharedMemoryOffer(input=right, output=segment)) is None
    slots = opened(pb.SharedMemoryOffer(input=right, output=right))
    assert good.is_proven_by(slots.answer().opened.input_token)
    slots.close()
    os.close(unsealed)
    good.close()


def test_barcodes_come_back_through_a_network(world):
    toml = 'scale = 2\n[[steps]]\nstage = "upscale"'
    with world.client() as client:
        stream = client.restore(
            spec(recipe=common.Recipe(toml=toml)), map(frame, range(20)), shared=True
        )
        width, height = stream.started.width_px, stream.started.height_px
        assert [number_of(one.data, width, height) for one in stream.frames] == list(range(20))
