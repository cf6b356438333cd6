"""Decode children: limits hold, crashes and hangs end as typed errors, nothing is left behind."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from restore.errors import DamagedMedia, InvalidInput, UnsafeMedia, UnsupportedMedia
from restore.media import isolate
from restore.media.isolate import DecodeLimits, Job, JobLost, run_job, stop_host
from restore.media.reader import ClipReader
from tests.media_in_make import smooth_planes, write_clip

CHILDREN = "tests.media_in_children"
LIMITS = DecodeLimits(memory_bytes=512 * 2**20, cpu_s=1, wall_s_without_progress=5.0)
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="address space limits are Linux's")


def run(name, payload=None, limits=LIMITS):
    return run_job(f"{CHILDREN}:{name}", payload or {}, limits, source="clip.mov")


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def gone(pid, within_s=5.0):
    deadline = time.monotonic() + within_s
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_alive(pid)


@pytest.fixture
def clip(tmp_path):
    frames = [smooth_planes("yuv420p", 64, 48, index) for index in range(40)]
    return str(write_clip(tmp_path / "clip.mkv", "ffv1", "yuv420p", frames))


def test_a_job_answers_from_another_process():
    assert run("answer", {"value": 3})["value"] == 3
    assert run("answer")["pid"] != os.getpid()


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL"])
def test_a_crash_is_damage_with_the_signal_named(name):
    with pytest.raises(DamagedMedia, match=f"clip.mov: the decoder crashed .{name}."):
        run("crash", {"signal": name})
    assert run("answer")["pid"]


def test_a_kill_from_outside_is_named():
    with pytest.raises(UnsafeMedia, match="killed"):
        run("crash", {"signal": "SIGKILL"})


def test_a_hang_ends_when_nothing_moves():
    limits = DecodeLimits(wall_s_without_progress=0.3)
    job = Job(f"{CHILDREN}:hang", {}, limits)
    pid = job.recv()["pid"]
    started = time.monotonic()
    with pytest.raises(JobLost, match=r"no progress for 0\.3 s"):
        job.recv()
    assert time.monotonic() - started < 5
    assert gone(pid)


def test_processor_time_is_limited():
    with pytest.raises(UnsafeMedia, match="1 s of processor time"):
        run("spin")


@linux_only
def test_memory_is_limited():
    with pytest.raises(UnsafeMedia, match="more than 512 MiB"):
        run("devour", {"bytes": 2 * 2**30})
    assert run("devour", {"bytes": 2**20})["t"] == "answer"


def test_a_child_cannot_write_files(tmp_path):
    with pytest.raises(DamagedMedia):
        run("write", {"path": str(tmp_path / "out")})
    target = tmp_path / "out"
    assert not target.exists() or target.stat().st_size == 0


def test_typed_errors_cross_the_border_whole():
    with pytest.raises(UnsupportedMedia) as caught:
        run("fail")
    assert (caught.value.came, caught.value.expected, caught.value.fix) == (
        "what came",
        "what was expected",
        "What to do.",
    )


def test_our_own_mistakes_are_typed_too():
    with pytest.raises(DamagedMedia, match="KeyError"):
        run("stumble")


def test_a_child_that_babbles_is_cut_off():
    with pytest.raises(DamagedMedia, match="nonsense"):
        run("babble")


def test_limits_are_positive():
    with pytest.raises(InvalidInput, match="cpu_s"):
        DecodeLimits(cpu_s=0)


def test_a_host_that_dies_is_replaced():
    run("answer")
    host = isolate._host
    assert host is not None
    host.process.send_signal(signal.SIGKILL)
    host.process.wait()
    assert run("answer")["pid"]


def test_the_death_of_the_host_ends_a_running_child_as_an_error():
    job = Job(f"{CHILDREN}:hang", {}, LIMITS)
    pid = job.recv()["pid"]
    host = isolate._host
    assert host is not None
    host.process.kill()
    with pytest.raises(JobLost):
        job.recv()
    if sys.platform == "linux":
        assert gone(pid)


def test_stopping_the_host_ends_its_children():
    job = Job(f"{CHILDREN}:hang", {}, LIMITS)
    pid = job.recv()["pid"]
    stop_host()
    assert gone(pid)
    job.close()


def test_closing_ends_the_child_in_the_middle(clip):
    limits = DecodeLimits(ring_bytes=1)
    with ClipReader(clip, limits=limits) as reader:
        next(reader)
        number = reader._feed._job._number
    assert reader.frames_read == 1
    assert list(reader) == []
    assert number


def test_collecting_a_reader_ends_its_child(clip):
    gc.collect()
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 0
    reader = ClipReader(clip, limits=DecodeLimits(ring_bytes=1))
    next(reader)
    job = reader._feed._job
    del reader
    gc.collect()
    assert job._closed
    del job
    if before:
        assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_decoding_ahead_is_bounded_by_the_ring(clip):
    with ClipReader(clip, limits=DecodeLimits(ring_bytes=1)) as reader:
        assert reader._feed._ring.slots == 2
        time.sleep(0.2)
        frames = list(reader)
    assert [frame.index for frame in frames] == list(range(40))
    first = [plane.copy() for plane in frames[0].planes]
    for plane, copy in zip(frames[0].planes, first, strict=True):
        assert plane.tobytes() == copy.tobytes()
    assert frames[0].planes[0].tobytes() == smooth_planes("yuv420p", 64, 48, 0)[0].tobytes()


def test_several_readers_at_once_do_not_mix(clip):
    with ClipReader(clip) as one, ClipReader(clip) as two:
        for index, (a, b) in enumerate(zip(one, two, strict=True)):
            assert a.index == b.index == index
            assert a.planes[0].tobytes() == b.planes[0].tobytes()


def test_a_decoder_killed_in_the_middle_yields_what_came_before(clip):
    with ClipReader(clip, limits=DecodeLimits(ring_bytes=1)) as reader:
        frames = [next(reader) for _ in range(5)]
        reader._feed._job._host.kill(reader._feed._job._number)
        frames += list(reader)
    assert 5 <= len(frames) < 40
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert reader.damaged[0].start == len(frames)
    assert any("killed" in text for text in reader.warnings)


@pytest.mark.skipif(sys.platform != "linux", reason="needs procfs")
def test_children_die_with_the_program(tmp_path):
    code = (
        "import os, sys, time\n"
        "from restore.media import isolate\n"
        "from restore.media.isolate import Job, DecodeLimits\n"
        f"job = Job('{CHILDREN}:hang', {{}}, DecodeLimits())\n"
        "print(job.recv()['pid'], isolate._host.process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    root = Path(__file__).parent.parent
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root
    ) as program:
        child, host = (int(word) for word in program.stdout.readline().split())
        assert is_alive(child)
        program.kill()
        program.wait()
        assert gone(child)
        assert gone(host)


def test_a_fork_of_the_program_starts_its_own_host():
    code = (
        "import os\n"
        "from restore.media import isolate\n"
        "def host():\n"
        f"    isolate.run_job('{CHILDREN}:answer', {{}}, isolate.DecodeLimits(), source='x')\n"
        "    return isolate._host.process.pid\n"
        "first = host()\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    second = host()\n"
        "    isolate.stop_host()\n"
        "    os._exit(0 if second != first else 1)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0\n"
        "assert host() == first\n"
    )
    root = Path(__file__).parent.parent
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True, timeout=60)


def test_reading_loads_no_decoder_into_the_program():
    code = (
        "import sys; import restore.media.reader, restore.media.probe\n"
        "sys.exit('av' in sys.modules or 'torch' in sys.modules)\n"
    )
    root = Path(__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
