"""Live streams of encoded packets: the frames that decoding gives, or a typed error."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import av
import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from restore_client import AsyncClient, LiveFrame, LivePacket, ServiceError
from restore_client.v1 import restoration_pb2 as pb

from restore.errors import InvalidInput
from restore.media.padded import padded_packet
from restore.service.packets import packets_of
from tests.faults.test_service_live import _settled, spec
from tests.service_world import World, serving

WIDTH_PX, HEIGHT_PX = 96, 64
# Encoder, layout, options: with B-frames, with slices, intra only, lossless, ten bit.
CODED = {
    "h264": ("libx264", "yuv420p", {"bf": "3", "g": "6", "preset": "fast", "threads": "1"}),
    "hevc": ("libx265", "yuv420p10le", {"preset": "fast", "x265-params": "log-level=none:pools=1"}),
    "ffv1": ("ffv1", "yuv422p10le", {"level": "3", "slicecrc": "1"}),
    "mjpeg": ("mjpeg", "yuv444p", {"q": "3"}),
    "prores": ("prores_ks", "yuv422p10le", {}),
    "mpeg2video": ("mpeg2video", "yuv420p", {"bf": "2", "g": "6"}),
    "mpeg4": ("mpeg4", "yuv420p", {"bf": "2"}),
    "vp9": ("libvpx-vp9", "yuv420p", {"deadline": "realtime", "cpu-used": "8"}),
    "dnxhd": ("dnxhd", "yuv422p", {"profile": "dnxhr_hq"}),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[World]:
    with serving(tmp_path_factory.mktemp("packets"), max_streams=4) as started:
        yield started


def coded(codec: str, frames: int = 14) -> tuple[bytes, list[LivePacket]]:
    """Extradata and packets of a picture that moves."""
    name, layout, options = CODED[codec]
    width, height = (256, 128) if codec == "dnxhd" else (WIDTH_PX, HEIGHT_PX)
    context = av.CodecContext.create(name, "w")
    context.width, context.height, context.pix_fmt = width, height, layout
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    context.color_range = 2 if codec == "mjpeg" else 1
    context.options = options
    if codec not in ("mjpeg", "prores", "dnxhd"):
        context.flags |= av.codec.context.Flags.global_header
    rng = np.random.default_rng(3)
    ground = np.kron(rng.integers(40, 200, (height // 8, width // 4)), np.ones((8, 8)))
    packets = []
    for number in [*range(frames), None]:
        if number is None:
            made = context.encode(None)
        else:
            rgb = np.repeat(ground[:, 2 * number : 2 * number + width, None], 3, 2)
            frame = av.VideoFrame.from_ndarray(rgb.astype(np.uint8), "rgb24")
            frame = frame.reformat(format=layout, dst_color_range=2 if codec == "mjpeg" else 1)
            frame.pts, frame.time_base = 3 * number, Fraction(1, 75)
            context.time_base = Fraction(1, 75)
            made = context.encode(frame)
        packets += [
            LivePacket(bytes(one), one.pts, one.dts, one.duration or 0, one.is_keyframe)
            for one in made
        ]
    return bytes(context.extradata or b""), packets


def pictures(codec: str, extradata: bytes, packets: list[LivePacket]) -> list[LiveFrame]:
    """The same packets, decoded here."""
    context = av.CodecContext.create(codec, "r")
    if extradata:
        context.extradata = extradata
    context.width, context.height = WIDTH_PX, HEIGHT_PX
    found = []
    for one in [*packets, None]:
        packet = None if one is None else padded_packet(one.data)
        if packet is not None:
            packet.pts, packet.dts, packet.time_base = one.pts, one.dts, Fraction(1, 75)
        for frame in context.decode(packet):
            name = frame.format.name.replace("yuvj", "yuv")
            size = 2 if "10" in name else 1
            planes = [
                np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[:, : plane.width * size]
                for plane in frame.planes
            ]
            data = b"".join(np.ascontiguousarray(plane).tobytes() for plane in planes)
            found.append(LiveFrame(data, frame.pts))
    return found


def asked(codec: str, extradata: bytes, **fields: object) -> pb.LiveSpec:
    width, height = (256, 128) if codec == "dnxhd" else (WIDTH_PX, HEIGHT_PX)
    given = {
        "width_px": width,
        "height_px": height,
        "packets": pb.PacketFormat(codec=codec, extradata=extradata),
        **fields,
    }
    made = spec(CODED[codec][1], **given)
    made.color.is_full_range = codec == "mjpeg"
    made.time_base.denominator = 75
    return made


@pytest.mark.parametrize("codec", CODED)
def test_packets_give_the_frames_that_decoding_gives(world, codec):
    extradata, packets = coded(codec)
    expected = pictures(codec, extradata, packets)
    assert [one.pts for one in expected] == [3 * n for n in range(14)]
    if CODED[codec][2].get("bf"):
        assert [one.pts for one in packets] != sorted(one.pts for one in packets), "B-frames"
    with world.client() as client:
        stream = client.restore(asked(codec, extradata), packets)
        back = list(stream.frames)
        raw = asked(codec, extradata)
        raw.ClearField("packets")
        in_pieces = list(client.restore(raw, expected, shared=False).frames)
    assert stream.started.transport == pb.TRANSPORT_PIECES
    assert [one.pts for one in back] == [3 * n for n in range(14)]
    assert [one.data for one in back] == [one.data for one in in_pieces]


def test_with_asyncio(world):
    extradata, packets = coded("h264")

    async def all_of_it() -> list[int]:
        async with AsyncClient(world.address) as client:
            found = client.restore(asked("h264", extradata), packets)
            return [one.pts async for one in found]

    assert asyncio.run(all_of_it()) == [3 * n for n in range(14)]


def test_packets_that_are_sent_as_they_come_need_no_extradata(world):
    """Annex B: parameter sets stand in the packets."""
    extradata, packets = coded("h264")
    plain = [replace(packets[0], data=extradata + packets[0].data), *packets[1:]]
    with world.client() as client:
        assert len(list(client.restore(asked("h264", b""), plain).frames)) == 14


def test_a_slow_reader_holds_the_sender_of_packets_back(world):
    extradata, packets = coded("mjpeg", 1)
    # What stands behind a picture's end is passed over; it makes the packets worth counting.
    packets[0] = replace(packets[0], data=packets[0].data + bytes(60 << 10))
    sent = 0

    def counted() -> Iterator[LivePacket]:
        nonlocal sent
        for number in range(3000):
            sent += 1
            yield replace(packets[0], pts=number, dts=number)

    with world.client() as client:
        stream = client.restore(asked("mjpeg", extradata), counted())
        for _ in range(3):
            next(stream.frames)
        time.sleep(1.0)
        assert sent * len(packets[0].data) < 32 << 20, f"{sent} packets for 3 frames"
        stream.frames.close()
    taken, free = _settled(world)
    assert taken == free


REFUSED = {
    "codec": ({"packets": pb.PacketFormat(codec="rawvideo")}, "packets of 'rawvideo'"),
    "playlist": ({"packets": pb.PacketFormat(codec="concat")}, "packets of 'concat'"),
    "path": ({"packets": pb.PacketFormat(codec="/etc/passwd")}, "packets of '/etc/passwd'"),
    "sound": ({"packets": pb.PacketFormat(codec="aac")}, "packets of 'aac'"),
    "extradata": (
        {"packets": pb.PacketFormat(codec="h264", extradata=bytes(1 << 17))},
        "extradata of 131072 bytes",
    ),
    "packed": ({"pixel_format": "rgb24"}, "packets of rgb24"),
    "another size": ({"width_px": 98}, "picture 0 of 96x64"),
    "another layout": ({"pixel_format": "yuv422p"}, "expected 96x64 yuv422p"),
}


def plays(world: World) -> bool:
    """The server does what it should."""
    extradata, packets = coded("ffv1", 3)
    with world.client() as client:
        return len(list(client.restore(asked("ffv1", extradata), packets).frames)) == 3


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_such_stream_is_refused(world, kind):
    fields, words = REFUSED[kind]
    extradata, packets = coded("h264", 4)
    changed = asked("h264", extradata)
    for name, value in fields.items():
        if isinstance(value, pb.PacketFormat):
            changed.packets.CopyFrom(value)
        else:
            setattr(changed, name, value)
    changed.color.is_rgb = changed.pixel_format == "rgb24"
    with world.client() as client, pytest.raises(ServiceError) as refused:
        list(client.restore(changed, packets).frames)
    assert words in str(refused.value)
    assert refused.value.code in (
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.DATA_LOSS,
    )
    assert plays(world)


@pytest.mark.parametrize("codec", ["h264", "hevc", "ffv1", "prores"])
def test_damaged_packets_are_a_typed_error_and_the_server_lives(world, codec):
    """Bits flipped, cut off, swapped, made of noise; what is refused says so, and nothing hangs."""
    extradata, packets = coded(codec, 8)
    rng = np.random.default_rng(11)
    reasons = set[str]()
    with world.client() as client:
        for number in range(8):
            bad, at = list(packets), int(rng.integers(len(packets)))
            data = bytearray(bad[at].data)
            if number % 4 == 0:
                for place in rng.integers(0, len(data), 12):
                    data[place] ^= 1 << int(rng.integers(8))
            elif number % 4 == 1:
                data = data[: 1 + len(data) // 3]
            elif number % 4 == 2:
                data = bytearray(rng.integers(0, 256, len(data)).astype(np.uint8))
            else:
                bad[at], bad[0] = bad[0], bad[at]
            if number % 4 != 3:
                bad[at] = replace(bad[at], data=bytes(data))
            changed = bytes(rng.integers(0, 256, 40).astype(np.uint8)) if number == 4 else extradata
            try:
                assert len(list(client.restore(asked(codec, changed), bad).frames)) <= 8
            except ServiceError as error:
                reasons.add(error.reason)
    assert reasons
    assert reasons <= {"DamagedMedia", "InvalidInput", "UnsafeMedia", "UnsupportedMedia"}
    assert plays(world)
    taken, free = _settled(world)
    assert taken == free


def test_a_client_that_leaves_ends_its_decoder(world):
    import psutil

    def decoders() -> int:
        host = [p for p in psutil.Process().children() if "zygote" in " ".join(p.cmdline())]
        return sum(len(one.children()) for one in host)

    extradata, packets = coded("mjpeg", 1)

    def endless() -> Iterator[LivePacket]:
        for number in range(10**6):
            yield replace(packets[0], pts=number, dts=number)

    with world.client() as client:
        stream = client.restore(asked("mjpeg", extradata), endless())
        next(stream.frames)
        assert decoders() == 1
        stream.frames.close()
    _settled(world, 2.0)
    assert decoders() == 0


def piece(data: bytes = b"abc", **fields: int) -> pb.RestoreRequest:
    given = {"is_key": True, "is_last": True, "pts": 7}
    return pb.RestoreRequest(packet=pb.PacketPiece(data=data, **{**given, **fields}))


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ([piece(is_key=False)], "no key frame"),
        ([piece(index=1)], "expected packet 0 at 0"),
        ([piece(offset=1)], "at 1"),
        ([piece(b"")], "0 bytes of packet 0"),
        ([piece(is_last=False)], "ends in packet 0 after 3 bytes"),
        ([piece(is_last=False), piece(index=1)], "expected packet 0 at 3"),
        ([piece(), piece()], "expected packet 1 at 0"),
        ([piece(bytes((1 << 20) + 1))], "a packet of 1048577 bytes"),
        ([piece(), *[piece(index=n) for n in range(1, 12)]], "packet 10; expected at most 10"),
        ([pb.RestoreRequest(piece=pb.FramePiece())], "a message 'piece' in a stream of packets"),
        (
            [piece(bytes(1 << 20), is_last=False, offset=n << 20) for n in range(64)],
            "a packet of 3145728 bytes or more; expected at most 2162688",
        ),
    ],
)
def test_pieces_that_make_no_packet_are_refused(sent, words):
    with pytest.raises(InvalidInput, match=words):
        list(packets_of(iter(sent), 1 << 20, 10))


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.binary(min_size=1, max_size=90), min_size=1, max_size=6), st.integers(1, 40))
def test_packets_come_together_from_any_pieces(texts, step):
    requests = [
        piece(
            data[start : start + step],
            index=number,
            offset=start,
            is_last=start + step >= len(data),
            pts=number,
        )
        for number, data in enumerate(texts)
        for start in range(0, len(data), step)
    ]
    made = list(packets_of(iter(requests), 100, 10))
    assert [one.data for one in made] == texts
    assert [one.pts for one in made] == list(range(len(texts)))
    assert {one.dts for one in made} == {None}


@pytest.mark.parametrize("codec", CODED)
def test_what_lies_behind_a_packet_changes_no_picture(codec):
    """Decoders look beyond a packet's end, where MPEG-4 takes ones for the start of something."""
    extradata, packets = coded(codec)
    seen = []
    for behind in (b"\0", b"\1", b"\xff"):
        context = av.CodecContext.create(codec, "r")
        if extradata:
            context.extradata = extradata
        context.width, context.height = WIDTH_PX, HEIGHT_PX
        found = []
        for one in packets:
            packet = padded_packet(memoryview(one.data + 64 * behind)[: len(one.data)])
            packet.pts, packet.dts, packet.time_base = one.pts, one.dts, Fraction(1, 75)
            found += context.decode(packet)
        found += context.decode(None)
        assert len(found) == len(packets)
        seen.append([frame.to_ndarray() for frame in found])
    for other in seen[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(seen[0], other, strict=True))
