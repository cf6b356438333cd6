"""How to reach a server: address, TLS, token."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import grpc

__all__ = ["Connection"]

_MESSAGE_BYTES = (1 << 20) + (64 << 10)
_OPTIONS = (
    ("grpc.max_receive_message_length", _MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
)


@dataclass(frozen=True)
class Connection:
    """A server's address and what proves who asks.

    Attributes:
        address: host:port.
        token: bearer token; needs TLS unless the server is on this machine.
        ca: PEM file of the authority of the server's certificate; TLS is used where it is given.
        certificate: PEM file of the client's own certificate (mTLS).
        key: PEM file of its key.
    """

    address: str
    token: str | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @property
    def is_local(self) -> bool:
        """Whether the server's address is one of this host."""
        if self.address.startswith("unix:"):
            return True
        host = self.address.rpartition(":")[0].strip("[]")
        try:
            return host == "localhost" or ip_address(host).is_loopback
        except ValueError:
            return False  # a name, which may stand for any address

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with every call."""
        return () if self.token is None else (("authorization", f"Bearer {self.token}"),)

    def channel(self) -> grpc.Channel:
        """Open a channel."""
        if self.ca is None:
            return grpc.insecure_channel(self.address, options=_OPTIONS)
        return grpc.secure_channel(self.address, self._credentials(), options=_OPTIONS)

    def aio_channel(self) -> grpc.aio.Channel:
        """Open a channel for asyncio."""
        if self.ca is None:
            return grpc.aio.insecure_channel(self.address, options=_OPTIONS)
        return grpc.aio.secure_channel(self.address, self._credentials(), options=_OPTIONS)

    def _credentials(self) -> grpc.ChannelCredentials:
        def read(path: Path | None) -> bytes | None:
            return None if path is None else Path(path).read_bytes()

        return grpc.ssl_channel_credentials(
            root_certificates=read(self.ca),
            private_key=read(self.key),
            certificate_chain=read(self.certificate),
        )
