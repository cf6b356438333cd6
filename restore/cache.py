"""Where what can be made again is kept between runs."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder(name: str) -> Path | None:
    """A folder in ``$RESTORE_CACHE_DIR``, or in ``restore`` in the user's XDG cache folder.

    Args:
        name: of the folder.

    Returns:
        Its path; it may not be there yet. None for a user without a home, as containers run
        programs for.
    """
    named, cache = os.environ.get("RESTORE_CACHE_DIR"), os.environ.get("XDG_CACHE_HOME", "")
    try:
        if named:
            return Path(named).expanduser() / name
        home = Path(cache) if Path(cache).is_absolute() else Path.home() / ".cache"
    except RuntimeError:
        return None
    return home / "restore" / name
