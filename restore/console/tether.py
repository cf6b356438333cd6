"""Ties a process to the one that started it: when that is gone, so is this one."""

from __future__ import annotations

import os
import threading

__all__ = ["end_with_parent"]


def end_with_parent() -> None:
    """End this process as soon as standard input ends.

    The parent holds the other end of the pipe and closes it however it dies, so that a killed
    parent leaves nobody behind who works on what its successor will do again.
    """

    def watch() -> None:
        # Not through sys.stdin: its lock, held while waiting, aborts an interpreter that ends.
        while os.read(0, 1024):
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True, name="tether").start()
