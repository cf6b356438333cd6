"""The folder on disk in which compiled kernels, and what came of their trials, are kept.

It is ``kernels`` in ``$RESTORE_CACHE_DIR``, or in ``restore`` in the user's XDG cache folder. Where
it cannot be written nothing is kept, and nothing fails.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

__all__ = ["keep", "kept_folder"]


def kept_folder() -> Path | None:
    """Where it is; None for a user without a home, as containers run programs for."""
    named, cache = os.environ.get("RESTORE_CACHE_DIR"), os.environ.get("XDG_CACHE_HOME", "")
    try:
        if named:
            return Path(named).expanduser() / "kernels"
        home = Path(cache) if Path(cache).is_absolute() else Path.home() / ".cache"
    except RuntimeError:
        return None
    return home / "restore" / "kernels"


def keep(place: Path, content: bytes) -> None:
    """Writes a file, complete or not at all."""
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place.parent, delete=False) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(place)
