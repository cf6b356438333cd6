"""What clients say in a stream through shared memory: none is trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue

import grpc
import pytest
from restore_client.slots import opened
from restore_client.v1 import restoration_pb2 as pb

from restore.errors import InvalidInput
from restore.service.live_spec import prepared
from restore.service.settings import load_settings
from restore.service.shared import Exchange
from restore.service.slots import Budget, Segments
from tests.faults.given_back import mapped, settled
from tests.faults.test_service_live import frame, spec
from tests.service_world import World, serving

SHARED, PIECES = pb.TRANSPORT_SHARED_MEMORY, pb.TRANSPORT_PIECES


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[World]:
    with serving(tmp_path_factory.mktemp("shared"), max_streams=4) as started:
        yield started


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
