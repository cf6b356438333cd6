"""Pictures and image sequences, by name, folder and pattern."""

from __future__ import annotations

import struct
from fractions import Fraction

import numpy as np
import pytest

from restore.color import Range, Transfer
from restore.errors import DamagedMedia, InvalidInput, UnsupportedMedia
from restore.media.image_names import natural_key
from restore.media.probe import probe
from restore.media.reader import ClipReader
from restore.time import FrameRange
from tests.media_in_make import frame_of, random_planes, smooth_planes, write_image

SIZE = (37, 23)
# suffix: codec, format it is written from, planar format that it is read as
LOSSLESS = {
    "png8": ("png", "rgb24", "gbrp", ".png"),
    "png8a": ("png", "rgba", "gbrap", ".png"),
    "png16": ("png", "rgb48be", "gbrp16le", ".png"),
    "png16a": ("png", "rgba64be", "gbrap16le", ".png"),
    "pnggrey": ("png", "gray", "gray", ".png"),
    "pnggrey16": ("png", "gray16be", "gray16le", ".png"),
    "tiff8": ("tiff", "rgb24", "gbrp", ".tif"),
    "tiff16": ("tiff", "rgb48le", "gbrp16le", ".tif"),
    "tiffgrey16": ("tiff", "gray16le", "gray16le", ".tiff"),
    "dpx8": ("dpx", "rgb24", "gbrp", ".dpx"),
    "dpx10": ("dpx", "gbrp10le", "gbrp10le", ".dpx"),
    "dpx12": ("dpx", "gbrp12le", "gbrp12le", ".dpx"),
    "dpx16": ("dpx", "rgb48be", "gbrp16le", ".dpx"),
    "exr": ("exr", "gbrpf32le", "gbrpf32le", ".exr"),
    "exra": ("exr", "gbrapf32le", "gbrapf32le", ".exr"),
    "bmp": ("bmp", "bgr24", "gbrp", ".bmp"),
}


def write(path, kind, planes):
    codec, pixel_format, planar, _ = LOSSLESS[kind]
    size = planes[0].shape[1], planes[0].shape[0]
    frame = frame_of(planar, *size, planes)
    if pixel_format != planar:
        frame = frame.reformat(format=pixel_format)
    return write_image(path, codec, pixel_format, frame)


def sequence(folder, kind="png8", numbers=range(5), stem="scan_{:05d}", size=SIZE):
    folder.mkdir(exist_ok=True)
    _, _, planar, suffix = LOSSLESS[kind]
    content = {}
    for number in numbers:
        content[number] = smooth_planes(planar, *size, number)
        write(folder / f"{stem.format(number)}{suffix}", kind, content[number])
    return content


