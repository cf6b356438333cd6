"""Live streams: nothing lost, nothing kept for a client that is gone, nothing beyond the limits."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator

import grpc
import numpy as np
import psutil
import pytest
from restore_client import LiveFrame, ServiceError
from restore_client.v1 import common_pb2 as common
from restore_client.v1 import restoration_pb2 as pb
from restore_client.v1 import restoration_pb2_grpc as live_rpc

from tests.faults import barcode
from tests.service_world import World, serving


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[World]:
    with serving(tmp_path_factory.mktemp("live"), max_streams=4) as started:
        yield started


def spec(layout: str = "rgb24", **fields: object) -> pb.LiveSpec:
    given = {
        "recipe": common.Recipe(preset="transcode"),
        "width_px": barcode.WIDTH_PX,
        "height_px": barcode.HEIGHT_PX,
        "pixel_format": layout,
        "color": common.Color(is_rgb="rgb" in layout or "gbr" in layout),
        "frame_rate": common.Rational(numerator=25, denominator=1),
        "time_base": common.Rational(numerator=1, denominator=25),
    }
    return pb.LiveSpec(**{**given, **fields})


def frame(number: int) -> LiveFrame:
    picture = np.round(barcode.picture(number) * 255).astype(np.uint8)
    return LiveFrame(picture.transpose(1, 2, 0).tobytes(), pts=3 * number, duration=3)


def number_of(data: bytes, width: int, height: int) -> int:
    cells = np.frombuffer(data, np.uint8).reshape(height, width, 3)[: height // 3].mean((0, 2))
    cells = cells.reshape(barcode.BITS, -1).mean(1)
    return sum(1 << bit for bit in range(barcode.BITS) if cells[bit] > 127)


def test_frames_come_back_bit_for_bit_in_order_with_their_times(world):
    with world.client() as client:
        stream = client.restore(spec(), [frame(n) for n in range(12)])
        back = list(stream.frames)
    assert stream.started.latency_frames == 0
    assert [one.pts for one in back] == [3 * n for n in range(12)]
    assert [one.data for one in back] == [frame(n).data for n in range(12)]


def test_networks_and_windows_in_a_live_stream(world):
    toml = """
    scale = 2
    [[steps]]
    stage = "degrain"
    radius = 1
    [[steps]]
    stage = "upscale"
    """
    with world.client() as client:
        asked = spec(recipe=common.Recipe(toml=toml))
        stream = client.restore(asked, [frame(n) for n in range(5)])
        assert stream.started.latency_frames == 1
        width, height = stream.started.width_px, stream.started.height_px
        assert (width, height) == (2 * barcode.WIDTH_PX, 2 * barcode.HEIGHT_PX)
        assert [number_of(one.data, width, height) for one in stream.frames] == list(range(5))


RESIZE = '[[steps]]\nstage = "resize"\nscale = 2\n'
DEGRAIN = '[[steps]]\nstage = "degrain"\nradius = 1\n'


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("toml", [RESIZE, DEGRAIN, DEGRAIN + RESIZE + RESIZE])
def test_frames_come_back_as_soon_as_their_window_is_complete(world, toml, shared):
    """A client that sends no frame before it has seen what those before must give."""
    back, late = threading.Semaphore(0), list[int]()
    latency = 0

    def in_step() -> Iterator[LiveFrame]:
        for number in range(6):
            yield frame(number)
            if number >= latency and not back.acquire(timeout=5.0):
                late.append(number)

    with world.client() as client:
        asked = spec(recipe=common.Recipe(toml=toml))
        answers = client._live.Restore(iter([pb.RestoreRequest(spec=asked)]))
        latency = next(answers).started.latency_frames
        assert latency == toml.count("degrain")
        times = []
        for one in client.restore(asked, in_step(), shared=shared).frames:
            times.append(one.pts)
            back.release()
    assert times == [3 * n for n in range(6)]
    assert late == []


@pytest.mark.parametrize("layout", ["yuv420p", "yuv422p10le", "gray", "gbrp16le", "rgb48le"])
def test_every_layout_comes_back_as_it_was(world, layout):
    from restore.service.pieces import FrameShape

    shape = FrameShape(layout, 33, 17)
    rng = np.random.default_rng(1)
    depth = shape.format.depth_bits
    kind = np.uint8 if depth == 8 else "<u2"
    low, high = (16, 235) if depth == 8 else (16 << depth - 8, 235 << depth - 8)
    # Smooth chroma: what is subsampled has no detail to lose, but the noise of luma stays.
    values = rng.integers(low, high, shape.nbytes // np.dtype(kind).itemsize).astype(kind)
    sent = LiveFrame(values.tobytes(), pts=0)
    with world.client() as client:
        asked = spec(layout, width_px=33, height_px=17)
        back = next(client.restore(asked, [sent]).frames)
    assert back.data == sent.data


def many(stop: threading.Event | None = None) -> Iterator[LiveFrame]:
    number = 0
    while stop is None or not stop.is_set():
        yield frame(number)
        number += 1


def test_a_slow_reader_holds_its_sender_back(world):
    """The server reads on only as its results are taken: what is ahead stays bounded."""
    sent = 0
    big = spec("rgb24", width_px=640, height_px=480)
    data = bytes(640 * 480 * 3)

    def counted() -> Iterator[LiveFrame]:
        nonlocal sent
        while sent < 2000:
            sent += 1
            yield LiveFrame(data, pts=sent)

    with world.client() as client:
        stream = client.restore(big, counted())
        next(stream.frames)
        time.sleep(2.0)
        ahead = sent
        stream.frames.close()
    assert ahead * len(data) < 32 << 20, f"{ahead} frames were taken in for 1 given out"


def _settled(world: World, timeout_s: float = 20.0) -> tuple[float, float]:
    ends = time.monotonic() + timeout_s
    while time.monotonic() < ends:
        taken = world.server.metrics.acquired._value.get()
        free = world.server.metrics.released._value.get()
        if taken == free:
            break
        time.sleep(0.05)
    return taken, free


def test_streams_of_clients_that_are_gone_are_released(world):
    """30 % leave without a word, the others read to the end; what was taken is given back."""
    before = world.server.metrics.acquired._value.get()
    ends: list[int] = []

    def one(number: int) -> None:
        with world.client() as client:
            while True:
                try:
                    leaves = number % 10 < 3
                    stream = client.restore(spec(), many() if leaves else map(frame, range(6)))
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

    threads = [threading.Thread(target=one, args=(n,)) for n in range(40)]
    for batch in range(0, 40, 8):
        for thread in threads[batch : batch + 8]:
            thread.start()
        for thread in threads[batch : batch + 8]:
            thread.join()
    assert sorted(ends) == [3] * 12 + [6] * 28
    taken, free = _settled(world)
    assert taken == free == before + 40


def test_more_streams_than_places_are_refused_with_a_time_to_come_back(world):
    _settled(world)
    stop = threading.Event()
    with world.client() as client:
        held = [client.restore(spec(), many(stop)) for _ in range(4)]
        for stream in held:
            next(stream.frames)
        with pytest.raises(ServiceError, match="4 live streams are under way") as refused:
            client.restore(spec(), [frame(0)])
        assert refused.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refused.value.reason == "Overloaded"
        assert refused.value.retry_s == 5.0
        stop.set()
        for stream in held:
            stream.frames.close()
    _settled(world)
    with world.client() as client:
        assert len(list(client.restore(spec(), [frame(0)]).frames)) == 1


BAD = {
    "layout": (spec(pixel_format="pal8"), "pixel format 'pal8'"),
    "size": (spec(width_px=100_000), "frames of 100000x24"),
    "no size": (spec(width_px=0), "frames of 0x24"),
    "rate": (spec(time_base=common.Rational(numerator=1)), "time base 1/0"),
    "preset": (spec(recipe=common.Recipe(preset="../../etc")), "preset '../../etc'"),
    "recipe": (spec(recipe=common.Recipe(toml="a = [")), "is not TOML"),
    "model path": (
        spec(recipe=common.Recipe(preset="upscale", model="/etc/passwd")),
        "model '/etc/passwd'",
    ),
    "cuts path": (
        spec(recipe=common.Recipe(toml='[[steps]]\nstage = "shots"\ncuts = "cuts.csv"')),
        "which names a file",
    ),
    "side clips": (spec(recipe=common.Recipe(toml='side_clips = "/tmp"')), "side_clips"),
    "colour": (spec(color=common.Color(matrix=77)), "77 is not a valid Matrix"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_done_is_refused_and_the_server_lives(world, kind):
    asked, words = BAD[kind]
    with world.client() as client:
        with pytest.raises(ServiceError) as refused:
            client.restore(asked, [frame(0)])
        assert words in str(refused.value)
        assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT
        assert len(list(client.restore(spec(), [frame(0)]).frames)) == 1


def test_a_stream_begins_with_its_spec(world):
    with world.client() as client:
        answers = client._live.Restore(iter([pb.RestoreRequest(piece=pb.FramePiece())]))
        with pytest.raises(grpc.RpcError) as refused:
            list(answers)
    assert "does not begin with its spec" in refused.value.details()
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def piece(**fields: object) -> pb.RestoreRequest:
    whole = frame(0).data
    given = {"index": 0, "pts": 0, "offset": 0, "data": whole, "is_last": True}
    return pb.RestoreRequest(piece=pb.FramePiece(**{**given, **fields}))


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ([piece(is_last=False)], "ends in frame 0"),
        ([piece(data=b"xyz")], "frame 0 of 3 bytes"),
        ([piece(offset=5)], "at 5"),
        ([piece(), piece()], "frame 0 after frame 0"),
        ([piece(), piece(index=1, pts=0)], "time 0 after 0"),
        ([piece(data=frame(0).data + b"x")], "4609 bytes"),
        ([pb.RestoreRequest(spec=spec())], "no piece"),
    ],
)
def test_pieces_that_make_no_frame_are_refused(world, sent, words):
    with world.client() as client:
        answers = client._live.Restore(iter([pb.RestoreRequest(spec=spec()), *sent]))
        with pytest.raises(grpc.RpcError) as refused:
            list(answers)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert words in refused.value.details()


def test_memory_does_not_grow_with_streams(world):
    """Fifty short streams one after the other."""
    _settled(world)

    def rounds(count: int) -> None:
        with world.client() as client:
            for _ in range(count):
                assert len(list(client.restore(spec(), map(frame, range(3))).frames)) == 3

    rounds(15)
    gc.collect()
    before = psutil.Process().memory_info().rss
    rounds(50)
    gc.collect()
    grown = psutil.Process().memory_info().rss - before
    assert grown < 10 << 20, f"{grown >> 20} MiB more after 50 streams"


@pytest.mark.release
@pytest.mark.timeout(300)
def test_a_quiet_call_is_not_cut_off_for_asking_whether_it_is_still_there(world):
    """A client that watches pings now and then; the server must not take that for abuse."""
    options = [
        ("grpc.keepalive_time_ms", 11_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    with grpc.insecure_channel(world.address, options=options) as channel:
        stub = live_rpc.RestorationServiceStub(channel)
        held = threading.Event()

        def quiet() -> Iterator[pb.RestoreRequest]:
            yield pb.RestoreRequest(spec=spec())
            held.wait(70)

        answers = stub.Restore(quiet())
        assert next(answers).WhichOneof("message") == "started"
        assert next(answers).WhichOneof("message") == "summary"
