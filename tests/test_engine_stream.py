"""Stages that work on the stream itself: marks, drops and retimes, between frame stages."""

from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from restore.engine.run import process
from restore.engine.settings import CancelToken, EngineSettings
from restore.engine.stage import StreamSpec
from restore.errors import Cancelled, OutOfMemory
from tests.engine_stages import Mean, frame

CPU = EngineSettings("cpu", batch=1, tile_px=0)


class DropRepeats:
    """Leaves out frames that equal the one before and keeps the times of the others."""

    spec = StreamSpec("repeats", rate=None)

    def __init__(self):
        self.dropped = 0

    def facts(self):
        return {"dropped": str(self.dropped)}

    def stream(self, frames):
        last = None
        for one in frames:
            if last is not None and torch.equal(one.data, last.data):
                self.dropped += 1
                continue
            last = one
            yield one


class MarkShots:
    """Begins a shot where the mean jumps."""

    spec = StreamSpec("shots")

    def facts(self):
        return {}

    def stream(self, frames):
        shot, last = 0, None
        for one in frames:
            mean = float(one.data.mean())
            shot += last is not None and abs(mean - last) > 0.5
            last = mean
            yield replace(one, shot=shot)


def test_repeats_go_and_times_stay():
    values = [0, 0, 1, 1, 1, 2]
    frames = [frame(n, value=v) for n, v in enumerate(values)]
    stage = DropRepeats()
    got = list(process(frames, [stage], CPU))
    assert [f.pts for f in got] == [0, 200, 500]
    assert [f.index for f in got] == [0, 2, 5]
    assert stage.facts() == {"dropped": "3"}


def test_windows_of_later_stages_obey_the_shots_that_were_found():
    frames = [frame(n, value=v) for n, v in enumerate((0, 0.25, 0.5, 5, 5.25, 5.5))]
    got = [float(f.data[0, 0, 0]) for f in process(frames, [MarkShots(), Mean()], CPU)]
    alone = [float(f.data[0, 0, 0]) for f in process(frames[:3], [Mean()], CPU)]
    assert got[:3] == pytest.approx(alone)
    assert min(got[3:]) >= 5


def test_a_stream_stage_is_lazy_and_obeys_cancel():
    taken = []
    token = CancelToken()

    def source():
        for n in range(1000):
            taken.append(n)
            yield frame(n, 2, 2)

    stream = process(source(), [MarkShots()], CPU, token)
    next(stream)
    assert len(taken) == 1
    token.cancel()
    with pytest.raises(Cancelled):
        next(stream)


def test_out_of_memory_in_a_stream_stage_is_typed():
    class Greedy(MarkShots):
        def stream(self, frames):
            for one in frames:
                raise MemoryError
                yield one

    with pytest.raises(OutOfMemory, match="in stage 'shots' after 0 frames"):
        list(process([frame(0)], [Greedy()], CPU))


def test_what_a_stream_stage_declares_is_checked():
    from restore.errors import InvalidInput

    with pytest.raises(InvalidInput):
        StreamSpec("x", delay=-1)
    with pytest.raises(InvalidInput):
        StreamSpec("x", rate=Fraction(0))
