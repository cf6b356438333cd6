"""Tells a program: one JSON object a line."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, TextIO

from restore.console.teller import Failure, Outcome

if TYPE_CHECKING:
    from restore.assessment import Analysis
    from restore.batch import BatchItem
    from restore.engine.settings import Progress
    from restore.frames import ClipInfo
    from restore.restoration import JobPlan, JobReport

__all__ = ["JsonTeller", "clip_record", "failure_record", "plan_record"]

_PROGRESS_EVERY_S = 0.25


def failure_record(failure: Failure) -> dict[str, object]:
    """An error as plain data."""
    return {
        "source": failure.source,
        "kind": failure.kind,
        "message": str(failure.error),
        "exit_code": failure.exit_code,
    }


def clip_record(info: ClipInfo) -> dict[str, object]:
    """Facts of a clip as plain data, times in seconds as exact ratios."""
    from restore.media.describe import clip_info_to_dict

    record: dict[str, object] = clip_info_to_dict(info)
    return record


def plan_record(plan: JobPlan) -> dict[str, object]:
    """A plan as plain data."""
    job, video = plan.job, plan.video
    return {
        "source": job.source,
        "destination": job.destination,
        "input": {
            "width_px": plan.source.upright_px[0],
            "height_px": plan.source.upright_px[1],
            "frame_rate": _text(plan.source.frame_rate),
            "codec": plan.source.codec,
            "pixel_format": plan.source.pixel_format,
            "rotation_deg": plan.source.rotation_deg,
        },
        "output": {
            "width_px": video.width_px,
            "height_px": video.height_px,
            "frame_rate": _text(video.frame_rate),
            "delivery": asdict(plan.delivery),
        },
        "range": [job.range.start, job.range.stop],
        "frames": plan.frames,
        "stages": [asdict(stage) for stage in plan.stages],
        "memory_bytes": plan.memory_bytes,
        "expected_s": plan.expected_s,
        "fps": {pace.part: round(pace.fps, 3) for pace in plan.paces},
        "limit": min(plan.paces, key=lambda pace: pace.fps).part if plan.paces else None,
        "advice": plan.pace_advice,
        "recipe": json.loads(job.recipe.canonical()),
        "notes": list(plan.notes),
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)


class JsonTeller:
    """Writes events, each a JSON object with an ``event``, flushed line by line.

    Args:
        stream: where lines go.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._told: set[str] = set()
        self._about: dict[str, object] = {}
        self._last_s = float("-inf")

    def _tell(self, event: str, fields: Mapping[str, object]) -> None:
        line = json.dumps({"event": event, **self._about, **fields}, default=str)
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()

    def begin(self, item: BatchItem, position: int, total: int) -> None:
        """Later events name the input by its number where there are many."""
        self._told.clear()
        self._last_s = float("-inf")
        self._about = {"number": item.number} if total > 1 else {}

    def plan(self, plan: JobPlan, *, dry_run: bool) -> None:
        """``plan``: sizes, stages, delivery, memory; then a ``warning`` for each note."""
        self._tell("plan", {**plan_record(plan), "dry_run": dry_run})
        for note in plan.notes:
            self.warning(note)

    def analysis(self, analysis: Analysis, *, dry_run: bool) -> None:
        """``analysis``: what was found, and the recipe with its reasons."""
        self._tell("analysis", {**analysis.to_dict(), "dry_run": dry_run})

    def progress(self, progress: Progress) -> None:
        """``progress``, at most a few a second, and always the last expected frame."""
        now_s = time.monotonic()
        is_last = progress.frames_done == progress.frames_total
        if now_s - self._last_s < _PROGRESS_EVERY_S and not is_last:
            return
        self._last_s = now_s
        fields: dict[str, object] = {
            "frames_done": progress.frames_done,
            "frames_total": progress.frames_total,
            "elapsed_s": round(progress.elapsed_s, 3),
            "fps": round(progress.fps, 4),
            "eta_s": None if progress.eta_s is None else round(progress.eta_s, 3),
            "stage_s": {name: round(spent, 3) for name, spent in progress.stage_s.items()},
        }
        self._tell("progress", fields)

    def warning(self, text: str) -> None:
        """``warning``."""
        if text not in self._told:
            self._told.add(text)
            self._tell("warning", {"text": text})

    def stopping(self) -> None:
        """``stopping``."""
        self._tell("stopping", {})

    def done(self, report: JobReport) -> None:
        """``done``: the whole report."""
        for text in report.warnings:
            self.warning(text)
        self._tell("done", report.to_dict())

    def skipped(self, item: BatchItem) -> None:
        """``skipped``."""
        self._tell("skipped", {"source": item.source, "output": item.destination})

    def failed(self, failure: Failure) -> None:
        """``error``."""
        self._tell("error", failure_record(failure))

    def summary(self, outcome: Outcome) -> None:
        """``summary``: how many were done, skipped, failed."""
        self._about = {}
        failed = [failure_record(failure) for failure in outcome.failures]
        self._tell("summary", {"done": outcome.done, "skipped": outcome.skipped, "failed": failed})

    def close(self) -> None:
        """Nothing is held back, so nothing is left to do."""
