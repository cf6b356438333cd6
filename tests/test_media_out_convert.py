"""Streams that a container cannot hold as they are: converted or left out, and said."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from restore.errors import MediaError
from restore.media.writer import CopiedStream
from restore.time import FrameRange
from tests.media_out_clips import packet_hashes, packet_times
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
@pytest.mark.parametrize("codec", ["aac", "libmp3lame"])
def test_lossy_sound_stays_with_the_picture_through_a_cut(tmp_path, codec, suffix):
    """Silence, then a burst at 1 s; cut at 0.6 s the burst has to come at 0.4 s."""
    source = tmp_path / "in.mp4"
    with av.open(str(source), "w") as file:
        video = file.add_stream("libx264", rate=25)
        video.width = video.height = 64
        sound = file.add_stream(codec, rate=RATE, layout="mono")
        for number in range(50):
            frame = av.VideoFrame(64, 64, "yuv420p")
            frame.pts = number
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        noise = np.random.default_rng(1).uniform(-0.5, 0.5, 2 * RATE).astype(np.float32)
        noise[:RATE] = 0
        size = sound.codec_context.frame_size
        for start in range(0, 2 * RATE - size, size):
            block = av.AudioFrame.from_ndarray(
                noise[None, start : start + size], format="fltp", layout="mono"
            )
            block.sample_rate, block.pts = RATE, start
            file.mux(sound.encode(block))
        file.mux(sound.encode(None))
    before = onset(source)
    assert abs(before - RATE) < 500
    target = tmp_path / f"out{suffix}"
    copy_all(
        source,
        target,
        list(range(15, 45)),
        Fraction(1, 25),
        Fraction(25),
        range=FrameRange(15, 45),
    )
    # 1 ms is what Matroska rounds to; the others are exact to the sample.
    assert abs(onset(target) - (before - 15 * RATE // 25)) <= (48 if suffix == ".mkv" else 1)


def onset(path: Path) -> int:
    """Position in samples of the first loud sound."""
    heard = decoded_sound(path)
    return min(place for place, value in heard.items() if abs(value) > 2000)


def test_mutated_sources_cost_their_own_streams_only(tmp_path):
    """60 seeded mutations: the picture is written whole, or the source is refused by type."""
    sources = [
        make_source(tmp_path / "a.mkv", audio=("libopus", "flac"), subtitles=("ass",)),
        make_source(tmp_path / "a.mp4", audio=("aac",), subtitles=("mov_text",)),
        make_source(tmp_path / "a.ts", audio=("mp2",)),
    ]
    written = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        source = sources[seed % 3]
        data = bytearray(source.read_bytes())
        if seed % 2:
            del data[int(rng.integers(len(data) // 4, len(data))) :]
        for place in rng.integers(0, len(data), int(rng.integers(1, 40))):
            data[place] = rng.integers(0, 256)
        broken = tmp_path / f"broken{source.suffix}"
        broken.write_bytes(data)
        target = tmp_path / f"out{('.mp4', '.mkv', '.mov')[seed // 3 % 3]}"
        try:
            report = copy_all(
                broken, target, list(range(50)), Fraction(1, 25), Fraction(25), overwrite=True
            )
        except MediaError:
            continue
        written += 1
        assert report.frames == 50
        assert len(packet_times(target)[0]) == 50
    assert written > 30
