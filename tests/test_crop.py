"""Borders cut off: what is found, what is left of pictures, and whole jobs."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from restore.analysis.borders import BorderFinder
from restore.api import make_job, probe, run
from restore.assessment import analyse_clip
from restore.color import ChromaSite, ColorSpec, Matrix, Primaries, Range, Transfer
from restore.engine.pixels import to_frame, turned_upright
from restore.errors import InvalidInput
from restore.frames import PIXEL_FORMATS, ClipInfo, FieldOrder, RawFrame
from restore.jobs.durable import make_durable
from restore.jobs.resume import run_durable
from restore.media.crop import Crop, cropped, cropped_info, parse_crop
from restore.media.reader import ClipReader
from restore.plan import plan_job
from restore.recipe import Recipe, recipe_from_canonical, recipe_from_toml

ASSETS = os.environ.get("RESTORE_TEST_ASSETS")
EMPTY = Recipe("x", "", ())
COLOR = ColorSpec(Matrix.BT709, Primaries.BT709, Transfer.BT709, Range.LIMITED, ChromaSite.LEFT)


def scene(number: int, height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return (0.45 + 0.25 * np.sin((x + 3 * number) / 9) + 0.2 * np.cos(y / 7)).astype(np.float32)


def bordered(number, height=120, width=160, sides=(11, 6, 0, 9), noise=0.02):
    """A scene with black sides: left, top, right, bottom; a soft edge, and noise all over."""
    import cv2

    left, top, right, bottom = sides
    mask = np.zeros((height, width), np.float32)
    mask[top : height - bottom, left : width - right] = 1
    mask = cv2.GaussianBlur(mask, (0, 0), 0.8, borderType=cv2.BORDER_REPLICATE)
    grain = np.random.default_rng(number).normal(0, noise, (height, width)).astype(np.float32)
    return np.clip(0.03 + mask * scene(number, height, width) + grain, 0, 1)


@pytest.mark.parametrize("sides", [(11, 6, 0, 9), (0, 0, 0, 0), (20, 0, 20, 0), (4, 12, 7, 3)])
def test_black_sides_are_found_to_the_pixel(sides):
    finder = BorderFinder()
    for number in range(6):
        finder.add(bordered(number, sides=sides))
    for found, there in zip(finder.margins(), sides, strict=True):
        assert (found == 0) == (there == 0)
        assert there <= found <= there + 5 or there == 0


def test_a_window_in_a_dark_room_is_no_picture_in_its_border():
    """Nor is writing on a card: where only one shot was seen, neither is proposed to be cut."""
    random = np.random.default_rng(0)
    room, card = np.full((480, 640), 0.06), np.full((480, 640), 0.04)
    room[100:400, 90:600] = 0.6
    for line in range(9):
        card[60 + 45 * line : 80 + 45 * line, 60 : 500 + 12 * (line % 4)] = 0.9
    for picture in (room, card):
        finder = BorderFinder()
        for _ in range(5):
            finder.add(
                np.clip(picture + random.normal(0, 0.015, picture.shape), 0, 1).astype(np.float32)
            )
        assert any(finder.margins())
        assert finder.margins(surely=True) == (0, 0, 0, 0)


def test_a_night_sky_is_no_border():
    """Dark over the whole width, but its edge follows hills."""
    finder = BorderFinder()
    x = np.arange(160)
    hills = (30 + 14 * np.sin(x / 17) + 6 * np.sin(x / 5)).astype(int)
    for number in range(6):
        frame = scene(number, 120, 160)
        for column, top in enumerate(hills):
            frame[:top, column] = 0.02
        finder.add(frame)
    assert finder.margins() == (0, 0, 0, 0)


def test_a_dark_clip_and_no_frames_say_nothing():
    finder = BorderFinder()
    assert finder.margins() == (0, 0, 0, 0)
    finder.add(np.full((64, 96), 0.03, np.float32))
    assert finder.margins() == (0, 0, 0, 0)


def info(fmt="yuv420p", rotation=0, width=96, height=64) -> ClipInfo:
    return ClipInfo(
        source="x",
        container="",
        codec="",
        width_px=width,
        height_px=height,
        pixel_format=fmt,
        sample_aspect_ratio=Fraction(1),
        frame_rate=Fraction(25),
        time_base=Fraction(1, 25),
        is_vfr=False,
        declared_frames=None,
        decoded_frames=None,
        duration=None,
        field_order=FieldOrder.UNKNOWN,
        rotation_deg=rotation,
        color=COLOR,
        resolved_color=COLOR,
    )


def raw(fmt="yuv420p", width=96, height=64) -> RawFrame:
    layout = PIXEL_FORMATS[fmt]
    random = np.random.default_rng(0)
    planes = tuple(
        random.integers(16, 235, layout.plane_shape(n, width, height), dtype=np.uint8)
        for n in range(layout.planes)
    )
    return RawFrame(planes, layout, width, height, 0, Fraction(1, 25), COLOR, 0)


@given(
    st.sampled_from(["yuv420p", "yuv422p", "yuv444p", "yuv411p", "gbrp", "gray"]),
    st.sampled_from([0, 90, 180, 270]),
    st.tuples(*[st.integers(0, 19)] * 4),
)
def test_what_is_left_is_that_part_of_the_upright_picture(fmt, rotation, sides):
    asked = Crop(*sides)
    facts, coded = cropped_info(info(fmt, rotation), asked)
    frame = raw(fmt)
    small = cropped(frame, coded)
    assert (small.width_px, small.height_px) == (facts.width_px, facts.height_px)
    layout = PIXEL_FORMATS[fmt]
    assert coded.top_px % (2 << layout.log2_h) == 0
    assert coded.left_px % (1 << layout.log2_w) == 0
    # Luma (or green) of the upright whole, cut by at least what was asked, is the upright rest.
    whole, rest = (
        turned_upright(torch.from_numpy(r.planes[0].copy())[None], rotation)[0].numpy()
        for r in (frame, small)
    )
    up = [coded.left_px, coded.top_px, coded.right_px, coded.bottom_px]
    turns = rotation // 90
    left, top, right, bottom = (up[(n - turns) % 4] for n in range(4))
    assert all(g >= a and g - a < 8 for g, a in zip((left, top, right, bottom), sides, strict=True))
    assert np.array_equal(whole[top : whole.shape[0] - bottom, left : whole.shape[1] - right], rest)


def test_chroma_stays_where_it_was():
    _, coded = cropped_info(info(), Crop(8, 8, 8, 8))
    whole = to_frame(raw(), torch.device("cpu")).data
    part = to_frame(cropped(raw(), coded), torch.device("cpu")).data
    inside = whole[:, 8:-8, 8:-8]
    assert torch.equal(part[:, 8:-8, 8:-8], inside[:, 8:-8, 8:-8])


@pytest.mark.parametrize("text", ["", "1:2:3", "a:b:c:d", "1:2:3:-4", "auto", "1:2:3:4:5"])
def test_what_is_no_crop_is_refused(text):
    with pytest.raises(InvalidInput, match="LEFT:TOP:RIGHT:BOTTOM"):
        parse_crop(text)


def test_too_much_is_refused():
    with pytest.raises(InvalidInput, match="at least 16 px left"):
        cropped_info(info(), Crop(50, 0, 40, 0))


def write(path: Path, frames: int, sides=(11, 6, 0, 9)) -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for number in range(frames):
            level = (255 * bordered(number, sides=sides, noise=0.01)).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.repeat(level[..., None], 3, 2), "rgb24")
            frame = frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def test_a_job_cuts_what_it_found_and_says_so(tmp_path):
    source = write(tmp_path / "in.mkv", 12)
    out = tmp_path / "out.mkv"
    report = run(source, out, EMPTY, crop="auto", codec="ffv1", bit_depth=8)
    assert any("a black border was found in" in note for note in report.warnings)
    made = probe(out)
    assert 160 - 11 - 6 <= made.width_px <= 160 - 11
    assert 120 - 6 - 9 - 10 <= made.height_px <= 120 - 6 - 9
    crop = report.plan.job.recipe.crop
    with ClipReader(str(source), crop=parse_crop(crop)) as reader, ClipReader(str(out)) as done:
        for one, other in zip(reader, done, strict=True):
            # Out of R'G'B' again: a code value or two.
            gap = one.planes[0].astype(int) - other.planes[0]
            assert np.abs(gap).max() <= 2
    plain = run(source, tmp_path / "plain.mkv", EMPTY, crop=crop, codec="ffv1")
    assert plain.plan.video.width_px == made.width_px
    assert (tmp_path / "plain.mkv").stat().st_size > 0


def test_an_analysis_proposes_the_crop_that_a_job_would_find(tmp_path):
    source = write(tmp_path / "in.mkv", 12)
    analysis = analyse_clip(str(source))
    job = make_job(source, tmp_path / "out.mkv", EMPTY, {"crop": "auto"})
    assert analysis.proposal.recipe.crop == plan_job(job).job.recipe.crop
    assert analysis.to_dict()["recipe"]["crop"] == analysis.proposal.recipe.crop
    plain = write(tmp_path / "plain.mkv", 12, sides=(0, 0, 0, 0))
    assert not analyse_clip(str(plain)).proposal.recipe.crop


def test_networks_and_plans_see_what_is_left(tmp_path):
    source = write(tmp_path / "in.mkv", 3)
    job = make_job(source, tmp_path / "out.mp4", EMPTY, {"crop": "16:8:16:8", "scale": 2})
    plan = plan_job(job)
    assert plan.source.upright_px == (128, 104)
    assert plan.stages[0].input_px == (128, 104)
    assert (plan.video.width_px, plan.video.height_px) == (256, 208)


def test_a_job_kept_in_chunks_gives_the_same(tmp_path):
    source = write(tmp_path / "in.mkv", 20)
    whole = tmp_path / "whole.mkv"
    run(source, whole, EMPTY, crop="auto", codec="ffv1")
    job = make_job(source, tmp_path / "pieces.mkv", EMPTY, {"crop": "auto", "codec": "ffv1"})
    plan, pinned, _ = make_durable(job, chunk_frames=6)
    assert len(plan.chunks) > 2
    assert parse_crop(pinned.recipe.crop).left_px >= 11
    run_durable(job)
    frames = []
    for path in (whole, tmp_path / "pieces.mkv"):
        with ClipReader(str(path)) as reader:
            frames.append([frame.planes[0].copy() for frame in reader])
    assert len(frames[0]) == len(frames[1]) == 20
    assert all(np.array_equal(a, b) for a, b in zip(*frames, strict=True))


def test_recipes_keep_it_and_a_pipe_is_told(tmp_path):
    recipe = recipe_from_toml('crop = "auto"', "mine")
    assert recipe.crop == "auto"
    assert recipe_from_canonical(recipe.canonical()).crop == "auto"
    assert "crop" not in EMPTY.canonical()
    with pytest.raises(InvalidInput, match="pipe"):
        plan_job(make_job("-", tmp_path / "a.mkv", EMPTY, {"crop": "auto"}))


@pytest.mark.skipif(not ASSETS, reason="RESTORE_TEST_ASSETS is not set")
def test_clips_without_borders_keep_all_of_theirs(tmp_path):
    clip = Path(str(ASSETS)) / "media" / "clips" / "bikes.mp4"
    plan = plan_job(make_job(clip, tmp_path / "a.mp4", EMPTY, {"crop": "auto"}))
    assert plan.source.upright_px == probe(clip).upright_px
    assert any("no black border" in note for note in plan.notes)
