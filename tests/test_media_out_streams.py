"""Sound, subtitles, fonts, covers and chapters on their way from a source into an output."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from restore.frames import Chapter
from restore.media.profiles import Delivery
from restore.media.writer import VideoSpec, open_writer
from restore.time import FrameRange, Timecode
from tests.media_out_clips import BT709, packet_hashes, packet_times, read_back, write_clip
from tests.media_out_sources import (
    LINES,
    RATE,
    copy_all,
    decoded_sound,
    make_source,
    ramp,
    sound_samples,
    subtitle_lines,
    video_times,
)

MS = Fraction(1, 1000)
CLIPS = [
    "av1_video.mkv",
    "bikes.mp4",
    "bt601-525_480_interlaced_bff.mkv",
    "bt601-525_480_telecined_hard.mkv",
    "bt709_full_range.mp4",
    "carphone_pristine.mp4",
    "cockatoo.mp4",
    "corrupted.mp4",
    "fire2.mp4",
    "nasa_13013.mp4",
    "no_duration.webm",
    "realshort.mp4",
    "transparent.webm",
    "unordered.mov",
    "video_90.mov",
]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize("name", CLIPS)
def test_every_stream_of_real_clips_arrives_bit_for_bit(assets, tmp_path, name, suffix):
    source = assets / "media" / "clips" / name
    times, unit, rate = video_times(source)
    target = tmp_path / f"out{suffix}"
    report = copy_all(source, target, times, unit, rate)
    grid = MS if suffix == ".mkv" else Fraction(0)
    written = read_back(target).times_s
    assert len(written) == len(times)
    assert all(abs(a - b * unit) <= grid / 2 for a, b in zip(written, times, strict=True)), (
        "frame times moved"
    )
    theirs, ours = packet_hashes(source), packet_hashes(target)
    their_times, our_times = packet_times(source), packet_times(target)
    with av.open(str(source)) as file:
        main = file.streams.best("video").index
        others = [s.index for s in file.streams if s.index != main]
        units = {s.index: s.time_base for s in file.streams}
    assert [entry.index for entry in report.streams] == others
    position = 0
    for entry in report.streams:
        if entry.outcome == "dropped":
            assert entry.detail
            continue
        position += 1
        if entry.outcome == "converted":
            assert entry.detail.startswith("converted to")
            assert entry.packets > 0
            continue
        assert ours[position] == theirs[entry.index]
        assert entry.packets == len(ours[position])
        slack = max(units[entry.index], grid)
        for a, b in zip(our_times[position], their_times[entry.index], strict=True):
            assert abs(a - b) <= slack


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize("codec", ["pcm_s16le", "flac"])
def test_a_cut_keeps_sound_and_picture_together(tmp_path, suffix, codec):
    expected = "converted" if codec == "flac" and suffix == ".mov" else "copied"
    source = make_source(tmp_path / "in.mkv", audio=(codec,))
    target = tmp_path / f"out{suffix}"
    report = copy_all(
        source,
        target,
        list(range(11, 31)),
        Fraction(1, 25),
        Fraction(25),
        range=FrameRange(11, 31),
    )
    assert report.streams[0].outcome == expected
    back = read_back(target)
    assert back.times_s[0] == 0
    assert len(back.times_s) == 20
    heard = decoded_sound(target)
    first, stop = 11 * RATE // 25, 31 * RATE // 25
    # Matroska places each packet to 1 ms (48 samples), here on the way in and on the way out.
    slack = 49 if suffix == ".mkv" else 25
    at = min(heard)
    assert at <= slack
    for place in (at, at + 500, at + 9000):
        run = [heard[place + n] for n in range(12)]
        assert any(
            run == ramp(first + place + shift, 12).tolist() for shift in range(-slack, slack + 1)
        )
    packet = 4608 if codec == "flac" else 1024
    assert stop - first - slack <= max(heard) < stop - first + packet + slack


def test_subtitles_and_chapters_are_cut_too(tmp_path):
    source = make_source(tmp_path / "in.mkv", audio=(), subtitles=("subrip",))
    target = tmp_path / "out.mkv"
    chapters = (
        Chapter(Fraction(0), Fraction(1), {"title": "One"}),
        Chapter(Fraction(1), Fraction(2), {"title": "Two"}),
    )
    copy_all(
        source,
        target,
        list(range(20, 45)),
        Fraction(1, 25),
        Fraction(25),
        range=FrameRange(20, 45),
        video={"chapters": chapters},
    )
    # 0.8 s to 1.8 s of the source: the second event is cut at its start, the first is gone.
    assert subtitle_lines(target) == [(0, 200, LINES[1][2]), (700, 400, LINES[2][2])]
    found = [
        (c["start"] * c["time_base"], c["end"] * c["time_base"], c["metadata"]["title"])
        for c in read_back(target).chapters
    ]
    assert found == [
        (Fraction(0), Fraction(1, 5), "One"),
        (Fraction(1, 5), Fraction(1), "Two"),
    ]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_chapters_arrive(tmp_path, suffix):
    chapters = (
        Chapter(Fraction(0), Fraction(1, 2), {"title": "One"}),
        Chapter(Fraction(1, 2), Fraction(2), {"title": "Zwei"}),
    )
    source = make_source(tmp_path / "in.mkv")
    target = tmp_path / f"out{suffix}"
    copy_all(
        source, target, list(range(50)), Fraction(1, 25), Fraction(25),
        video={"chapters": chapters},
    )  # fmt: skip
    found = [
        (c["start"] * c["time_base"], c["end"] * c["time_base"], c["metadata"]["title"])
        for c in read_back(target).chapters
    ]
    assert found == [(c.start, c.stop, c.metadata["title"]) for c in chapters]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_and_picture_alternate_in_the_file(tmp_path, suffix):
    source = make_source(tmp_path / "in.mkv", seconds=Fraction(6), subtitles=("subrip",))
    target = tmp_path / f"out{suffix}"
    copy_all(source, target, list(range(150)), Fraction(1, 25), Fraction(25))
    latest: dict[int, Fraction] = {}
    with av.open(str(target)) as file:
        places = sorted(
            (p.pos, p.stream_index, p.pts * p.time_base)
            for p in file.demux()
            if p.size and p.pos is not None and p.stream.type != "subtitle"
        )
    gap = Fraction(0)
    for _, index, time_s in places:
        latest[index] = time_s
        if len(latest) == 2:
            gap = max(gap, abs(latest[0] - latest[1]))
    assert gap < 1


def test_a_broken_order_of_times_does_not_stop_the_job(tmp_path):
    source = tmp_path / "in.mkv"
    with av.open(str(make_source(tmp_path / "a.mkv"))) as good, av.open(str(source), "w") as bad:
        pairs = {s.index: bad.add_stream_from_template(s, opaque=True) for s in good.streams}
        for packet in good.demux():
            if not packet.size:
                continue
            if packet.stream.type == "audio":
                packet.pts = packet.dts = packet.pts // 100 * 100
            packet.stream = pairs[packet.stream_index]
            bad.mux(packet)
    target = tmp_path / "out.mp4"
    report = copy_all(source, target, list(range(50)), Fraction(1, 25), Fraction(25))
    assert report.streams[0].outcome == "copied"
    assert "damaged" in report.streams[0].detail
    assert sound_samples(target) == sound_samples(source)


def test_a_damaged_source_costs_its_sound_but_not_the_picture(tmp_path):
    whole = make_source(tmp_path / "in.mkv").read_bytes()
    source = tmp_path / "cut.mkv"
    noise = np.random.default_rng(3).integers(0, 256, len(whole) // 3, dtype=np.uint8).tobytes()
    source.write_bytes(whole[: len(whole) // 2] + noise)
    report = copy_all(source, tmp_path / "o.mkv", list(range(50)), Fraction(1, 25), Fraction(25))
    assert report.frames == 50
    assert len(read_back(tmp_path / "o.mkv").times_s) == 50


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_broadcast_stream_starts_at_zero_with_sound_and_picture_together(tmp_path, suffix):
    source = make_source(tmp_path / "in.ts", audio=("aac", "mp2"), start_s=40_000)
    times, unit, rate = video_times(source)
    theirs = packet_times(source)
    start = min(stamps[0] for stamps in theirs.values())
    assert start > 39_999
    target = tmp_path / f"out{suffix}"
    report = copy_all(source, target, times, unit, rate)
    assert [entry.outcome for entry in report.streams] == ["copied", "copied"]
    grid = MS if suffix == ".mkv" else Fraction(1, 10**4)
    for a, b in zip(read_back(target).times_s, times, strict=True):
        assert abs(a - (b * unit - start)) <= grid
    ours = packet_times(target)
    for index in (1, 2):
        # A sound packet's time is kept to one sample, and to 1 ms in Matroska.
        assert abs(ours[index][0] - (theirs[index][0] - start)) <= grid
        assert len(ours[index]) == len(theirs[index])
    assert packet_hashes(target)[2] == packet_hashes(source)[2]
    # Only the framing of AAC changes between the two, not a sample.
    assert sound_samples(target) == sound_samples(source)


def test_a_timecode_track_is_written_anew(tmp_path):
    rate = Fraction(25)
    video = VideoSpec(
        64, 48, 1 / rate, BT709, color=BT709, frame_rate=rate,
        timecode=Timecode.parse("01:00:00:00", rate),
    )  # fmt: skip
    source, target = tmp_path / "in.mov", tmp_path / "out.mov"
    write_clip(open_writer(str(source), Delivery("prores422hq"), video), video, range(9))
    video = replace(video, timecode=Timecode.parse("01:00:00:03", rate))
    writer = open_writer(
        str(target), Delivery("prores422hq"), video, copy_from=str(source), range=FrameRange(3, 9)
    )
    _, report = write_clip(writer, video, range(3, 9))
    assert [(entry.type, entry.outcome) for entry in report.streams] == [("data", "converted")]
    assert read_back(target).video_metadata["timecode"] == "01:00:00:03"
    with av.open(str(target)) as file:
        assert [stream.type for stream in file.streams] == ["video", "data"]


def test_streams_are_named_where_the_output_has_no_place_for_them(assets, tmp_path):
    from restore.media.probe import probe

    clip = assets / "media" / "clips" / "nasa_13013.mp4"
    info = probe(str(clip))
    video = VideoSpec(64, 48, info.time_base, BT709, color=BT709, frame_rate=info.frame_rate)
    video = replace(video, metadata=info.metadata)
    writer = open_writer(
        f"{tmp_path}/frames/", Delivery("png"), video, copy_from=str(clip), source=info
    )
    report = write_clip(writer, video, [0, 1001])[1]
    assert {entry.outcome for entry in report.streams} == {"dropped"}
    assert len(report.streams) == 5
