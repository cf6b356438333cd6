"""Messages between the program and its decode children: length-prefixed JSON, with descriptors.

JSON on purpose: what a child says is not trusted, so nothing that builds objects is read from it.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["Channel", "ChannelClosed", "Garbled", "Message"]

Message = dict[str, Any]

_HEAD = struct.Struct("<I")
_MAX_MESSAGE_BYTES = 64 * 2**20
_MAX_FDS = 4


class ChannelClosed(Exception):
    """The other end is gone."""


class Garbled(ChannelClosed):
    """The other end broke the protocol."""


class Channel:
    """One end of a Unix stream socket that carries JSON objects and file descriptors.

    Args:
        sock: a connected ``AF_UNIX``, ``SOCK_STREAM`` socket; the channel owns it from here on.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def fileno(self) -> int:
        """Descriptor of the socket."""
        return self._sock.fileno()

    def send(self, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
        """Send one message; blocks while the other end does not read.

        Raises:
            ChannelClosed: the other end is gone.
        """
        body = json.dumps(message, separators=(",", ":")).encode()
        data = _HEAD.pack(len(body)) + body
        try:
            if fds:
                sent = socket.send_fds(self._sock, [data], list(fds))
                data = data[sent:]
            self._sock.sendall(data)
        except OSError as problem:
            raise ChannelClosed(str(problem)) from problem

    def recv(self, timeout_s: float | None = None) -> tuple[Message, list[int]]:
        """Receive one message.

        Args:
            timeout_s: longest silence accepted between two reads; None waits for ever.

        Returns:
            The message and the descriptors that came with it (the caller closes them).

        Raises:
            ChannelClosed: the other end is gone.
            Garbled: it broke the protocol.
            TimeoutError: silence.
        """
        fds: list[int] = []
        head = self._read(_HEAD.size, timeout_s, fds)
        size = _HEAD.unpack(head)[0]
        if size > _MAX_MESSAGE_BYTES:
            raise Garbled(f"message of {size} bytes")
        try:
            message = json.loads(self._read(size, timeout_s, fds))
        except ValueError as problem:
            raise Garbled(f"malformed message: {problem}") from problem
        if not isinstance(message, dict):
            raise Garbled("malformed message")
        return message, fds

    def _read(self, size: int, timeout_s: float | None, fds: list[int]) -> bytes:
        self._sock.settimeout(timeout_s)
        parts: list[bytes] = []
        try:
            while size:
                data, new_fds, _, _ = socket.recv_fds(self._sock, min(size, 1 << 20), _MAX_FDS)
                fds += new_fds
                if not data:
                    raise ChannelClosed("closed")
                parts.append(data)
                size -= len(data)
        except TimeoutError:
            raise
        except OSError as problem:
            raise ChannelClosed(str(problem)) from problem
        finally:
            self._sock.settimeout(None)
        return b"".join(parts)

    def close(self) -> None:
        """Close the socket; harmless when closed before."""
        self._sock.close()
