"""Files on disk, made so that nobody ever sees half of one: hashing, placing, locking."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from restore.errors import HashMismatch, ModelError

__all__ = ["free_bytes", "locked", "move_in", "new_file", "place", "read_verified", "sha256_file"]

_BLOCK_BYTES = 1 << 20
_seen: dict[tuple[str, int, int, int], str] = {}


def sha256_file(
    path: Path, report: Callable[[int], None] | None = None, *, fresh: bool = False
) -> str:
    """Returns the sha256 of a file as 64 hex digits, reading it in blocks.

    A file that was hashed before in this process and has the same inode, length and modification
    time is not read again.

    Args:
        path: the file.
        report: called with the number of bytes read so far.
        fresh: read the file even if it was hashed before.
    """
    with path.open("rb") as file:
        facts = os.fstat(file.fileno())
        key = (str(path.resolve()), facts.st_ino, facts.st_size, facts.st_mtime_ns)
        if fresh or key not in _seen:
            digest = hashlib.sha256()
            done_bytes = 0
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
                done_bytes += len(block)
                if report is not None:
                    report(done_bytes)
            _seen[key] = digest.hexdigest()
    return _seen[key]


def read_verified(path: Path, sha256: str) -> bytes:
    """Returns a file's content after checking that exactly these bytes have the sha256.

    The bytes that were hashed are the bytes that are handed on, so a file that is exchanged
    between check and use cannot slip through.

    Raises:
        HashMismatch: the content has another hash.
        ModelError: the file cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read: {error.strerror or error}", "a readable weights file"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise HashMismatch(
            f"{path} has sha256 {found}",
            sha256,
            "The file is damaged or was exchanged; nothing opened it. Fetch or import it again.",
        )
    return content


@contextmanager
def new_file(target: Path) -> Iterator[BinaryIO]:
    """Opens a file that appears under its final name only when it is complete and on the disk.

    The content goes to a temporary name in the same folder, is fsynced and renamed over the
    target; after an error nothing of it remains.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(target.parent)


def place(source: Path, target: Path, sha256: str) -> None:
    """Copies a file to its final name; what is written is hashed on the way.

    Raises:
        HashMismatch: the source is not the file with this sha256; the target is untouched.
    """
    digest = hashlib.sha256()
    with source.open("rb") as come, new_file(target) as file:
        while block := come.read(_BLOCK_BYTES):
            digest.update(block)
            file.write(block)
        if digest.hexdigest() != sha256:
            raise HashMismatch(
                f"{source} has sha256 {digest.hexdigest()}",
                sha256,
                "The file changed while it was read, or is damaged; nothing opened it.",
            )


def move_in(made: Path, target: Path) -> None:
    """Gives a finished file of the same file system its final name."""
    made.chmod(0o644)
    made.replace(target)
    _sync_folder(target.parent)


def free_bytes(folder: Path) -> int:
    """Returns how many bytes the disk of a folder (or of its nearest existing parent) has left."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


@contextmanager
def locked(path: Path, timeout_s: float = 3600.0) -> Iterator[None]:
    """Holds an exclusive lock between processes and threads; the lock file stays where it is.

    Raises:
        ModelError: somebody else held the lock for longer than ``timeout_s``.
    """
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    end_s = time.monotonic() + timeout_s
    with path.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end_s:
                    raise ModelError(
                        f"another process has held {path} for {timeout_s:.0f} s",
                        "it to finish fetching or importing the same model",
                        "Wait for it or end it, then try again.",
                    ) from None
                time.sleep(0.05)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
