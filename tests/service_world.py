"""A real server in this process, on a free port, with clients of the real package."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from restore_client import Client
from restore_client.v1 import common_pb2 as common
from restore_client.v1 import restoration_pb2 as live

from restore.service.log import EventLog
from restore.service.serve import Server
from restore.service.settings import load_settings

__all__ = ["Client", "ServerProcess", "World", "rgb24_spec", "server_process", "serving"]

ROOT = Path(__file__).parent.parent


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


@dataclass
class ServerProcess:
    """A server as a process of its own, to be stopped and killed.

    Attributes:
        child: it; its standard error has to be read or closed.
        address: where it answers.
    """

    child: subprocess.Popen[str]
    address: str

    def end(self, number: int) -> int:
        """Send a signal; the exit status."""
        self.child.send_signal(number)
        status = self.child.wait(60)
        self.child.stderr.close()
        return status


@contextmanager
def server_process(folder: Path, **settings: object) -> Iterator[ServerProcess]:
    """``server.py`` with its storage in a folder, once it answers; killed at the end."""
    command = [sys.executable, "server.py", "--address", "127.0.0.1:0"]
    command += ["--storage", str(folder / "storage")]
    given = {"threads": 1, "chunk_frames": 4, **settings}
    env = {f"RESTORE_SERVICE_{key.upper()}": str(value) for key, value in given.items()}
    child = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env={**os.environ, **env}
    )
    lines = (json.loads(line) for line in child.stderr if '"serving"' in line)
    server = ServerProcess(child, f"127.0.0.1:{next(lines)['port']}")
    try:
        yield server
    finally:
        if child.poll() is None:
            server.end(signal.SIGKILL)


def rgb24_spec() -> live.LiveSpec:
    """A live stream of 64x48 px frames that come back as they are."""
    return live.LiveSpec(
        recipe=common.Recipe(preset="transcode"),
        width_px=64,
        height_px=48,
        pixel_format="rgb24",
        color=common.Color(is_rgb=True),
        frame_rate=common.Rational(numerator=25, denominator=1),
        time_base=common.Rational(numerator=1, denominator=25),
    )
