"""Fetches a file of known length over https, going on where an earlier attempt stopped.

Nothing here judges the content: the caller checks the sha256 before anything opens the file.
"""

from __future__ import annotations

import http.client
import ipaddress
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from http.cookiejar import CookieJar
from pathlib import Path
from typing import IO, Any, Literal
from urllib.parse import urlsplit

from restore.errors import ModelNotFound
from restore.models.drive import (
    DRIVE_ORIGIN,
    confirm_address,
    direct_address,
    file_id,
    is_folder,
)

__all__ = ["Downloader", "Phase", "Report", "check_address"]

Phase = Literal["mirror", "download", "verify", "convert", "done"]

_BLOCK_BYTES = 1 << 16
_PAGE_BYTES = 1 << 20


@dataclass(frozen=True)
class Report:
    """How far a pull has come.

    Attributes:
        name: the model's name.
        phase: what is going on.
        done_bytes: bytes of the file that are here (or hashed).
        total_bytes: its length.
    """

    name: str
    phase: Phase
    done_bytes: int
    total_bytes: int


class _CutOff(Exception):
    """The connection ended before the file did; trying again may help."""


def check_address(url: str) -> None:
    """Lets only https through, and http to this very machine.

    Raises:
        ModelNotFound: any other address.
    """
    parts = urlsplit(url)
    if parts.hostname and (
        parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname))
    ):
        return
    raise ModelNotFound(f"the address {url} is not fetched", "an https address")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects (release files have one or two) to addresses that pass the same check."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Any,  # noqa: ANN401
        newurl: str,
    ) -> urllib.request.Request | None:
        try:
            check_address(newurl)
        except ModelNotFound:
            fp.close()
            raise
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        wanted = req.get_header("Range")
        if request is not None and wanted:
            request.add_header("Range", wanted)
        return request


