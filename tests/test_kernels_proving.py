"""Kernels prove themselves in a child, which may end in any way."""

from __future__ import annotations

import errno
import importlib.util
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from restore.kernels import proving
from restore.kernels.choose import can_try
from restore.kernels.kept import keep
from restore.kernels.proving import Trial, driver_version, tried

_CARD = ("a card", "9.0", "12.8")


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Each proof's calls, with a cache of its own and nothing remembered in the process."""
    noted = tmp_path / "runs"
    monkeypatch.setenv("PROOF_RUNS", str(noted))
    monkeypatch.setenv("RESTORE_CACHE_DIR", str(tmp_path / "cache"))
    tried.cache_clear()
    yield lambda: noted.read_text().splitlines() if noted.exists() else []
    tried.cache_clear()


def trial(name, dtype="float16", limit_s=120.0):
    return Trial(f"tests.kernel_proofs:{name}", "cpu", dtype, limit_s)


def test_a_right_kernel_is_tried_once(runs, tmp_path):
    assert tried(trial("right"), _CARD) == ""
    assert runs() == ["cpu torch.float16 all"]
    tried.cache_clear()  # as another program would begin
    assert tried(trial("right"), _CARD) == ""
    assert len(runs()) == 1
    # What it follows from: the format and the card.
    tried(trial("right", "bfloat16"), _CARD)
    tried(trial("right"), ("another card", "9.0", "12.8"))
    assert len(runs()) == 3
    assert len(list((tmp_path / "cache" / "kernels").iterdir())) == 3


@pytest.mark.parametrize("name", ["off", "ends", "breaks"])
def test_what_is_wrong_is_said_and_kept(name, runs, tmp_path):
    said = tried(trial(name), _CARD)
    assert {
        "off": "differs from its twin by 3",
        "ends": "trial was ended by SIGSEGV",
        "breaks": "trial ended with code 1 (RuntimeError: CUDA error: an illegal memory access",
    }[name] in said
    assert len(said) < 300
    (kept,) = (tmp_path / "cache" / "kernels").iterdir()
    assert json.loads(kept.read_text()) == {"trouble": said}
    before = len(runs())
    tried.cache_clear()
    assert tried(trial(name), _CARD) == said
    assert len(runs()) == before


def test_what_is_kept_but_damaged_is_tried_again(runs, tmp_path):
    tried(trial("right"), _CARD)
    (kept,) = (tmp_path / "cache" / "kernels").iterdir()
    for spoilt in ('{"trouble"', "[]", "{}", "\x00"):
        kept.write_text(spoilt)
        tried.cache_clear()
        assert tried(trial("right"), _CARD) == ""
    assert len(runs()) == 5
    assert json.loads(kept.read_text()) == {"trouble": ""}


def test_one_that_hangs_is_ended_and_not_held_against_it_later(runs, tmp_path):
    said = tried(trial("hangs", limit_s=8.0), _CARD)
    assert said.startswith("trial took more than 8 s")
    assert not (tmp_path / "cache" / "kernels").exists()


def test_what_a_trial_that_hangs_has_started_ends_with_it(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("PROOF_CHILD", str(tmp_path / "child"))
    assert "took more than 10 s" in tried(trial("starts", limit_s=10.0), _CARD)
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        if not is_running(child):
            return
        time.sleep(0.1)
    pytest.fail(f"process {child} goes on")


def is_running(number):
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_nothing_is_left_of_what_cannot_be_kept(tmp_path, monkeypatch):
    def full(number):
        raise OSError(errno.ENOSPC, "no space left")

    keep(tmp_path / "kept", b"one")
    monkeypatch.setattr("restore.kernels.kept.os.fsync", full)
    keep(tmp_path / "kept", b"other")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept").read_bytes() == b"one"


@pytest.mark.parametrize(
    ("told", "version"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu Jan 2\nGCC 12.3.0",
            "570.86.15",
        ),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release",
            "580.65.06",
        ),
    ],
)
def test_a_new_driver_has_kernels_prove_themselves_anew(told, version, tmp_path):
    (tmp_path / "version").write_text(f"NVRM version: {told}")
    assert driver_version(tmp_path / "version") == version
    assert driver_version(tmp_path / "none") == proving._library_version()


def test_a_child_whose_parent_is_gone_ends_itself():
    child = [sys.executable, "-m", "restore.kernels.prove"]
    asked = ["tests.kernel_proofs:hangs", "cpu", "float16", "4"]
    ended = subprocess.run([*child, *asked], timeout=60, check=False, capture_output=True)
    assert ended.returncode == -signal.SIGALRM


def test_a_device_that_cannot_be_used_says_nothing_of_the_kernels(runs, tmp_path):
    lost = Trial("tests.kernel_proofs:right", "cuda:63", "float16")
    assert "trial ended with code 1" in tried(lost, _CARD)
    assert runs() == []
    assert not (tmp_path / "cache" / "kernels").exists()


def test_without_a_folder_to_keep_it_each_program_tries_anew(runs, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RESTORE_CACHE_DIR", str(tmp_path / "file"))
    assert tried(trial("right"), _CARD) == ""
    tried.cache_clear()
    assert tried(trial("right"), _CARD) == ""
    assert len(runs()) == 2


def test_nothing_is_started_for_a_cpu(monkeypatch):
    monkeypatch.setattr(proving, "tried", lambda *_: pytest.fail("a child for a CPU"))
    cpu = torch.device("cpu")
    assert proving.trouble_apart("family", "tests.kernel_proofs:ends", cpu, torch.float32) == ""


def test_a_family_is_trusted_on_its_device_once_it_is_right(runs, monkeypatch):
    """The way a GPU takes, with the trial held on the CPU."""
    monkeypatch.setattr("restore.kernels.choose._has_triton", lambda: True)
    monkeypatch.setattr("restore.kernels.choose._trusted", set())
    monkeypatch.delenv("RESTORE_KERNELS", raising=False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(proving, "_card", lambda number: _CARD)
    outcomes = []

    def on_the_cpu(asked, card):
        assert (asked.device, asked.dtype, card) == ("cuda:1", "bfloat16", _CARD)
        outcomes.append(tried(Trial(asked.proof, "cpu", asked.dtype), card))
        return outcomes[-1]

    monkeypatch.setattr(proving, "tried", on_the_cpu)
    second, first = torch.device("cuda", 1), torch.device("cuda", 0)
    half = torch.bfloat16

    def trouble(name):
        return proving.trouble_apart(name, f"tests.kernel_proofs:{name}", second, half)

    assert "SIGSEGV" in trouble("ends")
    assert not can_try(second, "ends", half)
    assert not can_try(second, "right", half)
    assert trouble("right") == ""
    assert can_try(second, "right", half)
    assert not can_try(first, "right", half)
    assert not can_try(second, "right", torch.float16)
    assert not can_try(second, "ends", half)
    assert trouble("right") == ""
    assert len(outcomes) == 2
    monkeypatch.setenv("RESTORE_KERNELS", "off")
    assert not can_try(second, "right", half)
    monkeypatch.setenv("RESTORE_KERNELS", "all")
    assert can_try(first, "ends", half)


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not there")
def test_a_real_family_proves_itself_in_the_child(runs, monkeypatch):
    """By Triton's interpreter, which the child is told of."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    proof = "restore.kernels.brought:brought_trouble"
    assert tried(Trial(proof, "cpu", "float16"), _CARD) == ""
