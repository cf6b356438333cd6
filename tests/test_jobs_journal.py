"""The journal: what it says has happened has happened, and nobody sees a stranger's job."""

from __future__ import annotations

from fractions import Fraction

import pytest

from restore.errors import JobError, JobNotFound
from restore.jobs.journal import Journal
from restore.jobs.rows import FrameTime, JobState

TIMES = [
    FrameTime(7, Fraction(1001, 30000), 1, 0),
    FrameTime(2**40, Fraction(1, 90000), None, 1),
]


@pytest.fixture
def journal(tmp_path):
    opened = Journal(tmp_path / "journal.sqlite")
    yield opened
    opened.close()


def test_a_job_is_made_once_whoever_asks_again(journal):
    first = journal.create("a", "{}", "{}", 2, principal="ann", request_id="r1")
    assert first.state is JobState.QUEUED
    assert journal.create("a", "{}", "{}", 2, principal="ann", request_id="r1") == first
    # Another request under the same name is the client's first one.
    assert journal.create("b", "{}", "{}", 5, principal="ann", request_id="r1").id == "a"
    assert journal.create("c", "{}", "{}", 1, principal="bob", request_id="r1").id == "c"
    assert [len(journal.chunks(job)) for job in ("a", "c")] == [2, 1]


def test_chunks_come_back_with_exact_times_after_the_file_is_opened_again(journal, tmp_path):
    journal.create("a", "{}", "{}", 2)
    journal.chunk_done("a", 1, "ff", 9, TIMES, {"clip_end": 5, "stages": []})
    journal.close()
    again = Journal(tmp_path / "journal.sqlite")
    first, second = again.chunks("a")
    assert (first.is_done, second.is_done) == (False, True)
    assert second.times == tuple(TIMES)
    assert (second.sha256, second.size_bytes, second.report["clip_end"]) == ("ff", 9, 5)
    assert again.chunk_lost("a", 1, "bit rot", counts=False) == 0
    assert again.chunk_lost("a", 1, "SIGSEGV", counts=True) == 1
    assert not again.chunks("a")[1].is_done
    again.forgive("a")
    assert again.chunks("a")[1].attempts == 0
    again.close()


def test_states_change_only_from_where_they_may(journal):
    journal.create("a", "{}", "{}", 1)
    journal.move("a", JobState.RUNNING, since=(JobState.QUEUED,))
    with pytest.raises(JobError, match="job a is RUNNING; expected QUEUED"):
        journal.move("a", JobState.RUNNING, since=(JobState.QUEUED,))
    with pytest.raises(JobError, match="expected a job that has ended"):
        journal.delete("a")
    journal.finish("a", {"frames": 3})
    assert journal.job("a").result == {"frames": 3}
    assert [event[2] for event in journal.events("a")] == ["created", "running", "succeeded"]
    journal.delete("a")
    with pytest.raises(JobNotFound):
        journal.job("a")
    assert journal.events("a") == []


def test_jobs_belong_to_their_principal(journal):
    for job, whose in (("a", "ann"), ("b", "bob"), ("c", "ann")):
        journal.create(job, "{}", "{}", 1, principal=whose)
    assert [row.id for row in journal.jobs(principal="ann")] == ["a", "c"]
    assert [row.id for row in journal.jobs()] == ["a", "b", "c"]
    with pytest.raises(JobNotFound, match="no job 'b'"):
        journal.job("b", principal="ann")
    first = journal.job("a")
    rest = journal.jobs(after=(first.created_s, first.id), limit=1)
    assert [row.id for row in rest] == ["b"]


def test_a_file_of_another_kind_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but somebody's notes, long enough to have a header")
    before = path.read_bytes()
    with pytest.raises(JobError, match="is no journal"):
        Journal(path)
    assert path.read_bytes() == before
