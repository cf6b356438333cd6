import gc
import threading
import time
from fractions import Fraction

import numpy as np
import pytest
import torch

from restore.engine.pixels import from_frame
from restore.engine.run import pipeline_labels, process, run
from restore.engine.settings import CancelToken, EngineSettings
from restore.engine.stage import Tiling
from restore.errors import Cancelled, DeviceError, InvalidInput, OutOfMemory
from restore.frames import pixel_format
from tests.engine_stages import RGB, Blur, Double, Limited, Mean, Noise, PlainStage, frame

CPU = EngineSettings("cpu", batch=1, tile_px=0)
GBRP16 = pixel_format("gbrp16le")


def raw(index, height=16, width=24):
    return from_frame(frame(index, height, width), GBRP16, RGB)


class Memory:
    """A sink that keeps what it is given."""

    pixel_format = GBRP16
    color = RGB

    def __init__(self):
        self.frames = []

    def write(self, frame):
        self.frames.append(frame)


class BrokenDisk(Memory):
    def write(self, frame):
        if len(self.frames) == 2:
            raise OSError("disk is full")
        super().write(frame)


def test_identity_gives_every_sample_back():
    sink = Memory()
    source = [raw(n) for n in range(5)]
    report = run(source, sink, [], CPU)
    assert (report.frames_in, report.frames_out) == (5, 5)
    for a, b in zip(source, sink.frames, strict=True):
        assert (a.pts, a.time_base, a.index) == (b.pts, b.time_base, b.index)
        for x, y in zip(a.planes, b.planes, strict=True):
            np.testing.assert_array_equal(x, y)


def test_results_do_not_depend_on_batch_for_pointwise_stages():
    frames = [frame(n) for n in range(7)]
    one = list(process(frames, [Mean(), Noise()], CPU))
    many = list(process(frames, [Mean(), Noise()], EngineSettings("cpu", batch=4, tile_px=0)))
    for a, b in zip(one, many, strict=True):
        assert torch.equal(a.data, b.data)


def test_seeds_depend_on_job_stage_and_frame_and_on_nothing_else():
    frames = [frame(n, value=0) for n in range(3)]
    one = [f.data for f in process(frames, [Noise()], CPU)]
    tail = [f.data for f in process(frames[1:], [Noise()], CPU)]
    assert torch.equal(one[1], tail[0])
    assert not torch.equal(one[0], one[1])
    other_job = EngineSettings("cpu", batch=1, tile_px=0, job="other")
    assert not torch.equal(one[0], next(process(frames, [Noise()], other_job)).data)
    twice = next(process(frames, [Noise(), Noise()], CPU)).data
    assert not torch.equal(twice, 2 * one[0])


def test_windows_stop_at_cuts():
    frames = [frame(n, value=n) for n in range(6)]
    settings = EngineSettings("cpu", batch=2, tile_px=0, cuts=frozenset({3}))
    got = [float(f.data[0, 0, 0]) for f in process(frames, [Mean()], settings)]
    assert got == pytest.approx([0.25, 0.75, 1.25, 3.25, 3.75, 4.25])


def test_a_rate_of_two_halves_the_time_base_and_keeps_every_time():
    frames = [frame(n, value=n, pts=p) for n, p in enumerate((0, 100, 350))]
    got = list(process(frames, [Double()], CPU))
    times = [f.pts * f.time_base for f in got]
    assert times[::2] == [f.pts * f.time_base for f in frames]
    assert times[1] == Fraction(50, 2500)
    assert times[3] == Fraction(225, 2500)
    assert [float(f.data[0, 0, 0]) for f in got] == [0, 0.5, 1, 1.5, 2, 2]


def test_linear_light_stages_get_linear_light():
    from restore.engine.space import WorkingSpace

    stage = Mean(radius_past=0, radius_future=1, space=WorkingSpace.LINEAR)
    frames = [frame(0, value=0.0), frame(1, value=1.0)]
    first = next(process(frames, [stage], CPU))
    # Half the light of white is 0.7354 in sRGB's transfer, not 0.5.
    assert float(first.data[0, 0, 0]) == pytest.approx(0.7354, abs=1e-3)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    ],
)
def test_the_ladder_halves_the_batch_then_the_tile_and_reports_each_step(error):
    frames = [frame(n, 64, 64) for n in range(6)]
    wanted = list(process(frames, [Blur()], CPU))
    stage = Limited(40 * 40, error)
    sink = Memory()
    source = [from_frame(f, GBRP16, RGB) for f in frames]
    report = run(source, sink, [stage], EngineSettings("cpu", batch=4, tile_px=0))
    steps = report.stages[0].ladder
    assert [s.after.split(", ", 2)[2] for s in steps] == [
        "whole frames, batch 2",
        "whole frames, batch 1",
        "tiles of 32 px, batch 1",
    ]
    assert steps[0].frame == 0
    assert str(error).partition("\n")[0] in steps[0].cause or steps[0].cause == "MemoryError"
    for a, b in zip(wanted, sink.frames, strict=True):
        levels = from_frame(a, GBRP16, RGB)
        for x, y in zip(levels.planes, b.planes, strict=True):
            assert np.abs(x.astype(int) - y.astype(int)).max() <= 1


