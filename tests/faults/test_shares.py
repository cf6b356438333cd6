"""Unequal workers share one job by their speed; the result is the same whoever did what."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restore.jobs.journal import Journal
from restore.jobs.rows import JobRow, JobState
from restore.jobs.share import Shares
from tests.faults import barcode
from tests.faults.driver import durable

FRAMES = 24
BROKEN = "tests.faults.broken_worker"


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return barcode.write(tmp_path_factory.mktemp("source") / "film.mkv", FRAMES)


@pytest.fixture(scope="module")
def truth(source, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("truth")
    row, journal = durable(source, folder / "out.mp4", folder / "work", chunk_frames=1000)
    journal.close()
    return str(row.result["sha256"])


def by_two(source: Path, folder: Path, chunk_frames: int) -> tuple[JobRow, Journal]:
    """The job done by two workers, of which ``FAULT`` says what is wrong with them."""
    row, journal = durable(
        source,
        folder / "out.mp4",
        folder / "work",
        chunk_frames=chunk_frames,
        devices=("cpu", "cpu"),
        program=BROKEN,
    )
    assert row.state is JobState.SUCCEEDED, row.reason
    return row, journal


def told(journal: Journal, job: str) -> list[dict[str, object]]:
    (text,) = [detail for _, _, what, detail in journal.events(job) if what == "shares"]
    return json.loads(text)


def test_the_faster_worker_takes_more(source, truth, tmp_path, monkeypatch):
    monkeypatch.setenv("FAULT", "unequal")
    monkeypatch.setenv("FAULT_MARK", str(tmp_path / "slow"))
    row, journal = by_two(source, tmp_path, chunk_frames=2)
    slow, fast = sorted(told(journal, row.id), key=lambda one: one["fps"])
    journal.close()
    assert row.result["sha256"] == truth
    assert sorted(slow["chunks"] + fast["chunks"]) == list(range(FRAMES // 2))
    assert slow["frames"] + fast["frames"] == FRAMES
    # In proportion to what each did in a second, but for a chunk that was begun at the end.
    fair = FRAMES * fast["fps"] / (fast["fps"] + slow["fps"])
    assert fast["frames"] > slow["frames"]
    assert abs(fast["frames"] - fair) <= 4


def test_a_workers_death_hands_its_chunk_on(source, truth, tmp_path, monkeypatch):
    monkeypatch.setenv("FAULT", "dies once")
    monkeypatch.setenv("FAULT_MARK", str(tmp_path / "died"))
    row, journal = by_two(source, tmp_path, chunk_frames=6)
    done = [number for one in told(journal, row.id) for number in one["chunks"]]
    lost = [detail for _, _, what, detail in journal.events(row.id) if what == "chunk lost"]
    journal.close()
    assert row.result["sha256"] == truth
    assert sorted(done) == [0, 1, 2, 3]
    assert [detail.partition(":")[0] for detail in lost] == ["1"]


class _Clock:
    """Time as a test wants it."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


def test_a_slow_worker_leaves_the_last_chunk(monkeypatch):
    clock = _Clock()
    monkeypatch.setattr("restore.jobs.share.time", clock)
    shares = Shares(dict.fromkeys(range(6), 10), 2)
    assert [shares.take(0, lambda: False), shares.take(1, lambda: False)] == [0, 1]
    for second, number in ((1.0, 2), (2.0, 3)):
        clock.now_s = second
        shares.done(0, 10)  # ten frames a second
        assert shares.take(0, lambda: False) == number
    clock.now_s = 3.0
    shares.done(0, 10)
    clock.now_s = 9.5
    assert shares.take(0, lambda: False) == 4
    clock.now_s = 10.0
    shares.done(1, 10)  # one frame a second
    looks = iter([False, True])
    # One chunk is left: the other has done it in a second and a half, this one in ten.
    assert shares.take(1, lambda: next(looks)) is None
    shares.lost(0)
    assert shares.take(0, lambda: False) == 4  # handed on, and first
    assert [one["fps"] for one in shares.told()] == [10.0, 1.0]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 30), st.sets(st.integers(0, 29)))
def test_every_chunk_is_done_once_whoever_is_lost(workers, chunks, fatal):
    shares = Shares({number: 1 + number % 3 for number in range(chunks)}, workers)
    lock, done, fatal = threading.Lock(), [], set(fatal)

    def serve(who: int) -> None:
        while (number := shares.take(who, lambda: False)) is not None:
            with lock:
                dies = number in fatal
                fatal.discard(number)
            if dies:
                shares.lost(who)
                continue
            with lock:
                done.append(number)
            shares.done(who, 1 + number % 3)

    threads = [threading.Thread(target=serve, args=(who,)) for who in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(done) == list(range(chunks))
    assert sorted(n for one in shares.told() for n in one["chunks"]) == list(range(chunks))
