"""Every real clip in, through R'G'B', and out: frames, times, orientation, colour, streams."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

from restore.engine.settings import EngineSettings
from restore.errors import DamagedMedia
from restore.recipe import load_preset
from restore.restoration import Job, run_job
from restore.time import FrameRange

ONE_MS = Fraction(1, 1000)


@dataclass(frozen=True)
class Clip:
    """Facts read off the file with other tools; rotation as ``VideoFrame.rotation`` gives it."""

    name: str
    frames: int
    size: tuple[int, int]
    rate: Fraction
    tags: tuple[int, int, int, int] = (2, 0, 2, 2)  # matrix, range, primaries, transfer
    rotated: bool = False
    audio: int = 0
    subtitles: int = 0
    sar: Fraction = Fraction(1)


CLIPS = [
    Clip("av1_video.mkv", 125, (640, 360), Fraction(25), (1, 1, 2, 2)),
    Clip("bikes.mp4", 250, (640, 272), Fraction(25)),
    Clip(
        "bt601-525_480_interlaced_bff.mkv",
        300,
        (720, 480),
        Fraction(30000, 1001),
        (6, 1, 6, 6),
        audio=1,
        sar=Fraction(32, 27),
    ),
    Clip(
        "bt601-525_480_interlaced_tff.mkv",
        300,
        (720, 480),
        Fraction(30000, 1001),
        (6, 1, 6, 6),
        audio=1,
        sar=Fraction(32, 27),
    ),
    Clip(
        "bt601-525_480_telecined_hard.mkv",
        300,
        (720, 480),
        Fraction(30000, 1001),
        (6, 1, 6, 6),
        audio=1,
        sar=Fraction(32, 27),
    ),
    Clip("bt709_full_range.mp4", 30, (1280, 720), Fraction(30), (1, 2, 1, 1)),
    Clip("carphone_pristine.mp4", 120, (176, 144), Fraction(30000, 1001), sar=Fraction(128, 117)),
    Clip("cockatoo.mp4", 280, (1280, 720), Fraction(20), audio=1),
    Clip("corrupted.mp4", 28, (1280, 720), Fraction(10)),
    Clip("fire2.mp4", 25, (1280, 720), Fraction(750000, 71393), audio=1),
    Clip("h264_10bits.mp4", 30, (200, 200), Fraction(30)),
    Clip("h265_10bits.mp4", 30, (200, 200), Fraction(30), (2, 1, 2, 2)),
    Clip(
        "nasa_13013.mp4", 390, (480, 270), Fraction(30000, 1001), (1, 1, 1, 1), audio=2, subtitles=2
    ),
    Clip("no_duration.webm", 74, (1280, 720), Fraction(15000, 1001), (1, 1, 2, 2), audio=1),
    Clip("realshort.mp4", 36, (320, 240), Fraction(45000, 1499), audio=1),
    Clip("transparent.webm", 150, (200, 200), Fraction(30), (5, 1, 1, 1), audio=1),
    Clip("unordered.mov", 4, (50, 50), Fraction(32)),
    Clip("video_180.mov", 3, (568, 320), Fraction(30), (1, 1, 1, 1)),
    Clip("video_270.mov", 3, (320, 568), Fraction(30), (1, 1, 1, 1), rotated=True),
    Clip("video_90.mov", 3, (320, 568), Fraction(30), (1, 1, 1, 1), rotated=True),
]


def decoded(path):
    """Times in seconds, the first picture's luma upright, the last frame, and all streams."""
    times, first, last = [], None, None
    with av.open(str(path)) as container:
        video = container.streams.best("video")
        try:
            for frame in container.decode(video):
                times.append(frame.pts * frame.time_base)
                if first is None:
                    turns = (frame.rotation // 90) % 4
                    first = np.rot90(luma(frame), turns)
                last = frame
        except av.error.InvalidDataError:
            pass
        streams = [stream.type for stream in container.streams if stream is not video]
        rate = video.average_rate
        sar = video.sample_aspect_ratio or Fraction(1)
    return times, first, last, streams, rate, sar


def luma(frame):
    """Luma code values on the scale of 8 bit; no converter in between."""
    depth = frame.format.components[0].bits
    plane = frame.planes[0]
    samples = np.frombuffer(plane, np.uint8 if depth == 8 else np.uint16)
    rows = samples.reshape(plane.height, -1)[:, : plane.width]
    return rows / float(1 << (depth - 8))


def transcode(source, destination, **changes):
    recipe = replace(
        load_preset("transcode"), delivery={"profile": "h264", "speed": "ultrafast", "crf": 4}
    )
    settings = EngineSettings("cpu")
    return run_job(Job(str(source), str(destination), recipe, settings, **changes))


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.name)
def test_clip_comes_out_as_it_went_in(assets, tmp_path, clip):
    source = assets / "media/clips" / clip.name
    suffix = ".mkv" if source.suffix in (".mkv", ".webm") else ".mp4"
    output = tmp_path / f"out{suffix}"
    report = transcode(source, output)
    before, first_in, *_ = decoded(source)
    after, first_out, last, streams, rate, sar = decoded(output)

    assert len(before) == len(after) == report.written.frames == clip.frames
    # Matroska counts in milliseconds; MP4 keeps every time exactly.
    slack = ONE_MS / 2 if suffix == ".mkv" else 0
    moved = [abs((b - before[0]) - (a - after[0])) for a, b in zip(after, before, strict=True)]
    assert max(moved) <= slack + (slack if suffix == ".mkv" else 0)
    assert rate == pytest.approx(clip.rate, rel=2e-3 if suffix == ".mkv" else 1e-9)
    assert (last.width, last.height) == clip.size
    assert last.rotation == 0
    assert sar == (1 / clip.sar if clip.rotated else clip.sar)

    # The picture is the same one and upright.
    assert first_out.shape == first_in.shape
    assert psnr(first_in, first_out) > 40

    matrix, full, primaries, transfer = clip.tags
    assert (last.color_primaries, last.color_trc) == (primaries, transfer)
    used = report.plan.source.resolved_color
    assert last.colorspace == int(used.matrix)
    assert last.color_range == int(used.range)
    if matrix != 2:
        assert last.colorspace == matrix
    if full:
        assert last.color_range == full

    assert streams.count("audio") == clip.audio
    assert streams.count("subtitle") == clip.subtitles
    assert {stream.outcome for stream in report.written.streams} <= {"copied"}


