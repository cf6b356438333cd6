"""Client of the restoration service."""

from restore_client.aio import AsyncClient
from restore_client.client import Client
from restore_client.errors import ServiceError
from restore_client.live import LiveFrame, LivePacket, LiveStream

__all__ = ["AsyncClient", "Client", "LiveFrame", "LivePacket", "LiveStream", "ServiceError"]
