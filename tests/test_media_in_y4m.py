"""YUV4MPEG2 from pipes and files."""

from __future__ import annotations

import io
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from restore.color import ChromaSite, ColorSpec, Matrix, Primaries, Range, Transfer
from restore.errors import DamagedMedia, InvalidInput, UnsafeMedia, UnsupportedMedia
from restore.frames import FieldOrder
from restore.media.probe import probe
from restore.media.reader import ClipReader
from restore.media.y4m_in import Y4mStream
from restore.time import FrameRange
from tests.media_in_make import frame_of, random_planes, smooth_planes

SIZE = (34, 18)
LIMIT = 10_000
TAGS = {
    "420jpeg": ("yuv420p", ChromaSite.CENTER),
    "420mpeg2": ("yuv420p", ChromaSite.LEFT),
    "420paldv": ("yuv420p", ChromaSite.TOPLEFT),
    "420": ("yuv420p", ChromaSite.CENTER),
    "422": ("yuv422p", ChromaSite.UNSPECIFIED),
    "444": ("yuv444p", ChromaSite.UNSPECIFIED),
    "411": ("yuv411p", ChromaSite.UNSPECIFIED),
    "444alpha": ("yuva444p", ChromaSite.UNSPECIFIED),
    "mono": ("gray", ChromaSite.UNSPECIFIED),
    "mono10": ("gray10le", ChromaSite.UNSPECIFIED),
    "420p10": ("yuv420p10le", ChromaSite.LEFT),
    "422p12": ("yuv422p12le", ChromaSite.UNSPECIFIED),
    "444p16": ("yuv444p16le", ChromaSite.UNSPECIFIED),
}


def stream(tag, frames, head="F30000:1001 Ip A1:1", size=SIZE):
    text = f"YUV4MPEG2 W{size[0]} H{size[1]} {head} C{tag}\n".encode()
    return text + b"".join(b"FRAME\n" + b"".join(p.tobytes() for p in f) for f in frames)


def read(data, **options):
    return Y4mStream(io.BytesIO(data), max_pixels_px=LIMIT, **options)


@pytest.mark.parametrize("tag", list(TAGS))
def test_every_layout_arrives_exactly(tag):
    form, site = TAGS[tag]
    frames = [random_planes(form, *SIZE, np.random.default_rng(i)) for i in range(3)]
    clip = read(stream(tag, frames))
    got = list(clip.frames())
    assert clip.info.color.chroma_site is site
    assert [frame.format.name for frame in got] == [form] * 3
    assert [frame.pts for frame in got] == [0, 1, 2]
    assert got[0].time_base == Fraction(1001, 30000)
    for frame, planes in zip(got, frames, strict=True):
        for a, b in zip(frame.planes, planes, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("form", ["yuv420p", "yuv422p10le", "yuv444p12le", "gray", "yuv411p"])
def test_what_ffmpeg_writes_is_read(tmp_path, form):
    path = tmp_path / "clip.y4m"
    frames = [smooth_planes(form, *SIZE, index) for index in range(3)]
    strict = {"strict": "-1"}  # deep formats are FFmpeg's own extension
    with av.open(str(path), "w", format="yuv4mpegpipe", container_options=strict) as output:
        video = output.add_stream("wrapped_avframe", rate=Fraction(24000, 1001))
        video.width, video.height, video.pix_fmt = *SIZE, form
        for index, planes in enumerate(frames):
            frame = frame_of(form, *SIZE, planes)
            frame.pts = index
            output.mux(video.encode(frame))
    with ClipReader(str(path)) as reader:
        got = list(reader)
    assert reader.info.frame_rate == Fraction(24000, 1001)
    for frame, planes in zip(got, frames, strict=True):
        for a, b in zip(frame.planes, planes, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        ("It", "field_order", FieldOrder.TFF), ("Ib", "field_order", FieldOrder.BFF),
        ("Ip", "field_order", FieldOrder.PROGRESSIVE), ("Im", "field_order", FieldOrder.UNKNOWN),
        ("A32:27", "sample_aspect_ratio", Fraction(32, 27)),
        ("A0:0", "sample_aspect_ratio", Fraction(1)),
        ("F24000:1001", "frame_rate", Fraction(24000, 1001)),
    ],
)  # fmt: skip
def test_tags_are_understood(words, field, value):
    assert getattr(read(stream("420", [], words)).info, field) == value


@pytest.mark.parametrize(("word", "swing"), [("FULL", Range.FULL), ("LIMITED", Range.LIMITED)])
def test_the_range_extension_is_read(word, swing):
    info = read(stream("420", [], f"F25:1 XYSCSS=420 XCOLORRANGE={word}")).info
    assert info.color.range is swing
    assert read(stream("420", [], "F25:1")).info.color.range is Range.UNSPECIFIED


