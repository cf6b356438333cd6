"""Outputs that appear whole or not at all: temporary name, fsync, rename."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from restore.errors import DiskFull, OutputError, OutputExists

if sys.platform != "win32":  # there, leftovers of killed runs stay until deleted by hand
    import fcntl

__all__ = ["AtomicPath", "fsync_path", "move_into_place", "output_errors", "sized_tree"]

_WORDS = {
    errno.ENOSPC: ("the disk is full", "Free some space or write elsewhere."),
    errno.EDQUOT: ("the disk quota is used up", "Free some space or write elsewhere."),
    errno.EFBIG: (
        "the file grew beyond what the file system or a limit allows",
        "Write elsewhere, raise the limit, or deliver in a smaller format.",
    ),
    errno.EROFS: ("the file system is read-only", "Write elsewhere."),
    errno.EACCES: ("permission denied", "Write elsewhere or change the folder's permissions."),
    errno.EPERM: ("permission denied", "Write elsewhere or change the folder's permissions."),
    errno.ENOENT: ("the folder does not exist", "Create it first."),
    errno.ENOTDIR: ("a part of the path is no folder", "Check the path."),
    errno.EISDIR: ("the name belongs to a folder", "Give a file name."),
    errno.EPIPE: ("the reading end closed the pipe", "Check the command that reads it."),
    errno.ENAMETOOLONG: ("the name is too long", "Give a shorter name."),
}


@contextlib.contextmanager
def output_errors(destination: str) -> Iterator[None]:
    """Turn operating system errors into :class:`OutputError` that says what to do.

    Raises:
        OutputError: in place of any OSError from inside.
    """
    try:
        yield
    except OSError as error:
        what, fix = _WORDS.get(error.errno or 0, (os.strerror(error.errno or errno.EIO), ""))
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        kind = DiskFull if full else OutputError
        raise kind(f"could not write {destination}: {what}", fix=fix) from error


def fsync_path(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk."""
    flags = os.O_RDONLY if path.is_dir() or os.name != "nt" else os.O_RDWR
    try:
        handle = os.open(path, flags)
    except PermissionError:
        if path.is_dir():  # Windows cannot open folders; the rename is still atomic there
            return
        raise
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network and FUSE file systems cannot flush a folder; the data itself is flushed.
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP, errno.EBADF)):
            raise
    finally:
        os.close(handle)


def sized_tree(path: Path) -> int:
    """Bytes of a file, or of all files right inside a folder."""
    if path.is_dir():
        return sum(entry.stat().st_size for entry in path.iterdir())
    return path.stat().st_size


