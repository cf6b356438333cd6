"""Names of things on the server: opaque, never a path."""

from __future__ import annotations

import hashlib
import re

from restore.errors import InvalidInput

__all__ = ["job_name", "parse_name", "request_id", "upload_name"]

_ID = re.compile(r"[0-9a-f]{32}")


def request_id(principal: str, asked: str, place: int) -> str:
    """The id of the ``place``-th thing that a request makes: the same whenever it is sent again."""
    text = f"{len(principal)}:{principal}:{place}:{asked}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def job_name(job: str) -> str:
    """A job's name in the contract."""
    return f"jobs/{job}"


def upload_name(upload: str) -> str:
    """An upload's name in the contract."""
    return f"uploads/{upload}"


def parse_name(kind: str, name: str) -> str:
    """The id in a name such as ``jobs/{id}``.

    Args:
        kind: ``jobs`` or ``uploads``.
        name: as a client gave it.

    Raises:
        InvalidInput: anything else than the kind, a slash and an id.
    """
    before, _, found = name.partition("/")
    if before != kind or not _ID.fullmatch(found):
        raise InvalidInput(f"name {name[:80]!r}", f"{kind}/ and an id of 32 hexadecimal digits")
    return found
