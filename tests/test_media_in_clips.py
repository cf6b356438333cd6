"""Every real clip goes in with the facts that it is known to have."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from restore.color import ChromaSite, Matrix, Primaries, Range, Transfer
from restore.errors import DamagedMedia, InvalidInput, UnsafeMedia
from restore.frames import FieldOrder
from restore.media.describe import clip_info_from_dict, clip_info_to_dict
from restore.media.probe import probe
from restore.media.reader import ClipReader, DecodeLimits
from restore.time import FrameRange

LEFT, UNSAID = ChromaSite.LEFT, ChromaSite.UNSPECIFIED
# name: frames, size, sample aspect ratio, rate, time base, first and last pts, format, uneven,
# clockwise turn, chroma siting
CLIPS = {
    "av1_video.mkv": (125, (640, 360), "1", "25", "1/1000", 0, 4960, "yuv420p", False, 0, UNSAID),
    "bikes.mp4": (250, (640, 272), "1", "25", "1/12800", 0, 127488, "yuv420p", False, 0, LEFT),
    "bt601-525_480_interlaced_bff.mkv": (
        300, (720, 480), "32/27", "30000/1001", "1/1000", 5, 9982, "yuv420p", False, 0, LEFT),
    "bt601-525_480_interlaced_tff.mkv": (
        300, (720, 480), "32/27", "30000/1001", "1/1000", 5, 9982, "yuv420p", False, 0, LEFT),
    "bt601-525_480_telecined_hard.mkv": (
        300, (720, 480), "32/27", "30000/1001", "1/1000", 5, 9982, "yuv420p", False, 0, LEFT),
    "bt709_full_range.mp4": (
        30, (1280, 720), "1", "30", "1/15360", 0, 14848, "yuvj420p", False, 0, LEFT),
    "carphone_pristine.mp4": (
        120, (176, 144), "128/117", "30000/1001", "1/30000", 0, 119119, "yuv420p", False, 0, LEFT),
    "cockatoo.mp4": (
        280, (1280, 720), "1", "20", "1/10240", 0, 142848, "yuv444p", False, 0, LEFT),
    "corrupted.mp4": (
        28, (1280, 720), "1", "10", "1/10240", 0, 27648, "yuv420p", False, 0, LEFT),
    "fire2.mp4": (
        25, (1280, 720), "1", "750000/71393", "1/90000", 0, 205186, "yuv420p", True, 180, UNSAID),
    "h264_10bits.mp4": (
        30, (200, 200), "1", "30", "1/15360", 0, 14848, "yuv420p10le", False, 0, LEFT),
    "h265_10bits.mp4": (
        30, (200, 200), "1", "30", "1/15360", 0, 14848, "yuv420p10le", False, 0, LEFT),
    "nasa_13013.mp4": (
        390, (480, 270), "1", "30000/1001", "1/30000", 0, 389389, "yuv420p", False, 0, LEFT),
    "no_duration.webm": (
        74, (1280, 720), "1", "15000/1001", "1/1000", 0, 4872, "yuv420p", True, 0, UNSAID),
    "realshort.mp4": (
        36, (320, 240), "1", "45000/1499", "1/90000", 0, 104930, "yuv420p", False, 0, LEFT),
    "transparent.webm": (
        150, (200, 200), "1", "30", "1/1000", 0, 4967, "yuv420p", False, 0, UNSAID),
    "unordered.mov": (4, (50, 50), "1", "32", "1/16384", 0, 1536, "yuv420p", False, 0, LEFT),
    "video_180.mov": (3, (568, 320), "1", "30", "1/19200", 0, 1280, "yuv420p", False, 180, LEFT),
    "video_270.mov": (3, (568, 320), "1", "30", "1/19200", 0, 1280, "yuv420p", False, 270, LEFT),
    "video_90.mov": (3, (568, 320), "1", "30", "1/19200", 0, 1280, "yuv420p", False, 90, LEFT),
}  # fmt: skip
# name: matrix, primaries, transfer, range as tagged; codes of H.273
COLORS = {
    "av1_video.mkv": (1, 2, 2, 1),
    "bikes.mp4": (2, 2, 2, 0),
    "bt601-525_480_interlaced_bff.mkv": (6, 6, 6, 1),
    "bt709_full_range.mp4": (1, 1, 1, 2),
    "h264_10bits.mp4": (2, 2, 2, 0),
    "h265_10bits.mp4": (2, 2, 2, 1),
    "nasa_13013.mp4": (1, 1, 1, 1),
    "no_duration.webm": (1, 2, 2, 1),
    "transparent.webm": (5, 1, 1, 1),
    "video_90.mov": (1, 1, 1, 1),
}


def clip(assets, name):
    path = assets / "media" / "clips" / name
    if not path.exists():
        pytest.skip(f"{name} is not among the assets")
    return str(path)


def test_the_table_names_every_clip(assets):
    names = {path.name for path in (assets / "media" / "clips").iterdir() if path.is_file()}
    assert names == set(CLIPS)


@pytest.mark.parametrize("name", list(CLIPS))
def test_clip_is_read_with_its_frames_times_and_facts(assets, name):
    frames, size, sar, rate, base, first, last, form, uneven, turn, site = CLIPS[name]
    with ClipReader(clip(assets, name)) as reader:
        info = reader.info
        previous = None
        for index, frame in enumerate(reader):
            assert frame.index == index
            assert previous is None or frame.pts > previous
            assert (frame.width_px, frame.height_px) == size
            assert frame.time_base == Fraction(base)
            assert frame.color == info.resolved_color
            if index == 0:
                assert frame.pts == first
            previous = frame.pts
    assert reader.frames_read == frames
    assert previous == last
    assert (info.width_px, info.height_px) == size
    assert info.sample_aspect_ratio == Fraction(sar)
    assert info.frame_rate == Fraction(rate)
    assert info.time_base == Fraction(base)
    assert info.pixel_format == form
    assert info.is_vfr is uneven
    assert info.rotation_deg == turn
    assert info.color.chroma_site is site
    assert Matrix.UNSPECIFIED not in (info.resolved_color.matrix,)
    if name != "corrupted.mp4":
        assert reader.damaged == ()
        assert info.declared_frames in (None, frames)


@pytest.mark.parametrize("name", list(COLORS))
def test_colour_tags_are_read_as_they_are_and_guesses_are_named(assets, name):
    info = probe(clip(assets, name))
    matrix, primaries, transfer, swing = COLORS[name]
    assert info.color.matrix is Matrix(matrix)
    assert info.color.primaries is Primaries(primaries)
    assert info.color.transfer is Transfer(transfer)
    assert info.color.range is Range(swing)
    unsaid = [matrix == 2, primaries == 2, transfer == 2, swing == 0]
    assert len(info.color_guesses) == sum(unsaid)


def test_damage_yields_the_frames_before_it_and_a_warning(assets):
    with ClipReader(clip(assets, "corrupted.mp4")) as reader:
        assert len(list(reader)) == 28
    assert reader.damaged == (FrameRange(28, 50),)
    assert any(text.startswith("frames [28, 50) could not be decoded") for text in reader.warnings)


def test_strict_fails_at_damage(assets):
    with (
        pytest.raises(DamagedMedia, match="corrupted"),
        ClipReader(clip(assets, "corrupted.mp4"), strict=True) as reader,
    ):
        list(reader)
    with ClipReader(clip(assets, "realshort.mp4"), strict=True) as reader:
        assert len(list(reader)) == 36


def test_every_other_stream_is_listed(assets):
    info = probe(clip(assets, "nasa_13013.mp4"))
    found = [(s.index, s.type, s.codec, s.language) for s in info.streams]
    assert found == [
        (0, "video", "h264", "eng"),
        (1, "audio", "aac", "eng"),
        (2, "subtitle", "mov_text", "eng"),
        (4, "audio", "aac", "eng"),
        (5, "subtitle", "mov_text", "eng"),
    ]
    assert info.streams[1].time_base == Fraction(1, 8000)
    assert info.streams[1].duration == Fraction(104448, 8000)
    assert "2 video streams; stream 3 is taken" in info.warnings


def test_scanning_is_told(assets):
    orders = {
        "bt601-525_480_interlaced_bff.mkv": FieldOrder.BFF,
        "bt601-525_480_interlaced_tff.mkv": FieldOrder.TFF,
        "carphone_pristine.mp4": FieldOrder.PROGRESSIVE,
    }
    for name, order in orders.items():
        assert probe(clip(assets, name)).field_order is order


def test_what_a_file_lacks_or_hides_is_said(assets):
    info = probe(clip(assets, "no_duration.webm"))
    assert info.duration is None
    assert info.declared_frames is None
    assert "the container declares no duration" in info.warnings
    assert any("alpha_mode" in text for text in info.warnings)
    assert info.metadata["encoder"] == "Chrome"


def test_uneven_times_are_those_of_the_file(assets):
    with ClipReader(clip(assets, "fire2.mp4")) as reader:
        times = [frame.pts for frame in reader]
    assert times[:5] == [0, 9000, 18000, 27000, 36000]
    assert {b - a for a, b in pairwise(times)} == {
        7199, 8098, 8099, 8993, 8997, 9000, 9007,
    }  # fmt: skip


def test_counting_decodes_all_frames(assets):
    assert probe(clip(assets, "realshort.mp4"), count_frames=True).decoded_frames == 36
    damaged = probe(clip(assets, "corrupted.mp4"), count_frames=True)
    assert damaged.decoded_frames == 28
    assert any("frames from 28 on" in text for text in damaged.warnings)
    assert probe(clip(assets, "realshort.mp4")).decoded_frames is None


def test_descriptions_survive_json(assets):
    import json

    for name in ("nasa_13013.mp4", "fire2.mp4", "bt709_full_range.mp4"):
        info = probe(clip(assets, name))
        assert clip_info_from_dict(json.loads(json.dumps(clip_info_to_dict(info)))) == info


@pytest.mark.parametrize(
    "name", ["bikes.mp4", "bt601-525_480_interlaced_tff.mkv", "h265_10bits.mp4", "fire2.mp4"]
)
def test_a_range_is_the_same_frames_as_in_the_whole(assets, name):
    with ClipReader(clip(assets, name)) as reader:
        whole = list(reader)
    for start in {1, len(whole) // 2, len(whole) - 2}:
        with ClipReader(clip(assets, name), range=FrameRange(start, start + 2)) as reader:
            part = list(reader)
        assert [frame.index for frame in part] == [start, start + 1]
        for got, wanted in zip(part, whole[start:], strict=False):
            assert (got.pts, got.duration) == (wanted.pts, wanted.duration)
            for a, b in zip(got.planes, wanted.planes, strict=True):
                np.testing.assert_array_equal(a, b)


def test_a_range_behind_the_end_is_an_error_that_names_the_end(assets):
    with (
        pytest.raises(InvalidInput, match="below 36"),
        ClipReader(clip(assets, "realshort.mp4"), range=FrameRange(36)) as reader,
    ):
        list(reader)


def test_a_range_behind_the_damage_is_damage(assets):
    with (
        pytest.raises(DamagedMedia, match="28"),
        ClipReader(clip(assets, "corrupted.mp4"), range=FrameRange(40)) as reader,
    ):
        list(reader)


def test_a_limit_of_pixels_refuses(assets):
    limits = DecodeLimits(max_pixels_px=1000)
    with pytest.raises(UnsafeMedia, match="1000"):
        probe(clip(assets, "realshort.mp4"), limits=limits)
