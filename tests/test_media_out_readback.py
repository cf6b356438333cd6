"""What is written is read back by this project's own reader as it went in."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from restore.color import (
    ChromaSite,
    ColorSpec,
    Matrix,
    Primaries,
    Range,
    Transfer,
    guess_color,
)
from restore.frames import PIXEL_FORMATS, FieldOrder
from restore.media.probe import probe
from restore.media.profiles import Delivery
from restore.media.reader import ClipReader
from restore.media.writer import VideoSpec, open_writer
from restore.time import FrameRange, Timecode
from tests.media_out_clips import BT709, write_clip

NTSC_CODES = (Matrix.SMPTE170M, Primaries.SMPTE170M, Transfer.SMPTE170M)


@pytest.mark.parametrize(
    "name",
    [
        "h264_10bits.mp4",
        "h265_10bits.mp4",
        "realshort.mp4",
        "transparent.webm",
        "unordered.mov",
        "fire2.mp4",
        "carphone_pristine.mp4",
        "video_90.mov",
    ],
)
def test_real_clips_survive_an_archive_copy_sample_for_sample(assets, tmp_path, name):
    source = str(assets / "media" / "clips" / name)
    target = str(tmp_path / "o.mkv")
    info = probe(source)
    layout = info.pixel_format.replace("yuvj", "yuv")
    assert layout in PIXEL_FORMATS
    video = VideoSpec(
        info.width_px,
        info.height_px,
        info.time_base,
        info.resolved_color,
        color=info.color,
        sample_aspect_ratio=info.sample_aspect_ratio,
        frame_rate=info.frame_rate,
        is_vfr=info.is_vfr,
        has_alpha=layout.startswith("yuva"),
        metadata=info.metadata,
    )
    before = []
    with (
        ClipReader(source) as reader,
        open_writer(
            target, Delivery("ffv1", pixel_format=layout), video, copy_from=source, source=info
        ) as writer,
    ):
        assert writer.color.matrix is info.resolved_color.matrix
        assert writer.color.range is info.resolved_color.range
        for frame in reader:
            before.append((frame.pts * frame.time_base, [np.array(p) for p in frame.planes]))
            writer.write(frame)
        report = writer.close()
    assert report.frames == len(before)
    again = probe(target)
    assert again.sample_aspect_ratio == info.sample_aspect_ratio
    if info.is_vfr is False:  # Matroska keeps the duration of a frame to 1 ns
        assert again.frame_rate == pytest.approx(info.frame_rate, rel=1e-5)
    assert again.color.primaries is info.color.primaries
    assert again.color.transfer is info.color.transfer
    assert again.resolved_color == info.resolved_color
    assert again.field_order is FieldOrder.PROGRESSIVE
    with ClipReader(target) as reader:
        after = list(reader)
    assert len(after) == len(before)
    for frame, (time_s, planes) in zip(after, before, strict=True):
        assert abs(frame.pts * frame.time_base - time_s) <= Fraction(1, 2000)
        assert all(np.array_equal(a, b) for a, b in zip(frame.planes, planes, strict=True))


@pytest.mark.parametrize(
    ("name", "delivery"),
    [
        ("o.mp4", Delivery("h264", speed="ultrafast")),
        ("o.mov", Delivery("prores4444")),
        ("o.mkv", Delivery("ffv1", pixel_format="gbrp16le")),
        ("o.mkv", Delivery("h265", speed="ultrafast")),
    ],
)
def test_timecode_tags_and_shape_are_probed_as_written(tmp_path, name, delivery):
    rate = Fraction(30000, 1001)
    code = Timecode.parse("00:59:59;28", rate)
    video = VideoSpec(
        96,
        64,
        1 / rate,
        BT709,
        color=BT709,
        sample_aspect_ratio=Fraction(10, 11),
        frame_rate=rate,
        timecode=code,
        is_vfr=False,
        metadata={"title": "Reel 3"},
    )
    path = str(tmp_path / name)
    write_clip(open_writer(path, delivery, video, metadata={"plan": "x"}), video, range(12))
    info = probe(path, count_frames=True)
    assert info.timecode == code
    assert info.decoded_frames == 12
    assert info.frame_rate == rate
    assert info.sample_aspect_ratio == Fraction(10, 11)
    assert info.color.primaries is BT709.primaries
    tags = {key.lower(): value for key, value in info.metadata.items()}
    assert tags["title"] == "Reel 3"
    assert tags["plan"] == "x"
    assert info.warnings == ()


@pytest.mark.parametrize(
    ("profile", "depth"),
    [("png", 8), ("png", 16), ("tiff", 8), ("tiff", 16), ("dpx", 10), ("dpx", 16), ("exr", 32)],
)
def test_image_files_are_read_back_sample_for_sample(tmp_path, profile, depth):
    video = VideoSpec(40, 30, Fraction(1, 24), BT709, color=BT709, frame_rate=Fraction(24))
    folder = f"{tmp_path}/out/"
    writer = open_writer(folder, Delivery(profile, bit_depth=depth), video, range=FrameRange(5, 8))
    frames, _ = write_clip(writer, video, [5, 6, 7])
    with ClipReader(folder, rate=Fraction(24)) as reader:
        again = list(reader)
    assert len(again) == 3
    for ours, theirs in zip(frames, again, strict=True):
        assert theirs.format == ours.format
        assert all(np.array_equal(a, b) for a, b in zip(ours.planes, theirs.planes, strict=True))


def test_a_pipe_file_is_read_back_sample_for_sample(tmp_path):
    video = VideoSpec(33, 25, Fraction(1, 24), BT709, color=BT709, frame_rate=Fraction(24))
    path = str(tmp_path / "o.y4m")
    for depth in (8, 10, 16):
        delivery = Delivery("y4m", bit_depth=depth)
        writer = open_writer(path, delivery, video, overwrite=True)
        frames, _ = write_clip(writer, video, [0, 1, 2])
        with ClipReader(path) as reader:
            again = list(reader)
        for ours, theirs in zip(frames, again, strict=True):
            assert theirs.format == ours.format
            assert theirs.color.chroma_site is ours.color.chroma_site
            assert all(
                np.array_equal(a, b) for a, b in zip(ours.planes, theirs.planes, strict=True)
            )


COLORS = {
    "SD NTSC": ((64, 48), "yuv420p", ColorSpec(*NTSC_CODES, Range.LIMITED, ChromaSite.LEFT)),
    "SD enlarged": (
        (1440, 1080),
        "yuv420p",
        ColorSpec(*NTSC_CODES, Range.LIMITED, ChromaSite.LEFT),
    ),
    "SD enlarged, matrix alone": (
        (1440, 1080),
        "yuv422p10le",
        ColorSpec(matrix=Matrix.BT470BG, range=Range.FULL, chroma_site=ChromaSite.LEFT),
    ),
    "HDR": (
        (1280, 720),
        "yuv420p10le",
        ColorSpec(
            Matrix.BT2020_NCL, Primaries.BT2020, Transfer.PQ, Range.LIMITED, ChromaSite.TOPLEFT
        ),
    ),
    "HD": ((1280, 720), "yuv420p", BT709),
    "low chroma": ((64, 48), "yuv420p", ColorSpec(*NTSC_CODES, Range.FULL, ChromaSite.BOTTOM)),
}
MISREAD = {
    "SD NTSC": (),
    "SD enlarged": ("matrix SMPTE170M as BT709", "primaries SMPTE170M as BT709"),
    "SD enlarged, matrix alone": ("matrix BT470BG as BT709",),
    "HDR": (
        "matrix BT2020_NCL as BT709",
        "primaries BT2020 as BT709",
        "transfer PQ as BT709",
        "chroma siting TOPLEFT as LEFT",
    ),
    "HD": (),
    "low chroma": ("chroma siting BOTTOM as LEFT",),
}


@pytest.mark.parametrize("name", list(COLORS))
def test_a_pipe_keeps_its_colour_and_says_what_others_will_take_wrong(tmp_path, name):
    (width, height), layout, color = COLORS[name]
    used, _ = guess_color(color, 720, 480, is_rgb=False, is_full_range_format=False)
    video = VideoSpec(width, height, Fraction(1, 25), used, color=color, frame_rate=Fraction(25))
    path = tmp_path / "o.y4m"
    writer = open_writer(str(path), Delivery("y4m", pixel_format=layout), video)
    _, report = write_clip(writer, video, [0])
    assert probe(str(path)).color == color
    assert len(report.warnings) == bool(MISREAD[name])
    said = " ".join(report.warnings)
    assert tuple(text for text in MISREAD[name] if text in said) == MISREAD[name]
    assert said.count(" as ") == len(MISREAD[name])
