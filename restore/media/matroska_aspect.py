"""Sets the display size in a finished Matroska file, in place.

The binding to FFmpeg cannot reach the field that its Matroska muxer takes the sample aspect ratio
from, so the file says "unknown unit" (RFC 9559, 5.1.4.1.28.12) in its place. Codecs without a ratio
of their own (FFV1, ProRes, DNxHR) would lose it. The muxer also leaves a Void element behind the
video settings; the two display elements take the room of both, and nothing else moves.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import gcd
from pathlib import Path
from typing import BinaryIO

__all__ = ["display_size", "find_top_level", "set_display_size"]

_SEGMENT, _TRACKS, _ENTRY, _VIDEO = 0x18538067, 0x1654AE6B, 0xAE, 0xE0
_CLUSTER, _CRC, _VOID, _NUMBER = 0x1F43B675, 0xBF, 0xEC, 0xD7
_UNIT, _WIDTH, _HEIGHT = 0x54B2, 0x54B0, 0x54BA
_HEAD_BYTES = 1 << 20


@dataclass(frozen=True)
class _Element:
    """An EBML element (RFC 8794): where it, its content and its end are in the file."""

    key: int
    start: int
    content: int
    stop: int


def _number(data: bytes, at: int, *, marked: bool) -> tuple[int, int]:
    """A variable-size number and its length in bytes; ``marked`` keeps the length marker."""
    length = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + length], "big")
    return (value if marked else value & ((1 << (7 * length)) - 1)), length


def _children(data: bytes, start: int, stop: int) -> Iterator[_Element]:
    at = start
    while at < min(stop, len(data) - 12):
        key, key_bytes = _number(data, at, marked=True)
        size, size_bytes = _number(data, at + key_bytes, marked=False)
        content = at + key_bytes + size_bytes
        yield _Element(key, at, content, content + size)
        at = content + size


def _find(data: bytes, parent: _Element, key: int) -> _Element | None:
    for child in _children(data, parent.content, parent.stop):
        if child.key == key:
            return child
        if child.key == _CLUSTER:
            break
    return None


def find_top_level(file: BinaryIO, key: int) -> tuple[int, int] | None:
    """Where the content of an element before the first cluster begins and ends, by its ID."""
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    segment = next((e for e in _children(head, 0, len(head)) if e.key == _SEGMENT), None)
    found = _find(head, segment, key) if segment else None
    if found is None or found.stop > len(head):
        return None
    return found.content, found.stop


def _short(key: int, value: int) -> bytes:
    return key.to_bytes(2, "big") + b"\x82" + value.to_bytes(2, "big")


def _void(length: int) -> bytes:
    """A Void element of exactly that many bytes, at least 2."""
    return b"\xec" + bytes([0x80 | (length - 2)]) + bytes(length - 2)


def display_size(width_px: int, height_px: int, sar: Fraction) -> tuple[int, int]:
    """Display width and height whose ratio is exact, near the picture's own size.

    Matroska counts display size in whole pixels; rounding 720 x 10/11 to 655 would change the
    ratio, so the pair is a multiple of the reduced ratio where that fits two bytes.
    """
    wide, high = width_px * sar.numerator, height_px * sar.denominator
    common = gcd(wide, high)
    wide, high = wide // common, high // common
    times = max(1, round(height_px / high))
    while times > 1 and max(wide, high) * times > 0xFFFF:
        times -= 1
    if max(wide, high) * times <= 0xFFFF:
        return wide * times, high * times
    return min(max(round(width_px * sar), 1), 0xFFFF), min(height_px, 0xFFFF)


def set_display_size(path: Path, width_px: int, height_px: int, sar: Fraction) -> bool:
    """Write the display size of the first track into a file made by FFmpeg's muxer.

    Args:
        path: a finished Matroska file.
        width_px: coded width.
        height_px: coded height.
        sar: sample aspect ratio.

    Returns:
        False where the file is not laid out as expected; it is unchanged then.
    """
    with path.open("r+b") as file:
        head = file.read(_HEAD_BYTES)
        segment = next((e for e in _children(head, 0, len(head)) if e.key == _SEGMENT), None)
        tracks = _find(head, segment, _TRACKS) if segment else None
        if tracks is None or tracks.stop > len(head):
            return False
        changed = _rewrite(head, tracks, *display_size(width_px, height_px, sar))
        if changed is None:
            return False
        file.seek(tracks.content)
        file.write(changed)
        file.flush()
        os.fsync(file.fileno())
    return True


def _rewrite(head: bytes, tracks: _Element, wide: int, high: int) -> bytes | None:
    """The content of Tracks with the display size in its first entry; its length is the same."""
    entry = _find(head, tracks, _ENTRY)
    video = _find(head, entry, _VIDEO) if entry else None
    void = _find(head, entry, _VOID) if entry else None
    if entry is None or video is None or void is None or void.start < video.stop:
        return None
    kept = b"".join(
        head[child.start : child.stop]
        for child in _children(head, video.content, video.stop)
        if child.key not in (_UNIT, _WIDTH, _HEIGHT)
    )
    settings = kept + _short(_WIDTH, wide) + _short(_HEIGHT, high)
    grown = len(settings) - (video.stop - video.content)
    left = (void.stop - void.start) - grown
    size_bytes = video.content - video.start - 1
    if left < 2 or left > 100 or len(settings) >= (1 << (7 * size_bytes)) - 1:
        return None
    marker = 1 << (7 * size_bytes)
    content = bytearray(head[tracks.content : video.start])
    content += head[video.start : video.start + 1]
    content += (marker | len(settings)).to_bytes(size_bytes, "big") + settings
    content += head[video.stop : void.start] + _void(left) + head[void.stop : tracks.stop]
    if content[0] == _CRC:  # ID, size 4, then the CRC-32 of what follows (RFC 8794, 11.3.1)
        content[2:6] = zlib.crc32(content[6:]).to_bytes(4, "little")
    return bytes(content)