def _lock(handle: int) -> bool:
    """Take a lock without waiting; False where somebody alive holds it."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _exists(path: Path) -> OutputExists:
    return OutputExists(f"{path} exists", "a free name", "Give another name, or allow overwriting.")


def move_into_place(made: Path, final: Path, *, overwrite: bool) -> None:
    """Give a finished file its final name, in one step.

    Raises:
        OutputExists: the name is taken and ``overwrite`` is off.
        OSError: the file system refused.
    """
    if overwrite:
        made.replace(final)
        return
    try:
        os.link(made, final)  # unlike rename, fails where the name is taken
    except FileExistsError:
        raise _exists(final) from None
    except OSError:  # a file system without hard links
        if os.path.lexists(final):
            raise _exists(final) from None
        made.rename(final)
    else:
        made.unlink()


class AtomicPath:
    """A file or folder that is written under a temporary name beside its final one.

    The temporary name is held by an advisory lock, so that what a killed run left behind is
    recognised, and removed, by the next run with the same destination.

    Args:
        destination: final name.
        overwrite: replace what has that name.
        folder: make a folder, not a file.
        ours: pattern of the file names that a folder of ours holds; a folder with anything else in
            it is never replaced.

    Attributes:
        temporary: where to write. A file exists already, empty.

    Raises:
        OutputExists: the name is taken and ``overwrite`` is off.
        OutputError: the parent folder is missing or not writable.
    """

    def __init__(
        self,
        destination: str,
        *,
        overwrite: bool = False,
        folder: bool = False,
        ours: re.Pattern[str] | None = None,
    ) -> None:
        self.final = Path(destination)
        self._overwrite = overwrite
        self._folder = folder
        self._ours = ours
        self._done = False
        with output_errors(destination):
            self._check_final()
            self._remove_leftovers()
            name = f".{self.final.name[:180]}.{secrets.token_hex(4)}.part"
            self.temporary = self.final.parent / name
            if folder:
                self.temporary.mkdir()
                self._handle = os.open(self.temporary, os.O_RDONLY)
            else:
                self._handle = os.open(self.temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            _lock(self._handle)

    def _check_final(self) -> None:
        if not self.final.parent.is_dir():
            raise OutputError(
                f"could not write {self.final}: the folder {self.final.parent} does not exist",
                fix="Create it first.",
            )
        if not os.path.lexists(self.final):
            return
        if self.final.is_dir() and not self._folder:
            raise OutputError(f"{self.final} is a folder", "a file name", "Give a file name.")
        if self._folder and self.final.is_dir() and not any(self.final.iterdir()):
            return
        if not self._overwrite:
            raise _exists(self.final)
        if self._folder:
            self._check_folder()

    def _check_folder(self) -> None:
        """A folder is replaced only where every file in it looks like one of ours."""
        if not self.final.is_dir():
            raise OutputError(f"{self.final} is a file", "a folder", "Give another name.")
        for entry in self.final.iterdir():
            if self._ours is None or not self._ours.fullmatch(entry.name):
                raise OutputError(
                    f"{self.final} holds {entry.name!r}, which is no frame of a sequence",
                    "a folder of frames, or an empty or new one",
                    "Move it away, or give another folder.",
                )

    def _remove_leftovers(self) -> None:
        if sys.platform == "win32":
            return
        pattern = re.compile(re.escape(f".{self.final.name[:180]}.") + r"[0-9a-f]{8}\.part")
        for entry in self.final.parent.iterdir():
            if not pattern.fullmatch(entry.name) or entry.is_symlink():
                continue
            with contextlib.suppress(OSError):
                handle = os.open(entry, os.O_RDONLY)
                try:
                    if _lock(handle):
                        _remove(entry)
                finally:
                    os.close(handle)

    def open(self) -> IO[bytes]:
        """The temporary file, open for writing."""
        return self.temporary.open("r+b")

    def commit(self) -> None:
        """Flush everything and give it the final name.

        Raises:
            OutputExists: the name was taken meanwhile and ``overwrite`` is off.
            OutputError: the disk refused; the temporary output is gone.
        """
        if self._done:
            return
        try:
            with output_errors(str(self.final)):
                if self._folder:
                    for entry in self.temporary.iterdir():
                        fsync_path(entry)
                fsync_path(self.temporary)
                self._rename()
                fsync_path(self.final.parent)
        except BaseException:
            self.discard()
            raise
        self._done = True
        os.close(self._handle)

    def _rename(self) -> None:
        if self._folder:
            self._rename_folder()
        else:
            move_into_place(self.temporary, self.final, overwrite=self._overwrite)

    def _rename_folder(self) -> None:
        if self.final.is_dir() and any(self.final.iterdir()):
            if not self._overwrite:
                raise _exists(self.final)
            self._check_folder()
            old = self.temporary.with_suffix(".old")
            self.final.rename(old)
            self.temporary.rename(self.final)
            shutil.rmtree(old)
        else:
            if self.final.is_dir():
                self.final.rmdir()
            self.temporary.rename(self.final)

    def discard(self) -> None:
        """Remove the temporary output. Does nothing after ``commit``."""
        if self._done:
            return
        self._done = True
        with contextlib.suppress(OSError):
            _remove(self.temporary)
        os.close(self._handle)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
