"""The demonstration from beginning to end: make the reel, restore it, measure, show."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restore import __version__
from restore.api import RunOptions, make_job
from restore.demo.clips import array_of, frames_of, read_clip, write_clip
from restore.demo.measure import Score, changes, enlarged, score
from restore.demo.picture import side_by_side, write_png
from restore.demo.reel import RATE, Reel, make_reel
from restore.engine.run import process
from restore.engine.settings import CancelToken, Progress
from restore.errors import OutputExists
from restore.frames import Frame
from restore.media.atomic import AtomicPath
from restore.media.profiles import Delivery
from restore.recipe import load_preset
from restore.restoration import JobReport, plan_job, run_job

__all__ = ["FILES", "DemoReport", "run_demo"]

FILES = {
    "film": "film.mp4",
    "truth": "truth.mkv",
    "restored": "restored.mp4",
    "picture": "side_by_side.png",
    "clip": "side_by_side.mp4",
    "numbers": "numbers.json",
}
_FILM = Delivery("h264", crf=20)
_SHOWN = Delivery("h264", crf=14)

Array = NDArray[np.float32]


@dataclass(frozen=True)
class DemoReport:
    """What the demonstration found.

    Attributes:
        folder: where its files are.
        scores: the input enlarged by Lanczos, then the clip after each stage, then the master as
            decoded from its file.
        verdicts: for each score after the first, what it did against the one before.
        job: the report of the restoration.
        elapsed_s: of everything.
    """

    folder: Path
    scores: tuple[Score, ...]
    verdicts: tuple[str, ...]
    job: JobReport
    elapsed_s: float


def run_demo(
    folder: Path,
    *,
    frames: int = 24,
    seed: int = 0,
    preset: str = "default",
    options: RunOptions | None = None,
    on_step: Callable[[str], None] = lambda _: None,
    on_progress: Callable[[Progress], None] | None = None,
    cancel: CancelToken | None = None,
) -> DemoReport:
    """Make a worn reel, restore it as any other job, and measure every stage against the truth.

    Args:
        folder: where ``FILES`` go; files of an earlier demonstration are replaced.
        frames: length of the reel.
        seed: another seed, another reel.
        preset: what restores it.
        options: what departs from the preset.
        on_step: told what is going on.
        on_progress: told of each restored frame.
        cancel: stops the restoration.

    Raises:
        OutputExists: the folder holds something else.
        RestoreError: the reel cannot be restored.
    """
    began = time.perf_counter()
    cancel = cancel or CancelToken()
    _prepare(folder)
    on_step("making a worn reel from photographs, with its clean truth")
    reel = make_reel(frames, seed)
    film, master = folder / FILES["film"], folder / FILES["restored"]
    write_clip(film, reel.frames, RATE, _FILM)
    write_clip(folder / FILES["truth"], reel.truth, RATE, Delivery("ffv1", bit_depth=8))
    cancel.check()
    on_step("restoring it")
    wanted: RunOptions = {**(options or {}), "overwrite": True}
    plan = plan_job(make_job(film, master, load_preset(preset), wanted))
    job = run_job(plan, on_progress=on_progress, cancel=cancel)
    cancel.check()
    on_step("measuring every stage")
    clips = list(_after_each_stage(film, job, cancel))
    clips.append(("master, decoded from its file", array_of(read_clip(master))))
    scores = tuple(score(name, clip, reel.target, reel.truth) for name, clip in clips)
    report = DemoReport(folder, scores, changes(scores), job, 0.0)
    on_step("putting them side by side")
    _show(folder, reel, clips[0][1], clips[-1][1])
    report = DemoReport(folder, scores, report.verdicts, job, elapsed_s=time.perf_counter() - began)
    _write_numbers(report, reel, seed)
    return report


def _prepare(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    foreign = sorted(entry.name for entry in folder.iterdir() if entry.name not in FILES.values())
    if any((folder / name).exists() for name in FILES.values()) and foreign:
        raise OutputExists(
            f"{folder} holds a file with the name of one of the demonstration's, and {foreign[0]}",
            "an empty or new folder, or that of an earlier demonstration",
            "Name another with --out.",
        )


def _after_each_stage(
    film: Path, job: JobReport, cancel: CancelToken
) -> Iterator[tuple[str, Array]]:
    """The decoded input, then the clip after each stage of the job that was run."""
    clip = array_of(read_clip(film))
    yield "input, enlarged by Lanczos", clip
    plan = job.plan
    frames: list[Frame] = list(frames_of(clip, RATE))
    for stage, told in zip(plan.pipeline, plan.stages, strict=True):
        frames = list(process(frames, [stage], plan.job.settings, cancel))
        yield f"after {told.label}", array_of(frames)


def _show(folder: Path, reel: Reel, before: Array, after: Array) -> None:
    """The picture has the middle frame of each shot, the clip every frame."""
    size_px = (reel.truth.shape[1], reel.truth.shape[2])
    before, after = enlarged(before, size_px), enlarged(after, size_px)
    rows = [
        side_by_side(
            [
                ("input, enlarged", before[number]),
                ("restored", after[number]),
                ("truth", reel.truth[number]),
            ]
        )
        for number in range(len(reel.truth))
    ]
    stops = (*reel.shots[1:], len(rows))
    middles = [(start + stop) // 2 for start, stop in zip(reel.shots, stops, strict=True)]
    write_png(folder / FILES["picture"], np.concatenate([rows[number] for number in middles]))
    write_clip(folder / FILES["clip"], np.stack(rows), RATE, _SHOWN)


def _write_numbers(report: DemoReport, reel: Reel, seed: int) -> None:
    record = {
        "version": __version__,
        "seed": seed,
        "frames": len(reel.frames),
        "input_px": [reel.frames.shape[2], reel.frames.shape[1]],
        "output_px": [reel.truth.shape[2], reel.truth.shape[1]],
        "elapsed_s": round(report.elapsed_s, 3),
        "scores": [asdict(each) for each in report.scores],
        "verdicts": list(report.verdicts),
        "job": report.job.to_dict(),
        "reel": dict(reel.parameters),
    }
    target = AtomicPath(str(report.folder / FILES["numbers"]), overwrite=True)
    try:
        with target.open() as file:
            file.write(json.dumps(record, indent=2, default=str).encode())
    except BaseException:
        target.discard()
        raise
    target.commit()
