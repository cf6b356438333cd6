"""Adds tags to a finished MP4 file that FFmpeg's muxer has no field for.

The muxer writes either the tags that players know (iTunes style) or keys of any name that few
players show, and in the second case drops cover art. Here it writes the first, and every other key
is appended beside them as a freeform atom (``----`` with mean, name and data), which FFmpeg and
common tag editors read. Only the movie box changes; it is the file's last, so no sample moves.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

__all__ = ["append_tags", "last_movie"]

_MEAN = b"com.apple.iTunes"
_UTF8 = 1


@dataclass(frozen=True)
class _Box:
    kind: bytes
    content: bytes


def _box(kind: bytes, content: bytes) -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def _split(content: bytes) -> Iterator[_Box]:
    at = 0
    while at + 8 <= len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        if size < 8 or at + size > len(content):
            return
        yield _Box(content[at + 4 : at + 8], content[at + 8 : at + size])
        at += size


def _freeform(key: str, value: str) -> bytes:
    flags = bytes(4)
    return _box(
        b"----",
        _box(b"mean", flags + _MEAN)
        + _box(b"name", flags + key.encode())
        + _box(b"data", _UTF8.to_bytes(4, "big") + bytes(4) + value.encode()),
    )


def _with_tags(movie: bytes, tags: Mapping[str, str]) -> bytes | None:
    """The movie box's content with the tags in moov/udta/meta/ilst, made where they are missing."""
    boxes = list(_split(movie))
    if sum(8 + len(box.content) for box in boxes) != len(movie):
        return None
    user = next((box for box in boxes if box.kind == b"udta"), _Box(b"udta", b""))
    metas = list(_split(user.content))
    meta = next((box for box in metas if box.kind == b"meta"), None)
    if meta is None:
        handler = _box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
        meta = _Box(b"meta", bytes(4) + handler + _box(b"ilst", b""))
        metas.append(meta)
    parts = list(_split(meta.content[4:]))
    added = b"".join(_freeform(key, value) for key, value in tags.items())
    inner = meta.content[:4]
    for part in parts:
        extra = added if part.kind == b"ilst" else b""
        inner += _box(part.kind, part.content + extra)
    user_content = b"".join(_box(box.kind, inner if box is meta else box.content) for box in metas)
    kept = b"".join(_box(box.kind, box.content) for box in boxes if box.kind != b"udta")
    return kept + _box(b"udta", user_content)


def last_movie(file: BinaryIO, end: int) -> int | None:
    """Where the movie box begins, if it is the last in the file and of 32-bit size."""
    at = 0
    while at + 8 <= end:
        file.seek(at)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        elif head[4:8] == b"moov" and at + size == end:
            return at
        if size < 8:
            return None
        at += size
    return None


def append_tags(path: Path, tags: Mapping[str, str]) -> bool:
    """Add tags to an MP4 file that FFmpeg's muxer has just written.

    Args:
        path: the file; its movie box comes last.
        tags: keys of any name, and values.

    Returns:
        False where the file is not laid out as expected; it is unchanged then.
    """
    if not tags:
        return True
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        start = last_movie(file, end)
        if start is None:
            return False
        file.seek(start + 8)
        movie = _with_tags(file.read(end - start - 8), tags)
        if movie is None or len(movie) + 8 >= 1 << 32:
            return False
        file.seek(start)
        file.write(_box(b"moov", movie))
    return True
