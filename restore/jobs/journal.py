"""The journal: which jobs there are, which chunks of them are done. SQLite, one file.

Every change is one transaction, flushed before it counts (WAL, ``synchronous=FULL``), so that what
the journal says has happened has happened, whatever is killed.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from restore.errors import DiskFull, JobError, JobNotFound
from restore.jobs.rows import (
    CHUNK_COLUMNS,
    JOB_COLUMNS,
    ChunkRow,
    FrameTime,
    JobRow,
    JobState,
    Tally,
    chunk_of,
    job_of,
)

__all__ = ["Journal"]


_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY,
    principal TEXT NOT NULL,
    request_id TEXT,
    state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    error_type TEXT NOT NULL DEFAULT '',
    plan TEXT NOT NULL,
    ordered TEXT NOT NULL,
    created_s REAL NOT NULL,
    changed_s REAL NOT NULL,
    result TEXT NOT NULL DEFAULT '{}',
    facts TEXT NOT NULL DEFAULT '{}',
    UNIQUE (principal, request_id)
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, created_s);
CREATE TABLE IF NOT EXISTS chunks (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    is_done INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    sha256 TEXT NOT NULL DEFAULT '',
    size_bytes INTEGER NOT NULL DEFAULT 0,
    times TEXT NOT NULL DEFAULT '[]',
    report TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (job, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    at_s REAL NOT NULL,
    what TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_by_job ON events (job, number);
"""


