"""Brings a job from where it stands to its end: chunks out to workers, losses made good."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from restore.engine.settings import CancelToken, Progress
from restore.errors import Cancelled, ChunkDamaged, DiskFull, RestoreError, WorkerLost
from restore.jobs.durable import DurablePlan
from restore.jobs.executor import Executor, Worker
from restore.jobs.journal import Journal
from restore.jobs.lossless import check_chunk
from restore.jobs.rows import FrameTime, JobRow, JobState
from restore.jobs.share import Shares
from restore.jobs.storage import Storage

__all__ = ["MOST_LOSSES", "conduct"]

#: A chunk over which so many workers were lost fails its job: one try and two more.
MOST_LOSSES = 3
_LOOK_S = 0.2


def conduct(
    journal: Journal,
    storage: Storage,
    executor: Executor,
    job: str,
    *,
    frames_total: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    cancel: CancelToken | None = None,
) -> JobRow:
    """Do what is left of a job.

    Returns:
        The job as it ended: SUCCEEDED; FAILED with the reason; PAUSED where the disk is full or
        ``cancel`` was used, from where another call goes on.
    """
    journal.move(job, JobState.RUNNING, since=(JobState.QUEUED, JobState.RUNNING, JobState.PAUSED))
    run = _Conducted(journal, storage, executor, job, frames_total, on_progress, cancel)
    try:
        storage.keep_reserve()
        run.go()
    except Cancelled:
        return journal.move(job, JobState.PAUSED, reason="asked to stop")
    except RestoreError as error:
        if isinstance(error, DiskFull):
            storage.spend_reserve()
        state = JobState.PAUSED if isinstance(error, DiskFull) else JobState.FAILED
        return journal.move(job, state, reason=str(error), error_type=type(error).__name__)
    return journal.job(job)


class _Conducted:
    """One run of a job."""

    def __init__(
        self,
        journal: Journal,
        storage: Storage,
        executor: Executor,
        job: str,
        frames_total: int | None,
        on_progress: Callable[[Progress], None] | None,
        cancel: CancelToken | None,
    ) -> None:
        self._journal, self._storage, self._executor = journal, storage, executor
        self._job = job
        self._plan = DurablePlan.from_json(journal.job(job).plan)
        self._total = frames_total
        self._on_progress = on_progress
        self._cancel = cancel or CancelToken()
        self._began_s = time.perf_counter()
        self._frames: dict[int, int] = {}
        self._kept = 0
        self._stage_s: Mapping[str, float] = {}
        self._failure: RestoreError | None = None
        self._lock = threading.Lock()

    def go(self) -> None:
        """Chunks until all are done, then the deliverable; chunks found damaged are done again."""
        self._drop_damaged()
        workers = self._executor.workers(self._job)
        try:
            while True:
                self._do_chunks(workers)
                try:
                    return self._deliver(workers[0])
                except ChunkDamaged:
                    self._drop_damaged()
        except BaseException:
            # Some may be in the middle of a chunk that nobody waits for any more.
            for worker in workers:
                worker.stop()
            raise

    def _drop_damaged(self) -> None:
        """Hold every chunk's file against its hash; what is not whole has to be done again."""
        for row in self._journal.chunks(self._job):
            if not row.is_done:
                continue
            try:
                check_chunk(self._storage.chunk(self._job, row.number), row.sha256)
                self._frames[row.number] = len(row.times)
            except ChunkDamaged as error:
                self._journal.chunk_lost(self._job, row.number, str(error), counts=False)
                self._frames.pop(row.number, None)
        self._kept = sum(self._frames.values())

    def _do_chunks(self, workers: Sequence[Worker]) -> None:
        left = [row.number for row in self._journal.chunks(self._job) if not row.is_done]
        if not left:
            return
        shares = Shares({number: _length(self._plan, number) for number in left}, len(workers))
        threads = [
            threading.Thread(target=self._serve, args=(worker, number, shares), name="conduct")
            for number, worker in enumerate(workers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._journal.note(self._job, "shares", json.dumps(shares.told()))
        if self._failure is not None:
            raise self._failure

    def _serve(self, worker: Worker, who: int, shares: Shares) -> None:
        """One worker's thread: chunk after chunk, until none is left or something failed."""
        try:
            while True:
                number = shares.take(who, self._is_over)
                if number is None:
                    self._cancel.check()
                    return
                self._one(worker, who, number, shares)
        except RestoreError as error:
            with self._lock:
                self._failure = self._failure or error
        except BaseException as error:
            with self._lock:
                self._failure = RestoreError(f"the job's own code failed: {error!r}")
            raise

    def _is_over(self) -> bool:
        return self._failure is not None or self._cancel.is_cancelled

    def _one(self, worker: Worker, who: int, number: int, shares: Shares) -> None:
        """A chunk; where a worker is lost over it, it is handed on, but not for ever."""
        worker.ask({"do": "chunk", "number": number})
        try:
            done = self._await(worker, "chunk", number)
        except WorkerLost as lost:
            losses = self._journal.chunk_lost(self._job, number, str(lost), counts=True)
            if losses >= MOST_LOSSES:
                raise WorkerLost(
                    f"{lost.came}, for the {losses}th time at chunk {number} "
                    f"(source frames {_span(self._plan, number)})",
                    fix="Leave these frames out, or change the settings.",
                ) from lost
            shares.lost(who)
            return
        times = [FrameTime(p, Fraction(base), d, i) for p, base, d, i in done["times"]]
        self._journal.chunk_done(
            self._job, number, done["sha256"], done["size_bytes"], times, done["report"]
        )
        shares.done(who, len(times))
        self._progress(number, len(times))

    def _deliver(self, worker: Worker) -> None:
        """The deliverable, again where a worker is lost over it."""
        for _ in range(MOST_LOSSES):
            # A worker killed between rename and journal leaves a whole deliverable behind.
            tried = any(e[2] == "delivering" for e in self._journal.events(self._job))
            self._journal.note(self._job, "delivering", "")
            worker.ask({"do": "assemble", "overwrite": tried})
            try:
                answer = self._await(worker, "delivered", None)
            except WorkerLost as error:
                lost = error
                self._journal.note(self._job, "worker lost", str(error))
                continue
            self._journal.finish(self._job, answer["result"])
            return
        raise lost

    def _await(self, worker: Worker, kind: str, number: int | None) -> dict[str, Any]:
        while True:
            self._cancel.check()
            if self._failure is not None:
                raise Cancelled("another worker of the job failed")
            answer = worker.answer(_LOOK_S)
            if answer is None:
                continue
            if answer["kind"] == kind:
                return answer
            if number is not None:
                self._progress(number, answer["frames"], answer["stage_s"])

    def _progress(
        self, number: int, frames: int, stage_s: Mapping[str, float] | None = None
    ) -> None:
        with self._lock:
            self._stage_s = stage_s or self._stage_s
            self._frames[number] = frames
            if self._on_progress is None:
                return
            # Only what this run did says how fast it is; what was kept counts as done.
            done = sum(self._frames.values())
            elapsed_s = time.perf_counter() - self._began_s
            pace = max(1, done - self._kept)
            self._on_progress(Progress(done, self._total, elapsed_s * done / pace, self._stage_s))


def _span(plan: DurablePlan, number: int) -> str:
    core = plan.chunks[number].core
    return f"[{core.start}, {'end' if core.stop is None else core.stop})"


def _length(plan: DurablePlan, number: int) -> int:
    """Source frames of a chunk; 1 where the clip does not say where it ends."""
    core = plan.chunks[number].core
    return 1 if core.stop is None else core.stop - core.start
