"""Every preset that ships does a whole job on a small clip, with the embedded weights alone."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from restore.engine.settings import EngineSettings
from restore.models.store import ModelStore
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
    job = Job(
        source=str(tmp_path / "in.mp4"),
        destination=str(tmp_path / "out.mp4"),
        recipe=recipe,
        settings=EngineSettings("cpu"),
        context=StageContext(ModelStore(tmp_path / "store"), quality=recipe.quality),
    )
    report = run_job(job)
    assert report.written.frames == 14
    assert times_of(tmp_path / "out.mp4") == [Fraction(n, 18) for n in range(14)]
    factor = int(recipe.scale or 1)
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
        assert (frame.width, frame.height) == (128 * factor, 96 * factor)
        small = frame.to_image().convert("L").resize((128, 96))
    with av.open(str(tmp_path / "in.mp4")) as container:
        source = next(container.decode(video=0)).to_image().convert("L")
    difference = np.asarray(small, float) - np.asarray(source, float)
    assert np.sqrt(np.mean(difference**2)) < 12
