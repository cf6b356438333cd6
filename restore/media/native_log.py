"""What FFmpeg itself logs in a decode child, read back through a pipe that never blocks it."""

from __future__ import annotations

import contextlib
import os
import re

import av

__all__ = ["NativeLog"]

_ADDRESS = re.compile(r"\[([^\]@]+?) @ 0x[0-9a-f]+\] ?")


class NativeLog:
    """Takes over standard error of this process. Decoder threads log without Python's lock.

    Use it in a child only: it is process-wide. What does not fit the pipe (64 KiB between two
    reads) is dropped, which is the right end to lose: the first complaint names the cause.
    """

    def __init__(self) -> None:
        self._read, write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(write, False)
        os.dup2(write, 2)
        os.close(write)
        av.logging.restore_default_callback()
        av.logging.set_libav_level(av.logging.ERROR)

    def drain(self) -> list[str]:
        """Lines logged since the last call, addresses removed, as ``codec: text``."""
        data = b""
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self._read, 65536):
                data += part
        lines = data.decode(errors="replace").splitlines()
        return [_ADDRESS.sub(r"\1: ", line).strip() for line in lines if line.strip()]
