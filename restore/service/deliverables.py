"""Results of jobs on the server's disk."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from restore.errors import JobError
from restore.jobs.rows import JobRow, JobState
from restore.media.atomic import output_errors

__all__ = ["Deliverables"]


class Deliverables:
    """One file for each job that has succeeded.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        with output_errors(str(root)):
            root.mkdir(parents=True, exist_ok=True)

    def place(self, job: str, ending: str) -> Path:
        """Where a job's deliverable goes."""
        return self._root / f"{job}{ending}"

    def path(self, row: JobRow) -> Path:
        """A job's deliverable.

        Raises:
            JobError: there is none (yet, or any more).
        """
        found = sorted(self._root.glob(f"{row.id}.*"))
        if row.state is not JobState.SUCCEEDED or not found:
            raise JobError(f"job {row.id} is {row.state.value}", "a job that has succeeded")
        return next(path for path in found if path.suffix in (".mp4", ".mkv", ".mov"))

    def size_bytes(self, job: str) -> int:
        """Bytes of a job's deliverable and what lies beside it."""
        return sum(path.stat().st_size for path in self._root.glob(f"{job}.*"))

    def delete(self, job: str) -> None:
        """Remove a job's deliverable and what lies beside it."""
        for path in self._root.glob(f"{job}.*"):
            path.unlink(missing_ok=True)

    def tidy(self, jobs: Collection[str]) -> int:
        """Remove files of other jobs than these, half-written ones too; how many there were."""
        # What is half written begins with a dot: `.JOB.mp4.1234abcd.part`.
        lost = [
            path
            for path in self._root.iterdir()
            if path.is_file() and path.name.lstrip(".").partition(".")[0] not in jobs
        ]
        for path in lost:
            path.unlink(missing_ok=True)
        return len(lost)
