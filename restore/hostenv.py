"""Settings of the host that cost or save most; imports nothing heavy itself."""

from __future__ import annotations

import ctypes
import os
import platform

from restore.cache import cache_folder

__all__ = ["tune_host"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_MALLOC_THRESHOLD_BYTES = 1 << 30


def tune_host() -> None:
    """Set what torch's CPU path wants; every door of the program calls it before torch is loaded.

    Waiting OpenMP threads sleep: spinning ones take the cores from decoder and encoder. A value
    that the user set stays, and it has an effect only before torch is loaded. Large blocks stay in
    the C library's heap instead of being mapped and zeroed anew for every activation. All threads
    share one heap: frames go from thread to thread, and what one thread's heap gave back another's
    would ask for anew (a film job's peak is a quarter lower so). What torch's compiler makes is
    kept with our own.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    folder = cache_folder("compiled")
    if folder is not None:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))
    if platform.system() != "Linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return  # a C library without mallopt (musl): nothing to tune
    mallopt(_M_MMAP_THRESHOLD, _MALLOC_THRESHOLD_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _MALLOC_THRESHOLD_BYTES)
    mallopt(_M_ARENA_MAX, 1)