def test_the_bottom_of_the_ladder_is_a_typed_error():
    stage = Limited(1, MemoryError())
    with pytest.raises(OutOfMemory, match=r"memory ran out in stage 'blur' at frame 0"):
        list(process([frame(0, 64, 64)], [stage], CPU))


def test_a_never_tiled_stage_is_not_tiled_by_the_ladder():
    stage = Limited(1, MemoryError(), tiling=Tiling.NEVER)
    with pytest.raises(OutOfMemory):
        list(process([frame(0, 64, 64)], [stage], CPU))
    assert {shape[-1] for shape in stage.calls} == {64}


def test_other_errors_pass_through():
    stage = Limited(1, RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        list(process([frame(0, 64, 64)], [stage], CPU))


def test_cancel_stops_before_the_next_call():
    token = CancelToken()
    stage = PlainStage()
    sink = Memory()

    def endless():
        n = 0
        while True:
            yield raw(n)
            n += 1
            if n == 5:
                token.cancel()

    with pytest.raises(Cancelled):
        run(endless(), sink, [stage], CPU, cancel=token)
    assert len(sink.frames) <= 5


def test_a_writer_that_fails_ends_the_run_with_its_own_error():
    with pytest.raises(OSError, match="disk is full"):
        run((raw(n) for n in range(100_000)), BrokenDisk(), [], CPU)
    assert not [t for t in threading.enumerate() if t.name in ("decode", "encode")]


def test_a_source_that_fails_ends_the_run_after_what_it_gave():
    def source():
        yield raw(0)
        raise InvalidInput("frame 1 is broken")

    with pytest.raises(InvalidInput, match="frame 1 is broken"):
        run(source(), Memory(), [], CPU)


def test_queues_are_bounded_by_bytes_behind_a_slow_writer():
    alive = []

    class Slow(Memory):
        def write(self, frame):
            time.sleep(0.01)
            super().write(frame)
            self.frames.clear()

    def source():
        for n in range(40):
            alive.append(n)
            yield raw(n)

    taken_before_write = []

    class Watching(Slow):
        def write(self, frame):
            taken_before_write.append(len(alive) - frame.index)
            super().write(frame)

    frame_bytes = 3 * 16 * 24 * 4
    settings = EngineSettings("cpu", batch=1, tile_px=0, queue_bytes=3 * frame_bytes)
    run(source(), Watching(), [], settings)
    gc.collect()
    # Two queues of three, and one frame in each of source, stages and writer.
    assert max(taken_before_write) <= 10


def test_progress_reaches_the_end():
    seen = []
    run(
        [raw(n) for n in range(4)],
        Memory(),
        [PlainStage()],
        CPU,
        frames_total=4,
        on_progress=seen.append,
    )
    assert [p.frames_done for p in seen] == [1, 2, 3, 4]
    assert seen[-1].eta_s == 0
    assert set(seen[-1].stage_s) == {"plain"}


def test_an_empty_source_gives_an_empty_result():
    assert run([], Memory(), [Blur()], CPU).frames_out == 0


def test_a_stage_that_breaks_its_word_is_named():
    class Liar(PlainStage):
        def compute(self, windows, seeds):
            return windows[:, 0, :, ::2]

    with pytest.raises(InvalidInput, match=r"stage 'plain' gave .* by its own declaration"):
        list(process([frame(0)], [Liar()], CPU))


def test_labels_are_unique():
    assert pipeline_labels([Blur(), Mean(), Blur()]) == ("blur", "mean", "blur-2")


def test_a_missing_gpu_is_said():
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    with pytest.raises(DeviceError, match="0 CUDA devices found"):
        list(process([frame(0)], [], EngineSettings("cuda:0")))


def test_a_huge_halo_gives_way_to_memory_and_it_is_said():
    """A deep network reaches 349 px; its exact tiles would not fit where a small tile does."""
    deep = Blur(halo_px=349)
    source = [from_frame(frame(0, 300, 500), GBRP16, RGB)]
    whole, tiled = Memory(), Memory()
    exact = run(source, whole, [Blur(halo_px=349)], CPU)
    report = run(source, tiled, [deep], EngineSettings("cpu", memory_bytes=5_000_000))
    assert exact.stages[0].tiling == "exact"
    assert report.stages[0].tiling == "approximate"
    assert "halo 64 px" in report.stages[0].grid
    for a, b in zip(whole.frames[0].planes, tiled.frames[0].planes, strict=True):
        assert np.abs(a.astype(int) - b.astype(int)).max() <= 1
    assert max(shape[-1] * shape[-2] for shape in deep.calls) < 300 * 500 / 3


def test_memory_decides_the_tile_when_none_is_named():
    stage = Blur()
    settings = EngineSettings("cpu", memory_bytes=2_000_000)
    out = list(process([frame(0, 400, 300)], [stage], settings))
    assert out[0].data.shape == (3, 800, 600)
    calls = stage.calls[1:]  # the first measures
    assert len(calls) > 1
    assert calls[0][-1] < 300


class Chained(PlainStage):
    """Waits for its turn in a chain and says which thread it ran in."""

    def compute(self, windows, seeds):
        self.thread = threading.current_thread().name
        if self.spec.name == "broken" and len(self.calls) == 3:
            raise OSError("the third is too much")
        return windows[:, self.spec.radius_past] + 1


def test_stages_side_by_side_give_what_they_give_one_after_another():
    def stages():
        return [Mean(), Noise(), Mean(radius_past=1), Double(), Noise()]

    frames = [frame(n) for n in range(12)]
    wanted = [from_frame(f, GBRP16, RGB) for f in process(frames, stages(), CPU)]
    sink = Memory()
    run([from_frame(f, GBRP16, RGB) for f in frames], sink, stages(), CPU)
    again = Memory()
    run([from_frame(f, GBRP16, RGB) for f in frames], again, stages(), CPU)
    assert len(sink.frames) == len(wanted) == 24
    for a, b, c in zip(wanted, sink.frames, again.frames, strict=True):
        assert (a.pts, a.time_base) == (b.pts, b.time_base)
        for x, y, z in zip(a.planes, b.planes, c.planes, strict=True):
            # The wanted ones came from samples that were never rounded to 16 bit.
            assert np.abs(x.astype(int) - y.astype(int)).max() <= 2
            np.testing.assert_array_equal(y, z)


def test_stages_have_threads_of_their_own_that_end_with_the_run():
    stages = [Chained(name=name) for name in ("first", "second", "last")]
    run([raw(n) for n in range(3)], Memory(), stages, CPU)
    assert [stage.thread for stage in stages[:2]] == ["stage first", "stage second"]
    assert stages[2].thread == threading.current_thread().name
    assert not [t for t in threading.enumerate() if t.name.startswith("stage")]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_stage_that_fails_anywhere_ends_all_with_its_own_error(place):
    names = ["one", "two", "three"]
    names[place] = "broken"
    stages = [Chained(name=name) for name in names]
    with pytest.raises(OSError, match="the third is too much"):
        run((raw(n) for n in range(100_000)), Memory(), stages, CPU)
    working = ("decode", "encode", "stage")
    assert not [t for t in threading.enumerate() if t.name.startswith(working)]


def test_a_writer_that_fails_ends_every_stage():
    stages = [Chained(name=name) for name in ("one", "two")]
    with pytest.raises(OSError, match="disk is full"):
        run((raw(n) for n in range(100_000)), BrokenDisk(), stages, CPU)
    working = ("decode", "encode", "stage")
    assert not [t for t in threading.enumerate() if t.name.startswith(working)]


def test_stages_that_can_be_tiled_compute_one_at_a_time():
    at_work, most = [], []

    class Greedy(PlainStage):
        def compute(self, windows, seeds):
            at_work.append(self)
            most.append(len(at_work))
            time.sleep(0.002)
            at_work.remove(self)
            return windows[:, 0]

    def widest(tiling):
        most.clear()
        stages = [Greedy(name=f"s{n}", tiling=tiling) for n in range(3)]
        run([raw(n) for n in range(12)], Memory(), stages, CPU)
        return max(most)

    assert widest(Tiling.EXACT) == 1
    assert widest(Tiling.NEVER) > 1


def test_what_waits_between_stages_is_bounded():
    taken, given = [], []

    class Slow(PlainStage):
        def compute(self, windows, seeds):
            time.sleep(0.005)
            given.append(len(taken))
            return windows[:, 0]

    def source():
        for n in range(40):
            taken.append(n)
            yield raw(n)

    frame_bytes = 3 * 16 * 24 * 4
    settings = EngineSettings("cpu", batch=1, tile_px=0, queue_bytes=2 * frame_bytes)
    run(source(), Memory(), [PlainStage(name="a"), PlainStage(name="b"), Slow(name="c")], settings)
    # Two before the stages, one between each pair of them, and one in every hand.
    assert max(seen - n for n, seen in enumerate(given)) <= 12