def test_our_own_colour_comment_is_read():
    said = read(stream("420jpeg", [], "F25:1 XCOLORRANGE=LIMITED XRESTORE=9:16:9:1:3")).info.color
    assert said == ColorSpec(
        Matrix.BT2020_NCL, Primaries.BT2020, Transfer.PQ, Range.LIMITED, ChromaSite.TOPLEFT
    )
    # What is left unsaid there comes from the other tags and from the size.
    info = read(stream("420jpeg", [], "F25:1 XCOLORRANGE=FULL XRESTORE=2:2:6:0:0")).info
    assert info.color == ColorSpec(
        Matrix.SMPTE170M, range=Range.FULL, chroma_site=ChromaSite.CENTER
    )
    assert info.resolved_color.primaries is Primaries.SMPTE170M
    assert info.warnings == ()


def test_a_range_that_another_program_changed_wins_and_is_said():
    info = read(stream("420", [], "F25:1 XCOLORRANGE=FULL XRESTORE=1:1:1:1:1")).info
    assert info.color.range is Range.FULL
    assert info.color.matrix is Matrix.BT709
    assert any("XCOLORRANGE full" in text for text in info.warnings)


@pytest.mark.parametrize(
    "codes", ["", "1:1:1:1", "1:1:0:1:1", "3:1:1:1:1", "1:1:1:1:9", "a:1:1:1:1", "-1:1:1:1:1"]
)
def test_a_broken_colour_comment_is_refused(codes):
    with pytest.raises(UnsupportedMedia, match="XRESTORE"):
        read(stream("420", [], f"F25:1 XRESTORE={codes}"))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"RIFF....AVI ", b"YUV4MPEG2\n", b"YUV4MPEG2 W4\n", b"YUV4MPEG2 W0 H4 F25:1\n",
        b"YUV4MPEG2 W4 H4 F25:1 C420p99\n", b"YUV4MPEG2 W4 H4 F25:1 C410\n",
        b"YUV4MPEG2 W4 H4 F25 C420\n", b"YUV4MPEG2 W4 H4 Ix\n", b"YUV4MPEG2 W4 H4 Q1\n",
        b"YUV4MPEG2 W4 H4 F25:1 XCOLORRANGE=odd\n", b"YUV4MPEG2 W-4 H4 F25:1\n",
        b"YUV4MPEG2 W4 H4 F25:1 " + b"X" * 9000,
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused(data):
    with pytest.raises(UnsupportedMedia):
        read(data)


def test_large_pictures_are_refused():
    with pytest.raises(UnsafeMedia, match="10000"):
        read(b"YUV4MPEG2 W101 H100 F25:1\n")


def test_a_missing_rate_is_said():
    clip = read(stream("420", [], "F0:0"))
    assert clip.info.frame_rate == 25
    assert any("no frame rate" in text for text in clip.info.warnings)
    assert read(stream("420", [], "F0:0"), rate=Fraction(18)).info.frame_rate == 18


@pytest.mark.parametrize("broken", [b"FRAM", b"frame\n", b"FRAME\n1234", b"FRAMEX\n"])
def test_a_stream_that_breaks_off_is_damaged(tmp_path, broken):
    frames = [smooth_planes("yuv420p", *SIZE, index) for index in range(2)]
    path = tmp_path / "clip.y4m"
    path.write_bytes(stream("420", frames) + broken)
    with ClipReader(str(path)) as reader:
        assert len(list(reader)) == 2
    assert reader.damaged == (FrameRange(2, 3),)
    with pytest.raises(DamagedMedia), ClipReader(str(path), strict=True) as reader:
        list(reader)


def test_files_are_counted_by_their_size(tmp_path):
    frames = [smooth_planes("yuv420p", *SIZE, index) for index in range(7)]
    path = tmp_path / "clip.y4m"
    path.write_bytes(stream("420", frames))
    info = probe(str(path), count_frames=True)
    assert (info.declared_frames, info.decoded_frames) == (7, 7)
    assert info.duration == Fraction(7 * 1001, 30000)
    with ClipReader(str(path), range=FrameRange(3, 5)) as reader:
        got = list(reader)
    assert [frame.index for frame in got] == [3, 4]
    np.testing.assert_array_equal(got[0].planes[0], frames[3][0])


def test_standard_input_is_read_and_not_beyond_the_range():
    frames = [smooth_planes("yuv420p", *SIZE, index) for index in range(6)]
    code = (
        "import hashlib, sys\n"
        "from restore.media.reader import ClipReader\n"
        "from restore.time import FrameRange\n"
        "with ClipReader('-', range=FrameRange(1, 4)) as reader:\n"
        "    for frame in reader:\n"
        "        data = b''.join(plane.tobytes() for plane in frame.planes)\n"
        "        print(frame.index, hashlib.sha256(data).hexdigest())\n"
        "print(len(sys.stdin.buffer.read()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=stream("420", frames),
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        check=True,
    )
    import hashlib

    lines = done.stdout.decode().split("\n")
    for index in (1, 2, 3):
        data = b"".join(plane.tobytes() for plane in frames[index])
        assert lines[index - 1] == f"{index} {hashlib.sha256(data).hexdigest()}"
    assert int(lines[3]) == 2 * (len(b"FRAME\n") + sum(p.nbytes for p in frames[0]))


def test_standard_input_cannot_be_probed():
    with pytest.raises(InvalidInput, match="standard input"):
        probe("-")
