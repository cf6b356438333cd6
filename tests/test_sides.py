"""Side clips show what a stage changed and let it be undone; they appear whole or not at all."""

from __future__ import annotations

import csv

import av
import numpy as np
import pytest

from restore.api import make_job
from restore.engine.settings import EngineSettings
from restore.errors import OutputError, OutputExists
from restore.models.store import ModelStore
from restore.recipe import Recipe, Step, load_recipe
from restore.restoration import Job, run_job
from restore.stages import StageContext
from tests.cli_material import restore

SIZE = (96, 128)
FRAMES = 12
MIDDLE = {10: 512, 16: 32768}


def reel(path, bits=16):
    """A pan over smooth shapes with grain and flicker, and a black blot in each frame but two."""
    rng = np.random.default_rng(4)
    rows, cols = np.mgrid[0:96, 0:160]
    scene = 0.5 + 0.23 * np.sin(rows / 7.0) * np.cos(cols / 11.0) + 0.1 * np.sin((rows + cols) / 23)
    layout, kind = ("gbrp16le", "gbrp16le") if bits == 16 else ("bgr0", "rgb24")
    pictures = []
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=18, width=128, height=96, pix_fmt=layout)
        for number in range(FRAMES):
            shown = scene[:, number : number + 128] * (1 + 0.03 * (-1) ** number)
            picture = np.repeat((shown + rng.normal(0, 0.01, SIZE))[..., None], 3, -1)
            y, x = rng.integers(10, 80), rng.integers(10, 110)
            if number not in (0, FRAMES - 1):
                picture[y : y + 5, x : x + 6] = 0.02
            codes = np.clip(picture * (2**bits - 1), 0, 2**bits - 1).round()
            codes = codes.astype(np.uint16 if bits == 16 else np.uint8)
            frame = av.VideoFrame.from_ndarray(codes, format=kind)
            frame.pts = number
            pictures.append(codes)
            container.mux(video.encode(frame))
        container.mux(video.encode())
    return np.stack(pictures)


def planes_of(path):
    """``[T, h, w, 3]`` codes of an RGB clip and ``[T, h, w]`` of a grey one, with their times."""
    with av.open(str(path)) as container:
        every = list(container.decode(video=0))
        times = [frame.pts * frame.time_base for frame in every]
        kind = "rgb24" if every[0].format.name == "bgr0" else None
        return np.stack([frame.to_ndarray(format=kind) for frame in every]), times


def job(tmp_path, *stages, bits=16, delivery=None, **changes):
    recipe = Recipe(
        "t", "", tuple(Step(s) if isinstance(s, str) else s for s in stages),
        delivery=delivery or {"profile": "ffv1", "pixel_format": "gbrp16le"},
    )  # fmt: skip
    if not (tmp_path / "in.mkv").exists():
        reel(tmp_path / "in.mkv", bits)
    return Job(
        source=str(tmp_path / "in.mkv"),
        destination=str(tmp_path / "out.mkv"),
        recipe=recipe,
        settings=EngineSettings("cpu"),
        context=StageContext(ModelStore(tmp_path / "store")),
        **{"side_clips": str(tmp_path / "sides"), **changes},
    )


@pytest.mark.parametrize("stage", ["dust", "deflicker", "degrain", "deartifact"])
def test_the_residual_undoes_a_stage_within_16_bit_rounding(tmp_path, stage):
    source = reel(tmp_path / "in.mkv")
    report = run_job(job(tmp_path, stage))
    side = tmp_path / "sides" / f"out.{stage}.residual.mkv"
    assert str(side) in report.side_clips
    codes, times = planes_of(side)
    result, wanted = planes_of(tmp_path / "out.mkv")
    assert times == wanted
    assert codes.shape == result.shape == source.shape
    undone = result / 65535 - (codes.astype(float) - 32768) / 32767
    # Half a code of the result, and half a code of the residual, which are twice as coarse.
    assert np.abs(undone * 65535 - source).max() <= 1.55
    assert np.abs(result.astype(int) - source.astype(int)).max() > 500


def test_in_8_bit_the_residual_gives_every_sample_back(tmp_path):
    source = reel(tmp_path / "in.mkv", bits=8)
    delivery = {"profile": "ffv1", "pixel_format": "gbrp"}
    run_job(job(tmp_path, "dust", bits=8, delivery=delivery))
    codes, _ = planes_of(tmp_path / "sides" / "out.dust.residual.mkv")
    result, _ = planes_of(tmp_path / "out.mkv")
    undone = result / 255 - (codes.astype(float) - MIDDLE[10]) / (MIDDLE[10] - 1)
    # Half a code of the result and a quarter of the residual: at most one code off after rounding.
    assert np.abs(np.rint(undone * 255) - source).max() <= 1
    mask, _ = planes_of(tmp_path / "sides" / "out.dust.mask.mkv")
    assert 0.001 < (mask > 0).mean() < 0.05
    assert np.array_equal(result[mask == 0], source[mask == 0])
    assert (codes[mask == 0] == MIDDLE[10]).all()


def test_the_mask_is_what_the_stage_says_itself_and_all_that_changed(tmp_path):
    source = reel(tmp_path / "in.mkv")
    run_job(job(tmp_path, "dust"))
    mask, times = planes_of(tmp_path / "sides" / "out.dust.mask.mkv")
    result, wanted = planes_of(tmp_path / "out.mkv")
    assert set(np.unique(mask)) == {0, 255}
    assert times == wanted
    assert np.array_equal(mask > 0, (result != source).any(-1))
    assert (mask > 0).any((1, 2)).sum() >= FRAMES - 4


