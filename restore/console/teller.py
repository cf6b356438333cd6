"""What is told of work on clips, whoever listens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from restore.errors import RestoreError

if TYPE_CHECKING:
    from restore.assessment import Analysis
    from restore.batch import BatchItem
    from restore.engine.settings import Progress
    from restore.restoration import JobPlan, JobReport

__all__ = ["Failure", "Outcome", "Teller"]


@dataclass(frozen=True)
class Failure:
    """An input that could not be done.

    Attributes:
        source: the input.
        error: why; anything but a :class:`RestoreError` is a bug of ours.
    """

    source: str
    error: Exception

    @property
    def kind(self) -> str:
        """Name of the error."""
        return type(self.error).__name__

    @property
    def exit_code(self) -> int:
        """The process exit code that the error maps to."""
        return self.error.exit_code if isinstance(self.error, RestoreError) else 1


@dataclass(frozen=True)
class Outcome:
    """What became of many inputs.

    Attributes:
        done: inputs that were done, or planned in a dry run.
        skipped: inputs whose result was there already.
        failures: the others.
    """

    done: int
    skipped: int
    failures: tuple[Failure, ...]


class Teller(Protocol):
    """Whoever is told: a person at a terminal, or a program reading lines."""

    def begin(self, item: BatchItem, position: int, total: int) -> None:
        """Work on an input begins; ``position`` counts from 1."""

    def plan(self, plan: JobPlan, *, dry_run: bool) -> None:
        """A job is planned."""

    def analysis(self, analysis: Analysis, *, dry_run: bool) -> None:
        """An input was analysed; the recipe that follows is the one that is run."""

    def progress(self, progress: Progress) -> None:
        """A frame is done; called from another thread."""

    def warning(self, text: str) -> None:
        """Something that a person should know; told once however often it comes."""

    def stopping(self) -> None:
        """A stop was asked for and is under way."""

    def done(self, report: JobReport) -> None:
        """A job is done."""

    def skipped(self, item: BatchItem) -> None:
        """The result of an input is there already."""

    def failed(self, failure: Failure) -> None:
        """An input could not be done."""

    def summary(self, outcome: Outcome) -> None:
        """Many inputs are through."""

    def close(self) -> None:
        """Nothing more comes; called also after an error."""
