"""Starts decoding at a key frame instead of the first frame, only where that is provably the same.

Proof: the codec's key frames (or the kind of NAL unit at hand) reset all references; every packet
has a time of its own and none is hidden, so that the rank of a time is the number of its frame;
and the pictures that come out, from the key frame to the start of the range, are exactly those.
Anything else falls back to decoding from the first frame.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from restore.media.container_in import Damage, Decoded, decode_packets, whole_packets
from restore.media.native_log import NativeLog
from restore.media.scan import Scan, only

__all__ = ["pictures_from"]

# Codecs whose key frames refer to nothing before them. H.264 and HEVC are looked at more closely:
# their containers also mark recovery points and pictures that are merely intra coded.
_CLEAN_KEYS = frozenset(
    {
        "cfhd", "dnxhd", "dvvideo", "ffv1", "ffvhuff", "huffyuv", "jpeg2000", "magicyuv", "mjpeg",
        "mpeg1video", "mpeg2video", "png", "prores", "rawvideo", "utvideo", "v210", "v410",
    }
)  # fmt: skip
_WORTH_FRAMES = 24
_H264_IDR = 5
_HEVC_RANDOM_ACCESS = range(16, 22)


def _nal_units(data: bytes, extradata: bytes | None) -> Iterator[bytes]:
    """NAL units of an access unit, length-prefixed (mp4, mkv) or with start codes (ts)."""
    if extradata and extradata[0] == 1:
        position = 0
        while position + 4 < len(data):
            size = int.from_bytes(data[position : position + 4], "big")
            yield data[position + 4 : position + 6]
            position += 4 + size
        return
    position = data.find(b"\0\0\1")
    while position >= 0:
        yield data[position + 3 : position + 5]
        position = data.find(b"\0\0\1", position + 3)


def _prefix_is_4_bytes(codec: str, extradata: bytes | None) -> bool:
    if not extradata or extradata[0] != 1:
        return True
    offset = 4 if codec == "h264" else 21
    return len(extradata) > offset and extradata[offset] & 3 == 3


def _resets(packet: Packet[Any], codec: str, extradata: bytes | None) -> bool:
    """Whether nothing shown at or after this key frame refers to anything before it."""
    if not packet.is_keyframe:
        return False
    if codec in _CLEAN_KEYS:
        return True
    if codec not in ("h264", "hevc") or not _prefix_is_4_bytes(codec, extradata):
        return False
    for unit in _nal_units(bytes(packet), extradata):
        if not unit:
            return False
        if codec == "h264" and 1 <= unit[0] & 31 <= 5:
            return unit[0] & 31 == _H264_IDR
        if codec == "hevc" and (unit[0] >> 1) & 63 < 32:
            return (unit[0] >> 1) & 63 in _HEVC_RANDOM_ACCESS
    return False


def _verified(
    pictures: Iterator[Decoded], times: list[int], key: int, start: int
) -> Decoded | None:
    """Decode to frame ``start``; None as soon as a picture is not the one expected."""
    rank = bisect_left(times, key)
    for picture in pictures:
        pts = picture.frame.pts
        if pts is None or picture.is_damaged:
            return None
        if pts < key:  # leading pictures of an open group refer to what was left out
            continue
        if rank >= len(times) or pts != times[rank]:
            return None
        if rank == start:
            return picture
        rank += 1
    return None


def pictures_from(
    container: InputContainer,
    stream: VideoStream,
    scan: Scan,
    start: int,
    log: NativeLog,
    beat: Callable[[], None],
) -> Iterator[Decoded] | None:
    """Frames from number ``start`` on, without decoding what comes long before it.

    Args:
        container: freshly opened.
        stream: its video stream, decoder not yet open.
        scan: its packets.
        start: first frame wanted.
        log: where FFmpeg's complaints are found.
        beat: called now and then as a sign of life.

    Returns:
        None where it cannot be proved to be the same; the container is then of no more use.
    """
    times = scan.sorted_pts()
    if scan.hidden or scan.problem or scan.damaged or len(times) != scan.packets:
        return None
    if start >= len(times):
        return None
    keys = sorted(scan.keys)
    place = bisect_right(keys, times[start])
    if place == 0 or bisect_left(times, keys[place - 1]) < _WORTH_FRAMES:
        return None
    key = keys[place - 1]
    only(container, stream)
    codec = stream.codec_context.codec.canonical_name
    try:
        container.seek(key, stream=stream, backward=True)
        packets = whole_packets(container.demux(stream))
        first = next(packets, None)
        if first is None or first.pts is None or first.pts > times[start]:
            return None
        if not _resets(first, codec, stream.codec_context.extradata):
            return None
        rest = decode_packets(chain([first], packets), stream.codec_context, log, beat, 0)
        found = _verified(rest, times, first.pts, start)
    except (av.FFmpegError, Damage):
        return None
    return None if found is None else chain([found], rest)
