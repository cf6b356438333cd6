"""Every preset that ships does a whole job on a small clip, with the embedded weights alone."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from restore.engine.settings import EngineSettings
from restore.models.store import ModelStore
from restore.overrides import Overrides, adapted
from restore.recipe import load_preset, preset_names
from restore.restoration import Job, run_job
from restore.stages import StageContext
from tests.test_restoration import times_of


def write_reel(path, frames):
    """A slow pan over smooth shapes with grain, as frames of film are."""
    rng = np.random.default_rng(4)
    rows, cols = np.mgrid[0:96, 0:160]
    scene = 128 + 60 * np.sin(rows / 7.0) * np.cos(cols / 11.0) + 30 * np.sin((rows + cols) / 23.0)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=18, width=128, height=96, pix_fmt="yuv420p")
        video.options = {"bf": "0", "crf": "8"}
        for number in range(frames):
            grained = scene[:, number : number + 128] + rng.normal(0, 4, (96, 128))
            picture = np.repeat(np.clip(grained, 0, 255)[..., None], 3, -1).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            container.mux(video.encode(frame))
        container.mux(video.encode())


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_keeps_frames_times_and_shape(tmp_path, name):
    write_reel(tmp_path / "in.mp4", 14)
    recipe = load_preset(name)
    assert recipe.description
    # Matroska, where the preset delivers into it alone, counts in milliseconds.
    is_lossless = recipe.delivery.get("profile") == "ffv1"
    output, tick_s = (
        tmp_path / ("out.mkv" if is_lossless else "out.mp4"),
        Fraction(is_lossless, 1000),
    )
    job = Job(
        source=str(tmp_path / "in.mp4"),
        destination=str(output),
        recipe=recipe,
        settings=EngineSettings("cpu"),
        context=StageContext(ModelStore(tmp_path / "store"), quality=recipe.quality),
    )
    report = run_job(job)
    assert report.written.frames == 14
    times = times_of(output)
    assert len(times) == 14
    assert all(abs(time - Fraction(n, 18)) <= tick_s / 2 for n, time in enumerate(times))
    factor = int(recipe.scale or 1)
    with av.open(str(output)) as container:
        frame = next(container.decode(video=0))
        assert (frame.width, frame.height) == (128 * factor, 96 * factor)
        small = frame.to_image().convert("L").resize((128, 96))
    with av.open(str(tmp_path / "in.mp4")) as container:
        source = next(container.decode(video=0)).to_image().convert("L")
    shown, given = np.asarray(small, float), np.asarray(source, float)
    if any(step.stage == "fade" for step in recipe.steps):
        # Black and white points are set anew; everything else has to be as it was.
        shown = np.polyval(np.polyfit(shown.ravel(), given.ravel(), 1), shown)
    difference = shown - given
    assert np.sqrt(np.mean(difference**2)) < 12


ORDER = (
    "fields", "cadence", "shots", "grain_learn", "stabilise", "deflicker", "dust", "scratches",
    "degrain", "deartifact", "upscale", "fade", "regrain", "speed", "interpolate",
)  # fmt: skip


@pytest.mark.parametrize(
    "name", ["8mm", "super8", "16mm", "vhs", "dv", "generated", "archive-faithful"]
)
def test_stages_come_in_the_order_of_the_trade(name):
    recipe = load_preset(name)
    places = [ORDER.index(step.stage) for step in recipe.steps]
    assert places == sorted(set(places))
    assert "\n" not in recipe.description
    assert recipe.description.startswith("For ")


def test_the_faithful_preset_adds_nothing_and_loses_nothing():
    recipe = load_preset("archive-faithful")
    assert recipe.scale is None
    assert recipe.delivery["profile"] == "ffv1"
    stages = {step.stage for step in recipe.steps}
    assert not stages & {"deartifact", "upscale", "regrain", "fields", "cadence", "interpolate"}


@pytest.mark.parametrize("name", ["8mm", "super8", "16mm", "film"])
def test_reels_can_be_repaired_without_networks(name):
    recipe = adapted(load_preset(name), Overrides(no_networks=True))
    stages = [step.stage for step in recipe.steps]
    assert recipe.scale is None
    assert {"stabilise", "deflicker", "dust", "scratches", "regrain"} <= set(stages)
    assert not {"deartifact", "upscale"} & set(stages)
