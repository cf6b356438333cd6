"""Decoding by a GPU: taken where it is software's bit for bit, and said where it is not."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import av
import numpy as np
import pytest

from restore.errors import InvalidInput, UnsafeMedia
from restore.media.container_in import Damage, Decoded
from restore.media.isolate import DecodeLimits, run_job
from restore.media.nvdec import ByCard, checked, refusal
from restore.media.reader import ClipReader
from restore.media.unpack import Unpacker
from restore.time import FrameRange

CODERS = {"yuv420p": "libx264", "yuv420p10le": "libx265"}


@pytest.fixture(scope="module", params=sorted(CODERS))
def clip(request, tmp_path_factory):
    """16 frames with B-frames, in the file and decoded by software."""
    path = tmp_path_factory.mktemp("nvdec") / "clip.mkv"
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as file:
        stream = file.add_stream(CODERS[request.param], rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, request.param
        for number in range(16):
            picture = random.integers(0, 255, (64, 96, 3), np.uint8)
            picture[:, 4 * number : 4 * number + 20] = 200
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode(None))
    return path


def decoded(path):
    with av.open(str(path)) as file:
        return [Decoded(frame) for frame in file.decode(video=0)]


def as_a_card_gives_it(picture):
    """Both chroma planes woven into one; of ten bits the upper ones of sixteen."""
    form = {"yuv420p": "nv12", "yuv420p10le": "p010le"}[picture.frame.format.name]
    frame = picture.frame.reformat(format=form, threads=1)
    frame.pts, frame.time_base = picture.frame.pts, picture.frame.time_base
    return Decoded(frame, picture.complaints, picture.is_damaged)


@dataclass
class Run:
    """What came out, by which decoder, and what was said."""

    planes: list
    forms: list
    said: list


def run(path, by_card):
    ours, said, ways = decoded(path), [], {}
    way = Unpacker.for_frame(ours[0].frame)
    ways[way.source] = way

    def told(other):
        ways[other.source] = other

    planes, forms = [], []
    for picture in checked(iter(ours), way, lambda: ByCard(by_card(ours), told), said.append):
        out = [
            np.zeros(
                way.target.plane_shape(n, 96, 64), "u1" if way.target.depth_bits == 8 else "u2"
            )
            for n in range(3)
        ]
        ways[picture.frame.format.name].unpack(picture.frame, out)
        planes.append((picture.frame.pts, [plane.tobytes() for plane in out]))
        forms.append(picture.frame.format.name)
    return Run(planes, forms, said)


def truth(path):
    ours = decoded(path)
    way = Unpacker.for_frame(ours[0].frame)
    assert way.layout is not None
    return run(path, lambda pictures: iter(())).planes


def test_the_same_pictures_are_taken_from_the_card(clip):
    found = run(clip, lambda ours: map(as_a_card_gives_it, ours))
    assert found.planes == truth(clip)
    assert len(set(found.forms[:8])) == 1
    assert set(found.forms[8:]) <= {"nv12", "p010le"}
    assert found.said == ["decoded by NVDEC, whose first 8 frames were software's bit for bit"]


def other_samples(ours):
    for number, picture in enumerate(map(as_a_card_gives_it, ours)):
        if number == 5:
            plane = np.frombuffer(picture.frame.planes[1], np.uint8)
            plane.setflags(write=True)
            plane[7] ^= 128
        yield picture


def other_times(ours):
    for picture in map(as_a_card_gives_it, ours):
        picture.frame.pts += 1
        yield picture


def another_layout(ours):
    for picture in ours:
        yield Decoded(picture.frame.reformat(format="yuv422p", threads=1))


def nothing_opens(ours):
    raise InvalidInput("the driver gives no decoder")


def breaks_early(ours):
    yield as_a_card_gives_it(ours[0])
    raise Damage("lost")


@pytest.mark.parametrize(
    ("by_card", "why"),
    [
        (other_samples, "frame 5 has other samples"),
        (other_times, "frame 0 is damaged or has another time"),
        (another_layout, "frame 0 comes out as yuv422p"),
        (nothing_opens, "the driver gives no decoder"),
        (breaks_early, "lost"),
        (lambda ours: map(as_a_card_gives_it, ours[:6]), "frame 6 does not come out"),
    ],
)
def test_what_differs_is_left_to_software_with_a_word(clip, by_card, why):
    found = run(clip, by_card)
    assert found.planes == truth(clip)
    assert len(set(found.forms)) == 1
    (said,) = found.said
    assert said.startswith(f"NVDEC is not used: {why}")


def stops(ours):
    yield from map(as_a_card_gives_it, ours[:12])
    raise Damage("the card's decoder stops")


def is_damaged(ours):
    for number, picture in enumerate(map(as_a_card_gives_it, ours)):
        yield Decoded(picture.frame, (), number == 11)


@pytest.mark.parametrize(("by_card", "notes"), [(stops, 2), (is_damaged, 1)])
def test_where_the_card_stops_software_goes_on(clip, by_card, notes):
    found = run(clip, by_card)
    assert found.planes == truth(clip)
    assert found.forms[-1] == found.forms[0] != found.forms[9]
    assert len(found.said) == notes


def test_only_what_standards_lay_down_to_the_bit():
    assert not refusal("hevc", "yuv420p10le")
    assert "mpeg2video" in refusal("mpeg2video", "yuv420p")
    assert "yuv422p" in refusal("h264", "yuv422p")


def bytes_of(path, **options):
    with ClipReader(str(path), **options) as reader:
        frames = [(f.index, f.pts, *(plane.tobytes() for plane in f.planes)) for f in reader]
        return frames, [note for note in reader.warnings if "NVDEC" in note]


@pytest.mark.parametrize("wanted", [FrameRange(), FrameRange(9, 13)])
def test_a_job_goes_on_where_there_is_no_card(clip, wanted, monkeypatch):
    plain, said = bytes_of(clip, range=wanted)
    assert not said
    monkeypatch.setenv("RESTORE_DECODER", "nvdec")
    found, said = bytes_of(clip, range=wanted)
    assert found == plain
    assert len(said) == 1
    monkeypatch.setenv("RESTORE_DECODER", "quick")
    with pytest.raises(InvalidInput, match="RESTORE_DECODER=quick; expected software or nvdec"):
        bytes_of(clip)


def test_a_decoder_without_a_way_to_a_gpu(tmp_path, monkeypatch):
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libsvtav1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(10):
            picture = np.full((64, 96, 3), 20 * number, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode(None))
    plain, _ = bytes_of(path)
    monkeypatch.setenv("RESTORE_DECODER", "nvdec")
    assert bytes_of(path) == (plain, ["NVDEC is not used: FFmpeg's decoder of av1 has no GPU's."])


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_memory_is_limited_where_address_space_is_not():
    limits = DecodeLimits(memory_bytes=512 * 2**20)

    def devour(size, target="devour"):
        payload = {"card": True, "bytes": size}
        return run_job(f"tests.media_in_children:{target}", payload, limits, source="clip")

    with pytest.raises(UnsafeMedia, match="more than 512 MiB"):
        devour(2 * 2**30)
    assert devour(2**20)["t"] == "answer"
    # What a driver reserves and never writes to.
    assert devour(64 * 2**30, "reserve")["t"] == "answer"


@pytest.mark.gpu
def test_on_a_gpu(clip, monkeypatch):
    plain, _ = bytes_of(clip)
    monkeypatch.setenv("RESTORE_DECODER", "nvdec")
    found, said = bytes_of(clip)
    assert found == plain
    assert said == ["decoded by NVDEC, whose first 8 frames were software's bit for bit"]
