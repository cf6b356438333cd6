"""The way to a device and back: the same bits packed or not, and on a GPU beside its work."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from restore.color import ChromaSite, ColorSpec, Matrix, Primaries, Range, Transfer
from restore.engine import pixels, transfer
from restore.engine.layout import Layout
from restore.engine.pixels import from_frame, to_frame
from restore.engine.run import run
from restore.engine.settings import EngineSettings
from restore.engine.transfer import Handed, brought, fetched, own_stream
from restore.frames import RawFrame, pixel_format
from tests.engine_stages import Blur

CPU = torch.device("cpu")
COLOR = ColorSpec(Matrix.BT709, Primaries.BT709, Transfer.BT709, Range.LIMITED, ChromaSite.LEFT)
LAYOUTS = ["yuv420p", "yuv422p", "yuv420p10le", "yuv422p10le", "yuva420p"]


def raw_frames(name, count=3, height=50, width=74):
    """Frames of noise within the code values of a layout."""
    fmt, random = pixel_format(name), np.random.default_rng(7)
    small = (-(-height // (1 << fmt.log2_h)), -(-width // (1 << fmt.log2_w)))
    sizes = [(height, width), small, small] + [(height, width)] * fmt.has_alpha
    kind = np.uint8 if fmt.depth_bits <= 8 else np.uint16
    return [
        RawFrame(
            planes=tuple(
                random.integers(0, 1 << fmt.depth_bits, size, dtype=np.uint16).astype(kind)
                for size in sizes
            ),
            format=fmt,
            width_px=width,
            height_px=height,
            pts=number,
            time_base=Fraction(1, 25),
            color=COLOR,
            index=number,
        )
        for number in range(count)
    ]


class Kept:
    """A sink that keeps what it takes."""

    color = COLOR

    def __init__(self, name):
        self.pixel_format = pixel_format(name)
        self.frames = []

    def write(self, frame):
        self.frames.append(frame)


def same(one, other):
    return len(one.planes) == len(other.planes) and all(
        a.dtype == b.dtype and np.array_equal(a, b)
        for a, b in zip(one.planes, other.planes, strict=True)
    )


def done(name, settings, tile=0, device="cpu"):
    sink = Kept(name)
    settings = EngineSettings(device, tile_px=tile, batch=2, **settings)
    run(iter(raw_frames(name)), sink, [Blur()], settings)
    return sink.frames


sizes = st.tuples(st.integers(1, 33), st.integers(1, 33))
kinds = st.sampled_from([np.uint8, np.uint16, np.float32])


@given(st.lists(st.tuples(sizes, kinds), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_a_packed_block_holds_every_plane(asked, seed):
    random = np.random.default_rng(seed)
    planes = [random.integers(0, 200, size).astype(kind) for size, kind in asked]
    there = brought(planes, CPU, packs=True)
    for plane, tensor in zip(planes, there, strict=True):
        assert np.array_equal(plane, tensor.numpy())
    for plane, back in zip(planes, fetched(there, packs=True), strict=True):
        assert back.dtype == plane.dtype
        assert np.array_equal(plane, back)


def test_planes_that_lie_in_steps_are_packed():
    plane = np.arange(240, dtype=np.uint8).reshape(12, 20)[::2, ::3]
    assert np.array_equal(brought([plane], CPU, packs=True)[0].numpy(), plane)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_run_over_packed_planes_gives_the_same_bits(name, monkeypatch):
    """The way of a GPU, taken on the CPU."""
    plain = done(name, {})
    packed = []

    def bring(planes, device):
        packed.append("there")
        return brought(planes, device, packs=True)

    def fetch(planes):
        packed.append("back")
        return fetched(planes, packs=True)

    monkeypatch.setattr(pixels, "brought", bring)
    monkeypatch.setattr(pixels, "fetched", fetch)
    assert all(map(same, done(name, {}), plain))
    assert packed.count("there") == packed.count("back") == len(plain) == 3


def test_on_the_cpu_nothing_is_copied_and_nothing_waits():
    plane = np.zeros((4, 6), np.uint8)
    (tensor,) = brought([plane], CPU)
    assert np.shares_memory(tensor.numpy(), plane)
    assert np.shares_memory(fetched([tensor])[0], plane)
    with own_stream(CPU):
        frame = to_frame(raw_frames("yuv420p", 1)[0], CPU)
    handed = Handed.of(frame)
    assert handed.ready is None
    assert handed.taken() is frame
    assert handed.nbytes == frame.nbytes


def layout(batch):
    return Layout(CPU, torch.float32, 0, batch, 0)


@given(st.integers(1, 40), st.integers(1, 200))
def test_calls_hold_every_tile_once_and_no_call_is_small(batch, count):
    calls = layout(batch).calls(count)
    assert [n for call in calls for n in call] == list(range(count))
    sizes = [len(call) for call in calls]
    assert max(sizes) <= batch
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == -(-count // batch)


@given(st.integers(1, 40), st.integers(1, 60))
def test_frames_share_calls_where_calls_are_fuller_by_it(batch, tiles):
    def fill(frames):
        return frames * tiles / (batch * -(-frames * tiles // batch))

    least = max(1, batch // tiles)
    frames = layout(batch).frames_at_once(tiles)
    assert least <= frames <= least + 3
    assert fill(frames) >= max(map(fill, range(least, least + 4))) - 1e-12
    if batch == 1:
        assert frames == 1


def test_a_small_frame_does_not_leave_the_batch_half_empty():
    assert layout(24).frames_at_once(1) == 24
    assert layout(24).frames_at_once(13) == 3
    assert [len(call) for call in layout(24).calls(25)] == [12, 13]


gpu = pytest.mark.gpu


@gpu
@pytest.mark.parametrize("name", LAYOUTS)
def test_samples_come_back_from_a_gpu_as_they_went(name):
    device = torch.device("cuda", 0)
    with torch.inference_mode():
        for raw in raw_frames(name):
            there = brought(raw.planes, device)
            assert all(tensor.device == device for tensor in there)
            back = fetched(there)
            assert all(map(np.array_equal, back, raw.planes))
            # Conversion and dither on the device: within the rounding of one code value.
            other = from_frame(to_frame(raw, device), raw.format, COLOR)
            plain = from_frame(to_frame(raw, CPU), raw.format, COLOR)
            for a, b in zip(other.planes, plain.planes, strict=True):
                assert np.abs(a.astype(int) - b.astype(int)).max() <= 1


@gpu
@pytest.mark.parametrize("tile", [0, 32])
@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le"])
def test_a_run_on_a_gpu_equals_the_cpu(name, tile):
    """Many frames through small queues, so that streams overlap and blocks are used again."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for one, other in zip(
        done(name, {"queue_bytes": 1 << 18}, tile, "cuda"), done(name, {}, tile), strict=True
    ):
        for a, b in zip(one.planes, other.planes, strict=True):
            assert np.abs(a.astype(int) - b.astype(int)).max() <= 1


@gpu
def test_threads_of_a_run_have_streams_of_their_own():
    device, seen = torch.device("cuda", 0), []
    with own_stream(device):
        seen.append(torch.cuda.current_stream(device).cuda_stream)
        frame = to_frame(raw_frames("yuv420p", 1)[0], device)
        handed = Handed.of(frame)
    assert seen[0] != torch.cuda.current_stream(device).cuda_stream
    assert handed.ready is not None
    assert torch.isfinite(handed.taken().data).all()
    assert transfer.used_here(frame.data) is frame.data
