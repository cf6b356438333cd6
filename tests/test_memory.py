"""Memory is bounded by settings, not by the length of the clip."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np

from tests.networks import save_network, seeded_network

# Runs in a process of its own: the peak is the process's, from start to end.
SCRIPT = """
import json, re, sys
from pathlib import Path
from restore.engine.settings import EngineSettings
from restore.models.store import ModelStore
from restore.recipe import load_preset
from restore.restoration import Job, run_job
from restore.stages import StageContext

source, destination, model = sys.argv[1:]
recipe = load_preset("upscale").with_settings("upscale", model=model)
settings = EngineSettings("cpu", tile_px=0, batch=1, queue_bytes=16 << 20)
context = StageContext(ModelStore(Path(destination).parent / "store"))
report = run_job(Job(source, destination, recipe, settings, context=context))
status = Path("/proc/self/status").read_text()
peak_kib = int(re.search(r"VmHWM:\\s+(\\d+)", status)[1])
print(json.dumps({"frames": report.written.frames, "peak_bytes": peak_kib * 1024}))
"""


def make_clip(path, frames):
    rng = np.random.default_rng(1)
    still = rng.integers(0, 255, (72, 96, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25, width=96, height=72, pix_fmt="yuv420p")
        video.time_base = Fraction(1, 25)
        for number in range(frames):
            picture = av.VideoFrame.from_ndarray(np.roll(still, number, 1), format="rgb24")
            picture.pts = number
            container.mux(video.encode(picture))
        container.mux(video.encode())


def peak(tmp_path, frames, model):
    source, output = tmp_path / f"{frames}.mp4", tmp_path / f"out-{frames}.mp4"
    make_clip(source, frames)
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(source), str(output), str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["frames"] == frames
    return result["peak_bytes"]


def test_peak_memory_is_the_same_for_100_and_2000_frames(tmp_path):
    """2,000 upscaled frames in float are 2.6 GB: keeping even a few percent of them would show.

    How full queues were at their fullest differs by some 40 MiB on a machine that is busy.
    """
    model = save_network(seeded_network("compact"), tmp_path / "net.safetensors")
    short = peak(tmp_path, 100, model)
    long = peak(tmp_path, 2000, model)
    assert long <= 1.1 * short, f"{short / 2**20:.0f} MiB and {long / 2**20:.0f} MiB"
