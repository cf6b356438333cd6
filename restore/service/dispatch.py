"""Takes queued jobs one after the other and brings them to their end; stops them on request."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from restore.engine.device import choose_device
from restore.engine.settings import CancelToken, Progress
from restore.errors import Cancelled, JobError, RestoreError
from restore.jobs.conduct import conduct
from restore.jobs.durable import make_durable
from restore.jobs.executor import Executor, LocalProcesses
from restore.jobs.journal import Journal
from restore.jobs.order import order_from_json, order_to_json
from restore.jobs.rows import JobRow, JobState
from restore.jobs.storage import Storage
from restore.service.log import EventLog, Metrics
from restore.service.settings import ServiceSettings

__all__ = ["Dispatcher"]


class Dispatcher:
    """The one thread that runs jobs. A job has all devices; the next one waits.

    Args:
        journal: of the server.
        storage: where chunks go.
        settings: of the server.
        log: told of every change.
        metrics: counts what has ended.
        executor: who works; processes on this machine, one for each device, where None.
        prepare: what has to be done before a job can be planned.
    """

    def __init__(
        self,
        journal: Journal,
        storage: Storage,
        settings: ServiceSettings,
        log: EventLog,
        metrics: Metrics,
        executor: Executor | None = None,
        prepare: Callable[[JobRow, CancelToken], None] | None = None,
    ) -> None:
        self._journal, self._storage, self._settings = journal, storage, settings
        self._log, self._metrics = log, metrics
        self._executor = executor or LocalProcesses(
            storage, [str(choose_device(name)) for name in settings.devices]
        )
        self._prepare = prepare
        self._changed = threading.Condition()
        self._stopping = False
        self._running = ""
        self._cancel = CancelToken()
        self._wanted: JobState | None = None
        self._progress: dict[str, Progress] = {}
        self._thread = threading.Thread(target=self._work, name="dispatch")

    def start(self) -> None:
        """Begin; jobs that a killed server left running go on first."""
        for row in self._journal.jobs((JobState.RUNNING,)):
            self._journal.move(row.id, JobState.QUEUED, reason="the server was restarted")
        self._thread.start()

    def stop(self) -> None:
        """Let the running job's finished chunks stand, queue it again, and end."""
        with self._changed:
            self._stopping = True
            self._wanted = JobState.QUEUED
            self._cancel.cancel()
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        self._executor.close()

    def wake(self) -> None:
        """Say that something has changed."""
        with self._changed:
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> None:
        """Wait until something changes, or the time is up."""
        with self._changed:
            self._changed.wait(timeout_s)

    def progress(self, job: str) -> Progress | None:
        """Progress of a job that runs here."""
        return self._progress.get(job)

    def let_go(self, job: str) -> None:
        """Wait until a job that has ended is put away; another one waits for nothing."""
        with self._changed:
            while job == self._running and not self._stopping:
                self._changed.wait(0.5)

    def move(self, job: str, principal: str, state: JobState, reason: str) -> JobRow:
        """Pause, resume or cancel a job.

        Args:
            job: its id.
            principal: who asks.
            state: PAUSED, QUEUED (resume) or CANCELLED.
            reason: for people.

        Raises:
            JobNotFound: none of that name for that principal.
            JobError: it is in no state for that.
        """
        since = {
            JobState.PAUSED: (JobState.QUEUED, JobState.RUNNING),
            JobState.QUEUED: (JobState.PAUSED, JobState.FAILED),
            JobState.CANCELLED: (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED),
        }[state]
        with self._changed:
            row = self._journal.job(job, principal)
            if row.state is state:
                return row
            if row.state not in since:
                expected = " or ".join(one.value for one in since)
                raise JobError(f"job {job} is {row.state.value}", expected)
            if state is JobState.QUEUED:
                self._journal.forgive(job)
            if job == self._running:
                self._wanted = state
                self._cancel.cancel()
                while job == self._running:
                    self._changed.wait(0.5)
                row = self._journal.job(job)
            else:
                row = self._journal.move(job, state, reason=reason, since=since)
            self._changed.notify_all()
        if row.state is JobState.CANCELLED:
            self._storage.clear(job)
        self._say(row)
        return row

    def _work(self) -> None:
        while True:
            with self._changed:
                waiting = self._journal.jobs((JobState.QUEUED,), limit=1)
                if self._stopping:
                    return
                if not waiting:
                    self._changed.wait(1.0)
                    continue
                self._running = waiting[0].id
                self._cancel = CancelToken()
                self._wanted = None
            try:
                self._one(waiting[0])
            except Exception as error:
                # Whatever became of one job, the ones behind it are done.
                self._log.write("dispatch_failed", job=waiting[0].id, why=repr(error))
                with self._changed:
                    self._running = ""
                    self._progress.pop(waiting[0].id, None)
                    self._changed.notify_all()

    def _one(self, row: JobRow) -> None:
        """One job to its end, or to where somebody wanted it."""
        self._say(row, "job_started")
        try:
            self._storage.prepare(row.id)
            if not row.plan:
                row = self._planned(row)
            row = conduct(
                self._journal,
                self._storage,
                self._executor,
                row.id,
                frames_total=row.facts.get("frames"),
                on_progress=self._told(row.id),
                cancel=self._cancel,
            )
        except Cancelled:  # while it was being planned
            row = self._journal.move(row.id, JobState.PAUSED, reason="asked to stop")
        except RestoreError as error:
            row = self._journal.move(
                row.id, JobState.FAILED, reason=str(error), error_type=type(error).__name__
            )
        except Exception as error:
            # A fault of ours must not take the jobs behind it along.
            row = self._journal.move(
                row.id, JobState.FAILED, reason=f"internal: {error!r}", error_type="RestoreError"
            )
        with self._changed:
            if self._wanted is not None and not row.state.is_final:
                row = self._journal.move(row.id, self._wanted, reason=row.reason)
            self._running = ""
            self._progress.pop(row.id, None)
            self._changed.notify_all()
        if row.state.is_final:
            self._storage.clear(row.id)
            self._metrics.jobs.labels(row.state.value).inc()
        self._say(row)

    def _planned(self, row: JobRow) -> JobRow:
        if self._prepare is not None:
            self._prepare(row, self._cancel)
        plan, pinned, _ = make_durable(
            order_from_json(row.order),
            chunk_frames=self._settings.chunk_frames,
            threads=self._settings.threads,
            cancel=self._cancel,
        )
        return self._journal.plan(row.id, plan.canonical(), order_to_json(pinned), len(plan.chunks))

    def _told(self, job: str) -> Callable[[Progress], None]:
        seen = 0

        def tell(progress: Progress) -> None:
            nonlocal seen
            self._metrics.frames.labels("job").inc(max(0, progress.frames_done - seen))
            seen = max(seen, progress.frames_done)
            self._progress[job] = progress
            self.wake()

        return tell

    def _say(self, row: JobRow, event: str = "job_changed") -> None:
        with contextlib.suppress(ValueError):  # standard error was closed before us
            self._log.write(
                event, job=row.id, principal=row.principal, state=row.state.value, why=row.reason
            )
