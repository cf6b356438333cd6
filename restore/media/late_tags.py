"""Fills in a tag of a finished Matroska or QuickTime file, in the room that was kept for it.

Both containers have their tags before the last frame is known. What is measured on the way gets a
place holder of fixed length there; the text that replaces it is filled up with spaces, so that no
byte moves.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Final

from restore.media.matroska_aspect import find_top_level
from restore.media.mp4_tags import last_movie

__all__ = ["ROOM_BYTES", "fill_tag", "place_holder"]

ROOM_BYTES: Final = 8192
_TAGS: Final = 0x1254C367
_CRC: Final = 0xBF


def place_holder(name: str) -> str:
    """What stands in a tag until it is filled in: :data:`ROOM_BYTES` ASCII characters."""
    return f"{name}: not filled in, the file was not completed".ljust(ROOM_BYTES)


def fill_tag(path: Path, muxer: str, name: str, value: str) -> bool:
    """Replace a tag's place holder.

    Args:
        path: a finished file made by FFmpeg's muxer.
        muxer: ``matroska`` or ``mov``.
        name: of the tag.
        value: what it shall say.

    Returns:
        False where it does not fit, or the file is not laid out as expected; it is unchanged then.
    """
    told = value.encode()
    if len(told) > ROOM_BYTES:
        return False
    with path.open("r+b") as file:
        if muxer == "matroska":
            found = find_top_level(file, _TAGS)
        else:
            end = file.seek(0, os.SEEK_END)
            start = last_movie(file, end)
            found = None if start is None else (start + 8, end)
        if found is None:
            return False
        start, stop = found
        file.seek(start)
        content = bytearray(file.read(stop - start))
        room = place_holder(name).encode()
        at = content.find(room)
        if at < 0:
            return False
        content[at : at + ROOM_BYTES] = told.ljust(ROOM_BYTES)
        if muxer == "matroska" and content[0] == _CRC:  # as in matroska_aspect
            content[2:6] = zlib.crc32(content[6:]).to_bytes(4, "little")
        file.seek(start)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return True
