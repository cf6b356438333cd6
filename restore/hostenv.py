"""What must be in the environment before torch is loaded; imports nothing heavy itself."""

from __future__ import annotations

import os

__all__ = ["set_passive_waiting"]


def set_passive_waiting() -> None:
    """Let waiting OpenMP threads sleep; has an effect only before torch is imported.

    Spinning threads take the cores from decoder and encoder. A value that the user set stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