def assert_planes(frame, planes):
    for got, wanted in zip(frame.planes, planes, strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("kind", list(LOSSLESS))
def test_a_picture_is_a_clip_of_one_frame_with_exact_samples(tmp_path, kind):
    _, _, planar, suffix = LOSSLESS[kind]
    planes = random_planes(planar, *SIZE, np.random.default_rng(1))
    path = write(tmp_path / f"one{suffix}", kind, planes)
    with ClipReader(str(path)) as reader:
        (frame,) = list(reader)
    assert frame.format.name == planar
    assert_planes(frame, planes)
    assert (frame.pts, frame.duration, frame.time_base) == (0, 1, Fraction(1, 25))
    info = reader.info
    assert (info.container, info.declared_frames, info.is_vfr) == ("image", 1, False)
    assert info.duration == Fraction(1, 25)
    assert info.resolved_color.range is Range.FULL
    assert reader.warnings == ()


def test_exr_is_linear_unless_it_says_otherwise(tmp_path):
    path = write(tmp_path / "a.exr", "exr", smooth_planes("gbrpf32le", *SIZE, 0))
    assert probe(str(path)).resolved_color.transfer is Transfer.LINEAR


def test_tags_that_are_no_text_do_no_harm(tmp_path):
    path = write(tmp_path / "a.exr", "exr", smooth_planes("gbrpf32le", *SIZE, 0))
    data = path.read_bytes()
    assert b"lavc" in data
    path.write_bytes(data.replace(b"lavc", b"\xdc\xff\xfe\x80"))
    assert probe(str(path)).video_metadata == {}


def test_jpeg_is_read_as_full_range(tmp_path):
    frame = frame_of("yuvj420p", *SIZE, smooth_planes("yuv420p", *SIZE, 0))
    path = write_image(tmp_path / "a.jpg", "mjpeg", "yuvj420p", frame)
    info = probe(str(path))
    assert info.pixel_format == "yuvj420p"
    assert info.color.range is Range.FULL
    assert info.declared_frames == 1


def test_the_content_decides_not_the_suffix(tmp_path):
    path = write(tmp_path / "picture.mp4", "png8", smooth_planes("gbrp", *SIZE, 0))
    assert probe(str(path)).codec == "png"


@pytest.mark.parametrize("kind", ["png16", "tiff16", "dpx10", "exr"])
def test_patterns_and_folders_give_the_same_frames(tmp_path, kind):
    content = sequence(tmp_path / "reel", kind, range(1001, 1006))
    suffix = LOSSLESS[kind][3]
    for source in (tmp_path / "reel", tmp_path / "reel" / f"scan_%05d{suffix}"):
        with ClipReader(str(source), rate=Fraction(24000, 1001)) as reader:
            frames = list(reader)
        assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
        assert [frame.pts for frame in frames] == [0, 1, 2, 3, 4]
        assert frames[0].time_base == Fraction(1001, 24000)
        for frame, planes in zip(frames, content.values(), strict=True):
            assert_planes(frame, planes)
        info = reader.info
        assert info.container == "image sequence"
        assert info.declared_frames == 5
        assert info.frame_rate == Fraction(24000, 1001)
        assert info.duration == Fraction(5 * 1001, 24000)
        assert info.video_metadata["first_number"] == "1001"
        assert reader.warnings == ()


def test_names_are_counted_not_spelt(tmp_path):
    content = sequence(tmp_path / "reel", numbers=[1, 2, 9, 10, 11, 100], stem="f{}")
    with ClipReader(str(tmp_path / "reel")) as reader:
        frames = list(reader)
    for frame, planes in zip(frames, content.values(), strict=True):
        assert_planes(frame, planes)
    assert sorted(["b10", "b9", "a2", "B1"], key=natural_key) == ["a2", "B1", "b9", "b10"]


def test_gaps_are_reported(tmp_path):
    sequence(tmp_path / "reel", numbers=[1, 2, 5, 6, 8])
    with ClipReader(str(tmp_path / "reel" / "scan_%05d.png")) as reader:
        assert len(list(reader)) == 5
    assert any("3-4, 7 missing" in text for text in reader.warnings)
    assert any("3-4, 7 missing" in text for text in probe(str(tmp_path / "reel")).warnings)


def test_a_plain_pattern_takes_unpadded_numbers_only(tmp_path):
    sequence(tmp_path / "reel", numbers=[7, 8], stem="f{}")
    sequence(tmp_path / "reel", numbers=[9], stem="f{:03d}")
    assert probe(str(tmp_path / "reel" / "f%d.png")).declared_frames == 2
    assert probe(str(tmp_path / "reel" / "f%03d.png")).declared_frames == 1


def test_ranges_count_from_the_first_picture(tmp_path):
    content = sequence(tmp_path / "reel", numbers=range(10, 16))
    with ClipReader(str(tmp_path / "reel"), range=FrameRange(2, 4)) as reader:
        frames = list(reader)
    assert [frame.index for frame in frames] == [2, 3]
    assert_planes(frames[0], content[12])


def test_mixed_kinds_are_refused_by_name(tmp_path):
    sequence(tmp_path / "reel", "png8")
    sequence(tmp_path / "reel", "dpx10", numbers=range(2))
    with pytest.raises(UnsupportedMedia, match=r"5 png, 2 dpx"):
        probe(str(tmp_path / "reel"))
    assert probe(str(tmp_path / "reel" / "scan_%05d.dpx")).declared_frames == 2


@pytest.mark.parametrize("kind", ["png8", "tiff8", "dpx10", "exr"])
def test_mixed_sizes_are_refused_before_the_first_frame(tmp_path, kind):
    sequence(tmp_path / "reel", kind, numbers=range(3))
    sequence(tmp_path / "reel", kind, numbers=[3], size=(40, 23))
    with pytest.raises(UnsupportedMedia, match=r"37x23.*40x23"):
        ClipReader(str(tmp_path / "reel"))


def test_mixed_depths_are_refused(tmp_path):
    sequence(tmp_path / "reel", "png8", numbers=range(3))
    sequence(tmp_path / "reel", "png16", numbers=[3])
    with pytest.raises(UnsupportedMedia, match=r"8 bit RGB.*16 bit RGB"):
        probe(str(tmp_path / "reel"))


def test_a_broken_picture_ends_the_clip_there_and_is_named(tmp_path):
    sequence(tmp_path / "reel", numbers=range(8), stem="f{:02d}")
    broken = tmp_path / "reel" / "f05.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with ClipReader(str(tmp_path / "reel")) as reader:
        assert len(list(reader)) == 5
    assert reader.damaged == (FrameRange(5, 8),)
    assert any("f05.png" in text for text in reader.warnings)
    with (
        pytest.raises(DamagedMedia, match="f05"),
        ClipReader(str(tmp_path / "reel"), strict=True) as reader,
    ):
        list(reader)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_cut_off_exr_is_noticed(tmp_path, share):
    sequence(tmp_path / "reel", "exr", numbers=range(4), stem="f{}", size=(64, 64))
    broken = tmp_path / "reel" / "f2.exr"
    data = broken.read_bytes()
    broken.write_bytes(data[: int(len(data) * share)])
    with ClipReader(str(tmp_path / "reel")) as reader:
        assert len(list(reader)) == 2
    assert reader.damaged == (FrameRange(2, 4),)


def test_a_stray_text_ends_as_an_error(tmp_path):
    sequence(tmp_path / "reel", numbers=range(3))
    (tmp_path / "reel" / "scan_00003.png").write_text("not a picture")
    with pytest.raises(UnsupportedMedia, match="scan_00003"):
        probe(str(tmp_path / "reel"))


def test_other_files_and_hidden_ones_are_left_alone(tmp_path):
    sequence(tmp_path / "reel", numbers=range(3))
    (tmp_path / "reel" / "notes.txt").write_text("scanned at 2K")
    (tmp_path / "reel" / "._scan_00001.png").write_bytes(b"\0\5\x16\7")
    (tmp_path / "reel" / "proxy").mkdir()
    assert probe(str(tmp_path / "reel")).declared_frames == 3


def test_patterns_that_match_nothing_or_too_much(tmp_path):
    with pytest.raises(InvalidInput, match=r"scan_00001\.png"):
        probe(str(tmp_path / "scan_%05d.png"))
    with pytest.raises(InvalidInput, match="exactly one"):
        probe(str(tmp_path / "%d_%d.png"))
    with pytest.raises(InvalidInput, match="no folder"):
        probe(str(tmp_path / "none" / "%d.png"))


def test_dpx_headers_tell_rate_and_log_samples(tmp_path):
    sequence(tmp_path / "reel", "dpx10", numbers=range(2))
    for path in sorted((tmp_path / "reel").iterdir()):
        data = bytearray(path.read_bytes())
        order = ">" if data.startswith(b"SDPX") else "<"
        struct.pack_into(f"{order}f", data, 1724, 23.976)
        data[801] = 3
        path.write_bytes(data)
    info = probe(str(tmp_path / "reel"))
    assert info.frame_rate == Fraction(24000, 1001)
    assert sum("logarithmic" in text for text in info.warnings) == 1
    assert probe(str(tmp_path / "reel"), rate=Fraction(18)).frame_rate == 18


def test_real_scans_are_read(assets):
    with ClipReader(str(assets / "media" / "film" / "the_great_train_robbery")) as reader:
        frames = list(reader)
    assert len(frames) == 48
    assert {(frame.width_px, frame.height_px) for frame in frames} == {(480, 368)}
