"""Files on this side: parts of what goes up, and a whole file or none of what comes down."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from restore_client.v1 import transfer_pb2

__all__ = ["Arriving", "file_sha256", "parts"]

PART_BYTES = 1 << 20


def file_sha256(path: Path) -> str:
    """Hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parts(path: Path, name: str, offset: int) -> Iterator[transfer_pb2.WriteUploadRequest]:
    """A file from an offset on, in parts with their hashes."""
    with path.open("rb") as file:
        file.seek(offset)
        first = True
        while data := file.read(PART_BYTES):
            yield transfer_pb2.WriteUploadRequest(
                name=name if first else "",
                offset=offset,
                data=data,
                sha256=hashlib.sha256(data).digest(),
            )
            offset += len(data)
            first = False


class Arriving:
    """A file on its way here: beside its name until it is whole and has the right hash.

    Args:
        path: its name.
        sha256: of the whole.
    """

    def __init__(self, path: Path, sha256: str) -> None:
        self._path, self._sha256 = path, sha256
        self._part = path.with_name(f".{path.name}.{sha256[:16]}.part")
        self._file = self._part.open("ab")

    @property
    def offset(self) -> int:
        """Bytes that are here, from earlier tries too."""
        return self._file.tell()

    def add(self, offset: int, data: bytes) -> None:
        """Add what comes next."""
        if offset != self.offset:
            raise ValueError(f"bytes at {offset} came, expected {self.offset}")
        self._file.write(data)

    def finish(self) -> None:
        """Give the file its name.

        Raises:
            ValueError: it is not what the server said; what is here is removed.
        """
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        found = file_sha256(self._part)
        if found != self._sha256:
            self._part.unlink()
            raise ValueError(f"{self._path.name} came with sha256 {found}, not {self._sha256}")
        self._part.replace(self._path)

    def close(self) -> None:
        """Keep what is here for the next try."""
        self._file.close()
