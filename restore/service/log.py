"""One line of JSON for each event, and what Prometheus asks for."""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import IO

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from restore.errors import InvalidInput

__all__ = ["EventLog", "Metrics"]


class EventLog:
    """Structured lines: time, event, fields.

    Args:
        out: where to; standard error where None.
    """

    def __init__(self, out: IO[str] | None = None) -> None:
        self._out = out or sys.stderr
        self._lock = threading.Lock()

    def write(self, event: str, **fields: object) -> None:
        """Write one line."""
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03}Z"
        line = json.dumps({"time": stamp, "event": event, **fields}, default=str)
        with self._lock:
            self._out.write(line + "\n")
            self._out.flush()


class Metrics:
    """Counters of one server, in a registry of its own.

    Attributes:
        registry: what is served.
        streams: live streams under way.
        frames: frames given back, by kind (``live`` or ``job``).
        jobs: jobs that have ended, by state.
        refused: calls refused, by reason.
        acquired: resources taken by live streams.
        released: resources given back by them; equal to the above when no stream is under way.
        kept_bytes: uploads and results on the disk, as the last sweep left them.
        removed: what was removed by itself, by kind (``upload`` or ``job``) and why (``age`` or
            ``room``).
        removed_bytes: of that, by kind.
        shared_bytes: shared memory of live streams.
        latency_s: from a frame's last piece to its result's first, live.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        place = self.registry
        self.streams = Gauge("restore_live_streams", "Live streams under way", registry=place)
        self.frames = Counter("restore_frames", "Frames given back", ["kind"], registry=place)
        self.jobs = Counter("restore_jobs_ended", "Jobs that have ended", ["state"], registry=place)
        self.refused = Counter("restore_refused", "Calls refused", ["reason"], registry=place)
        self.acquired = Counter("restore_live_acquired", "Live streams begun", registry=place)
        self.released = Counter(
            "restore_live_released", "Live streams whose memory is free", registry=place
        )
        self.kept_bytes = Gauge("restore_kept_bytes", "Uploads and results kept", registry=place)
        self.removed = Counter(
            "restore_removed", "Uploads and jobs removed", ["kind", "why"], registry=place
        )
        self.removed_bytes = Counter(
            "restore_removed_bytes", "Bytes of what was removed", ["kind"], registry=place
        )
        self.shared_bytes = Gauge(
            "restore_live_shared_bytes", "Shared memory of live streams", registry=place
        )
        self.latency_s = Histogram(
            "restore_live_latency_seconds",
            "From the last piece of a frame to the first of its result",
            buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
            registry=place,
        )

    def serve(self, address: str) -> None:
        """Answer Prometheus on ``host:port``.

        Raises:
            InvalidInput: no such address, or it is taken.
        """
        host, _, port = address.rpartition(":")
        try:
            start_http_server(int(port), addr=host or "127.0.0.1", registry=self.registry)
        except (ValueError, OSError) as error:
            raise InvalidInput(f"metrics address {address!r}: {error}", "host:port") from error
