"""A real server in this process, on a free port, with clients of the real package."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from restore_client import Client

from restore.service.log import EventLog
from restore.service.serve import Server
from restore.service.settings import load_settings

__all__ = ["Client", "World", "serving"]


@dataclass
class World:
    """A running server.

    Attributes:
        server: it.
        address: where it answers.
        log: what it wrote.
    """

    server: Server
    address: str
    log: io.StringIO

    def client(self, **given: object) -> Client:
        return Client(self.address, **given)  # type: ignore[arg-type]

    def events(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


@contextmanager
def serving(folder: Path, **settings: object) -> Iterator[World]:
    """A server with its storage in a folder."""
    given = {
        "address": "127.0.0.1:0",
        "storage": folder / "storage",
        "devices": ("cpu",),
        "threads": 1,
        "chunk_frames": 8,
    }
    log = io.StringIO()
    server = Server(load_settings(**(given | settings)), EventLog(log))
    server.start()
    try:
        yield World(server, f"127.0.0.1:{server.port}", log)
    finally:
        server.stop()