class Journal:
    """One journal file. Safe from several threads; other processes may read it.

    Args:
        path: of the file; it and its tables are made where they are missing.

    Raises:
        JobError: the file is no journal, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self._db.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise JobError(
                f"{path} is no journal: {error}",
                fix="Name another folder; what lies there was not touched.",
            ) from error

    def close(self) -> None:
        """Close the file; harmless when closed before."""
        with self._lock:
            self._db.close()

    @contextlib.contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException as error:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError) and "full" in str(error):
                    raise DiskFull(
                        f"the disk of the journal {self.path} is full", fix="Free some space."
                    ) from error
                raise

    def create(
        self,
        job: str,
        plan: str,
        order: str,
        chunks: int,
        *,
        principal: str = "",
        request_id: str | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> JobRow:
        """Book a job, queued. The same job, or the same request again, gives what is there.

        Args:
            job: its id.
            plan: canonical JSON.
            order: as JSON.
            chunks: how many there are.
            principal: whose it is.
            request_id: the client's own name for this request; unique for each principal.
            facts: what to keep beside it, as plain data.
        """
        with self._change() as db:
            row = (job, principal, request_id, plan, order, json.dumps(facts or {}))
            return self._create(db, row, chunks)

    def book(
        self, principal: str, wanted: Sequence[tuple[str, str, Mapping[str, Any]]]
    ) -> list[JobRow]:
        """Book jobs without plans, all of them or none; those that are there are given as they are.

        Args:
            principal: whose they are.
            wanted: id, order as JSON and facts of each.
        """
        with self._change() as db:
            return [
                self._create(db, (job, principal, job, "", order, json.dumps(dict(facts))), 0)
                for job, order, facts in wanted
            ]

    def _create(
        self, db: sqlite3.Connection, row: tuple[str, str, str | None, str, str, str], chunks: int
    ) -> JobRow:
        """One job: id, principal, request id, plan, order, facts."""
        job, principal, request, *texts = row
        found = db.execute(
            "SELECT id FROM jobs WHERE id = ? OR (principal = ? AND request_id = ?)",
            (job, principal, request),
        ).fetchone()
        if found is None:
            now = time.time()
            db.execute(
                "INSERT INTO jobs (id, principal, request_id, plan, ordered, facts, state, "
                "created_s, changed_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (job, principal, request, *texts, JobState.QUEUED.value, now, now),
            )
            self._add_chunks(db, job, chunks)
            self._note(db, job, "created", f"{chunks} chunks")
        return self._row(db, job if found is None else found[0])

    def plan(self, job: str, plan: str, order: str, chunks: int) -> JobRow:
        """Book the plan of a job that was made without one.

        Raises:
            JobError: it has one, and may have been begun.
        """
        with self._change() as db:
            row = self._row(db, job)
            if row.plan:
                raise JobError(f"job {job}, which is planned", "a job without a plan")
            db.execute("UPDATE jobs SET plan = ?, ordered = ? WHERE id = ?", (plan, order, job))
            self._add_chunks(db, job, chunks)
            self._note(db, job, "planned", f"{chunks} chunks")
            return self._row(db, job)

    def job(self, job: str, principal: str | None = None) -> JobRow:
        """A job by its id.

        Args:
            job: its id.
            principal: who asks; None may see every job.

        Raises:
            JobNotFound: none of that name, or somebody else's.
        """
        with self._lock:
            row = self._row(self._db, job)
        if principal is not None and row.principal != principal:
            raise JobNotFound(f"there is no job {job!r}")
        return row

    def jobs(
        self,
        states: Sequence[JobState] = tuple(JobState),
        *,
        principal: str | None = None,
        limit: int = 1000,
        after: tuple[float, str] = (0.0, ""),
    ) -> list[JobRow]:
        """Jobs in the order in which they were made.

        Args:
            states: which to give.
            principal: whose; None for everybody's.
            limit: most to give.
            after: creation time and id of the last one that the asker has.
        """
        marks = ", ".join("?" * len(states))
        query = f"SELECT {JOB_COLUMNS} FROM jobs WHERE state IN ({marks})"  # noqa: S608 - names of columns
        values: list[object] = [state.value for state in states]
        if principal is not None:
            query += " AND principal = ?"
            values.append(principal)
        query += " AND (created_s, id) > (?, ?) ORDER BY created_s, id LIMIT ?"
        with self._lock:
            rows = self._db.execute(query, (*values, *after, limit)).fetchall()
        return [job_of(row) for row in rows]

    def move(
        self,
        job: str,
        state: JobState,
        *,
        reason: str = "",
        error_type: str = "",
        since: Sequence[JobState] | None = None,
    ) -> JobRow:
        """Change a job's state, where it is in one of ``since``.

        Raises:
            JobError: it is in another state; the job is left as it is.
        """
        with self._change() as db:
            row = self._row(db, job)
            if since is not None and row.state not in since:
                raise JobError(
                    f"job {job} is {row.state.value}",
                    " or ".join(one.value for one in since),
                )
            db.execute(
                "UPDATE jobs SET state = ?, reason = ?, error_type = ?, changed_s = ? WHERE id = ?",
                (state.value, reason, error_type, time.time(), job),
            )
            self._note(db, job, state.value.lower(), reason)
            return self._row(db, job)

    def finish(self, job: str, result: Mapping[str, Any]) -> JobRow:
        """Book the deliverable: the job has succeeded."""
        with self._change() as db:
            db.execute(
                "UPDATE jobs SET state = ?, reason = '', result = ?, changed_s = ? WHERE id = ?",
                (JobState.SUCCEEDED.value, json.dumps(result), time.time(), job),
            )
            self._note(db, job, "succeeded", "")
            return self._row(db, job)

    def delete(self, job: str, *, unchanged_since_s: float | None = None) -> None:
        """Forget a job that has come to an end.

        Args:
            job: its id.
            unchanged_since_s: when it changed last, as the asker knows it; None for whenever.

        Raises:
            JobError: it has not ended, or has changed since; it is left as it is.
        """
        with self._change() as db:
            row = self._row(db, job)
            if unchanged_since_s is not None and row.changed_s != unchanged_since_s:
                raise JobError(f"job {job}, which has changed since", "one that has not")
            if not row.state.is_final:
                raise JobError(
                    f"job {job} is {row.state.value}", "a job that has ended", "Cancel it first."
                )
            db.execute("DELETE FROM jobs WHERE id = ?", (job,))

    def chunks(self, job: str) -> list[ChunkRow]:
        """All chunks of a job, in order."""
        with self._lock:
            rows = self._db.execute(
                f"SELECT {CHUNK_COLUMNS} FROM chunks WHERE job = ? ORDER BY number",  # noqa: S608
                (job,),
            ).fetchall()
        return [chunk_of(row) for row in rows]

    def tally(self, job: str) -> Tally:
        """How far a job has come, without reading all of its times."""
        with self._lock:
            chunks, done, frames = self._db.execute(
                "SELECT COUNT(*), TOTAL(is_done), TOTAL(is_done * json_array_length(times)) "
                "FROM chunks WHERE job = ?",
                (job,),
            ).fetchone()
            last = self._db.execute(
                "SELECT report FROM chunks WHERE job = ? AND is_done ORDER BY number DESC LIMIT 1",
                (job,),
            ).fetchone()
        return Tally(chunks, int(done), int(frames), json.loads(last[0]) if last else {})

    def chunk_done(
        self,
        job: str,
        number: int,
        sha256: str,
        size_bytes: int,
        times: Sequence[FrameTime],
        report: Mapping[str, Any],
    ) -> None:
        """Book a chunk whose file is whole on the disk."""
        packed = json.dumps([[t.pts, str(t.time_base), t.duration, t.index] for t in times])
        with self._change() as db:
            db.execute(
                "UPDATE chunks SET is_done = 1, sha256 = ?, size_bytes = ?, times = ?, report = ? "
                "WHERE job = ? AND number = ?",
                (sha256, size_bytes, packed, json.dumps(report), job, number),
            )
            self._note(db, job, "chunk done", str(number))

    def chunk_lost(self, job: str, number: int, why: str, *, counts: bool) -> int:
        """Book that a chunk has to be done again.

        Args:
            job: the job's id.
            number: of the chunk.
            why: for people.
            counts: whether it is the chunk's doing, so that it must not happen for ever.

        Returns:
            How often that was so by now.
        """
        with self._change() as db:
            db.execute(
                "UPDATE chunks SET is_done = 0, attempts = attempts + ? "
                "WHERE job = ? AND number = ?",
                (int(counts), job, number),
            )
            self._note(db, job, "chunk lost", f"{number}: {why}")
            found = db.execute(
                "SELECT attempts FROM chunks WHERE job = ? AND number = ?", (job, number)
            ).fetchone()
            return int(found[0])

    def forgive(self, job: str) -> None:
        """Start counting lost workers anew, when a person asks to go on."""
        with self._change() as db:
            db.execute("UPDATE chunks SET attempts = 0 WHERE job = ?", (job,))

    def events(self, job: str, after: int = 0) -> list[tuple[int, float, str, str]]:
        """What happened to a job: number, time in seconds since 1970, what, detail."""
        with self._lock:
            return self._db.execute(
                "SELECT number, at_s, what, detail FROM events WHERE job = ? AND number > ? "
                "ORDER BY number",
                (job, after),
            ).fetchall()

    def note(self, job: str, what: str, detail: str) -> None:
        """Write down an event."""
        with self._change() as db:
            self._note(db, job, what, detail)

    @staticmethod
    def _add_chunks(db: sqlite3.Connection, job: str, chunks: int) -> None:
        rows = [(job, number) for number in range(chunks)]
        db.executemany("INSERT INTO chunks (job, number) VALUES (?, ?)", rows)

    @staticmethod
    def _note(db: sqlite3.Connection, job: str, what: str, detail: str) -> None:
        db.execute(
            "INSERT INTO events (job, at_s, what, detail) VALUES (?, ?, ?, ?)",
            (job, time.time(), what, detail),
        )

    @staticmethod
    def _row(db: sqlite3.Connection, job: str) -> JobRow:
        row = db.execute(f"SELECT {JOB_COLUMNS} FROM jobs WHERE id = ?", (job,)).fetchone()  # noqa: S608
        if row is None:
            raise JobNotFound(f"there is no job {job!r}")
        return job_of(row)
