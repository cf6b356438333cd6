"""Two clips held against each other: what is shown, what is measured, what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image

from restore.color import ColorSpec, Matrix, Primaries, Range, Transfer
from restore.comparison.compare import compare
from restore.comparison.layouts import composed, composed_px, label_px
from restore.comparison.primaries import converted
from restore.errors import InvalidInput, OutputExists, UnsupportedMedia
from tests.cli_material import restore

RGB = ColorSpec(Matrix.RGB, Primaries.BT709, Transfer.BT709, Range.FULL)


def clip(path, frames=6, size=(48, 64), rate=24, shift=0, start=0, spot=None):
    """Squares that move; ``spot`` frame gets a white patch."""
    height, width = size
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=rate, width=width, height=height, pix_fmt="bgr0")
        for number in range(frames):
            picture = np.full((height, width, 3), 60, np.uint8)
            at = (4 + 3 * number) * width // 64
            picture[height // 4 : height // 2, at : at + width // 4] = (200, 120 + shift, 40)
            if number == spot:
                picture[-height // 4 :, -width // 4 :] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number + start
            container.mux(video.encode(frame))
        container.mux(video.encode())
    return str(path)


def read(path):
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    times = [frame.pts * frame.time_base for frame in frames]
    return np.stack([frame.to_ndarray(format="rgb24") for frame in frames]), times


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def test_equal_clips_are_said_to_be_equal(tmp_path):
    a = clip(tmp_path / "a.mkv")
    found = compare(a, a, str(tmp_path / "out.mkv"), how="difference")
    assert (found.pairs, found.first_alone, found.second_alone) == (6, 0, 0)
    assert math.isinf(found.psnr_db)
    assert found.ssim == pytest.approx(1)
    shown, times = read(tmp_path / "out.mkv")
    assert times == [pytest.approx(Fraction(n, 24), abs=1e-3) for n in range(6)]
    strip = label_px(48)
    # Alike is middle grey, everywhere.
    assert np.abs(shown[:, strip:].astype(int) - 127.5).max() <= 4


@pytest.mark.parametrize("how", ["side", "stack", "wipe", "difference"])
def test_every_way_shows_both_where_it_says(tmp_path, how):
    a, b = clip(tmp_path / "a.mkv"), clip(tmp_path / "b.mkv", shift=40, spot=2)
    found = compare(a, b, str(tmp_path / "out.png"), how=how, gain=2)
    picture = pixels(tmp_path / "out.png")
    assert picture.shape[:2] == composed_px((64, 48), how)[::-1]
    # Without a number, the frame that differs most is shown.
    assert found.shown_frame == found.worst_frame == 2
    strip = label_px(48)
    square, patch = (strip + 14, 14), (strip + 44, 60)
    if how == "side":
        assert abs(picture[square] - (200, 120, 40)).max() <= 2
        assert abs(picture[square[0], square[1] + 64 + 4] - (200, 160, 40)).max() <= 2
        assert (picture[patch] == 60).all()
        assert (picture[patch[0], patch[1] + 68] == 255).all()
    elif how == "stack":
        below = strip + 48
        assert abs(picture[square[0] + below, square[1]] - (200, 160, 40)).max() <= 2
        assert (picture[patch[0] + below, patch[1]] == 255).all()
    elif how == "wipe":
        assert abs(picture[square] - (200, 120, 40)).max() <= 2
        assert (picture[patch] == 255).all()
    else:
        assert abs(picture[square] - (128, 208, 128)).max() <= 2
        assert (picture[patch] == 255).all()
        assert abs(picture[strip + 2, 2] - 128).max() <= 1
    # There is writing above.
    assert np.ptp(picture[:strip]) > 100


def test_psnr_and_ssim_are_those_of_luma(tmp_path):
    a, b = clip(tmp_path / "a.mkv"), clip(tmp_path / "b.mkv", shift=40)
    found = compare(a, b, str(tmp_path / "out.png"))
    (one, _), (other, _) = read(a), read(b)
    weights = np.array([0.2126, 0.7152, 0.0722])
    gap = (one.astype(float) - other) @ weights / 255
    assert found.psnr_db == pytest.approx(-10 * math.log10(np.mean(gap**2)), abs=0.01)
    assert 0.5 < found.ssim < 1


def test_frames_are_matched_by_their_time(tmp_path):
    # B begins two frames later, and is twice as fast.
    a = clip(tmp_path / "a.mkv", frames=8, rate=24)
    b = clip(tmp_path / "b.mkv", frames=16, rate=48, start=4)
    found = compare(a, b, str(tmp_path / "out.mkv"))
    assert found.pairs == 6
    assert found.first_alone == 2
    assert found.second_alone == 16 - 6
    _, times = read(tmp_path / "out.mkv")
    assert float(times[1] - times[0]) == pytest.approx(1 / 24, abs=2e-3)


def test_the_smaller_one_is_enlarged_and_it_is_said(tmp_path):
    a, b = clip(tmp_path / "a.mkv"), clip(tmp_path / "b.mkv", size=(96, 128))
    for one, other, name in ((a, b, "A"), (b, a, "B")):
        out = tmp_path / f"{name}.png"
        found = compare(one, other, str(out))
        assert any(f"{name} is 64x48 and is enlarged to 128x96" in note for note in found.notes)
        assert pixels(out).shape[1::-1] == composed_px((128, 96), "side")
        assert found.psnr_db > 20


def test_colour_is_brought_to_that_of_the_first():
    generator = torch.Generator().manual_seed(0)
    data = torch.rand(3, 8, 8, generator=generator)
    wide = replace(RGB, primaries=Primaries.BT2020, transfer=Transfer.SRGB)
    there = converted(data, RGB, wide)
    assert (there - data).abs().max() > 0.05
    assert torch.allclose(converted(there, wide, RGB), data, atol=1e-4)
    # White is white, and BT.709's red is BT.2020's (0.6274, 0.0691, 0.0164) in linear light
    # (ITU-R BT.2087).
    linear = replace(wide, transfer=Transfer.LINEAR)
    white, red = torch.ones(3, 1, 1), torch.tensor([1.0, 0, 0])[:, None, None]
    assert torch.allclose(converted(white, RGB, linear), white, atol=1e-4)
    assert converted(red, RGB, linear).flatten().tolist() == pytest.approx(
        [0.6274, 0.0691, 0.0164], abs=1e-3
    )
    assert converted(data, RGB, replace(RGB, matrix=Matrix.BT709)) is data
    with pytest.raises(UnsupportedMedia, match=r"both high dynamic range or neither"):
        converted(data, RGB, replace(RGB, transfer=Transfer.PQ))


def test_the_line_of_a_wipe_moves():
    dark, light = torch.zeros(3, 20, 40), torch.full((3, 20, 40), 0.8)
    shares = [
        float((composed(dark, light, ("a", "b"), "wipe", 1, at)[:, -1] < 0.1).float().mean())
        for at in (0.25, 0.5, 0.75)
    ]
    assert shares == pytest.approx([0.25, 0.5, 0.75], abs=0.06)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"output": "out.webm"}, r"output .*a name in \.png"),
        ({"how": "mosaic"}, r"side, stack, wipe, difference"),
        ({"gain": 0.0}, r"gain 0"),
        ({"output": "out.mkv", "frame": 3}, r"a picture \(\.png\) for a single frame"),
        ({"frame": 99}, r"frame 99"),
        ({"second": "narrow.mkv"}, r"64x48 and 32x48, which are of different shapes"),
        ({"second": "late.mkv"}, r"share no time"),
    ],
)
def test_what_makes_no_sense_is_refused_and_leaves_nothing(tmp_path, changes, said):
    clip(tmp_path / "a.mkv")
    clip(tmp_path / "narrow.mkv", size=(48, 32))
    clip(tmp_path / "late.mkv", start=100)
    before = sorted(tmp_path.iterdir())
    given = {"second": "a.mkv", "output": "out.png", **changes}
    second, output = (str(tmp_path / given.pop(name)) for name in ("second", "output"))
    with pytest.raises(InvalidInput, match=said):
        compare(str(tmp_path / "a.mkv"), second, output, **given)
    assert sorted(tmp_path.iterdir()) == before


def test_pictures_can_be_compared_and_what_exists_is_kept(tmp_path):
    for name, level in (("a", 100), ("b", 110)):
        Image.fromarray(np.full((40, 60, 3), level, np.uint8)).save(tmp_path / f"{name}.png")
    a, b, out = (str(tmp_path / f"{name}.png") for name in ("a", "b", "out"))
    found = compare(a, b, out, how="difference", gain=4)
    assert found.pairs == 1
    assert found.psnr_db == pytest.approx(20 * math.log10(255 / 10), abs=0.01)
    with pytest.raises(OutputExists):
        compare(a, b, out)
    compare(a, b, out, overwrite=True)
    assert pixels(out).shape[1::-1] == composed_px((60, 40), "side")


def test_the_command_prints_what_it_found(tmp_path):
    a, b = clip(tmp_path / "a.mkv"), clip(tmp_path / "b.mkv", shift=40)
    done = restore("diff", a, b, "-o", tmp_path / "out.mp4", "--how", "wipe", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["pairs"] == 6
    assert 20 < told["psnr_db"] < 45
    shown, _ = read(tmp_path / "out.mp4")
    assert shown.shape[1:3] == composed_px((64, 48), "wipe")[::-1]
