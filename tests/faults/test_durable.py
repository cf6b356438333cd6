"""A durable job ends in the same bytes however it is cut, killed or damaged on the way."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import psutil
import pytest

from restore.api import make_job
from restore.engine.settings import CancelToken
from restore.errors import JobError
from restore.jobs.durable import DurablePlan, make_durable
from restore.jobs.journal import Journal
from restore.jobs.order import order_from_json, order_to_json
from restore.jobs.rows import JobRow, JobState
from restore.jobs.storage import Storage
from restore.media.probe import probe
from tests.faults import barcode
from tests.faults.driver import durable, recipe

FRAMES = 28
ROOT = Path(__file__).parent.parent.parent
BROKEN = "tests.faults.broken_worker"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def delivered(row: JobRow) -> str:
    assert row.state is JobState.SUCCEEDED, row.reason
    return str(row.result["sha256"])


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return barcode.write(tmp_path_factory.mktemp("source") / "film.mkv", FRAMES)


@pytest.fixture(scope="module")
def truth(source, tmp_path_factory) -> str:
    """The hash of the job done in one chunk, with nothing in its way."""
    folder = tmp_path_factory.mktemp("truth")
    row, journal = durable(source, folder / "out.mp4", folder / "work", chunk_frames=1000)
    journal.close()
    assert delivered(row) == sha256(folder / "out.mp4")
    assert barcode.numbers(folder / "out.mp4") == list(range(FRAMES))
    return delivered(row)


@pytest.mark.parametrize(
    ("chunk_frames", "devices"), [(14, ("cpu",)), (4, ("cpu", "cpu")), (4, ("cpu",))]
)
def test_chunks_and_workers_do_not_change_a_byte(source, truth, tmp_path, chunk_frames, devices):
    """In two and seven chunks, by one worker and two, as in one."""
    row, journal = durable(
        source, tmp_path / "out.mp4", tmp_path, chunk_frames=chunk_frames, devices=devices
    )
    assert len(journal.chunks(row.id)) == -(-FRAMES // chunk_frames)
    journal.close()
    assert delivered(row) == truth


def _run_and_kill(given: dict[str, object], after_s: float, *, what: str) -> bool:
    """Run the job; kill the server, its worker, or both. Whether it had ended by then."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.driver", json.dumps(given)],
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        child.wait(after_s)
    except subprocess.TimeoutExpired:
        server = psutil.Process(child.pid)
        workers = [
            one for one in server.children(recursive=True) if "worker" in " ".join(one.cmdline())
        ]
        for victim in [*workers * (what != "server"), *[server] * (what != "worker")]:
            with_suppressed_kill(victim)
        if what == "worker":
            child.wait(120)
        child.wait(120)
        _, alive = psutil.wait_procs(workers, timeout=20)
        assert not alive, "a worker outlives its server"
        return what == "worker" or _has_succeeded(Path(str(given["folder"])))
    return True


def _has_succeeded(folder: Path) -> bool:
    """Whether the kill came between the job's end and the process's."""
    if not (folder / "journal.sqlite").exists():
        return False
    journal = Journal(folder / "journal.sqlite")
    try:
        return bool(journal.jobs((JobState.SUCCEEDED,)))
    finally:
        journal.close()


def with_suppressed_kill(victim: psutil.Process) -> None:
    try:
        victim.send_signal(signal.SIGKILL)
    except psutil.NoSuchProcess:
        return


def _killed_again_and_again(source, truth, folder, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    given = {
        "source": str(source),
        "destination": str(folder / "out.mp4"),
        "folder": str(folder / "work"),
        "chunk_frames": 4,
    }
    for _ in range(kills):
        what = rng.choice(["server", "worker", "both"])
        if _run_and_kill(given, rng.uniform(3.0, 9.0), what=what):
            (folder / "out.mp4").unlink(missing_ok=True)
            for stale in (folder / "work").glob("journal.sqlite*"):
                stale.unlink()
    row, journal = durable(Path(str(source)), folder / "out.mp4", folder / "work", chunk_frames=4)
    assert delivered(row) == truth == sha256(folder / "out.mp4")
    done = [detail for _, _, what, detail in journal.events(row.id) if what == "chunk done"]
    assert sorted(done) == sorted(set(done)), "a chunk that was booked as done was done again"
    assert not list(folder.glob(".*.part")), "something half-written is left"
    journal.close()


def test_killed_at_random_moments_it_ends_in_the_same_bytes(source, truth, tmp_path):
    _killed_again_and_again(source, truth, tmp_path, kills=3, seed=1)


@pytest.mark.release
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(10))
def test_sixty_kills(source, truth, tmp_path, seed):
    _killed_again_and_again(source, truth, tmp_path, kills=6, seed=seed)


