"""Stages that crowd the cores have one thread each, and afterwards all is as it was."""

from __future__ import annotations

import threading

import cv2
import pytest
import torch

from restore.engine import threads
from restore.engine.stage import Tiling
from restore.engine.threads import one_each
from tests.engine_stages import PlainStage

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def two_each(monkeypatch):
    """Two cores and two threads, whatever the machine has."""
    monkeypatch.setattr(threads, "_cores", lambda: 2)
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(2)
    cv2.setNumThreads(2)
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


def numbers():
    """Threads of torch and of OpenCV, as a thread that begins now has them."""
    found = []
    thread = threading.Thread(
        target=lambda: found.extend((torch.get_num_threads(), cv2.getNumThreads()))
    )
    thread.start()
    thread.join()
    return tuple(found)


def whole(count):
    return [PlainStage(tiling=Tiling.NEVER) for _ in range(count)]


def test_many_stages_have_one_thread_each():
    with one_each(whole(4), CPU):
        assert numbers() == (1, 1)
    assert numbers() == (2, 2)


def test_few_stages_keep_theirs():
    with one_each(whole(3), CPU):
        assert numbers() == (2, 2)


def test_a_network_beside_them_keeps_those_of_torch():
    with one_each([*whole(4), PlainStage()], CPU):
        assert numbers() == (2, 1)
    with one_each([*whole(4), PlainStage()], torch.device("cuda")):
        assert numbers() == (1, 1)


def test_runs_side_by_side_and_failures_leave_what_was_there():
    outer = one_each(whole(4), CPU)
    with one_each(whole(5), CPU):
        outer.__enter__()
    assert numbers()[1] == 1
    outer.__exit__(None, None, None)
    with pytest.raises(ValueError, match="lost"), one_each(whole(4), CPU):
        raise ValueError("lost")
    torch.set_num_threads(2)  # this thread's own number went with the order of the two
    assert numbers() == (2, 2)
