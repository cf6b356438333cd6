"""Tells a person at a terminal, with rich: progress, tables, warnings."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from rich import progress as bars
from rich.console import Console
from rich.text import Text

from restore.console.findings import analysis_tables
from restore.console.guard import explain_bug, explain_error, named
from restore.console.tables import plan_tables, stage_times, summary_line
from restore.console.teller import Failure, Outcome
from restore.console.words import bytes_text, duration_text
from restore.errors import RestoreError

if TYPE_CHECKING:
    from restore.assessment import Analysis
    from restore.batch import BatchItem
    from restore.engine.settings import Progress
    from restore.restoration import JobPlan, JobReport

__all__ = ["HumanTeller"]


class HumanTeller:
    """Results on one console, everything on the way to them on standard error.

    Args:
        results: where results go; standard error too where standard output carries frames.
    """

    def __init__(self, results: Console) -> None:
        self._results = results
        self._errors = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bars: bars.Progress | None = None
        self._task: bars.TaskID | None = None
        self._told: set[str] = set()
        self._reports: list[JobReport] = []
        self._about = ""
        self._lock = threading.Lock()

    def begin(self, item: BatchItem, position: int, total: int) -> None:
        """Head the following lines with the input where there are many."""
        self._told.clear()
        self._about = item.source if total > 1 else ""
        if total > 1:
            self._errors.print(Text(f"[{position}/{total}] {item.source}", style="bold"))

    def plan(self, plan: JobPlan, *, dry_run: bool) -> None:
        """In full for a dry run; else one line, which models were chosen why, and a bar."""
        if dry_run:
            for table in plan_tables(plan):
                self._results.print(table)
        else:
            self._errors.print(summary_line(plan))
            if plan.job.recipe.quality != "fast":
                for stage in plan.stages:
                    self.warning(stage.facts.get("chosen", ""))
            if self._errors.is_terminal:
                self._start_bar(plan.frames)
        for note in plan.notes:
            self.warning(note)

    def analysis(self, analysis: Analysis, *, dry_run: bool) -> None:
        """In full, with the recipe as a file, for a dry run; else a line for each stage."""
        if dry_run:
            for part in analysis_tables(analysis):
                self._results.print(part)
            self._results.print(Text(analysis.recipe_toml()))
            return
        proposal = analysis.proposal
        self._errors.print(Text(f"analysed: {analysis.read}"))
        if proposal.recipe.crop:
            self._errors.print(Text(f"  crop: {proposal.why['crop']}"))
        for step in proposal.recipe.steps:
            self._errors.print(Text(f"  {step.stage}: {proposal.why[step.stage]}"))
        if proposal.recipe.shots:
            count = len(proposal.recipe.shots)
            self._errors.print(Text(f"  otherwise in {count} stretches of the reel"))
        for note in analysis.notes:
            self.warning(note)

    def _start_bar(self, frames: int | None) -> None:
        self._stop_bar()
        self._bars = bars.Progress(
            bars.SpinnerColumn(),
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TextColumn("{task.fields[pace]}"),
            bars.TimeElapsedColumn(),
            console=self._errors,
            transient=True,
        )
        self._task = self._bars.add_task("frames", total=frames, pace="")
        self._bars.start()

    def _stop_bar(self) -> None:
        with self._lock:
            if self._bars is not None:
                self._bars.stop()
            self._bars, self._task = None, None

    def progress(self, progress: Progress) -> None:
        """Move the bar."""
        with self._lock:
            if self._bars is None or self._task is None:
                return
            pace = f"{progress.fps:.2f} fps"
            if progress.eta_s is not None:
                pace += f", {duration_text(progress.eta_s)} to go"
            self._bars.update(
                self._task,
                completed=progress.frames_done,
                total=progress.frames_total,
                pace=pace,
            )

    def warning(self, text: str) -> None:
        """One line; the same text once for each input."""
        if text and text not in self._told:
            self._told.add(text)
            self._errors.print(Text("note: ", style="yellow") + Text(text, style="default"))

    def stopping(self) -> None:
        """Say that the stop is under way."""
        self._errors.print("stopping; once more to end at once")

    def done(self, report: JobReport) -> None:
        """Warnings, what was written, and, unless there are many, where the time went."""
        self._stop_bar()
        for text in report.warnings:
            self.warning(text)
        self._reports.append(report)
        if not self._about:
            self._results.print(stage_times([report]))
        written, run = report.written, report.run
        streams = [s for s in report.written.streams if s.outcome != "dropped"]
        with_them = f", with {len(streams)} more streams" if len(streams) > 1 else ""
        if len(streams) == 1:
            with_them = f", with 1 more stream ({streams[0].type})"
        pace = f"{written.frames / run.elapsed_s:.2f} fps" if run.elapsed_s else "at once"
        video = report.plan.video
        text = (
            f"{written.path}: {written.frames} frames of {video.width_px}x{video.height_px}"
            f"{with_them}, {bytes_text(written.bytes)}, in {duration_text(run.elapsed_s)} "
            f"({pace}) on {run.device}"
        )
        self._results.print(
            Text("done ", style="bold green") + Text(text, style="default"), soft_wrap=True
        )

    def skipped(self, item: BatchItem) -> None:
        """One line."""
        self._errors.print(Text(f"skipped {item.source}: {item.destination} exists", style="dim"))

    def failed(self, failure: Failure) -> None:
        """The error, with the input's name where there are many."""
        self._stop_bar()
        if isinstance(failure.error, RestoreError):
            explain_error(failure.error, self._about)
        else:
            explain_bug(failure.error, self._about)

    def summary(self, outcome: Outcome) -> None:
        """Where the time went, how many were done, and what went wrong with the others."""
        if self._reports:
            self._results.print(stage_times(self._reports))
        self._results.print(
            f"{outcome.done} done, {outcome.skipped} skipped, {len(outcome.failures)} failed"
        )
        for failure in outcome.failures:
            text = named(str(failure.error), failure.source)
            self._results.print(Text(f"  {text}", style="red"), soft_wrap=True)

    def close(self) -> None:
        """Take the bar away."""
        self._stop_bar()