def test_a_flipped_byte_is_found_before_assembly_and_its_chunk_done_again(source, truth, tmp_path):
    cancel = CancelToken()
    storage = Storage(tmp_path)
    row, journal = durable(source, tmp_path / "out.mp4", tmp_path, chunk_frames=8)
    (tmp_path / "out.mp4").unlink()
    journal.move(row.id, JobState.QUEUED)
    for number, change in ((0, "flip"), (2, "cut"), (3, "gone")):
        path = storage.chunk(row.id, number)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        if change == "gone":
            path.unlink()
        else:
            path.write_bytes(data if change == "flip" else data[: len(data) // 2])
    journal.close()
    row, journal = durable(source, tmp_path / "out.mp4", tmp_path, chunk_frames=8, cancel=cancel)
    assert delivered(row) == truth
    lost = [detail for _, _, what, detail in journal.events(row.id) if what == "chunk lost"]
    assert [detail.partition(":")[0] for detail in lost] == ["0", "2", "3"]
    assert "as it was written" in lost[0]
    assert "No such file" in lost[2]
    journal.close()


def test_a_poisonous_chunk_fails_its_job_with_the_signal_and_the_next_job_runs(
    source, truth, tmp_path, monkeypatch
):
    monkeypatch.setenv("FAULT", "poison")
    row, journal = durable(source, tmp_path / "a.mp4", tmp_path / "a", program=BROKEN)
    assert row.state is JobState.FAILED
    assert row.error_type == "WorkerLost"
    assert "SIGSEGV, for the 3th time at chunk 1 (source frames [8, 16))" in row.reason
    assert not (tmp_path / "a.mp4").exists()
    done = [chunk.number for chunk in journal.chunks(row.id) if chunk.is_done]
    assert done == [0]
    journal.close()
    monkeypatch.delenv("FAULT")
    row, journal = durable(source, tmp_path / "b.mp4", tmp_path / "b")
    journal.close()
    assert delivered(row) == truth


def test_a_worker_lost_once_costs_its_chunk_only(source, truth, tmp_path, monkeypatch):
    monkeypatch.setenv("FAULT", "dies once")
    monkeypatch.setenv("FAULT_MARK", str(tmp_path / "mark"))
    row, journal = durable(source, tmp_path / "out.mp4", tmp_path, program=BROKEN)
    assert delivered(row) == truth
    assert [chunk.attempts for chunk in journal.chunks(row.id)] == [0, 1, 0, 0]
    journal.close()


def test_too_little_memory_steps_down_and_is_reported(source, tmp_path, monkeypatch):
    monkeypatch.setenv("FAULT", "memory once")
    row, journal = durable(source, tmp_path / "out.mp4", tmp_path, program=BROKEN)
    assert row.state is JobState.SUCCEEDED
    stages = journal.chunks(row.id)[0].report["stages"]
    steps = {stage["stage"]: stage["ladder"] for stage in stages}
    assert "9 GiB" in steps["upscale"][0]["cause"]
    assert steps["degrain"] == []
    journal.close()


def test_no_memory_at_all_is_a_typed_failure(source, tmp_path, monkeypatch):
    monkeypatch.setenv("FAULT", "memory always")
    row, journal = durable(source, tmp_path / "out.mp4", tmp_path, program=BROKEN)
    journal.close()
    assert (row.state, row.error_type) == (JobState.FAILED, "OutOfMemory")
    assert not (tmp_path / "out.mp4").exists()


def test_a_stopped_job_is_paused_and_goes_on(source, truth, tmp_path):
    cancel = CancelToken()
    cancel.cancel()
    row, journal = durable(source, tmp_path / "out.mp4", tmp_path, cancel=cancel)
    assert (row.state, row.reason) == (JobState.PAUSED, "asked to stop")
    journal.close()
    row, journal = durable(source, tmp_path / "out.mp4", tmp_path)
    journal.close()
    assert delivered(row) == truth


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1.5 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1536k", "tmpfs", str(place)], capture_output=True
    )
    if made.returncode:
        pytest.skip("this machine lets nobody mount a small file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_pauses_the_job_with_the_reason_and_it_goes_on(
    source, truth, tmp_path, small_disk
):
    filler = small_disk / "filler"
    filler.write_bytes(bytes(1_536_000 - 160_000))
    row, journal = durable(source, tmp_path / "out.mp4", small_disk, chunk_frames=4)
    assert (row.state, row.error_type) == (JobState.PAUSED, "DiskFull")
    assert "disk is full" in row.reason
    assert not list(small_disk.rglob("*.part")), "something half-written is visible"
    journal.close()
    filler.unlink()
    row, journal = durable(source, tmp_path / "out.mp4", small_disk, chunk_frames=4)
    journal.close()
    assert delivered(row) == truth


def test_uneven_times_and_single_frames_survive(tmp_path):
    times = [0, 100, 250, 300, 1000, 1002, 1778]
    clip = barcode.write(tmp_path / "vfr.mkv", len(times), times=times, rate=Fraction(20))
    row, journal = durable(clip, tmp_path / "out.mp4", tmp_path / "w", chunk_frames=2)
    base = Fraction(1, 2000)
    found = [when.pts * when.time_base for c in journal.chunks(row.id) for when in c.times]
    # Matroska's milliseconds hold these times exactly.
    assert found == [pts * base for pts in times]
    assert barcode.numbers(tmp_path / "out.mp4") == list(range(len(times)))
    journal.close()
    one = barcode.write(tmp_path / "one.mkv", 1)
    row, journal = durable(one, tmp_path / "one.mp4", tmp_path / "w1")
    journal.close()
    assert barcode.numbers(tmp_path / "one.mp4") == [0]


def test_the_plan_is_written_down_and_read_back(source, tmp_path):
    job = make_job(source, tmp_path / "out.mp4", recipe("windows"), {})
    plan, pinned, _ = make_durable(job, chunk_frames=8, threads=1)
    assert DurablePlan.from_json(plan.canonical()) == plan
    again = order_from_json(order_to_json(pinned))
    assert dataclasses.replace(again, context=pinned.context) == dataclasses.replace(
        pinned, recipe=dataclasses.replace(pinned.recipe, description="")
    )
    assert [chunk.core.start for chunk in plan.chunks] == [0, 8, 16, 24]
    other = make_durable(dataclasses.replace(job, strict=True), chunk_frames=8, threads=1)[0]
    assert other.id != plan.id


def test_a_plan_of_other_models_is_refused(source, tmp_path):
    job = make_job(source, tmp_path / "out.mp4", recipe("windows"), {})
    plan, pinned, _ = make_durable(job, chunk_frames=8, threads=1)
    from restore.jobs.work import Work

    body = json.loads(plan.canonical())
    body["stages"][1]["facts"]["sha256"] = "0" * 64
    with pytest.raises(JobError, match="other models or tiles"):
        Work(DurablePlan(body), pinned, "cpu", Storage(tmp_path), plan.id)


def test_a_damaged_source_ends_where_it_ends_in_one_piece(tmp_path):
    assets = os.environ.get("RESTORE_TEST_ASSETS")
    if not assets:
        pytest.skip("RESTORE_TEST_ASSETS is not set")
    clip = Path(assets) / "media/clips/corrupted.mp4"
    row, journal = durable(
        clip, tmp_path / "out.mkv", tmp_path / "w", name="transcode", chunk_frames=10
    )
    journal.close()
    assert row.result["frames"] == 28
    assert any("[28, 50) could not be decoded" in text for text in row.result["warnings"])


def test_from_the_command_line(source, tmp_path):
    command = [sys.executable, "-m", "restore", "run", str(source)]
    command += ["-o", str(tmp_path / "out.mp4"), "--preset", "transcode", "--resume"]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    assert barcode.numbers(tmp_path / "out.mp4") == list(range(FRAMES))
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.mp4"], "the work folder is gone"
    taken = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert taken.returncode == 1
    assert "exists" in taken.stderr + taken.stdout
    info = probe(str(tmp_path / "out.mp4"))
    assert json.loads(info.metadata["restore"])["recipe"]["name"] == "transcode"


def test_journals_are_closed(source, tmp_path):
    """A job of another process can be looked at while it runs."""
    row, journal = durable(source, tmp_path / "out.mp4", tmp_path, name="transcode")
    other = Journal(tmp_path / "journal.sqlite")
    assert other.job(row.id).state is JobState.SUCCEEDED
    other.close()
    journal.close()
    assert time.time() - row.changed_s < 600
