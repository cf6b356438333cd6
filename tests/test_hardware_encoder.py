"""A GPU's own encoder is used where there is one; where not, software encodes and it is said."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from restore.api import make_job
from restore.color import ChromaSite, ColorSpec, Matrix, Primaries, Range, Transfer
from restore.errors import InvalidInput
from restore.frames import PIXEL_FORMATS, RawFrame
from restore.media import hardware, profiles
from restore.media.hardware import delivery_here, encoder_trouble
from restore.media.master import VideoSpec
from restore.media.packing import encoder_format, to_video_frame
from restore.media.probe import probe
from restore.media.profiles import Delivery
from restore.plan import plan_job
from restore.recipe import Recipe
from restore.restoration import run_job
from tests.cli_material import write_clip

BT709 = ColorSpec(Matrix.BT709, Primaries.BT709, Transfer.BT709, Range.LIMITED, ChromaSite.LEFT)


def video_of(width: int, height: int) -> VideoSpec:
    return VideoSpec(width, height, Fraction(1, 25), BT709, frame_rate=Fraction(25))


VIDEO = video_of(192, 128)
here = {
    profile: encoder_trouble(Delivery(profile, bit_depth=8, encoder="hardware"), VIDEO)
    for profile in ("h264", "h265")
}
needs_none = pytest.mark.skipif(not all(here.values()), reason="there is a hardware encoder")


def film(folder: Path, frames: int) -> Path:
    return write_clip(folder / "film.mkv", frames, size_px=(192, 128))


def heard(path: Path) -> tuple[object, ...]:
    """Pixel format, colour and the time of every frame."""
    told = probe(str(path))
    with av.open(str(path)) as file:
        times = [frame.pts * frame.time_base for frame in file.decode(video=0)]
    return told.pixel_format, told.color, times


@needs_none
@pytest.mark.parametrize(
    ("profile", "software"), [("h264", "libx264"), ("h265", "libx265")], ids=["h264", "h265"]
)
def test_software_takes_its_place_and_says_so(profile, software):
    asked = Delivery(profile, crf=20, speed="p6", bit_depth=8, encoder="hardware")
    found, note = delivery_here(asked, VIDEO)
    assert found == Delivery(profile, crf=20, bit_depth=8)
    assert note.startswith("no hardware encoder (")
    assert note.endswith(f"): {software} encodes")
    assert asked.facts.encoder in note


def test_software_stays_as_it_is():
    asked = Delivery("h264", speed="veryfast")
    assert delivery_here(asked, VIDEO) == (asked, "")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"profile": "prores422hq"}, "a hardware encoder for prores422hq; expected one of h264"),
        ({"profile": "h264", "bit_depth": 10}, "10 bit for h264; expected one of 8"),
        ({"profile": "h265", "speed": "veryslow"}, "speed 'veryslow' for h265; expected one of p1"),
        ({"profile": "h265", "encoder": "gpu"}, "encoder 'gpu'; expected software or hardware"),
    ],
)
def test_what_hardware_cannot_do_is_refused_in_words(settings, words):
    with pytest.raises(InvalidInput, match=words.replace("(", r"\(")):
        Delivery(**{"encoder": "hardware", **settings})


class Driver:
    """Counts what is asked of FFmpeg; stands between it and the room that asks."""

    def __init__(self, monkeypatch, encoder: str) -> None:
        # Software in the place of a GPU's encoder: the same way to the same library.
        stood_in = {
            name: replace(facts, encoder=encoder, options={}, speeds=(), default_speed=None)
            for name, facts in profiles.HARDWARE.items()
        }
        monkeypatch.setattr(profiles, "HARDWARE", stood_in)
        hardware._open.cache_clear()
        self.asked: list[tuple[int, int, str]] = []
        self.is_broken = False
        create = av.CodecContext.create

        def watched(name, mode):
            context = create(name, mode)
            driver = self

            class Watched:
                def open(self):
                    driver.asked.append((context.width, context.height, context.pix_fmt))
                    if driver.is_broken:
                        raise av.error.ExternalError(542398533, "no session is free")
                    context.open()

                def __getattr__(self, key):
                    return getattr(context, key)

                def __setattr__(self, key, value):
                    setattr(context, key, value)

            return Watched()

        asked = SimpleNamespace(CodecContext=SimpleNamespace(create=watched))
        asked.FFmpegError = av.FFmpegError
        monkeypatch.setattr(hardware, "av", asked)
        monkeypatch.setattr(hardware, "VideoCodecContext", object)


def test_the_driver_is_asked_for_the_real_size_and_depth(monkeypatch):
    driver = Driver(monkeypatch, "libx265")
    for bits in (8, 10):
        asked = Delivery("h265", bit_depth=bits, encoder="hardware")
        for size in ((320, 240), (720, 576)):
            video = video_of(*size)
            assert delivery_here(asked, video) == (asked, "")
            assert delivery_here(asked, video) == (asked, "")
    assert driver.asked == [
        (width, height, form)
        for form in ("yuv420p", "yuv420p10le")
        for width, height in ((320, 240), (720, 576))
    ]


def test_a_failure_is_not_remembered(monkeypatch):
    driver = Driver(monkeypatch, "libx264")
    asked = Delivery("h264", encoder="hardware")
    driver.is_broken = True
    for _ in range(2):
        found, note = delivery_here(asked, VIDEO)
        assert found.encoder == "software"
        assert "for 192x128 in yuv420p: " in note
        assert "no session is free" in note
    driver.is_broken = False
    assert delivery_here(asked, VIDEO) == (asked, "")
    assert len(driver.asked) == 3


def test_a_size_that_only_software_takes_goes_to_software():
    found, note = delivery_here(Delivery("h264", encoder="hardware"), video_of(96, 48))
    assert found == Delivery("h264")
    assert "96x48 for h264; expected at least 160x64" in note


@needs_none
def test_a_plan_says_it_and_the_result_keeps_colour_depth_and_times(tmp_path):
    source = film(tmp_path, 12)
    recipe = Recipe("copy", "", (), delivery={"profile": "h265", "bit_depth": 10})
    told = []
    for name, options in (("a.mp4", {"encoder": "hardware"}), ("b.mp4", {})):
        planned = plan_job(make_job(source, tmp_path / name, recipe, options))
        assert any("libx265 encodes" in note for note in planned.notes) == bool(options)
        run_job(planned)
        told.append(heard(tmp_path / name))
    assert told[0] == told[1]
    assert told[0][0] == "yuv420p10le"


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_ten_bits_reach_the_encoder_unchanged(half_width, half_height, seed):
    width, height = 2 * half_width, 2 * half_height
    draw = np.random.default_rng(seed)
    form = PIXEL_FORMATS["yuv420p10le"]
    shapes = [(height, width), *[(half_height, half_width)] * 2]
    planes = tuple(draw.integers(0, 1024, shape, dtype=np.uint16) for shape in shapes)
    layout = encoder_format("hevc_nvenc", form)
    given_frame = RawFrame(planes, form, width, height, 0, Fraction(1, 25), BT709, 0)
    frame = to_video_frame(given_frame, layout)
    assert frame.format.name == "p010le"
    luma, chroma = (
        np.frombuffer(memoryview(plane), "<u2").reshape(-1, plane.line_size // 2)[:, :width]
        for plane in frame.planes
    )
    # P010: samples in the upper ten bits, the two chroma planes by turns.
    assert np.array_equal(luma[:height] >> 6, planes[0])
    assert np.array_equal(chroma[:half_height, 0::2] >> 6, planes[1])
    assert np.array_equal(chroma[:half_height, 1::2] >> 6, planes[2])


@pytest.mark.gpu
@pytest.mark.skipif(bool(here["h265"]), reason=here["h265"] or "-")
@pytest.mark.parametrize("bits", [8, 10])
def test_hardware_keeps_depth_colour_and_times(tmp_path, bits):
    source = film(tmp_path, 30)
    recipe = Recipe("copy", "", (), delivery={"profile": "h265", "bit_depth": bits})
    told = []
    for name, options in (("a.mp4", {"encoder": "hardware"}), ("b.mp4", {})):
        planned = plan_job(make_job(source, tmp_path / name, recipe, options))
        assert planned.delivery.encoder == ("hardware" if options else "software")
        run_job(planned)
        told.append(heard(tmp_path / name))
    assert told[0] == told[1]
    assert len(told[0][2]) == 30
