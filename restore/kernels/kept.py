"""What is kept of kernels on disk: compiled code, and what came of their trials.

It lies in the folder ``kernels`` of :mod:`restore.cache`. Where that cannot be written nothing is
kept, and nothing fails.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from restore.cache import cache_folder

__all__ = ["keep", "kept_folder"]


def kept_folder() -> Path | None:
    """Where it is; None where there is no place for it."""
    return cache_folder("kernels")


def keep(place: Path, content: bytes) -> None:
    """Writes a file, complete or not at all; nothing is left where that fails."""
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as undone:
            file = tempfile.NamedTemporaryFile(dir=place.parent, delete=False)  # noqa: SIM115
            undone.callback(Path(file.name).unlink, missing_ok=True)
            with file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(file.name).replace(place)
            undone.pop_all()