@dataclass(frozen=True)
class Downloader:
    """How files are fetched.

    Attributes:
        timeout_s: longest wait for a connection or for the next bytes.
        attempts: how often a transfer that breaks off is taken up again without progress.
        pause_s: wait before the first new attempt; doubles each time.
        drive_origin: scheme and host of Google Drive.
    """

    timeout_s: float = 30.0
    attempts: int = 5
    pause_s: float = 0.5
    drive_origin: str = DRIVE_ORIGIN
    cookies: CookieJar = field(default_factory=CookieJar, repr=False, compare=False)

    def fetch(self, url: str, part: Path, total_bytes: int, report: Callable[[int], None]) -> None:
        """Fetches a file into ``part`` until it has ``total_bytes``.

        Bytes that are already in ``part`` are kept and the rest is asked for by an HTTP range
        request. Never more than ``total_bytes`` are written.

        Args:
            url: https address, or a Google Drive share link.
            part: the growing file; kept when the transfer breaks off.
            total_bytes: length of the whole file.
            report: called with the number of bytes that are here.

        Raises:
            ModelNotFound: the address is refused, or delivers something else or nothing.
        """
        check_address(url)
        if is_folder(url):
            raise ModelNotFound(f"{url} is a folder on Google Drive, not a file")
        identity = file_id(url, self.drive_origin)
        address = direct_address(identity, self.drive_origin) if identity else url
        part.parent.mkdir(parents=True, exist_ok=True)
        if _length(part) > total_bytes:
            part.unlink()
        left, pause_s = self.attempts, self.pause_s
        while True:
            before = _length(part)
            if before == total_bytes:
                return
            try:
                question = self._take(address, part, total_bytes, report, drive=bool(identity))
                if question is None:
                    return
                address = question
                continue
            except (_CutOff, urllib.error.URLError, http.client.HTTPException, OSError) as error:
                if isinstance(error, urllib.error.HTTPError):
                    error.close()
                _raise_if_final(error, url)
                left = self.attempts if _length(part) > before else left
                left -= 1
                if left <= 0:
                    raise ModelNotFound(
                        f"{url} could not be fetched: {_reason(error)}", "a working network"
                    ) from error
                time.sleep(pause_s)
                pause_s = min(pause_s * 2, 10.0)

    def _take(
        self,
        address: str,
        part: Path,
        total_bytes: int,
        report: Callable[[int], None],
        *,
        drive: bool,
    ) -> str | None:
        """Transfers what is missing; returns another address where a page asks a question."""
        have = _length(part)
        request = urllib.request.Request(address, headers={"Accept-Encoding": "identity"})  # noqa: S310
        request.add_header("User-Agent", "restore-film")
        if have:
            request.add_header("Range", f"bytes={have}-")
        with self._opener(address).open(request, timeout=self.timeout_s) as answer:
            kind = answer.headers.get_content_type()
            if kind == "text/html":
                if not drive:
                    raise ModelNotFound(f"{address} answered with a web page, not with the file")
                page = answer.read(_PAGE_BYTES).decode("utf-8", "replace")
                following = confirm_address(page, answer.url, self.drive_origin)
                if following == address:
                    raise ModelNotFound(f"Google Drive keeps asking the same question: {address}")
                return following
            start = _start_of(answer.status, answer.headers, have, total_bytes, address)
            with part.open("r+b" if part.exists() else "wb") as file:
                file.truncate(start)
                file.seek(start)
                _pour(answer, file, start, total_bytes, report)
        return None

    def _opener(self, address: str) -> urllib.request.OpenerDirector:
        handlers: list[urllib.request.BaseHandler] = [
            _CheckedRedirects(),
            urllib.request.HTTPCookieProcessor(self.cookies),
        ]
        if _is_loopback(urlsplit(address).hostname or ""):
            handlers.append(urllib.request.ProxyHandler({}))
        return urllib.request.build_opener(*handlers)


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _start_of(status: int, headers: Message, have: int, total_bytes: int, address: str) -> int:
    """Returns at which byte the answer's body begins, after checking that lengths fit."""
    if status == http.client.PARTIAL_CONTENT:
        given = headers.get("Content-Range", "")
        if given not in (f"bytes {have}-{total_bytes - 1}/{total_bytes}",):
            raise ModelNotFound(
                f"{address} answered with the range {given!r}",
                f"bytes {have}-{total_bytes - 1}/{total_bytes}",
                "The file there is not the one of the catalogue.",
            )
        return have
    stated = headers.get("Content-Length", "")
    if stated.isdigit() and int(stated) != total_bytes:
        raise ModelNotFound(
            f"the file at {address} is {stated} bytes long",
            f"{total_bytes} bytes",
            "The file there is not the one of the catalogue.",
        )
    return 0


def _pour(
    answer: IO[bytes], file: IO[bytes], start: int, total_bytes: int, report: Callable[[int], None]
) -> None:
    """Writes the body to the file, never past ``total_bytes``."""
    done = start
    try:
        while block := answer.read(min(_BLOCK_BYTES, total_bytes - done + 1)):
            if done + len(block) > total_bytes:
                raise ModelNotFound(
                    f"more than {total_bytes} bytes came", "a file of just that length"
                )
            file.write(block)
            done += len(block)
            report(done)
    except http.client.IncompleteRead as error:
        file.write(error.partial[: total_bytes - done])
        raise _CutOff(f"the connection ended after {done} of {total_bytes} bytes") from error
    finally:
        file.flush()
        os.fsync(file.fileno())
    if done < total_bytes:
        raise _CutOff(f"the connection ended after {done} of {total_bytes} bytes")


def _raise_if_final(error: Exception, url: str) -> None:
    """Raises at once what trying again will not change."""
    if isinstance(error, urllib.error.HTTPError):
        if error.code in (408, 416, 425, 429) or error.code >= 500:
            return
        raise ModelNotFound(f"{url} answered {error.code} {error.reason}") from error
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME:
        raise ModelNotFound(
            f"the host of {url} is not found: there is no network here, or no name service",
            "a working network",
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"{error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__
