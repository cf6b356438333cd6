"""Coded bytes as a packet that a decoder may read to the end, and a little beyond."""

from __future__ import annotations

from typing import Any

from av.packet import Packet

__all__ = ["padded_packet"]


def padded_packet(data: bytes | memoryview) -> Packet[Any]:
    """A packet that holds a copy.

    Decoders read up to 64 bytes beyond the end of a packet and count on zeros there
    (``AV_INPUT_BUFFER_PADDING_SIZE``). A packet made of Python's bytes lies where they lie, with
    whatever follows them, and now and then a picture is decoded otherwise for it; one that is made
    by its size has room of its own.

    Args:
        data: of one packet.
    """
    packet: Packet[Any] = Packet(len(data))
    packet.update(bytes(data))
    return packet
