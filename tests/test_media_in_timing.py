"""Times, timecodes, tags and short clips survive reading exactly."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from restore.color import ChromaSite, Matrix, Primaries, Range, Transfer
from restore.errors import DamagedMedia
from restore.frames import FieldOrder
from restore.media.probe import probe
from restore.media.reader import ClipReader
from restore.media.timing import Timeline, average_rate, is_uneven
from restore.time import FrameRange, Timecode
from tests.media_in_make import frame_of, smooth_planes, write_clip

MS = Fraction(1, 1000)


def frames_of(count, name="yuv420p", size=(64, 48)):
    return [smooth_planes(name, *size, index) for index in range(count)]


@pytest.mark.parametrize(
    ("times", "base", "uneven"),
    [
        ([], MS, None), ([5], MS, None), ([0, 40, 80, 120], MS, False),
        ([0, 33, 67, 100, 133, 167], MS, False), ([5, 39, 72, 105, 139], MS, False),
        ([0, 40, 81, 120], MS, False), ([0, 40, 90, 120], MS, True), ([0, 40, 120, 160], MS, True),
        ([0, 1001, 2002, 3003], Fraction(1, 30000), False),
        ([0, 3003, 6030, 9009], Fraction(1, 90000), False),  # once rounded to milliseconds
        ([0, 3003, 6300, 9009], Fraction(1, 90000), True),
        ([0, 1, 2, 4], Fraction(1, 25), True), ([0, 0], MS, True),
    ],
)  # fmt: skip
def test_evenness(times, base, uneven):
    assert is_uneven(times, base) is uneven


@given(st.integers(1, 300), st.integers(2, 200), st.sampled_from([1000, 90000, 12800, 24000]))
def test_any_constant_rate_rounded_to_any_base_is_even(rate, count, base):
    times = [round(Fraction(index * base, rate)) for index in range(count)]
    if len(set(times)) == count:
        assert is_uneven(times, Fraction(1, base)) is False


def test_average_rate():
    assert average_rate([0, 1001, 2002], Fraction(1, 30000)) == Fraction(30000, 1001)
    assert average_rate([7], MS) is None


@given(
    st.lists(st.one_of(st.none(), st.integers(-(10**6), 10**6)), max_size=60),
    st.sampled_from([None, Fraction(25), Fraction(30000, 1001), Fraction(1000)]),
)
def test_repaired_times_always_rise(times, rate):
    timeline = Timeline(MS, rate)
    placed = [timeline.place(time) for time in times]
    assert all(b > a for a, b in pairwise(placed))


def test_good_times_are_left_alone():
    timeline = Timeline(MS, Fraction(25))
    times = [-80, 3, 40, 41, 1000, 5000]
    assert [timeline.place(time) for time in times] == times
    assert timeline.warnings() == ()


def test_missing_times_are_counted_from_the_rate_without_drift():
    timeline = Timeline(MS, Fraction(30000, 1001))
    placed = [timeline.place(None) for _ in range(301)]
    assert placed[:4] == [0, 33, 67, 100]
    assert placed[300] == 10010
    assert "301 frames carry no time stamp" in timeline.warnings()[0]


def test_doubled_times_move_by_one_tick_and_resets_move_the_rest():
    timeline = Timeline(MS, Fraction(25))
    assert [timeline.place(t) for t in (0, 40, 40, 80)] == [0, 40, 41, 80]
    timeline = Timeline(MS, Fraction(25))
    assert [timeline.place(t) for t in (1000, 1040, 0, 40, 80)] == [1000, 1040, 1080, 1120, 1160]
    assert "jumps back 1 times" in timeline.warnings()[0]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    ("codec", "container"),
    [("ffv1", "mkv"), ("libx264", "mp4"), ("prores_ks", "mov"), ("mpeg2video", "mkv"),
     ("mjpeg", "avi"), ("libvpx-vp9", "webm")],
)  # fmt: skip
def test_one_and_two_frame_clips(tmp_path, codec, container, count):
    form = {"prores_ks": "yuv422p10le", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
    path = write_clip(
        tmp_path / f"clip.{container}", codec, form, frames_of(count, form.replace("j", ""))
    )
    with ClipReader(str(path), strict=True) as reader:
        frames = list(reader)
    assert [frame.index for frame in frames] == list(range(count))
    assert reader.damaged == ()
    assert reader.info.frame_rate == 25
    if count == 2:
        assert (frames[1].pts - frames[0].pts) * frames[0].time_base == Fraction(1, 25)
    assert not reader.info.is_vfr


@pytest.mark.parametrize(
    "rate", ["24000/1001", "30000/1001", "60000/1001", "45000/1499", "24", "16", "1000/41"]
)
def test_rates_are_exact_ratios(tmp_path, rate):
    rate = Fraction(rate)
    path = write_clip(tmp_path / "clip.mov", "mpeg4", "yuv420p", frames_of(6), rate=rate)
    with ClipReader(str(path)) as reader:
        frames = list(reader)
    assert reader.info.frame_rate == rate
    assert reader.info.is_vfr is False
    seconds = [(frame.pts - frames[0].pts) * frame.time_base for frame in frames]
    assert seconds == [index / rate for index in range(6)]


@pytest.mark.parametrize("container", ["mkv", "mp4"])
def test_uneven_times_come_through(tmp_path, container):
    times = [0, 40, 41, 120, 500, 533, 1800]
    codec = "ffv1" if container == "mkv" else "libx264"
    path = write_clip(
        tmp_path / f"clip.{container}", codec, "yuv420p", frames_of(7), times=times, time_base=MS
    )
    with ClipReader(str(path)) as reader:
        frames = list(reader)
    seconds = [frame.pts * frame.time_base for frame in frames]
    assert [(s - seconds[0]) * 1000 for s in seconds] == times
    assert reader.info.is_vfr is True


@pytest.mark.parametrize(
    ("text", "rate", "drop"),
    [("01:00:00;02", "30000/1001", True), ("10:11:12:13", "25", False),
     ("00:59:59:23", "24000/1001", False)],
)  # fmt: skip
@pytest.mark.parametrize("container", ["mov", "mkv"])
def test_timecode_is_read(tmp_path, container, text, rate, drop):
    def setup(output, stream):
        stream.metadata["timecode"] = text

    path = write_clip(
        tmp_path / f"clip.{container}", "mpeg4", "yuv420p", frames_of(3), rate=Fraction(rate),
        setup=setup,
    )  # fmt: skip
    timecode = probe(str(path)).timecode
    assert timecode == Timecode.parse(text, Fraction(rate))
    assert timecode.drop_frame is drop
    assert str(timecode) == text


def test_a_timecode_that_cannot_be_is_said(tmp_path):
    def setup(output, stream):
        stream.metadata["timecode"] = "99:99:99:99"

    path = write_clip(tmp_path / "clip.mkv", "ffv1", "yuv420p", frames_of(2), setup=setup)
    info = probe(str(path))
    assert info.timecode is None
    assert any("timecode left out" in warning for warning in info.warnings)


def test_colour_tags_and_chroma_siting_are_read(tmp_path):
    def setup(output, stream):
        context = stream.codec_context
        context.colorspace, context.color_primaries = 9, 9
        context.color_trc, context.color_range = 16, 1

    path = write_clip(
        tmp_path / "hdr.mp4", "libx265", "yuv420p10le", frames_of(2, "yuv420p10le"), setup=setup,
        options={"x265-params": "log-level=none:pools=1:chromaloc=2"},
    )  # fmt: skip
    color = probe(str(path)).color
    assert (color.matrix, color.primaries) == (Matrix.BT2020_NCL, Primaries.BT2020)
    assert (color.transfer, color.range) == (Transfer.PQ, Range.LIMITED)
    assert color.chroma_site is ChromaSite.TOPLEFT
    assert color.is_hdr


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_rotation_is_clockwise(tmp_path, degrees):
    def setup(output, stream):
        if degrees:
            stream.set_display_rotation(-degrees)

    path = write_clip(tmp_path / "turned.mp4", "mpeg4", "yuv420p", frames_of(2), setup=setup)
    info = probe(str(path))
    assert info.rotation_deg == degrees
    assert info.upright_px == ((48, 64) if degrees % 180 else (64, 48))


def test_a_skewed_display_matrix_is_left_and_said(tmp_path):
    def setup(output, stream):
        stream.set_display_rotation(-30)

    path = write_clip(tmp_path / "turned.mp4", "mpeg4", "yuv420p", frames_of(2), setup=setup)
    info = probe(str(path))
    assert info.rotation_deg == 0
    assert any("turns by" in text for text in info.warnings)


@pytest.mark.parametrize("ratio", ["16/15", "32/27", "1"])
def test_sample_aspect_is_read(tmp_path, ratio):
    def setup(output, stream):
        stream.codec_context.sample_aspect_ratio = Fraction(ratio)

    path = write_clip(tmp_path / "wide.mp4", "libx264", "yuv420p", frames_of(2), setup=setup)
    assert probe(str(path)).sample_aspect_ratio == Fraction(ratio)


def test_metadata_chapters_sound_and_attachments(tmp_path):
    path = tmp_path / "full.mkv"
    with av.open(str(path), "w") as output:
        video = output.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.metadata["language"] = "deu"
        sound = output.add_stream("pcm_s16le", rate=48000, layout="stereo")
        sound.metadata["language"] = "fra"
        output.metadata["title"] = "Reel ü"
        output.add_attachment("font.ttf", "application/x-truetype-font", b"\0\1\0\0font")
        output.set_chapters(
            [{"id": 1, "start": 0, "end": 40, "time_base": MS, "metadata": {"title": "One"}}]
        )
        for index, planes in enumerate(frames_of(3)):
            frame = frame_of("yuv420p", 64, 48, planes)
            frame.pts = index
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 9600), np.int16), "s16", "stereo")
        samples.rate = 48000
        output.mux(sound.encode(samples))
        output.mux(sound.encode(None))
    info = probe(str(path))
    assert info.metadata["title"] == "Reel ü"
    found = [(s.type, s.codec, s.language) for s in info.streams]
    assert found == [("audio", "pcm_s16le", "fra"), ("attachment", "", "")]
    assert info.streams[0].detail == "2 channels 48000 Hz"
    assert info.streams[1].detail == "font.ttf"
    (chapter,) = info.chapters
    assert (chapter.start, chapter.stop) == (0, Fraction(1, 25))
    assert chapter.metadata["title"] == "One"


@pytest.mark.parametrize(
    ("params", "order"), [("tff=1", FieldOrder.TFF), ("bff=1", FieldOrder.BFF)]
)
def test_interlaced_video_says_which_field_is_first(tmp_path, params, order):
    options = {"x264-params": params, "flags": "+ildct+ilme"}
    path = write_clip(tmp_path / "f.mkv", "libx264", "yuv420p", frames_of(2), options=options)
    info = probe(str(path))
    assert info.field_order is order
    assert any("interlaced" in text for text in info.warnings)


def test_a_change_of_size_ends_the_clip_with_a_warning(tmp_path):
    path = tmp_path / "change.ts"
    parts = []
    for size in ((64, 48), (96, 64)):
        part = tmp_path / f"{size[0]}.ts"
        write_clip(part, "mpeg2video", "yuv420p", frames_of(4, size=size), size=size)
        parts.append(part.read_bytes())
    path.write_bytes(b"".join(parts))
    with ClipReader(str(path)) as reader:
        frames = list(reader)
    assert {(frame.width_px, frame.height_px) for frame in frames} == {(64, 48)}
    assert any("changes from 64x48 to 96x64" in text for text in reader.warnings)
    assert reader.damaged[0].start == len(frames)
    with pytest.raises(DamagedMedia), ClipReader(str(path), strict=True) as reader:
        list(reader)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("cut.mkv", "ffv1"), ("cut.mp4", "mpeg4"), ("cut.mov", "prores_ks"), ("cut.mp4", "libx264")],
)
def test_a_truncated_file_is_read_up_to_the_cut(tmp_path, name, codec):
    form = "yuv422p10le" if codec == "prores_ks" else "yuv420p"
    whole = write_clip(tmp_path / name, codec, form, frames_of(20, form))
    if not name.endswith("mkv"):  # put the index first, as cameras and the web do
        front = tmp_path / f"front.{name}"
        with (
            av.open(str(whole)) as source,
            av.open(str(front), "w", options={"movflags": "faststart"}) as output,
        ):
            stream = output.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    output.mux(packet)
        whole = front
    data = whole.read_bytes()
    whole.write_bytes(data[: len(data) * 6 // 10])
    with ClipReader(str(whole)) as reader:
        frames = list(reader)
    assert 3 <= len(frames) < 20
    assert reader.damaged[-1] == FrameRange(len(frames), 20)
    assert len(reader.damaged) == 1
    assert any(f"frames [{len(frames)}, 20) could not be decoded" in w for w in reader.warnings)
    with pytest.raises(DamagedMedia), ClipReader(str(whole), strict=True) as reader:
        list(reader)


@pytest.mark.parametrize("options", [{"g": "8"}, {"g": "8", "x264-params": "open-gop=1:bframes=3"}])
def test_ranges_in_long_clips_are_exact(tmp_path, options):
    frames = frames_of(80)
    path = write_clip(
        tmp_path / "long.mp4",
        "libx264",
        "yuv420p",
        frames,
        options={"preset": "veryfast", **options},
    )
    with ClipReader(str(path)) as reader:
        whole = list(reader)
    for start in (30, 41, 63, 79):
        with ClipReader(str(path), range=FrameRange(start, start + 3)) as reader:
            part = list(reader)
        assert [frame.index for frame in part] == list(range(start, min(80, start + 3)))
        for got, wanted in zip(part, whole[start:], strict=False):
            assert got.pts == wanted.pts
            for a, b in zip(got.planes, wanted.planes, strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_avi_with_reordered_frames_has_even_times(tmp_path, codec):
    options = {"preset": "veryfast"} if codec == "libx264" else {"bf": "2"}
    frames = frames_of(12)
    path = write_clip(tmp_path / "old.avi", codec, "yuv420p", frames, options=options)
    with ClipReader(str(path)) as reader:
        got = list(reader)
    assert len({b.pts - a.pts for a, b in pairwise(got)}) == 1
    assert reader.warnings == ()
    for frame, planes in zip(got, frames, strict=True):  # and they are in the order shown
        assert np.abs(frame.planes[0].astype(int) - planes[0]).mean() < 3


@pytest.mark.parametrize(
    ("name", "codec"), [("a.h264", "libx264"), ("a.m2v", "mpeg2video"), ("a.mjpeg", "mjpeg")]
)
def test_bare_streams_get_times_from_their_rate(tmp_path, name, codec):
    form = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = write_clip(tmp_path / name, codec, form, frames_of(12))
    with ClipReader(str(path)) as reader:
        got = list(reader)
    assert [frame.index for frame in got] == list(range(12))
    assert {(b.pts - a.pts) * a.time_base for a, b in pairwise(got)} == {Fraction(1, 25)}


def test_a_file_cut_behind_its_last_frame_lost_none(tmp_path):
    path = write_clip(tmp_path / "clip.mkv", "ffv1", "yuv420p", frames_of(6))
    path.write_bytes(path.read_bytes()[:-4])  # within the index at the end
    with ClipReader(str(path), strict=True) as reader:
        assert len(list(reader)) == 6
    assert reader.damaged == ()
