"""Uploads on the disk: parts with hashes, an offset that survives a cut, a name nobody chose."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath

from restore.errors import DiskFull, HashMismatch, InvalidInput, JobError, JobNotFound
from restore.media.atomic import AtomicPath, fsync_path, output_errors
from restore.service.names import request_id
from restore.service.settings import ServiceSettings
from restore.service.status import QuotaExceeded

__all__ = ["PART_BYTES", "Upload", "Uploads"]

PART_BYTES = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ENDING = re.compile(r"\.[a-z0-9]{1,8}")


@dataclass(frozen=True)
class Upload:
    """A file on its way here, or here.

    Attributes:
        id: opaque.
        principal: whose it is.
        size_bytes: announced length.
        sha256: announced hash of the whole.
        ending: of the name that the client showed, such as ``.mkv``; empty where it had none.
        made_s: seconds since 1970.
        is_complete: all bytes are here, and are what was announced.
    """

    id: str
    principal: str
    size_bytes: int
    sha256: str
    ending: str
    made_s: float
    is_complete: bool = False


class Uploads:
    """All uploads of a server. Each has a folder with its facts and its bytes so far.

    Args:
        root: the folder.
        settings: limits.
    """

    def __init__(self, root: Path, settings: ServiceSettings) -> None:
        self._root = root
        self._settings = settings
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        with output_errors(str(root)):
            root.mkdir(parents=True, exist_ok=True)

    def create(
        self, principal: str, asked: str, size_bytes: int, sha256: str, shown_name: str
    ) -> Upload:
        """Announce an upload; the same request again gives the same upload.

        Raises:
            InvalidInput: no length, no hash, no request id, or too long.
            QuotaExceeded: the principal's uploads would take more than they may.
        """
        if not asked or len(asked) > 200:
            raise InvalidInput("a request id of no or over 200 characters", "1 to 200 characters")
        if not 0 < size_bytes <= self._settings.max_upload_bytes:
            raise InvalidInput(
                f"an upload of {size_bytes} bytes", f"1 to {self._settings.max_upload_bytes}"
            )
        if not _SHA256.fullmatch(sha256):
            raise InvalidInput(f"sha256 {sha256[:80]!r}", "64 hexadecimal digits, small letters")
        made = request_id(principal, asked, 0)
        with self._lock:
            if (self._root / made).is_dir():
                return self._same(self.get(made, principal), size_bytes, sha256)
            taken = sum(upload.size_bytes for upload in self.all(principal))
            if taken + size_bytes > self._settings.max_stored_bytes:
                raise QuotaExceeded(
                    f"{size_bytes} bytes beside {taken} that {principal!r} has here",
                    f"at most {self._settings.max_stored_bytes} together",
                    "Delete uploads that are not needed any more.",
                )
            ending = PurePath(shown_name[-64:].lower()).suffix
            ending = ending if _ENDING.fullmatch(ending) else ""
            upload = Upload(made, principal, size_bytes, sha256, ending, time.time())
            with output_errors("the upload"):
                (self._root / made).mkdir()
                self._bytes(made).touch()
            self._save(upload)
        return upload

    def _same(self, upload: Upload, size_bytes: int, sha256: str) -> Upload:
        if (upload.size_bytes, upload.sha256) != (size_bytes, sha256):
            raise InvalidInput(
                "a request id that was used for another upload", "one of its own for each file"
            )
        self._touch(upload)
        return upload

    def get(self, upload: str, principal: str) -> Upload:
        """An upload by its id.

        Raises:
            JobNotFound: there is none, or it is somebody else's.
        """
        try:
            found = Upload(**json.loads((self._root / upload / "facts.json").read_text()))
        except (OSError, ValueError, TypeError):
            found = None
        if found is None or found.principal != principal:
            raise JobNotFound(f"there is no upload {upload!r}")
        return found

    def all(self, principal: str | None = None) -> Iterator[Upload]:
        """Uploads of a principal, or everybody's."""
        for entry in sorted(self._root.iterdir()):
            try:
                upload = Upload(**json.loads((entry / "facts.json").read_text()))
            except (FileNotFoundError, NotADirectoryError):
                continue  # on its way in or out
            if principal is None or upload.principal == principal:
                yield upload

    def offset(self, upload: Upload) -> int:
        """Bytes that are here.

        Raises:
            JobNotFound: it was removed meanwhile.
        """
        return self._facts_of_file(upload).st_size

    def used(self, upload: Upload) -> tuple[float, int]:
        """When it was written to or asked for last, in seconds since 1970, and its bytes here."""
        try:
            facts = self._facts_of_file(upload)
        except JobNotFound:
            return time.time(), 0
        return facts.st_mtime, facts.st_size

    def _facts_of_file(self, upload: Upload) -> os.stat_result:
        try:
            return self._bytes(upload.id).stat()
        except FileNotFoundError:
            raise JobNotFound(f"there is no upload {upload.id!r} any more") from None

    def path(self, upload: Upload) -> Path:
        """The file, under a name of ours, for a job: from now on it counts as used today.

        Raises:
            InvalidInput: it is not complete yet.
            JobNotFound: it was removed meanwhile.
        """
        if not upload.is_complete:
            raise InvalidInput(
                f"upload {upload.id}, of which {self.offset(upload)} of {upload.size_bytes} bytes "
                "are here",
                "a finished one",
            )
        self._touch(upload)
        return self._bytes(upload.id)

    def _touch(self, upload: Upload) -> None:
        with self._only(upload.id):
            try:
                os.utime(self._bytes(upload.id))
            except FileNotFoundError:
                raise JobNotFound(f"there is no upload {upload.id!r} any more") from None

    def write(self, upload: Upload, offset: int, data: bytes, sha256: bytes) -> int:
        """Add a part where the last one ended.

        Returns:
            The new offset.

        Raises:
            InvalidInput: another offset than the upload's, no or too much data.
            HashMismatch: the part is not what its hash says; nothing of it is kept.
        """
        if not 0 < len(data) <= PART_BYTES:
            raise InvalidInput(f"a part of {len(data)} bytes", f"1 to {PART_BYTES}")
        if hashlib.sha256(data).digest() != sha256:
            raise HashMismatch(f"a part at {offset} with another hash", "the part's own sha256")
        with self._only(upload.id):
            here = self.offset(upload)
            if offset != here:
                raise InvalidInput(f"a part at {offset}", f"one at {here}, where the last ended")
            if here + len(data) > upload.size_bytes:
                raise InvalidInput(
                    f"{here + len(data)} bytes", f"{upload.size_bytes} as was announced"
                )
            with output_errors("the upload"), self._bytes(upload.id).open("r+b") as file:
                file.seek(offset)
                try:
                    file.write(data)
                    file.flush()
                except OSError:
                    file.truncate(offset)
                    raise
            return here + len(data)

    def flush(self, upload: Upload) -> Upload:
        """Bring what is here to the disk; hold it against its hash once it is whole.

        Raises:
            HashMismatch: the whole is not what was announced; it has to be sent again.
        """
        path = self._bytes(upload.id)
        with self._only(upload.id):
            with output_errors("the upload"):
                fsync_path(path)
            if upload.is_complete or self.offset(upload) < upload.size_bytes:
                return upload
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != upload.sha256:
                os.truncate(path, 0)
                raise HashMismatch(
                    f"an upload with sha256 {found}", upload.sha256, "Send it again from 0."
                )
            upload = replace(upload, is_complete=True)
            self._save(upload)
            return upload

    def delete(self, upload: Upload, *, unused_since_s: float | None = None) -> None:
        """Remove an upload and its bytes.

        Args:
            upload: which.
            unused_since_s: when it was used last, as the asker knows it; None for whenever.

        Raises:
            JobError: it was used since; it is left as it is.
        """
        folder = self._root / upload.id
        with self._only(upload.id), output_errors("the upload"):
            if unused_since_s is not None and self.used(upload)[0] != unused_since_s:
                raise JobError(f"upload {upload.id}, which was used since", "one that was not")
            # The facts first: killed in between, what is left is no upload any more.
            (folder / "facts.json").unlink(missing_ok=True)
            shutil.rmtree(folder)

    def tidy(self) -> int:
        """Remove folders without facts, which a kill left; how many there were.

        Call it while nothing else runs here.
        """
        lost = [entry for entry in self._root.iterdir() if not (entry / "facts.json").is_file()]
        for entry in lost:
            shutil.rmtree(entry, ignore_errors=True)
        return len(lost)

    def _bytes(self, upload: str) -> Path:
        return self._root / upload / "content"

    def _save(self, upload: Upload) -> None:
        file = AtomicPath(str(self._root / upload.id / "facts.json"), overwrite=True)
        try:
            with output_errors("the upload"), file.open() as out:
                out.write(json.dumps(asdict(upload)).encode())
        except DiskFull:
            file.discard()
            raise
        file.commit()

    def _only(self, upload: str) -> threading.Lock:
        # One step under the interpreter's own lock, so that both callers get the same.
        return self._locks.setdefault(upload, threading.Lock())
