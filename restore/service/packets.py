"""Live streams of encoded packets: pieces into packets, packets into frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from restore.errors import InvalidInput
from restore.frames import RawFrame
from restore.media.packets_in import CodedPacket, PacketDecoder
from restore.service.live_spec import Prepared
from restore.service.pieces import PIECE_BYTES
from restore.service.v1 import restoration_pb2 as pb

__all__ = ["decoded", "packets_of"]

# The worst that a lossless intra coder makes of noise is little more than the samples themselves;
# a small picture still has headers.
_SPARE_BYTES = 1 << 16
# Messages to the decode child are at most 64 MiB, of which text makes four bytes of three.
_MOST_BYTES = 44 << 20


def packets_of(
    requests: Iterable[pb.RestoreRequest], frame_bytes: int, most_packets: int
) -> Iterator[CodedPacket]:
    """Packets from their pieces, as they come. At most one packet is held.

    Args:
        requests: everything after the spec.
        frame_bytes: of a decoded frame; a packet may have twice as many.
        most_packets: after so many the stream is refused.

    Raises:
        InvalidInput: pieces out of order, empty, too large, a packet that the stream ends in, or a
            first one that is no key frame.
    """
    most_bytes = min(2 * frame_bytes + _SPARE_BYTES, _MOST_BYTES)
    held, first, number = bytearray(), pb.PacketPiece(), 0
    for request in requests:
        kind = request.WhichOneof("message")
        if kind != "packet":
            raise InvalidInput(f"a message {kind!r} in a stream of packets", "pieces of packets")
        piece = request.packet
        if piece.index != number or piece.offset != len(held) or not piece.data:
            raise InvalidInput(
                f"{len(piece.data)} bytes of packet {piece.index} at {piece.offset}",
                f"packet {number} at {len(held)}: whole packets in order",
            )
        if len(piece.data) > PIECE_BYTES or len(held) + len(piece.data) > most_bytes:
            raise InvalidInput(
                f"a packet of {len(held) + len(piece.data)} bytes or more",
                f"at most {most_bytes}, in pieces of {PIECE_BYTES}",
            )
        if not held:
            first = piece
            if not number and not piece.is_key:
                raise InvalidInput("a first packet that is no key frame", "one that begins there")
            if number >= most_packets:
                raise InvalidInput(f"packet {number}", f"at most {most_packets} in a stream")
        held += piece.data
        if piece.is_last:
            dts = first.dts if first.HasField("dts") else None
            yield CodedPacket(bytes(held), first.pts, dts, max(0, first.duration), first.is_key)
            held, number = bytearray(), number + 1
    if held:
        raise InvalidInput(f"a stream that ends in packet {number} after {len(held)} bytes")


def decoded(
    requests: Iterable[pb.RestoreRequest],
    stream: Prepared,
    decoder: PacketDecoder,
    most_frames: int,
) -> Iterator[RawFrame]:
    """Frames in presentation order; packets are taken only as they are needed for the next one.

    Raises:
        InvalidInput: pieces that make no packets, times that do not rise, too many frames.
        MediaError: packets that cannot be decoded within the limits.
    """
    last_pts: int | None = None
    shape = stream.shape
    packets = packets_of(requests, shape.nbytes, most_frames)
    for index, picture in enumerate(decoder.pictures(packets)):
        if last_pts is not None and picture.pts <= last_pts:
            raise InvalidInput(f"time {picture.pts} after {last_pts}", "rising times")
        if index >= most_frames:
            raise InvalidInput(f"frame {index}", f"at most {most_frames} frames in a stream")
        last_pts = picture.pts
        yield RawFrame(
            planes=picture.planes,
            format=shape.format,
            width_px=shape.width_px,
            height_px=shape.height_px,
            pts=picture.pts,
            time_base=stream.time_base,
            color=stream.color,
            index=index,
            duration=picture.duration or None,
        )
