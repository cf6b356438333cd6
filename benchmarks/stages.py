"""Milliseconds a frame of every stage and of a whole preset, and what leaving out repeats saves.

    python -m benchmarks.stages [NAME ...] [--size 720x576] [--frames 60] [--seconds 20]
                                [--preset 8mm] [--json FILE]
    python -m benchmarks.stages --job

Each stage of the list runs by itself, with its default settings, over a film that pans, weaves,
flickers and has grain. The first frames warm up and are not counted. Beside the time that passed
stands the time that cores worked, which other programs disturb less. ``--preset`` adds a whole job:
decoding, the preset without networks with all stages side by side, encoding. ``--job`` writes
18 fps film in 25 fps video, and runs the shipped networks over it with and without `cadence`.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from restore.api import run
from restore.degrade.grain import add_grain
from restore.degrade.resize import resize
from restore.degrade.transport import flicker_gains, weave_path_px
from restore.demo.clips import frames_of, write_clip
from restore.engine.run import process
from restore.engine.settings import EngineSettings
from restore.errors import RestoreError
from restore.frames import Frame
from restore.hostenv import tune_host
from restore.media.profiles import Delivery
from restore.recipe import Recipe, Step
from restore.restoration import Job, run_job
from restore.stages import STAGES, StageContext, build_stage

_DISTINCT = 24
_WARM_UP = 2
_PAL = Fraction(25)


def film(frames: int, size_px: tuple[int, int]) -> np.ndarray:
    """``[frames, h, w, 3]``: detail of every size under a camera that pans, as a reel shows it."""
    height, width = size_px
    random = np.random.default_rng(0)
    ground = np.zeros((height + 64, width + 8 * frames + 64, 3), np.float32)
    for octave in range(2, 8):
        coarse = random.normal(0, 1, (*(max(2, n >> octave) for n in ground.shape[:2]), 3))
        detail = resize(coarse.astype(np.float32), ground.shape[:2], "bicubic")
        ground += detail * np.float32(2.0 ** (octave - 7))
    ground = 0.5 + 0.15 * ground / ground.std()
    gains, path = flicker_gains(frames, 0.03, 0), weave_path_px(frames, 1.0, 0)
    out = np.empty((frames, height, width, 3), np.float32)
    for n in range(frames):
        y, x = 32 + round(path[n, 0]), 32 + 3 * n + round(path[n, 1])
        shown = np.clip(ground[y : y + height, x : x + width] * np.float32(gains[n]), 0, 1)
        out[n] = add_grain(shown, 0.05, 0.6, 0.5, (0, n))
    return out


def endless(clip: np.ndarray) -> Iterator[Frame]:
    """The clip there and back, over and over."""
    order = [*range(len(clip)), *range(len(clip) - 2, 0, -1)]
    every = list(frames_of(clip, _PAL))
    number = 0
    while True:
        shown = every[order[number % len(order)]]
        yield Frame(shown.data, number, 1 / _PAL, shown.color, number, duration=1)
        number += 1


@dataclass(frozen=True)
class Row:
    """What one frame costs.

    Attributes:
        row: stage, or preset.
        ms: that passed.
        cpu_ms: that cores worked, the process that decodes left out.
        frames: taken.
        fps: frames a second of a whole job; None for a stage.
    """

    row: str
    ms: float
    cpu_ms: float
    frames: int
    fps: float | None = None


def stage_row(name: str, clip: np.ndarray, frames: int, limit_s: float) -> Row:
    """One stage by itself; ends early when time is up."""
    stage = build_stage(name, {}, StageContext())
    taken = 0

    def source() -> Iterator[Frame]:
        nonlocal taken
        for frame in endless(clip):
            taken += 1
            yield frame

    began, before, worked, warm = time.perf_counter(), 0.0, 0.0, 0
    with torch.inference_mode():
        for count, _ in enumerate(process(source(), [stage], EngineSettings("cpu"))):
            if count + 1 == _WARM_UP:
                warm, before, worked = taken, time.perf_counter(), time.process_time()
            if count + 1 > _WARM_UP and (
                taken - warm >= frames or time.perf_counter() - began > limit_s
            ):
                break
    each = 1000 / (taken - warm)
    spent_ms, cpu_ms = time.perf_counter() - before, time.process_time() - worked
    return Row(name, round(each * spent_ms, 1), round(each * cpu_ms, 1), taken - warm)


def preset_row(name: str, size_px: tuple[int, int], frames: int) -> Row:
    """A whole job with a preset, its networks left out."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "film.mkv"
        write_clip(source, film(frames, size_px), _PAL, Delivery("h264", crf=16, speed="ultrafast"))
        worked = time.process_time()
        report = run(source, Path(folder) / "out.mkv", name, no_networks=True, device="cpu")
        cpu_ms = 1000 * (time.process_time() - worked) / frames
    spent_s = report.run.elapsed_s
    row = f"{name} without networks, whole job"
    return Row(row, round(1000 * spent_s / frames, 1), round(cpu_ms, 1), frames,
               round(frames / spent_s, 2))  # fmt: skip


def job_s(source: Path, folder: Path, stages: tuple[str, ...]) -> tuple[float, int, int]:
    """Seconds of a whole job, frames in and frames out."""
    recipe = Recipe("benchmark", "", tuple(Step(name) for name in stages))
    job = Job(str(source), str(folder / "out.mkv"), recipe, overwrite=True)
    report = run_job(job)
    return report.run.elapsed_s, report.run.frames_in, report.run.frames_out


def compare_jobs(size_px: tuple[int, int], film_frames: int) -> None:
    """The same film with and without repeats left out."""
    clip = film(film_frames, size_px)
    shown = np.arange(film_frames * 25 // 18) * 18 // 25
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "film18in25.mkv"
        write_clip(source, clip[shown], _PAL, Delivery("h264", crf=18, speed="ultrafast"))
        plain = job_s(source, folder, ("deartifact", "upscale"))
        once = job_s(source, folder, ("cadence", "deartifact", "upscale"))
    for label, (spent_s, taken, given) in (("every frame", plain), ("film frames once", once)):
        print(f"{label:18} {spent_s:7.2f} s  {taken} frames in, {given} out")
    print(f"{'faster by':18} {plain[0] / once[0]:7.2f} x ({film_frames} film frames)")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="stages; all without")
    parser.add_argument("--size", default="720x576")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=20.0, help="limit for each stage")
    parser.add_argument("--preset", action="append", default=[], help="a whole job with it, too")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--job", action="store_true", help="whole jobs with and without cadence")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    if options.job:
        compare_jobs((height, width), options.frames)
        return
    tune_host()
    clip = film(_DISTINCT, (height, width))
    rows = []
    print(f"{'stage':36} {'ms/frame':>9} {'of work':>9}  frames ({width}x{height} px)")
    names = options.names or ([] if options.preset else sorted(STAGES))
    for name in names:
        try:
            rows.append(stage_row(name, clip, options.frames, options.seconds))
        except RestoreError as error:
            print(f"{name:36} {'-':>9} {'-':>9}  {error}")
        else:
            print(f"{name:36} {rows[-1].ms:9.1f} {rows[-1].cpu_ms:9.1f}  {rows[-1].frames}")
    for name in options.preset:
        rows.append(preset_row(name, (height, width), options.frames))
        row = rows[-1]
        print(f"{row.row:36} {row.ms:9.1f} {row.cpu_ms:9.1f}  {row.frames}, {row.fps} fps")
    if options.json:
        table = {"size": options.size, "cores": os.cpu_count(), "rows": [asdict(r) for r in rows]}
        options.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
