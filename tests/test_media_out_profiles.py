"""Every delivery profile at every bit depth: written, read back, compared."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from restore.color import ChromaSite, ColorSpec, Matrix, Primaries, Range, Transfer
from restore.errors import InvalidInput
from restore.frames import PIXEL_FORMATS, ClipInfo, FieldOrder
from restore.media.profiles import PROFILES, Delivery, default_delivery
from restore.media.writer import VideoSpec, open_writer
from tests.media_out_clips import BT709, decoded_planes, psnr_db, read_back, write_clip

NTSC = Fraction(30000, 1001)
CASES = [
    (name, bits, layout)
    for name, facts in PROFILES.items()
    if facts.kind == "video"
    for bits, layouts in facts.formats.items()
    for layout in layouts
]
ALPHA = [
    (name, bits, layout)
    for name, facts in PROFILES.items()
    if facts.kind == "video"
    for bits, layouts in facts.alpha_formats.items()
    for layout in layouts
]


def spec_for(width_px: int = 256, height_px: int = 120, **changes) -> VideoSpec:
    base = VideoSpec(
        width_px,
        height_px,
        Fraction(1, 30000),
        BT709,
        color=BT709,
        sample_aspect_ratio=Fraction(8, 9),
        frame_rate=NTSC,
        is_vfr=False,
    )
    return replace(base, **changes)


@pytest.mark.parametrize(("name", "bits", "layout"), [*CASES, *ALPHA])
def test_a_profile_comes_back_with_its_frames_times_and_tags(tmp_path, name, bits, layout):
    facts = PROFILES[name]
    is_rgb = PIXEL_FORMATS[layout].kind == "rgb"
    video = spec_for(has_alpha=PIXEL_FORMATS[layout].has_alpha)
    path = tmp_path / f"out{facts.suffixes[0]}"
    speed = facts.speeds[0] if facts.speeds else None
    crf = 10 if name == "av1" else None
    delivery = Delivery(name, crf=crf, bit_depth=bits, pixel_format=layout, speed=speed)
    writer = open_writer(str(path), delivery, video)
    assert writer.pixel_format.name == layout
    times = [1001 * n for n in range(4)]
    frames, report = write_clip(writer, video, times)
    back = read_back(path)
    assert (report.frames, report.bytes) == (4, path.stat().st_size)
    grid = Fraction(1, 1000) if path.suffix == ".mkv" else Fraction(1, 30000)
    assert back.times_s == [round(t * video.time_base / grid) * grid for t in times]
    assert back.rate == NTSC
    assert back.sar == Fraction(8, 9)
    assert back.color[:3] == (0 if is_rgb else 1, 1, 1)
    assert back.color[3] == (Range.FULL if is_rgb else Range.LIMITED)
    peak = 2**bits - 1
    for ours, theirs in zip(frames, back.frames, strict=True):
        planes = decoded_planes(theirs, ours.format)
        if facts.is_lossless:
            assert all(np.array_equal(a, b) for a, b in zip(ours.planes, planes, strict=True))
        else:
            assert psnr_db(ours.planes, planes, peak) > 38


@pytest.mark.parametrize(
    ("name", "suffix"), [(n, suffix) for n, facts in PROFILES.items() for suffix in facts.suffixes]
)
def test_every_ending_that_a_profile_lists_can_be_written(tmp_path, name, suffix):
    facts = PROFILES[name]
    video = spec_for()
    numbered = "_%02d" if facts.kind == "sequence" else ""
    path = tmp_path / f"out{numbered}{suffix}"
    speed = facts.speeds[0] if facts.speeds else None
    _, report = write_clip(
        open_writer(str(path), Delivery(name, speed=speed), video), video, [0, 1001]
    )
    assert (report.frames, report.path) == (2, str(path))
    written = sorted(tmp_path.iterdir())
    assert sum(file.stat().st_size for file in written) == report.bytes
    assert sum(len(read_back(file).frames) for file in written) == 2


@pytest.mark.parametrize("name", [n for n, facts in PROFILES.items() if facts.kind == "sequence"])
def test_image_files_hold_every_sample(tmp_path, name):
    facts = PROFILES[name]
    for table in (facts.formats, facts.alpha_formats):
        for bits, layouts in table.items():
            for layout in layouts:
                video = spec_for(37, 23, has_alpha=PIXEL_FORMATS[layout].has_alpha)
                folder = tmp_path / f"{layout}"
                delivery = Delivery(name, bit_depth=bits, pixel_format=layout)
                writer = open_writer(f"{folder}/", delivery, video)
                frames, report = write_clip(writer, video, [0, 1001, 2002])
                names = sorted(entry.name for entry in folder.iterdir())
                assert names == [f"frame_{n:08d}{facts.suffixes[0]}" for n in range(3)]
                assert report.bytes == sum(entry.stat().st_size for entry in folder.iterdir())
                for ours, entry in zip(frames, sorted(folder.iterdir()), strict=True):
                    with av.open(str(entry)) as file:
                        theirs = next(file.decode(video=0))
                    planes = decoded_planes(theirs, ours.format)
                    assert all(
                        np.array_equal(a, b) for a, b in zip(ours.planes, planes, strict=True)
                    ), layout


def test_pipe_layouts_are_read_by_ffmpeg(tmp_path):
    facts = PROFILES["y4m"]
    for bits, layouts in facts.formats.items():
        for layout in layouts:
            video = spec_for(37, 23)
            path = tmp_path / f"{layout}.y4m"
            delivery = Delivery("y4m", bit_depth=bits, pixel_format=layout)
            frames, report = write_clip(open_writer(str(path), delivery, video), video, [0, 1001])
            assert report.bytes == path.stat().st_size
            back = read_back(path)
            assert back.rate == NTSC
            assert back.sar == Fraction(8, 9)
            assert back.color[3] == Range.LIMITED
            for ours, theirs in zip(frames, back.frames, strict=True):
                assert theirs.format.name == layout
                planes = decoded_planes(theirs, ours.format)
                assert all(np.array_equal(a, b) for a, b in zip(ours.planes, planes, strict=True))


_PIPE = """
import sys
from fractions import Fraction
sys.path.insert(0, {root!r})
from tests.media_out_clips import BT709, write_clip
from restore.errors import OutputError
from restore.media.profiles import Delivery
from restore.media.writer import VideoSpec, open_writer
video = VideoSpec(64, 48, Fraction(1, 25), BT709, color=BT709, frame_rate=Fraction(25))
try:
    write_clip(open_writer("-", Delivery("y4m"), video), video, range({frames}))
