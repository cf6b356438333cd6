"""Ctrl-C: the first one asks the work to stop, the second one ends the program at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

from restore.engine.settings import CancelToken

__all__ = ["interruptible"]

T = TypeVar("T")
_LOOK_EVERY_S = 0.5  # where waiting for a thread cannot be interrupted (Windows)


def interruptible(work: Callable[[], T], cancel: CancelToken, on_stop: Callable[[], None]) -> T:
    """Do work in a thread of its own while this one listens for SIGINT and SIGTERM.

    A network call holds the thread that it runs in for seconds, and Python handles signals only in
    the main thread, which must therefore be free.

    Args:
        work: what to do; it looks at ``cancel``.
        cancel: set by the first signal.
        on_stop: called once, when the first signal came.

    Returns:
        What the work returned; what it raised is raised here. Outside the main thread the work is
        simply done, for signals never come there.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    results: list[T] = []
    failures: list[BaseException] = []

    def doing() -> None:
        try:
            results.append(work())
        except BaseException as error:  # raised again in the waiting thread
            failures.append(error)

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        cancel.cancel()
        on_stop()

    before = {kind: signal.signal(kind, stop) for kind in (signal.SIGINT, signal.SIGTERM)}
    thread = threading.Thread(target=doing, name="job", daemon=True)
    try:
        thread.start()
        while thread.is_alive():
            thread.join(_LOOK_EVERY_S)
    finally:
        for kind, handler in before.items():
            signal.signal(kind, signal.SIG_DFL if handler is None else handler)
    if failures:
        raise failures[0]
    return results[0]