def test_shifts_and_gains_are_tables(tmp_path):
    steps = (Step("stabilise", {"lookahead": 12}), "deflicker")
    report = run_job(job(tmp_path, *steps))
    names = sorted(path.rsplit("/", 1)[1] for path in report.side_clips)
    assert names == [
        "out.deflicker.gains.csv", "out.deflicker.residual.mkv", "out.stabilise.shifts.csv",
    ]  # fmt: skip
    with (tmp_path / "sides" / "out.stabilise.shifts.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["frame"]) for row in rows] == list(range(FRAMES))
    assert set(rows[0]) == {"frame", "across_px", "down_px"}
    with (tmp_path / "sides" / "out.deflicker.gains.csv").open(encoding="utf-8") as file:
        gains = [float(row["green"]) for row in csv.DictReader(file)]
    # Every other frame was made brighter by 6 %.
    assert all(a < b for a, b in zip(gains[2:-2:2], gains[3:-2:2], strict=False))


def test_a_stage_of_another_size_has_no_clip_and_it_is_said(tmp_path):
    steps = ("shots", Step("resize", {"scale": 2}), "dust")
    report = run_job(job(tmp_path, *steps))
    assert any("no side clip of stage resize" in line for line in report.warnings)
    mask, _ = planes_of(tmp_path / "sides" / "out.dust.mask.mkv")
    assert mask.shape == (FRAMES, 192, 256)
    assert not list((tmp_path / "sides").glob("*resize*"))


def test_without_a_folder_there_are_none(tmp_path):
    report = run_job(job(tmp_path, "dust", side_clips=None))
    assert report.side_clips == ()
    assert not (tmp_path / "sides").exists()


def test_a_name_that_is_taken_stops_the_job_before_it_begins(tmp_path):
    (tmp_path / "sides").mkdir()
    taken = tmp_path / "sides" / "out.dust.residual.mkv"
    taken.write_text("mine")
    with pytest.raises(OutputExists):
        run_job(job(tmp_path, "dust"))
    assert not (tmp_path / "out.mkv").exists()
    assert [path.name for path in (tmp_path / "sides").iterdir()] == [taken.name]
    run_job(job(tmp_path, "dust", overwrite=True))
    assert taken.stat().st_size > 100


def test_a_side_clip_that_fails_fails_the_job_and_leaves_nothing(tmp_path, monkeypatch):
    from restore.media.video_out import ContainerWriter

    whole = ContainerWriter.write

    def write(self, frame):
        if self.pixel_format.name == "gray" and frame.index == 5:
            raise OutputError("could not write the mask: the disk is full")
        whole(self, frame)

    monkeypatch.setattr(ContainerWriter, "write", write)
    with pytest.raises(OutputError, match="the disk is full"):
        run_job(job(tmp_path, "dust"))
    assert not (tmp_path / "out.mkv").exists()
    assert not list((tmp_path / "sides").iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mkv", "sides"]


def test_a_job_that_fails_at_its_end_takes_its_side_clips_with_it(tmp_path, monkeypatch):
    from restore.media.video_out import ContainerWriter

    whole = ContainerWriter.close

    def close(self):
        if str(self._path.final).endswith("out.mkv"):
            self.abort()
            raise OutputError("could not write out.mkv: the disk is full")
        return whole(self)

    monkeypatch.setattr(ContainerWriter, "close", close)
    with pytest.raises(OutputError, match=r"out\.mkv"):
        run_job(job(tmp_path, "dust", "deflicker"))
    assert not list((tmp_path / "sides").iterdir())


def test_side_clips_do_not_change_the_result(tmp_path):
    run_job(job(tmp_path, "dust", "degrain"))
    with_sides, _ = planes_of(tmp_path / "out.mkv")
    run_job(job(tmp_path, "dust", "degrain", side_clips=None, overwrite=True))
    without, _ = planes_of(tmp_path / "out.mkv")
    assert np.array_equal(with_sides, without)


def test_the_command_line_and_recipes_name_the_folder(tmp_path):
    reel(tmp_path / "in.mkv", bits=8)
    source, output = tmp_path / "in.mkv", tmp_path / "out.mkv"
    recipe = tmp_path / "r.toml"
    recipe.write_text(f"side_clips = {str(tmp_path / 'b')!r}\n" + '[[steps]]\nstage = "dust"\n')
    asked = ("run", source, "-o", output, "--recipe", recipe)
    done = restore(*asked, "--side-clips", tmp_path / "a")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "out.dust.mask.mkv", "out.dust.residual.mkv",
    ]  # fmt: skip
    assert not (tmp_path / "b").exists()
    refused = restore(*asked, "--overwrite", "--resume")
    assert refused.returncode != 0
    assert "chunk by chunk" in refused.stdout + refused.stderr


def test_a_recipe_file_names_the_folder_without_changing_the_result(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text('[[steps]]\nstage = "dust"\n')
    plain = load_recipe(path)
    path.write_text('side_clips = "sides"\n[[steps]]\nstage = "dust"\n')
    asked = load_recipe(path)
    assert asked.side_clips == "sides"
    assert asked.job_name() == plain.job_name()
    assert make_job("in.mkv", "out.mkv", asked, {}).side_clips == "sides"
    assert make_job("in.mkv", "out.mkv", asked, {"side_clips": "x"}).side_clips == "x"
