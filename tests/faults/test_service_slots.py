"""Slots and segments by themselves: on one end at a time, no more than was booked."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from restore_client.slots import opened
from restore_client.v1 import restoration_pb2 as pb

from restore.color import ChromaSite, ColorSpec, Matrix, Primaries, Range, Transfer
from restore.engine.pixels import to_frame
from restore.errors import InvalidInput
from restore.frames import PIXEL_FORMATS
from restore.service.pieces import FrameShape, raw_of
from restore.service.slots import Budget, Handed, NoRoom, Segment, Segments
from tests.faults import barcode


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
