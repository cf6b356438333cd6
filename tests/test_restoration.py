"""Whole jobs on small clips made here: timing, tags, single pictures, sequences, refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from restore.engine.settings import CancelToken, EngineSettings
from restore.errors import Cancelled, InvalidInput, OutputError, OutputExists
from restore.media.probe import probe
from restore.media.reader import ClipReader
from restore.models.store import ModelStore
from restore.recipe import Recipe, Step, load_preset
from restore.restoration import Job, plan_job, run_job
from restore.stages import StageContext
from restore.time import FrameRange
from tests.networks import save_network, seeded_network

CPU = EngineSettings("cpu", batch=1, tile_px=0)


def picture(number, height=48, width=64):
    rows, cols = np.mgrid[0:height, 0:width]
    waves = [128 + 90 * np.sin((rows * k + cols + 5 * number) / 9) for k in (0.3, 0.7, 1.1)]
    return np.stack(waves, -1).astype(np.uint8)


def make(path, times, time_base, *, rate=25, codec="libx264", metadata=None, **options):
    """A clip whose frames have the given pts."""
    with av.open(str(path), "w", options=options.pop("container", {})) as container:
        if metadata:
            container.metadata.update(metadata)
        video = container.add_stream(codec, rate=rate, width=64, height=48, pix_fmt="yuv420p")
        video.time_base = video.codec_context.time_base = time_base
        video.options = {"bf": "0", **options}
        for number, pts in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts, frame.time_base = pts, time_base
            container.mux(video.encode(frame))
        container.mux(video.encode())
    return path


def times_of(path):
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def job(source, destination, **changes):
    recipe = changes.pop("recipe", load_preset("transcode"))
    return Job(str(source), str(destination), recipe, CPU, **changes)


@pytest.mark.parametrize(
    "rate",
    [
        Fraction(24000, 1001),
        Fraction(30000, 1001),
        Fraction(45000, 1499),
        Fraction(25),
        Fraction(12),
    ],
)
@pytest.mark.parametrize("frames", [1, 2, 30])
def test_constant_rates_come_out_exactly(tmp_path, rate, frames):
    source = make(tmp_path / "in.mp4", range(frames), 1 / rate, rate=rate)
    report = run_job(job(source, tmp_path / "out.mp4"))
    assert report.written.frames == frames
    assert times_of(tmp_path / "out.mp4") == [n / rate for n in range(frames)]
    info = probe(str(tmp_path / "out.mp4"))
    assert info.duration == frames / rate
    if frames > 1:
        assert info.frame_rate == rate


def test_uneven_times_are_kept(tmp_path):
    times = [0, 3, 4, 9, 15, 16, 40]
    source = make(tmp_path / "in.mp4", times, Fraction(1, 90))
    run_job(job(source, tmp_path / "out.mp4"))
    assert times_of(tmp_path / "out.mp4") == times_of(source)


def test_drop_frame_timecode_and_tags_arrive(tmp_path):
    rate = Fraction(30000, 1001)
    source = make(
        tmp_path / "in.mov",
        range(8),
        1 / rate,
        rate=rate,
        metadata={"timecode": "01:00:00;02", "title": "Reel 7", "comment": "from the attic"},
    )
    run_job(job(source, tmp_path / "out.mov", range=FrameRange(3, 8)))
    info = probe(str(tmp_path / "out.mov"))
    assert str(info.timecode) == "01:00:00;05"
    assert info.metadata["title"] == "Reel 7"
    assert info.metadata["comment"] == "from the attic"
    assert times_of(tmp_path / "out.mov") == [n / rate for n in range(5)]


def test_what_was_done_is_in_the_file(tmp_path):
    model = save_network(seeded_network("compact"), tmp_path / "net.safetensors")
    recipe = replace(load_preset("upscale"), seed=7).with_settings("upscale", model=str(model))
    source = make(tmp_path / "in.mp4", range(3), Fraction(1, 25))
    context = StageContext(ModelStore(tmp_path / "store"))
    report = run_job(job(source, tmp_path / "out.mp4", recipe=recipe, context=context))
    with av.open(str(tmp_path / "out.mp4")) as container:
        record = json.loads(container.metadata["restore"])
    assert record["recipe"]["seed"] == 7
    assert record["recipe"]["steps"][0]["stage"] == "upscale"
    stage = record["stages"][0]
    assert stage["sha256"] == report.run.stages[0].facts["sha256"]
    assert "whole frame 64x48" in stage["tiles"]
    assert record["version"]


def test_hdr_tags_pass_through(tmp_path):
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        video = container.add_stream("ffv1", rate=25, width=96, height=64, pix_fmt="yuv420p10le")
        context = video.codec_context
        context.colorspace, context.color_primaries, context.color_trc = 9, 9, 16
        context.color_range = 1
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(picture(number, 64, 96), format="rgb24")
            frame = frame.reformat(format="yuv420p10le")
            frame.pts = number
            container.mux(video.encode(frame))
        container.mux(video.encode())
    run_job(job(source, tmp_path / "out.mp4"))
    color = probe(str(tmp_path / "out.mp4")).color
    assert (int(color.matrix), int(color.primaries), int(color.transfer)) == (9, 9, 16)
    assert color.is_hdr
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.format.name == "yuv420p10le"


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".bmp"])
def test_one_picture_is_a_job(tmp_path, suffix):
    from PIL import Image

    Image.fromarray(picture(0)).save(tmp_path / f"in{suffix}")
    recipe = Recipe("half", "", (Step("resize", {"scale": "1/2"}),))
    run_job(job(tmp_path / f"in{suffix}", tmp_path / "out.png", recipe=recipe))
    with Image.open(tmp_path / "out.png") as result:
        assert result.size == (32, 24)


@pytest.mark.parametrize(("kind", "form"), [("tif", "rgb48le"), ("dpx", "gbrp12le"),
                                             ("exr", "gbrpf32le"), ("png", "rgb48be")])  # fmt: skip
def test_deep_sequences_keep_their_depth(tmp_path, kind, form):
    """A ramp of 4096 steps is still 4096 steps after the pipeline."""
    ramp = np.arange(4096, dtype=np.uint16).reshape(32, 128) * 16
    codec = {"tif": "tiff"}.get(kind, kind)
    for number in range(2):
        context = av.CodecContext.create(codec, "w")
        context.width, context.height, context.pix_fmt = 128, 32, form
        context.time_base = Fraction(1, 24)
        deep = np.repeat(ramp[..., None], 3, -1)
        frame = av.VideoFrame.from_ndarray(deep, format="rgb48le")
        frame = frame.reformat(format=form)
        packets = [*context.encode(frame), *context.encode(None)]
        (tmp_path / f"scan_{number:04d}.{kind}").write_bytes(b"".join(bytes(p) for p in packets))
    source = str(tmp_path / f"scan_%04d.{kind}")
    out = tmp_path / "out"
    recipe = replace(load_preset("transcode"), delivery={"profile": "png", "bit_depth": 16})
    report = run_job(job(source, f"{out}/", recipe=recipe))
    assert report.written.frames == 2
    with ClipReader(source) as before, ClipReader(str(out)) as after:
        for a, b in zip(before, after, strict=True):
            assert len(np.unique(b.planes[0])) >= 4090
            scale = 65535 if a.format.is_float else (1 << a.format.depth_bits) - 1
            x = a.planes[0].astype(float) * (65535 if a.format.is_float else 65535 / scale)
            assert np.abs(np.clip(x, 0, 65535) - b.planes[0]).max() <= 1


def test_a_sequence_becomes_a_clip_at_the_rate_asked_for(tmp_path):
    from PIL import Image

    (tmp_path / "scan").mkdir()
    for number in range(5):
        Image.fromarray(picture(number)).save(tmp_path / "scan" / f"{number:05d}.png")
    run_job(job(tmp_path / "scan", tmp_path / "out.mp4", rate=Fraction(18)))
    assert times_of(tmp_path / "out.mp4") == [Fraction(n, 18) for n in range(5)]


def test_ranges_take_half_open_parts(tmp_path):
    source = make(tmp_path / "in.mp4", range(10), Fraction(1, 25))
    report = run_job(job(source, tmp_path / "out.mp4", range=FrameRange(2, 5)))
    assert report.run.frames_in == report.written.frames == 3


def test_planning_writes_nothing_and_says_sizes_tiles_and_time(tmp_path):
    model = save_network(seeded_network("compact"), tmp_path / "net.safetensors")
    recipe = load_preset("upscale").with_settings("upscale", model=str(model))
    recipe = replace(recipe, scale=Fraction(2))
    source = make(tmp_path / "in.mp4", range(10), Fraction(1, 25))
    before = sorted(tmp_path.iterdir())
    context = StageContext(ModelStore(tmp_path / "store"))
    plan = plan_job(job(source, tmp_path / "out.mp4", recipe=recipe, context=context), measure=True)
    assert sorted(tmp_path.iterdir()) == before
    assert [stage.label for stage in plan.stages] == ["upscale", "resize"]
    assert plan.stages[0].output_px == (256, 192)
    assert (plan.video.width_px, plan.video.height_px) == (128, 96)
    assert plan.frames == 10
    assert plan.expected_s > 0


def test_a_memory_limit_that_cannot_be_held_is_said(tmp_path):
    model = save_network(seeded_network("compact"), tmp_path / "net.safetensors")
    recipe = load_preset("upscale").with_settings("upscale", model=str(model))
    source = make(tmp_path / "in.mp4", range(2), Fraction(1, 25))
    context = StageContext(ModelStore(tmp_path / "store"))
    wanted = job(source, tmp_path / "out.mp4", recipe=recipe, context=context)
    tight = plan_job(replace(wanted, settings=EngineSettings("cpu", memory_bytes=1 << 10)))
    assert any("even for its smallest tile" in note for note in tight.notes)
    easy = plan_job(replace(wanted, settings=EngineSettings("cpu", memory_bytes=1 << 30)))
    assert not any("smallest tile" in note for note in easy.notes)


def test_an_existing_result_is_not_touched(tmp_path):
    source = make(tmp_path / "in.mp4", range(2), Fraction(1, 25))
    output = tmp_path / "out.mp4"
    output.write_bytes(b"precious")
    with pytest.raises(OutputExists, match=r"out\.mp4"):
        run_job(job(source, output))
    assert output.read_bytes() == b"precious"


@pytest.mark.parametrize("spelling", ["plain", "dotted", "symbolic", "hard"])
def test_the_source_is_never_replaced_by_its_result(tmp_path, spelling):
    source = make(tmp_path / "in.mp4", range(2), Fraction(1, 25))
    before = source.read_bytes()
    other = tmp_path / "other.mp4"
    if spelling == "symbolic":
        other.symlink_to(source)
    elif spelling == "hard":
        other.hardlink_to(source)
    elif spelling == "dotted":
        other = tmp_path / "." / ".." / tmp_path.name / "in.mp4"
    else:
        other = source
    with pytest.raises(InvalidInput, match="is the source itself"):
        run_job(job(source, other, overwrite=True))
    assert source.read_bytes() == before


def test_pictures_are_not_written_among_the_sources_pictures(tmp_path):
    from PIL import Image

    for number in range(2):
        Image.fromarray(picture(number)).save(tmp_path / f"{number:05d}.png")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for output in (f"{tmp_path}/", f"{tmp_path}/%05d.png"):
        with pytest.raises(InvalidInput, match="among its pictures"):
            run_job(job(tmp_path, output, overwrite=True))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_cannot_work_is_said_while_planning(tmp_path):
    source = make(tmp_path / "in.mp4", range(4), Fraction(1, 25))
    with pytest.raises(OutputError, match="there is no folder"):
        plan_job(job(source, tmp_path / "nowhere" / "out.mp4"))
    with pytest.raises(InvalidInput, match="behind the end"):
        plan_job(job(source, tmp_path / "out.mp4", range=FrameRange(9, 12)))
    with pytest.raises(InvalidInput, match="4 frames for the one picture"):
        plan_job(job(source, tmp_path / "out.png"))
    with pytest.raises(InvalidInput, match="has times of its own"):
        plan_job(job(source, tmp_path / "out.mp4", rate=Fraction(12)))


def test_black_and_white_stays_black_and_white(tmp_path):
    from PIL import Image

    torch.manual_seed(3)
    model = save_network(seeded_network("compact"), tmp_path / "net.safetensors")
    gray = picture(0)[..., 0]
    Image.fromarray(gray).convert("RGB").save(tmp_path / "in.png")
    recipe = load_preset("upscale").with_settings("upscale", model=str(model))
    context = StageContext(ModelStore(tmp_path / "store"))
    run_job(job(tmp_path / "in.png", tmp_path / "out.png", recipe=recipe, context=context))
    with Image.open(tmp_path / "out.png") as result:
        pixels = np.asarray(result.convert("RGB"), int)
    assert pixels.shape == (192, 256, 3)
    assert np.ptp(pixels, axis=-1).max() <= 1
    assert pixels.std() > 5


def test_ten_bits_survive_by_default_and_a_loss_is_said(tmp_path):
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        video = container.add_stream("ffv1", rate=25, width=96, height=64, pix_fmt="yuv420p10le")
        for number in range(2):
            frame = av.VideoFrame.from_ndarray(picture(number, 64, 96), format="rgb24")
            frame = frame.reformat(format="yuv420p10le")
            frame.pts = number
            container.mux(video.encode(frame))
        container.mux(video.encode())
    run_job(job(source, tmp_path / "out.mp4"))
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.format.name == "yuv420p10le"
    recipe = replace(load_preset("transcode"), delivery={"profile": "h264"})
    report = run_job(job(source, tmp_path / "small.mp4", recipe=recipe))
    assert "the source's 10 bit became 8 bit in the delivery" in report.warnings


def test_a_cancelled_job_leaves_nothing_behind(tmp_path):
    source = make(tmp_path / "in.mp4", range(200), Fraction(1, 25))
    token = CancelToken()
    with pytest.raises(Cancelled):
        run_job(
            job(source, tmp_path / "out.mp4"),
            on_progress=lambda seen: token.cancel() if seen.frames_done == 3 else None,
            cancel=token,
        )
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_the_same_job_gives_the_same_bytes(tmp_path):
    model = save_network(seeded_network("compact"), tmp_path / "net.safetensors")
    recipe = load_preset("upscale").with_settings("upscale", model=str(model))
    # By itself the encoder's speed goes by the pace of the moment.
    recipe = replace(recipe, delivery={**recipe.delivery, "speed": "veryfast"})
    source = make(tmp_path / "in.mp4", range(6), Fraction(1, 25))
    context = StageContext(ModelStore(tmp_path / "store"))
    for name in ("a.mp4", "b.mp4"):
        run_job(job(source, tmp_path / name, recipe=recipe, context=context))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_wrong_delivery_settings_are_named(tmp_path):
    source = make(tmp_path / "in.mp4", range(2), Fraction(1, 25))
    recipe = replace(load_preset("transcode"), delivery={"profile": "h264", "colour": 1})
    with pytest.raises(InvalidInput, match="delivery settings colour, profile"):
        plan_job(job(source, tmp_path / "out.mp4", recipe=recipe))
