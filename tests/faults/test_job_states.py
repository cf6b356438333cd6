"""What may be asked of a job in each state; what is refused leaves the job as it is."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from restore.errors import JobError, JobNotFound
from restore.jobs.journal import Journal
from restore.jobs.rows import JobState
from restore.jobs.storage import Storage
from restore.service.dispatch import Dispatcher
from restore.service.log import EventLog, Metrics
from restore.service.settings import load_settings

Q, R, P, S, F, C = JobState

#: State before, what is wanted (None: delete), state after (None: refused).
MATRIX = [
    *((Q, P, P), (R, P, P), (P, P, P), (S, P, None), (F, P, None), (C, P, None)),
    *((Q, Q, Q), (R, Q, None), (P, Q, Q), (S, Q, None), (F, Q, Q), (C, Q, None)),
    *((Q, C, C), (R, C, C), (P, C, C), (S, C, None), (F, C, None), (C, C, C)),
]


@pytest.fixture
def journal(tmp_path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "journal.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def dispatcher(journal, tmp_path) -> Dispatcher:
    """One that takes up no job: each stays in the state that a test gives it."""
    settings = load_settings(storage=tmp_path, devices=("cpu",))
    return Dispatcher(journal, Storage(tmp_path), settings, EventLog(io.StringIO()), Metrics())


def job_in(journal: Journal, folder: Path, state: JobState) -> str:
    job = "0" * 32
    journal.create(job, "{}", "{}", 3, principal="ann")
    (folder / job / "chunks").mkdir(parents=True)
    journal.move(job, state, reason="so it stands")
    return job


@pytest.mark.parametrize(("before", "wanted", "after"), MATRIX)
def test_asked_in_each_state(dispatcher, journal, tmp_path, before, wanted, after):
    job = job_in(journal, tmp_path, before)
    if after is None:
        with pytest.raises(JobError, match=f"job {job} is {before.value}"):
            dispatcher.move(job, "ann", wanted, "asked")
        row = journal.job(job)
        assert (row.state, row.reason) == (before, "so it stands")
        return
    assert dispatcher.move(job, "ann", wanted, "asked").state is after
    assert journal.job(job).state is after


@pytest.mark.parametrize("state", JobState)
def test_only_what_has_ended_is_deleted(journal, tmp_path, state):
    job = job_in(journal, tmp_path, state)
    if state.is_final:
        journal.delete(job)
        with pytest.raises(JobNotFound):
            journal.job(job)
        assert journal.chunks(job) == []
        assert journal.events(job) == []
    else:
        with pytest.raises(JobError, match="Cancel it first"):
            journal.delete(job)
        assert journal.job(job).state is state


@pytest.mark.parametrize("wanted", [P, Q, C])
def test_nobody_moves_a_job_of_somebody_else(dispatcher, journal, tmp_path, wanted):
    job = job_in(journal, tmp_path, R)
    with pytest.raises(JobNotFound):
        dispatcher.move(job, "bob", wanted, "asked")
    assert journal.job(job).state is R


def test_resuming_counts_lost_workers_anew(dispatcher, journal, tmp_path):
    job = job_in(journal, tmp_path, R)
    for _ in range(3):
        journal.chunk_lost(job, 1, "SIGSEGV", counts=True)
    journal.move(job, F, reason="lost", error_type="WorkerLost")
    assert dispatcher.move(job, "ann", Q, "asked").error_type == ""
    assert [row.attempts for row in journal.chunks(job)] == [0, 0, 0]
