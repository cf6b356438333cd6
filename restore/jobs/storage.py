"""Where a journal and the files of its jobs lie."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from restore.media.atomic import fsync_path, output_errors

__all__ = ["Storage"]

_RESERVE_BYTES = 256 << 10


@dataclass(frozen=True)
class Storage:
    """One folder with everything that jobs need to go on.

    Attributes:
        root: holds ``journal.sqlite`` and a folder for each job under ``jobs``.
    """

    root: Path

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return self.root / "journal.sqlite"

    def job(self, job: str) -> Path:
        """A job's folder."""
        return self.root / "jobs" / job

    def chunk(self, job: str, number: int) -> Path:
        """A chunk's file."""
        return self.job(job) / "chunks" / f"{number:06d}.mkv"

    def prepare(self, job: str = "") -> None:
        """Make the folders.

        Raises:
            OutputError: they cannot be made.
        """
        with output_errors(str(self.root)):
            (self.job(job) / "chunks" if job else self.root).mkdir(parents=True, exist_ok=True)

    def keep_reserve(self) -> None:
        """Lay by a little space, so that a full disk can still be written down.

        Raises:
            DiskFull: there is not even that much.
        """
        path = self.root / "reserve"
        with output_errors(str(path)):
            if not path.exists() or path.stat().st_size < _RESERVE_BYTES:
                path.write_bytes(bytes(_RESERVE_BYTES))
                fsync_path(path)

    def spend_reserve(self) -> None:
        """Give that space back to the disk."""
        (self.root / "reserve").unlink(missing_ok=True)

    def held(self) -> list[str]:
        """Ids of jobs that have files here."""
        folder = self.root / "jobs"
        return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []

    def clear(self, job: str) -> None:
        """Remove a job's files."""
        shutil.rmtree(self.job(job), ignore_errors=True)

    def remove(self) -> None:
        """Remove everything, the journal too; nobody may have it open."""
        shutil.rmtree(self.root, ignore_errors=True)