def psnr(a, b):
    error = np.mean((a.astype(float) - b.astype(float)) ** 2)
    return 99.0 if error == 0 else 10 * np.log10(255**2 / error)


EVEN = [
    clip
    for clip in CLIPS
    if clip.name.startswith("bt601") or clip.name in ("av1_video.mkv", "transparent.webm")
]


@pytest.mark.parametrize("clip", EVEN, ids=lambda clip: clip.name)
def test_even_clips_with_millisecond_times_are_exactly_even_in_mp4(assets, tmp_path, clip):
    source = assets / "media/clips" / clip.name
    output = tmp_path / "out.mp4"
    report = transcode(source, output, range=FrameRange(0, 40))
    assert report.plan.source.time_base == ONE_MS
    with av.open(str(output)) as container:
        video = container.streams.video[0]
        frames = list(container.decode(video))
        rate = video.average_rate
    times = [frame.pts * frame.time_base for frame in frames]
    assert len(times) == report.written.frames == 40
    assert {b - a for a, b in pairwise(times)} == {1 / clip.rate}
    assert {frame.duration * frame.time_base for frame in frames} == {1 / clip.rate}
    assert rate == clip.rate
    is_interlaced = clip.name.startswith("bt601")
    assert any("flagged as progressive" in text for text in report.warnings) == is_interlaced


def test_a_clip_with_uneven_millisecond_times_keeps_them_in_mp4(assets, tmp_path):
    # Its frames are 62 to 72 ms apart: a rate that says 15000/1001 does not make it even.
    source = assets / "media/clips/no_duration.webm"
    output = tmp_path / "out.mp4"
    report = transcode(source, output, range=FrameRange(0, 40))
    assert report.plan.source.is_vfr
    before, after = decoded(source)[0], decoded(output)[0]
    assert after == [time - before[0] for time in before[:40]]


def test_the_corrupted_clip_gives_its_28_frames_and_a_warning(assets, tmp_path):
    output = tmp_path / "out.mp4"
    report = transcode(assets / "media/clips/corrupted.mp4", output)
    assert report.written.frames == 28
    assert any("[28, " in warning for warning in report.warnings), report.warnings


def test_strict_refuses_the_corrupted_clip_and_leaves_nothing(assets, tmp_path):
    output = tmp_path / "out.mp4"
    with pytest.raises(DamagedMedia):
        transcode(assets / "media/clips/corrupted.mp4", output, strict=True)
    assert list(tmp_path.iterdir()) == []
