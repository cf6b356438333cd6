"""One pass over the packets of a file: times, key frames, and whether it can be read to the end."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

import av
from av.container import InputContainer
from av.stream import Discard
from av.video.stream import VideoStream

__all__ = ["Scan", "only", "pick_video", "scan_packets"]

_ATTACHED_PICTURE = 0x400
_DEFAULT = 0x1


@dataclass
class Scan:
    """What a pass over the video packets showed.

    Attributes:
        packets: packets that are to be shown.
        pts: their presentation times in stream units, in file order, where they have one.
        keys: presentation times of the key frames among them.
        hidden: packets that the container marks as not to be shown (edit lists).
        damaged: packets that the demuxer marks as damaged.
        problem: why reading stopped early; empty where the end was reached.
        cut_off: the limit of frames was reached.
    """

    packets: int = 0
    pts: array[int] = field(default_factory=lambda: array("q"))
    keys: array[int] = field(default_factory=lambda: array("q"))
    hidden: int = 0
    damaged: int = 0
    problem: str = ""
    cut_off: bool = False

    def sorted_pts(self) -> list[int]:
        """Presentation times in order, each once."""
        return sorted(set(self.pts))


def pick_video(container: InputContainer) -> VideoStream | None:
    """The moving picture of a file: no cover art, default before others, then the largest."""
    videos = [s for s in container.streams.video if not int(s.disposition) & _ATTACHED_PICTURE]

    def rank(stream: VideoStream) -> tuple[bool, int, int]:
        context = stream.codec_context
        area = context.width * context.height if context is not None else 0
        return bool(int(stream.disposition) & _DEFAULT), area, -stream.index

    return max(videos, key=rank, default=None)


def only(container: InputContainer, stream: VideoStream) -> None:
    """Tell the demuxer to skip every other stream."""
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all


def scan_packets(
    container: InputContainer, stream: VideoStream, beat: Callable[[], None], max_frames: int
) -> Scan:
    """Read all packets of a stream without decoding.

    Args:
        container: freshly opened.
        stream: the video stream in it.
        beat: called now and then as a sign of life.
        max_frames: stop after that many packets.
    """
    scan = Scan()
    only(container, stream)
    try:
        for packet in container.demux(stream):
            beat()
            if packet.size == 0:
                continue
            if scan.packets >= max_frames:
                scan.cut_off = True
                break
            scan.damaged += packet.is_corrupt
            if packet.is_discard:
                scan.hidden += 1
                continue
            scan.packets += 1
            if packet.pts is not None:
                scan.pts.append(packet.pts)
                if packet.is_keyframe:
                    scan.keys.append(packet.pts)
    except av.FFmpegError as problem:
        scan.problem = problem.strerror or str(problem)
    return scan
