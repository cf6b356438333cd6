"""Frame times, tags and timecode of what is written, read back exactly; the same bytes twice."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from restore.color import ChromaSite
from restore.errors import InvalidInput
from restore.frames import PIXEL_FORMATS, RawFrame
from restore.media.clock import OutputClock, movie_timescale, track_time_base
from restore.media.profiles import Delivery
from restore.media.writer import VideoSpec, open_writer
from restore.time import Timecode
from tests.media_out_clips import BT709, packet_times, read_back, write_clip
from tests.media_out_sources import copy_all, make_source, video_times

RATES = ["24000/1001", "30000/1001", "60000/1001", "25", "48", "16", "45000/1499", "750000/71393"]
EXACT = [("h264", ".mp4"), ("h265", ".mp4"), ("av1", ".mp4"), ("prores422hq", ".mov")]


def fast(profile: str) -> Delivery:
    return Delivery(
        profile, speed={"h264": "ultrafast", "h265": "ultrafast", "av1": "13"}.get(profile)
    )


def spec(unit: Fraction, rate: Fraction | None, **more) -> VideoSpec:
    return VideoSpec(64, 64, unit, BT709, color=BT709, frame_rate=rate, **more)


@pytest.mark.parametrize("frames", [1, 2, 3, 20])
@pytest.mark.parametrize("rate", RATES)
def test_even_rates_are_exact_in_mp4(tmp_path, rate, frames):
    rate = Fraction(rate)
    video = spec(1 / rate, rate, is_vfr=False)
    path = tmp_path / "o.mp4"
    # x264's slower presets use B-frames, whose reordering must not shift the start.
    writer = open_writer(str(path), Delivery("h264", speed="fast"), video)
    _, report = write_clip(writer, video, list(range(frames)))
    back = read_back(path)
    assert report.warnings == ()
    assert back.times_s == [n / rate for n in range(frames)]
    assert back.lengths_s == [1 / rate] * frames
    assert back.rate == rate
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        assert stream.frames == frames
        assert stream.duration * stream.time_base == frames / rate


@pytest.mark.parametrize(("profile", "suffix"), EXACT)
@pytest.mark.parametrize("frames", [1, 2, 3, 9])
def test_every_encoder_keeps_uneven_times_and_a_late_start(tmp_path, profile, suffix, frames):
    unit = Fraction(1, 90000)
    times = [500, 800, 1000, 9000, 9001, 20000, 20500, 50000, 50777][:frames]
    lengths = [b - a for a, b in pairwise(times)] + [12345]
    video = spec(unit, None, is_vfr=True)
    path = tmp_path / f"o{suffix}"
    source = make_source(tmp_path / "in.mkv", seconds=Fraction(1))
    writer = open_writer(str(path), fast(profile), video, copy_from=str(source))
    _, report = write_clip(writer, video, times, durations=lengths)
    assert report.warnings == ()
    back = read_back(path)
    assert back.times_s == [t * unit for t in times]
    with av.open(str(path)) as file:
        sound = next(p for p in file.demux(audio=0) if p.size)
        assert sound.pts * sound.time_base == 0
        stream = file.streams.video[0]
        # The sum of decode times reaches the end of the last frame; reordered frames may add to it.
        assert stream.duration >= times[-1] + 12345 - times[0]
    if profile != "h265" or frames <= 2:
        assert back.lengths_s[-1] == 12345 * unit


@given(
    gaps=st.lists(st.integers(1, 200_000), min_size=1, max_size=12),
    first=st.integers(0, 400_000),
    scale=st.sampled_from([1000, 12800, 15360, 24000, 44100, 90000, 1_000_000]),
    profile=st.sampled_from(["h264", "prores422hq"]),
)
def test_any_times_come_back(tmp_path_factory, gaps, first, scale, profile):
    times = [first]
    for gap in gaps:
        times.append(times[-1] + gap)
    video = spec(Fraction(1, scale), Fraction(25), is_vfr=True)
    path = tmp_path_factory.mktemp("any") / f"o{'.mp4' if profile == 'h264' else '.mov'}"
    write_clip(open_writer(str(path), fast(profile), video), video, times)
    assert read_back(path).times_s == [Fraction(t, scale) for t in times]


def test_matroska_rounds_to_a_millisecond_and_says_so(tmp_path):
    rate = Fraction(30000, 1001)
    video = spec(1 / rate, rate, is_vfr=False)
    path = tmp_path / "o.mkv"
    _, report = write_clip(open_writer(str(path), fast("h264"), video), video, list(range(30)))
    assert len(report.warnings) == 1
    assert "1/1000 s" in report.warnings[0]
    assert "30000/1001" in report.warnings[0]
    back = read_back(path)
    assert back.rate == rate
    assert all(abs(t - n / rate) <= Fraction(1, 2000) for n, t in enumerate(back.times_s))
    video = spec(Fraction(1, 25), Fraction(25), is_vfr=False)
    path = tmp_path / "p.mkv"
    _, report = write_clip(open_writer(str(path), fast("h264"), video), video, list(range(30)))
    assert report.warnings == ()
    assert read_back(path).times_s == [Fraction(n, 25) for n in range(30)]


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("dropped", [None, 7])
@pytest.mark.parametrize("rate", ["24000/1001", "30000/1001", "25"])
def test_millisecond_times_become_exact_again(tmp_path, rate, dropped, suffix):
    rate = Fraction(rate)
    source = make_source(tmp_path / "in.mkv", rate=rate, start_s=1)
    times, unit, _ = video_times(source)
    assert unit == Fraction(1, 1000)
    times = [t for n, t in enumerate(times) if n != dropped]
    numbers = [n for n in range(len(times) + (dropped is not None)) if n != dropped]
    target = tmp_path / f"out{suffix}"
    report = copy_all(source, target, times, unit, rate, video={"is_vfr": False})
    assert report.warnings == ()
    back = read_back(target)
    start_s = times[0] * unit
    assert start_s == 1
    assert back.times_s == [start_s + n / rate for n in numbers]
    gap = set() if dropped is None else {2 / rate}
    # x264 here writes in order; ProRes has no other order.
    assert {b - a for a, b in pairwise(back.times_s)} == {1 / rate} | gap
    if dropped is None:
        assert back.rate == rate
        assert set(back.lengths_s) == {1 / rate}
    sound_in, sound_out = packet_times(source)[1], packet_times(target)[1]
    assert all(abs(a - b) <= unit for a, b in zip(sound_in, sound_out, strict=True))


def test_a_frame_off_the_grid_keeps_its_own_time(tmp_path):
    rate = Fraction(30000, 1001)
    # Frame 3 is 7 ms late; frame 6 is right again, moved there by a whole millisecond.
    times = [5, 39, 72, 112, 139, 172, 206]
    video = spec(Fraction(1, 1000), rate, is_vfr=False)
    path = tmp_path / "o.mp4"
    source = make_source(tmp_path / "in.mkv", seconds=Fraction(1))
    writer = open_writer(str(path), fast("h264"), video, copy_from=str(source))
    write_clip(writer, video, times)
    exact = [Fraction(5, 1000) + n / rate for n in range(7)]
    exact[3] = Fraction(112, 1000)
    assert read_back(path).times_s == exact


@pytest.mark.parametrize("is_vfr", [True, None])
def test_times_of_clips_that_may_be_uneven_are_not_touched(tmp_path, is_vfr):
    times = [5, 39, 72, 105, 139]
    video = spec(Fraction(1, 1000), Fraction(30000, 1001), is_vfr=is_vfr)
    path = tmp_path / "o.mp4"
    source = make_source(tmp_path / "in.mkv", seconds=Fraction(1))
    writer = open_writer(str(path), fast("h264"), video, copy_from=str(source))
    write_clip(writer, video, times)
    assert read_back(path).times_s == [Fraction(t, 1000) for t in times]


@given(
    gaps=st.lists(st.integers(1, 70), min_size=1, max_size=40),
    rate=st.sampled_from([Fraction(24000, 1001), Fraction(30), Fraction(1001, 2), Fraction(48)]),
)
def test_evened_times_rise_and_stay_within_a_tick(gaps, rate):
    tick = Fraction(1, 1000)
    video = spec(tick, rate, is_vfr=False)
    clock = OutputClock(video, track_time_base(video), grid=None, rebase=False)
    layout = PIXEL_FORMATS["gray"]
    planes = (np.zeros((64, 64), np.uint8),)
    pts, placed = 0, []
    for index, gap in enumerate(gaps):
        pts += gap
        frame = RawFrame(planes, layout, 64, 64, pts, tick, BT709, index)
        placed.append(clock.place(frame)[0])
        assert abs(placed[-1] * clock.unit - pts * tick) <= tick + clock.unit
    assert all(a < b for a, b in pairwise(placed))


def test_matroska_keeps_millisecond_times_as_they_are(tmp_path):
    times = [5, 39, 72, 105, 139, 172]
    video = spec(Fraction(1, 1000), Fraction(30000, 1001), is_vfr=False)
    path = tmp_path / "o.mkv"
    _, report = write_clip(open_writer(str(path), fast("h264"), video), video, times)
    assert report.warnings == ()
    assert read_back(path).times_s == [Fraction(t, 1000) for t in times]


def test_frames_out_of_order_are_refused_and_nothing_is_left(tmp_path):
    video = spec(Fraction(1, 25), Fraction(25))
    writer = open_writer(str(tmp_path / "o.mp4"), fast("h264"), video)
    with pytest.raises(InvalidInput, match="order of presentation"):
        write_clip(writer, video, [0, 2, 1])
    assert list(tmp_path.iterdir()) == []


def test_timescales_hold_every_time():
    assert track_time_base(spec(Fraction(1, 1000), Fraction(30000, 1001))) == Fraction(1, 30000)
    assert track_time_base(spec(Fraction(1001, 24000), None)) == Fraction(1, 24000)
    assert track_time_base(spec(Fraction(1, 999_983), Fraction(45000, 1499))) == Fraction(
        1, 999_983
    )
    assert movie_timescale([Fraction(1, 24000), Fraction(1, 44100)]) == 3_528_000
    assert movie_timescale([Fraction(1, 2**31 - 1), Fraction(1, 44100)]) == 2**31 - 1


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize(
    ("label", "rate"),
    [
        ("01:00:00;02", "30000/1001"),
        ("00:59:59:29", "30000/1001"),
        ("10:20:30:23", "24000/1001"),
        ("10:20:30:24", "25"),
        ("00:01:00;04", "60000/1001"),
    ],
)
def test_timecode_comes_back(tmp_path, suffix, label, rate):
    rate = Fraction(rate)
    code = Timecode.parse(label, rate)
    video = spec(1 / rate, rate, timecode=code, is_vfr=False)
    path = tmp_path / f"o{suffix}"
    profile = "prores422hq" if suffix == ".mov" else "h264"
    write_clip(open_writer(str(path), fast(profile), video), video, [0, 1, 2])
    tags = {k.lower(): v for k, v in read_back(path).video_metadata.items()}
    assert tags["timecode"] == label
    assert Timecode.parse(tags["timecode"], rate) == code


def test_a_timecode_that_cannot_be_held_is_said(tmp_path):
    rate = Fraction(16)
    video = spec(1 / rate, rate, timecode=Timecode(3, rate))
    _, report = write_clip(
        open_writer(str(tmp_path / "o.mov"), fast("prores422hq"), video), video, [0]
    )
    assert any("timecode 00:00:00:03" in text for text in report.warnings)
    _, report = write_clip(open_writer(str(tmp_path / "o.mkv"), fast("h264"), video), video, [0])
    assert not any("timecode" in text for text in report.warnings)


PLAN = json.dumps({"stages": ["upscale ×4"] * 400, "seed": 7})
TAGS = {
    "title": "Der große Zugüberfall",
    "artist": "Edison",
    "date": "1903",
    "comment": "first; second = 3",
    "copyright": "none",
    "major_brand": "M4V ",
    "encoder": "somebody else",
    "location": "+54.1843-002.7189/",
}
REPORT = {"restore:plan": PLAN, "restore:version": "0.1.0", "Model Hash": "17d7"}


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_tags_survive_and_ours_are_there(tmp_path, suffix):
    video = spec(Fraction(1, 25), Fraction(25), metadata=TAGS)
    path = tmp_path / f"o{suffix}"
    profile = "prores422hq" if suffix == ".mov" else "h264"
    writer = open_writer(str(path), fast(profile), video, metadata=REPORT)
    writer.set_metadata({"restore:seed": "9", "title": "New"})
    _, report = write_clip(writer, video, list(range(5)))
    assert report.bytes == path.stat().st_size
    found = read_back(path).metadata
    lower = {key.lower().replace(" ", "_"): value for key, value in found.items()}
    wanted = {**TAGS, **REPORT, "title": "New", "restore:seed": "9"}
    for key in ("major_brand", "encoder"):
        del wanted[key]
        assert lower.get(key) != TAGS[key]
    assert {key: lower.get(key.lower().replace(" ", "_")) for key in wanted} == wanted
    if suffix != ".mkv":
        assert all(key in found for key in REPORT)
    assert len(read_back(path).times_s) == 5


def test_tags_come_before_the_first_frame(tmp_path):
    video = spec(Fraction(1, 25), Fraction(25))
    writer = open_writer(str(tmp_path / "o.mkv"), fast("h264"), video)
    write_clip(writer, video, [0])
    with pytest.raises(InvalidInput, match="before"):
        writer.set_metadata({"a": "b"})


def test_mp4_takes_tags_until_it_is_closed(tmp_path):
    video = spec(Fraction(1, 25), Fraction(25))
    path = str(tmp_path / "o.mp4")
    writer = open_writer(path, fast("h264"), video)
    close, writer.close = writer.close, lambda: None  # the clip's own helper closes it
    write_clip(writer, video, [0, 1])
    writer.set_metadata({"restore_invented": '{"refine": "1 %"}'})
    close()
    with av.open(path) as file:
        assert file.metadata["restore_invented"] == '{"refine": "1 %"}'


@pytest.mark.parametrize("site", [ChromaSite.LEFT, ChromaSite.TOPLEFT, ChromaSite.CENTER])
def test_chroma_siting_is_in_the_container_and_in_the_codec(tmp_path, site):
    used = BT709.with_(chroma_site=site)
    video = spec(Fraction(1, 25), Fraction(25))
    video = VideoSpec(**{**vars(video), "color_used": used, "color": used})
    path = tmp_path / "o.mkv"
    writer = open_writer(str(path), fast("h264"), video)
    assert writer.color.chroma_site is site
    write_clip(writer, video, [0])
    # Matroska: ChromaSitingHorz 0x55B7 and ChromaSitingVert 0x55B8, 1 = co-sited, 2 = half.
    horizontal = 2 if site is ChromaSite.CENTER else 1
    vertical = 1 if site is ChromaSite.TOPLEFT else 2
    data = path.read_bytes()
    assert bytes([0x55, 0xB7, 0x81, horizontal]) in data
    assert bytes([0x55, 0xB8, 0x81, vertical]) in data
    other = used.with_(chroma_site=ChromaSite.BOTTOM)
    path = tmp_path / "p.mkv"
    video = VideoSpec(**{**vars(video), "color_used": other, "color": other})
    write_clip(open_writer(str(path), fast("h264"), video), video, [0])
    assert sps(tmp_path / "o.mkv") != sps(path)


def sps(path: Path) -> bytes:
    with av.open(str(path)) as file:
        return bytes(file.streams.video[0].codec_context.extradata)


def test_mp4_says_colour_and_sample_shape_in_boxes(tmp_path):
    video = spec(Fraction(1, 25), Fraction(25), sample_aspect_ratio=Fraction(10, 11))
    path = tmp_path / "o.mp4"
    write_clip(open_writer(str(path), fast("h264"), video), video, [0])
    data = path.read_bytes()
    assert b"colrnclx" + bytes([0, 1, 0, 1, 0, 1, 0]) in data
    assert b"pasp" + (10).to_bytes(4, "big") + (11).to_bytes(4, "big") in data


_TWICE = """
import os, sys
from fractions import Fraction
cpus = sorted(os.sched_getaffinity(0))
os.sched_setaffinity(0, cpus[: int(sys.argv[3])])
from restore.media.profiles import Delivery
from restore.media.writer import VideoSpec, open_writer
from tests.media_out_clips import BT709, write_clip
video = VideoSpec(256, 144, Fraction(1, 25), BT709, color=BT709, frame_rate=Fraction(25))
writer = open_writer(sys.argv[2], Delivery(sys.argv[1]), video, metadata={"restore:a": "b"})
write_clip(writer, video, range(30))
"""


@pytest.mark.parametrize(
    ("profile", "suffix"),
    [
        ("h264", ".mp4"),
        ("h264", ".mkv"),
        ("h265", ".mp4"),
        ("av1", ".mp4"),
        ("prores422hq", ".mov"),
        ("dnxhr_hqx", ".mov"),
        ("ffv1", ".mkv"),
    ],
)
def test_the_same_job_gives_the_same_bytes_on_one_core_and_on_all(
    tmp_path, request, profile, suffix
):
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system cannot take cores away from a process")
    digests = set()
    for name, cores in (("a", 1), ("b", 64)):
        path = tmp_path / f"{name}{suffix}"
        subprocess.run(
            [sys.executable, "-c", _TWICE, profile, str(path), str(cores)],
            check=True,
            cwd=request.config.rootpath,
        )
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1
