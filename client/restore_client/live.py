"""Live frames on the client's side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from restore_client.v1 import restoration_pb2 as pb

__all__ = ["Gathering", "LiveFrame", "LivePacket", "LiveStream", "Sent", "pieces_of"]

_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class LiveFrame:
    """A frame as bytes.

    Attributes:
        data: its planes one after the other, or packed, in the stream's pixel format.
        pts: presentation time in the stream's time base.
        duration: in the stream's time base; 0 where unknown.
        is_synthetic: made up between frames of the source.
    """

    data: bytes
    pts: int
    duration: int = 0
    is_synthetic: bool = False


@dataclass(frozen=True)
class LivePacket:
    """An encoded packet, for streams whose spec says ``packets``; in decoding order.

    Attributes:
        data: as a container holds it.
        pts: presentation time in the stream's time base.
        dts: decoding time; None where the order is all that is known.
        duration: in the stream's time base; 0 where unknown.
        is_key: decoding can begin here; the first packet must be one.
    """

    data: bytes
    pts: int
    dts: int | None = None
    duration: int = 0
    is_key: bool = False


Sent = LiveFrame | LivePacket
"""What a client sends: frames, or packets where its spec says so."""


@dataclass(frozen=True)
class LiveStream:
    """What comes back.

    Attributes:
        started: size, pixel format, colour, rate, time base and latency of the frames.
        frames: the frames, as they come; taking them drives the stream.
    """

    started: pb.LiveStarted
    frames: Iterator[LiveFrame]


def pieces_of(frames: Iterable[Sent]) -> Iterator[pb.RestoreRequest]:
    """Every frame or packet in pieces."""
    for index, one in enumerate(frames):
        for offset in range(0, len(one.data), _PIECE_BYTES):
            stop = offset + _PIECE_BYTES
            data, is_last = one.data[offset:stop], stop >= len(one.data)
            if isinstance(one, LivePacket):
                packet = pb.PacketPiece(
                    index=index,
                    pts=one.pts,
                    dts=one.dts,
                    duration=one.duration,
                    is_key=one.is_key,
                    offset=offset,
                    data=data,
                    is_last=is_last,
                )
                yield pb.RestoreRequest(packet=packet)
                continue
            piece = pb.FramePiece(
                index=index,
                pts=one.pts,
                offset=offset,
                data=data,
                is_last=is_last,
                duration=one.duration,
            )
            yield pb.RestoreRequest(piece=piece)


class Gathering:
    """Pieces into frames."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._pts = self._duration = 0

    def add(self, piece: pb.FramePiece) -> LiveFrame | None:
        """Take a piece; the frame that it ends, if it ends one."""
        if not self._held:
            self._pts, self._duration = piece.pts, piece.duration
        self._held += piece.data
        if not piece.is_last:
            return None
        frame = LiveFrame(bytes(self._held), self._pts, self._duration, piece.is_synthetic)
        self._held = bytearray()
        return frame
