"""Sound, subtitles, fonts, covers and chapters on their way from a source into an output."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from restore.frames import Chapter
from restore.media.profiles import Delivery
from restore.media.writer import CopiedStream, VideoSpec, WriteReport, open_writer
from restore.time import FrameRange
from tests.media_out_clips import BT709, packet_hashes, packet_times, read_back, write_clip
from tests.media_out_sources import (
    LINES,
    RATE,
    decoded_sound,
    make_source,
    ramp,
    sound_samples,
    subtitle_lines,
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


def copy_all(
    source: Path, target: Path, times: list[int], unit: Fraction, rate: Fraction | None, **more
) -> WriteReport:
    video = VideoSpec(64, 48, unit, BT709, color=BT709, frame_rate=rate, **more.pop("video", {}))
    profile = "prores422hq" if target.suffix == ".mov" else "h264"
    speed = None if target.suffix == ".mov" else "ultrafast"
    writer = open_writer(
        str(target), Delivery(profile, speed=speed), video, copy_from=str(source), **more
    )
    return write_clip(writer, video, times)[1]


def video_times(path: Path) -> tuple[list[int], Fraction, Fraction | None]:
    with av.open(str(path)) as file:
        stream = file.streams.best("video")
        stamps = sorted(p.pts for p in file.demux(stream) if p.size and p.pts is not None)
        return stamps, stream.time_base, stream.average_rate


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


def test_mov_text_and_vorbis_are_converted_and_said(assets, tmp_path):
    clips = assets / "media" / "clips"
    times, unit, rate = video_times(clips / "nasa_13013.mp4")
    target = tmp_path / "out.mkv"
    report = copy_all(clips / "nasa_13013.mp4", target, times, unit, rate)
    assert [s.outcome for s in report.streams] == [
        "copied", "copied", "converted", "copied", "converted",
    ]  # fmt: skip
    shown = subtitle_lines(clips / "nasa_13013.mp4")
    assert len(shown) > 2
    assert [text for _, _, text in subtitle_lines(target)] == [text for _, _, text in shown]
    times, unit, rate = video_times(clips / "transparent.webm")
    report = copy_all(clips / "transparent.webm", tmp_path / "out.mov", times, unit, rate)
    assert report.streams == (
        CopiedStream(1, "audio", "vorbis", "converted", "converted to PCM of 24 bit",
                     report.streams[0].packets),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("make", "suffix", "outcome"),
    [
        ("subrip", ".mkv", "copied"),
        ("ass", ".mkv", "copied"),
        ("subrip", ".mp4", "converted"),
        ("ass", ".mp4", "converted"),
        ("subrip", ".mov", "converted"),
        ("mov_text", ".mp4", "copied"),
        ("mov_text", ".mkv", "converted"),
    ],
)
def test_text_subtitles_keep_words_and_times(tmp_path, make, suffix, outcome):
    source = make_source(
        tmp_path / ("in.mp4" if make == "mov_text" else "in.mkv"), audio=(), subtitles=(make,)
    )
    target = tmp_path / f"out{suffix}"
    report = copy_all(source, target, list(range(50)), Fraction(1, 25), Fraction(25))
    assert [entry.outcome for entry in report.streams] == [outcome]
    assert subtitle_lines(target) == LINES
    with av.open(str(target)) as file:
        assert file.streams.subtitles[0].language == "fra"


@pytest.mark.parametrize(
    ("codec", "muxer", "suffix", "outcome", "codec_out"),
    [
        ("pcm_s16le", "in.mkv", ".mp4", "copied", "pcm_s16le"),
        ("pcm_u8", "in.mkv", ".mp4", "converted", "alac"),
        ("flac", "in.mkv", ".mp4", "copied", "flac"),
        ("flac", "in.mkv", ".mov", "converted", "pcm_s16le"),
        ("wavpack", "in.mkv", ".mp4", "converted", "alac"),
        ("pcm_alaw", "in.mov", ".mkv", "converted", "flac"),
        ("libopus", "in.mkv", ".mov", "converted", "pcm_s24le"),
    ],
)
def test_sound_that_does_not_fit_is_converted_without_moving(
    tmp_path, codec, muxer, suffix, outcome, codec_out
):
    source = make_source(tmp_path / muxer, audio=(codec,), delay_s=Fraction(1, 10))
    target = tmp_path / f"out{suffix}"
    report = copy_all(source, target, list(range(50)), Fraction(1, 25), Fraction(25))
    entry = report.streams[0]
    assert (entry.type, entry.outcome) == ("audio", outcome)
    with av.open(str(target)) as file:
        assert file.streams.audio[0].codec_context.codec.canonical_name == codec_out
        # QuickTime has the other ISO 639-2 form of the same language.
        if muxer != "in.mov":  # made without our care for its list of languages
            assert file.streams.audio[0].language == ("ger" if suffix == ".mov" else "deu")
    before, after = decoded_sound(source), decoded_sound(target)
    assert len(before) > RATE
    # Matroska places packets to 1 ms, so the source itself has seams; the samples follow each
    # other without one in MP4 and QuickTime, and not one is lost.
    start = min(after)
    is_exact = suffix != ".mkv" and codec != "libopus"
    assert abs(start - RATE // 10) <= (0 if is_exact else 48)
    if suffix != ".mkv":
        assert sorted(after) == list(range(start, start + len(after)))
    assert sound_samples(target) == sound_samples(source)
    if codec in ("pcm_s16le", "flac"):
        assert sound_samples(target)[:RATE] == ramp(0, RATE).tolist()


def test_opus_goes_into_mp4_as_it_is_and_mp2_too(tmp_path):
    source = make_source(tmp_path / "in.mkv", audio=("libopus", "mp2"))
    report = copy_all(source, tmp_path / "o.mp4", list(range(50)), Fraction(1, 25), Fraction(25))
    assert [entry.outcome for entry in report.streams] == ["copied", "copied"]
    hashes = packet_hashes(source), packet_hashes(tmp_path / "o.mp4")
    assert hashes[0][1] == hashes[1][1]
    assert hashes[0][2] == hashes[1][2]


def test_fonts_stay_in_matroska_and_are_said_elsewhere(tmp_path):
    font = bytes(range(256)) * 9
    source = make_source(tmp_path / "in.mkv", subtitles=("ass",), attachment=("a.ttf", font))
    report = copy_all(source, tmp_path / "o.mkv", list(range(50)), Fraction(1, 25), Fraction(25))
    assert [entry.outcome for entry in report.streams] == ["copied"] * 3
    with av.open(str(tmp_path / "o.mkv")) as file:
        kept = [s for s in file.streams if s.type == "attachment"]
        assert [(s.name, s.mimetype, s.data) for s in kept] == [("a.ttf", "font/ttf", font)]
    report = copy_all(source, tmp_path / "o.mp4", list(range(50)), Fraction(1, 25), Fraction(25))
    assert report.streams[-1].outcome == "dropped"
    assert "attachments" in report.streams[-1].detail


def cover_source(path: Path) -> bytes:
    """An MP4 with a PNG cover; returns the picture."""
    context = av.CodecContext.create("png", "w")
    context.width = context.height = 16
    context.pix_fmt, context.time_base = "rgb24", Fraction(1, 25)
    picture = bytes(context.encode(av.VideoFrame(16, 16, "rgb24"))[0])
    with av.open(str(path), "w") as file:
        video = file.add_stream("libx264", rate=25)
        video.width = video.height = 64
        art = file.add_mux_stream("png", width=16, height=16)
        art.disposition = av.stream.Disposition.attached_pic
        for number in range(50):
            frame = av.VideoFrame(64, 64, "yuv420p")
            frame.pts = number
            file.mux(video.encode(frame))
        packet = av.Packet(picture)
        packet.stream, packet.pts, packet.dts = art, 0, 0
        packet.time_base = Fraction(1, 25)
        file.mux(packet)
        file.mux(video.encode(None))
    return picture


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_cover_art_stays(tmp_path, suffix):
    picture = cover_source(tmp_path / "in.mp4")
    target = tmp_path / f"out{suffix}"
    report = copy_all(tmp_path / "in.mp4", target, list(range(50)), Fraction(1, 25), Fraction(25))
    assert [(s.outcome, s.detail) for s in report.streams] == [("copied", "cover art")]
    with av.open(str(target)) as file:
        art = [s for s in file.streams if av.stream.Disposition.attached_pic in s.disposition]
        assert len(art) == 1
        assert next(bytes(p) for p in file.demux(art[0]) if p.size) == picture


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
