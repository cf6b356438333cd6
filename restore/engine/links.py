"""Stages side by side: each in a thread of its own, with bounded queues between them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import torch

from restore.engine.queue import ByteQueue
from restore.frames import Frame

__all__ = ["LINK_SHARE", "Links"]

LINK_SHARE = 8
"""A queue between two stages holds this part of what the queues of a run may hold."""


class _Runner(Protocol):
    label: str

    def stream(self, frames: Iterable[Frame]) -> Iterator[Frame]: ...


class Links:
    """Runs a chain of stages, all but the last in threads of their own.

    What the stages do on the CPU leaves Python's lock for most of the time, so that several cores
    work at once. Every stage still sees its frames in order and from one thread: results are the
    same, bit for bit, as those of the chain in one thread. One object serves one run.

    Args:
        runners: in order.
        limit_bytes: what may wait between two stages; a larger frame passes alone.
    """

    def __init__(self, runners: Sequence[_Runner], limit_bytes: int) -> None:
        self._runners = tuple(runners)
        self._queues: list[ByteQueue[Frame]] = [ByteQueue(limit_bytes) for _ in self._runners[:-1]]
        self._threads: list[threading.Thread] = []

    def frames(self, source: Iterable[Frame]) -> Iterator[Frame]:
        """The chain's frames; the last stage works in the thread that pulls them.

        An exception in any stage ends the chain and is raised here.
        """
        stream = iter(source)
        for runner, queue in zip(self._runners, self._queues, strict=False):
            thread = threading.Thread(
                target=_work,
                args=(runner.stream(stream), queue),
                name=f"stage {runner.label}",
                daemon=True,
            )
            thread.start()
            self._threads.append(thread)
            stream = iter(queue)
        return self._runners[-1].stream(stream) if self._runners else stream

    def stop(self) -> None:
        """Wake and end every thread."""
        for queue in self._queues:
            queue.abort()
        for thread in self._threads:
            thread.join()


def _work(frames: Iterator[Frame], queue: ByteQueue[Frame]) -> None:
    try:
        with torch.inference_mode():
            for frame in frames:
                if not queue.put(frame):
                    return
    except BaseException as error:  # raised again in the thread that reads
        queue.finish(error)
    else:
        queue.finish()
