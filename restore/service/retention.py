"""What is kept and for how long: old uploads and the results of old jobs make room."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from restore.errors import JobError, JobNotFound, RestoreError
from restore.jobs.journal import Journal
from restore.jobs.rows import JobRow, JobState
from restore.jobs.storage import Storage
from restore.service.deliverables import Deliverables
from restore.service.dispatch import Dispatcher
from restore.service.log import EventLog, Metrics
from restore.service.settings import ServiceSettings
from restore.service.uploads import Upload, Uploads

__all__ = ["LEAST_S", "Retention", "needed_uploads"]

#: Nothing that was used within this time is removed, whatever the limits: a client that has just
#: sent a file or been told of a result gets to use it.
LEAST_S = 3600.0
_SWEEP_S = 600.0
_PAGE = 500
_ALIVE = (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED)
_ENDED = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
_ID = re.compile(r"[0-9a-f]{32}")


def needed_uploads(journal: Journal) -> set[str]:
    """Ids of uploads that jobs which have not ended name, in their orders or in what was asked."""
    needed: set[str] = set()
    for row in _all(journal, _ALIVE):
        needed.update(_ID.findall(row.order))
        needed.update(_ID.findall(json.dumps(dict(row.facts))))
    return needed


def _all(journal: Journal, states: tuple[JobState, ...]) -> Iterator[JobRow]:
    after = (0.0, "")
    while rows := journal.jobs(states, limit=_PAGE, after=after):
        yield from rows
        after = (rows[-1].created_s, rows[-1].id)


@dataclass(frozen=True)
class _Kept:
    """Something that may have to go.

    Attributes:
        what: the upload, or the job that has ended.
        used_s: when it was used last, or ended; seconds since 1970.
        size_bytes: on the disk.
        keep_s: how long it is kept; 0 for ever.
    """

    what: Upload | JobRow
    used_s: float
    size_bytes: int
    keep_s: float


class Retention:
    """Removes what is too old, and what is oldest where all of it takes too much room.

    Uploads go before results, since they can be sent again. No upload goes that a job needs which
    has not ended. All that it goes by is on the disk and in the journal, so that a restart changes
    nothing.

    Args:
        journal: of the server.
        storage: where chunks lie.
        uploads: sources.
        deliverables: results.
        dispatcher: asked to let go of a job that has just ended.
        settings: how long, how much.
        log: told of everything that is removed.
        metrics: counts it.
    """

    def __init__(
        self,
        journal: Journal,
        storage: Storage,
        uploads: Uploads,
        deliverables: Deliverables,
        dispatcher: Dispatcher,
        settings: ServiceSettings,
        log: EventLog,
        metrics: Metrics,
    ) -> None:
        self._journal, self._storage = journal, storage
        self._uploads, self._deliverables = uploads, deliverables
        self._dispatcher, self._settings = dispatcher, settings
        self._log, self._metrics = log, metrics
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="retention", daemon=True)

    def start(self) -> None:
        """Sweep now and then. Call :meth:`tidy` before, while nothing runs."""
        self._thread.start()

    def stop(self) -> None:
        """End; a sweep that is under way stops after what it is removing."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def tidy(self) -> None:
        """Remove what a server that was killed left half removed, half made or without its job."""
        rows = {row.id: row.state for row in _all(self._journal, tuple(JobState))}
        found = self._uploads.tidy() + self._deliverables.tidy(set(rows))
        for job in self._storage.held():
            if job not in rows or rows[job].is_final:
                self._storage.clear(job)
                found += 1
        if found:
            self._log.write("tidied", leftovers=found)

    def sweep(self, now_s: float | None = None) -> None:
        """Remove what has to go.

        Args:
            now_s: seconds since 1970; the clock's where None.
        """
        now_s = time.time() if now_s is None else now_s
        needed = needed_uploads(self._journal)
        held = self._held()
        total = sum(one.size_bytes for one in held)
        limit = self._settings.max_kept_bytes or float("inf")
        for one in held:
            if self._ended.is_set():
                return
            age_s = now_s - one.used_s
            is_old = bool(one.keep_s) and age_s > one.keep_s
            if age_s <= LEAST_S or one.what.id in needed or not (is_old or total > limit):
                continue
            if self._remove(one, "age" if is_old else "room"):
                total -= one.size_bytes
        self._metrics.kept_bytes.set(total)
        if total > limit:
            self._log.write("over_limit", kept_bytes=total, max_kept_bytes=limit)

    def _held(self) -> list[_Kept]:
        """Uploads, then jobs that have ended; in each the one that was not used longest first."""
        settings = self._settings
        uploads, jobs = [], []
        for upload in self._uploads.all():
            used_s, size_bytes = self._uploads.used(upload)
            uploads.append(_Kept(upload, used_s, size_bytes, settings.keep_uploads_s))
        for row in _all(self._journal, _ENDED):
            size_bytes = self._deliverables.size_bytes(row.id)
            jobs.append(_Kept(row, row.changed_s, size_bytes, settings.keep_jobs_s))
        return [*sorted(uploads, key=_last_use), *sorted(jobs, key=_last_use)]

    def _remove(self, one: _Kept, why: str) -> bool:
        try:
            if isinstance(one.what, Upload):
                self._uploads.delete(one.what, unused_since_s=one.used_s)
            elif not one.size_bytes and why == "room":
                return False  # no room to be had: its record may stay
            else:
                self._forget(one.what)
        except (JobError, JobNotFound):
            return False  # somebody was quicker: it is gone, or goes on
        except RestoreError as error:
            self._log.write("not_removed", id=one.what.id, why=str(error))
            return False
        kind = "upload" if isinstance(one.what, Upload) else "job"
        self._metrics.removed.labels(kind, why).inc()
        self._metrics.removed_bytes.labels(kind).inc(one.size_bytes)
        self._log.write(
            "removed",
            kind=kind,
            id=one.what.id,
            principal=one.what.principal,
            why=why,
            bytes=one.size_bytes,
        )
        return True

    def _forget(self, row: JobRow) -> None:
        """A job with its results, unless it was taken up again meanwhile."""
        self._dispatcher.let_go(row.id)
        self._journal.delete(row.id, unchanged_since_s=row.changed_s)
        self._deliverables.delete(row.id)
        self._storage.clear(row.id)

    def _work(self) -> None:
        while not self._ended.is_set():
            try:
                self.sweep()
            except Exception as error:
                # A fault here must not end the sweeping for good, nor pass unseen.
                self._log.write("sweep_failed", why=repr(error))
            self._ended.wait(_SWEEP_S)


def _last_use(one: _Kept) -> float:
    return one.used_s
