"""The command line as a process: exit codes, pipes and signals."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import av
import pytest

from tests.cli_material import environment, events, network, of_kind, restore, write_clip


@pytest.fixture(scope="module")
def material(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("material")
    write_clip(folder / "short.mp4", 5)
    write_clip(folder / "long.mp4", 600, size_px=(160, 120))
    network(folder / "tiny4x.safetensors")
    return folder


def test_exit_codes(material, tmp_path):
    done = restore("run", material / "short.mp4", "-o", tmp_path / "o.mp4", "--preset", "transcode")
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0)
    # It would be there already: the job fails, the usage was right.
    taken = restore(
        "run", material / "short.mp4", "-o", tmp_path / "o.mp4", "--preset", "transcode"
    )
    assert taken.returncode == 1
    assert taken.stderr.splitlines()[-1].startswith("error: ")
    wrong = restore("run", material / "short.mp4")
    assert wrong.returncode == 2
    assert "--output" in wrong.stderr


def test_a_closed_reader_is_an_error_without_a_traceback(material):
    program = f"{sys.executable} -m restore run {material / 'long.mp4'} -o - --preset transcode"
    result = subprocess.run(
        ["bash", "-c", f"{program} | head -c 1000 >{os.devnull}; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(),
        check=False,
    )
    assert result.returncode == 1
    assert "closed the pipe" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_shell_pipe_of_frames(material, tmp_path):
    """One restore upscales and writes frames, another reads them and encodes."""
    out = tmp_path / "piped.mkv"
    command = [sys.executable, "-m", "restore", "run"]
    first = shlex.join(
        [
            *(*command, str(material / "short.mp4"), "-o", "-", "--no-deartifact", "--model"),
            *(str(material / "tiny4x.safetensors"), "--range", "1:4", "--json"),
        ]
    )
    second = shlex.join(
        [*command, "-", "-o", str(out), "--preset", "transcode", "--codec", "ffv1", "--json"]
    )
    log = tmp_path / "first.log"
    result = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {first} 2>{shlex.quote(str(log))} | {second}"],
        capture_output=True,
        text=True,
        timeout=240,
        env=environment(),
        check=False,
    )
    assert result.returncode == 0, result.stderr + log.read_text()
    # What carries frames carries nothing else: the first process told its story on the side.
    assert of_kind(events(log.read_text()), "done")[0]["frames_out"] == 3
    assert of_kind(events(result.stdout), "done")[0]["frames_in"] == 3
    with av.open(str(out)) as file:
        frames = list(file.decode(file.streams.video[0]))
    assert [(frame.width, frame.height) for frame in frames] == [(192, 128)] * 3


def started(material: Path, out: Path) -> subprocess.Popen[str]:
    """A run that has written some frames and has many before it."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "restore", "run", str(material / "long.mp4"), "-o", str(out)),
            *("--model", str(material / "tiny4x.safetensors"), "--no-deartifact", "--json"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["event"] == "progress":
            return process
    raise AssertionError(process.communicate()[1])


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(material, tmp_path, kind):
    process = started(material, tmp_path / "out.mp4")
    if kind is signal.SIGINT:
        os.killpg(process.pid, kind)  # as a terminal does: children get it too
    else:
        process.send_signal(kind)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    told = events(output)
    assert of_kind(told, "stopping")
    assert told[-1]["event"] == "error"
    assert told[-1]["kind"] == "Cancelled"
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_the_second_interrupt_ends_at_once(tmp_path):
    program = textwrap.dedent(
        """
        import time
        from restore.console.interrupt import interruptible
        from restore.engine.settings import CancelToken

        def deaf():
            print("ready", flush=True)
            time.sleep(120)

        interruptible(deaf, CancelToken(), lambda: print("stopping", flush=True))
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment()
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "stopping\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT


def test_work_hands_its_result_and_errors_through():
    from restore.console.interrupt import interruptible
    from restore.engine.settings import CancelToken

    before = signal.getsignal(signal.SIGINT)
    assert interruptible(lambda: 7, CancelToken(), lambda: None) == 7
    with pytest.raises(KeyError):
        interruptible(lambda: {}["no"], CancelToken(), lambda: None)
    assert signal.getsignal(signal.SIGINT) is before