except OutputError as error:
    print(error, file=sys.stderr)
    sys.exit(9)
"""


def test_standard_output_carries_the_stream_and_a_closed_pipe_is_an_error(request):
    root = str(request.config.rootpath)
    whole = subprocess.run(
        [sys.executable, "-c", _PIPE.format(root=root, frames=3)],
        capture_output=True,
        check=True,
        cwd=request.config.rootpath,
    )
    head, _, rest = whole.stdout.partition(b"\n")
    assert head.split()[0] == b"YUV4MPEG2"
    assert len(rest) == 3 * (len(b"FRAME\n") + 64 * 48 * 3 // 2)
    child = subprocess.Popen(
        [sys.executable, "-c", _PIPE.format(root=root, frames=200)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=request.config.rootpath,
    )
    child.stdout.read(10)
    child.stdout.close()
    said = child.stderr.read().decode()
    child.stderr.close()
    assert child.wait(30) == 9
    assert "closed the pipe" in said
    assert "Exception ignored" not in said


@pytest.mark.parametrize(
    ("size", "profile", "layout"),
    [
        ((33, 24), "h264", "yuv444p"),
        ((32, 25), "h264", "yuv422p"),
        ((65, 66), "h265", "yuv444p10le"),
        ((66, 65), "h265", "yuv422p10le"),
        ((33, 25), "ffv1", "yuv444p16le"),
        ((33, 25), "prores4444", "yuv444p10le"),
    ],
)
def test_odd_sizes_keep_every_line(tmp_path, size, profile, layout):
    video = spec_for(*size)
    path = tmp_path / f"odd{PROFILES[profile].suffixes[0]}"
    writer = open_writer(str(path), Delivery(profile), video)
    assert writer.pixel_format.name == layout
    if profile in ("h264", "h265"):
        assert any("even size" in text for text in writer.warnings)
    frames, _ = write_clip(writer, video, [0, 1001, 2002])
    back = read_back(path).frames
    peak = 2 ** frames[0].format.depth_bits - 1
    assert [(f.width, f.height) for f in back] == [size] * 3
    assert psnr_db(frames[0].planes, decoded_planes(back[0], frames[0].format), peak) > 38


@pytest.mark.parametrize(
    ("size", "profile"),
    [((33, 24), "prores422hq"), ((65, 64), "av1"), ((128, 64), "dnxhr_hqx"), ((32, 32), "av1")],
)
def test_a_size_that_cannot_be_held_is_said(tmp_path, size, profile):
    path = tmp_path / f"odd{PROFILES[profile].suffixes[0]}"
    with pytest.raises(InvalidInput, match="Take"):
        open_writer(str(path), Delivery(profile), spec_for(*size))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "bad",
    [
        {"profile": "h266"},
        {"profile": "h264", "crf": 52},
        {"profile": "ffv1", "crf": 10},
        {"profile": "h264", "speed": "ludicrous"},
        {"profile": "png", "bit_depth": 10},
        {"profile": "h264", "pixel_format": "gbrp"},
        {"profile": "h264", "pixel_format": "yuv420p", "bit_depth": 10},
        {"profile": "h264", "threads": 0},
    ],
)
def test_a_delivery_that_does_not_exist_is_refused(bad):
    with pytest.raises(InvalidInput):
        Delivery(**bad)


@pytest.mark.parametrize(
    ("destination", "delivery"),
    [
        ("a.avi", Delivery("h264")),
        ("a.mp4", Delivery("prores422hq")),
        ("a.png", Delivery("tiff")),
        ("a.mkv", Delivery("y4m")),
    ],
)
def test_a_name_that_does_not_fit_the_profile_is_refused(tmp_path, destination, delivery):
    with pytest.raises(InvalidInput, match="name"):
        open_writer(str(tmp_path / destination), delivery, spec_for())


def info(pixel_format: str, transfer: Transfer = Transfer.BT709) -> ClipInfo:
    color = ColorSpec(transfer=transfer)
    return ClipInfo(
        "x",
        "mp4",
        "h264",
        64,
        48,
        pixel_format,
        Fraction(1),
        Fraction(25),
        Fraction(1, 25),
        False,
        None,
        None,
        None,
        FieldOrder.PROGRESSIVE,
        0,
        color,
        color,
    )


@pytest.mark.parametrize(
    ("destination", "pixel_format", "expected"),
    [
        ("a.mp4", "yuv420p", Delivery("h264")),
        ("a.MKV", "yuv420p10le", Delivery("h265")),
        ("a.MKV", "yuv444p", Delivery("h264")),
        ("a.mov", "yuv420p", Delivery("prores422hq")),
        ("a.png", "rgb24", Delivery("png", bit_depth=8)),
        ("f_%04d.png", "rgb48be", Delivery("png", bit_depth=16)),
        ("f_%04d.dpx", "gbrp10le", Delivery("dpx", bit_depth=10)),
        ("a.tif", "yuv420p10le", Delivery("tiff", bit_depth=16)),
        ("a.exr", "yuv420p", Delivery("exr", bit_depth=32)),
        ("folder/", "yuv420p", Delivery("png", bit_depth=8)),
        ("folder/", "yuv420p12le", Delivery("png", bit_depth=16)),
        ("-", "yuvj422p", Delivery("y4m", pixel_format="yuv422p")),
        ("-", "rgb48be", Delivery("y4m", bit_depth=16)),
    ],
)
def test_the_usual_delivery_follows_the_name(destination, pixel_format, expected):
    assert default_delivery(destination, info(pixel_format)) == expected


def test_hdr_goes_to_ten_bit_by_itself():
    assert default_delivery("a.mp4", info("yuv420p10le", Transfer.PQ)) == Delivery("h265")


def test_an_unknown_ending_is_refused():
    with pytest.raises(InvalidInput, match="mp4"):
        default_delivery("a.gif", info("yuv420p"))


def test_a_name_without_an_ending_is_no_folder_by_accident(tmp_path):
    with pytest.raises(InvalidInput, match="has no ending"):
        default_delivery(str(tmp_path / "master"), info("yuv420p"))
    assert default_delivery(str(tmp_path), info("yuv420p")) == Delivery("png", bit_depth=8)


@pytest.mark.parametrize("profile", ["h264", "h265", "prores422hq", "ffv1"])
def test_untagged_primaries_stay_untagged_and_the_used_matrix_is_said(tmp_path, profile):
    used = replace(BT709, matrix=Matrix.SMPTE170M, primaries=Primaries.SMPTE170M)
    video = spec_for(color=ColorSpec(), color_used=used)
    path = tmp_path / f"out{PROFILES[profile].suffixes[0]}"
    writer = open_writer(str(path), Delivery(profile), video)
    assert writer.color == replace(used, chroma_site=ChromaSite.LEFT)
    write_clip(writer, video, [0])
    assert read_back(path).color == (6, 2, 2, 1)


@pytest.mark.parametrize("profile", ["h265", "av1", "ffv1", "prores4444"])
@pytest.mark.parametrize("transfer", [Transfer.PQ, Transfer.HLG])
def test_hdr_tags_pass(tmp_path, profile, transfer):
    color = ColorSpec(
        Matrix.BT2020_NCL, Primaries.BT2020, transfer, Range.LIMITED, ChromaSite.TOPLEFT
    )
    video = spec_for(color=color, color_used=color)
    path = tmp_path / f"out{PROFILES[profile].suffixes[0]}"
    write_clip(open_writer(str(path), Delivery(profile), video), video, [0])
    assert read_back(path).color == (9, 9, int(transfer), 1)


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.mov", "out.y4m", "out/"])
@pytest.mark.parametrize(
    ("source", "said", "word"),
    [
        (FieldOrder.TFF, None, "top field first"),
        (FieldOrder.BFF, None, "bottom field first"),
        (FieldOrder.PROGRESSIVE, FieldOrder.BFF, "bottom field first"),
        (FieldOrder.TFF, FieldOrder.PROGRESSIVE, ""),
        (FieldOrder.PROGRESSIVE, None, ""),
        (FieldOrder.UNKNOWN, None, ""),
    ],
)
def test_fields_that_were_written_as_one_picture_are_said(tmp_path, name, source, said, word):
    facts = replace(info("yuv420p"), field_order=source)
    video = spec_for(64, 48, field_order=said)
    destination = f"{tmp_path}/{name}"
    writer = open_writer(destination, default_delivery(destination, facts), video, source=facts)
    _, report = write_clip(writer, video, [0, 1001])
    told = [text for text in report.warnings if "interlaced" in text]
    assert len(told) == bool(word)
    for text in told:
        assert word in text
        assert "flagged as progressive" in text
