"""The server: everything put together, started, and stopped without losing work."""

from __future__ import annotations

import fcntl
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import FrameType

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from restore.errors import InvalidInput, OutputError
from restore.jobs.executor import Executor
from restore.jobs.journal import Journal
from restore.jobs.storage import Storage
from restore.service.auth import Authenticator
from restore.service.catalogue import Catalogue
from restore.service.deliverables import Deliverables
from restore.service.dispatch import Dispatcher
from restore.service.generation import Generation, prepare
from restore.service.jobs import Jobs
from restore.service.live import Live
from restore.service.log import EventLog, Metrics
from restore.service.retention import Retention
from restore.service.settings import ServiceSettings
from restore.service.transfers import Transfers
from restore.service.uploads import Uploads
from restore.service.v1 import (
    catalog_pb2,
    catalog_pb2_grpc,
    generation_pb2,
    generation_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    restoration_pb2,
    restoration_pb2_grpc,
    transfer_pb2,
    transfer_pb2_grpc,
)

__all__ = ["Server", "serve"]

_SERVICES = tuple(
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in (
        (restoration_pb2, "RestorationService"),
        (job_pb2, "JobService"),
        (transfer_pb2, "TransferService"),
        (catalog_pb2, "CatalogService"),
        (generation_pb2, "GenerationService"),
    )
)
# Calls that only wait (watching, health) beside live streams.
_SPARE_THREADS = 64
_GRACE_S = 10.0
# For this long health checks are still answered after SIGTERM, so that whoever asks hears it.
_NOTICE_S = 1.0
_MESSAGE_BYTES = (1 << 20) + (64 << 10)


class Server:
    """A server on its address, answering once :meth:`start` has returned.

    Args:
        settings: of the server.
        log: where events go; standard error where None.
        executor: who works on jobs; processes on this machine where None.

    Attributes:
        port: that it listens on.
        metrics: its counters.

    Raises:
        InvalidInput: the address or a certificate cannot be used.
        OutputError: the storage folder cannot be used, or another server has it.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        log: EventLog | None = None,
        executor: Executor | None = None,
    ) -> None:
        self._settings = settings
        self._log = log or EventLog()
        self.metrics = Metrics()
        storage = Storage(settings.storage.absolute())
        storage.prepare()
        self._held = _Held(storage.root)
        self._journal = Journal(storage.journal)
        uploads = Uploads(storage.root / "uploads", settings)
        deliverables = Deliverables(storage.root / "deliverables")
        self.dispatcher = Dispatcher(
            self._journal,
            storage,
            settings,
            self._log,
            self.metrics,
            executor,
            prepare=partial(prepare, storage, settings.devices[0]),
        )
        self.retention = Retention(
            *(self._journal, storage, uploads, deliverables, self.dispatcher),
            *(settings, self._log, self.metrics),
        )
        self._health = health.HealthServicer()
        self._server = grpc.server(
            ThreadPoolExecutor(settings.max_streams + _SPARE_THREADS, thread_name_prefix="rpc"),
            interceptors=[Authenticator(settings)],
            options=(
                ("grpc.max_receive_message_length", _MESSAGE_BYTES),
                ("grpc.max_send_message_length", _MESSAGE_BYTES),
                ("grpc.so_reuseport", 0),
                ("grpc.keepalive_time_ms", 30_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ),
        )
        live = Live(settings, self._log, self.metrics)
        jobs = Jobs(self._journal, uploads, deliverables, self.dispatcher, settings)
        generation = Generation(jobs, uploads, storage, settings)
        transfers = Transfers(uploads, deliverables, self._journal, settings)
        restoration_pb2_grpc.add_RestorationServiceServicer_to_server(live, self._server)
        job_pb2_grpc.add_JobServiceServicer_to_server(jobs, self._server)
        generation_pb2_grpc.add_GenerationServiceServicer_to_server(generation, self._server)
        transfer_pb2_grpc.add_TransferServiceServicer_to_server(transfers, self._server)
        catalog_pb2_grpc.add_CatalogServiceServicer_to_server(Catalogue(), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if settings.dev:
            names = (*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self._server)
        self.port = self._listen()

    def _listen(self) -> int:
        address = self._settings.address
        try:
            if self._settings.has_tls:
                port = self._server.add_secure_port(address, self._credentials())
            else:
                port = self._server.add_insecure_port(address)
        except (RuntimeError, OSError) as error:
            raise InvalidInput(
                f"address {address!r}, on which nothing can listen: {error}", "a free host:port"
            ) from error
        return int(port)

    def _credentials(self) -> grpc.ServerCredentials:
        settings = self._settings
        pair = (_read(settings.tls_key), _read(settings.tls_certificate))
        root = _read(settings.tls_client_ca) if settings.tls_client_ca else None
        # With an authority nobody comes in without a certificate; a token only names the principal.
        return grpc.ssl_server_credentials(
            [pair], root_certificates=root, require_client_auth=root is not None
        )

    def start(self) -> None:
        """Answer calls and go on with jobs."""
        if self._settings.metrics_address:
            self.metrics.serve(self._settings.metrics_address)
        self.retention.tidy()
        self.dispatcher.start()
        self.retention.start()
        self._server.start()
        for name in ("", *_SERVICES):
            self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._log.write("serving", address=self._settings.address, port=self.port)

    def stop(self, notice_s: float = 0.0) -> None:
        """Say NOT_SERVING, keep finished chunks, let running calls end for a while, end.

        Args:
            notice_s: for so long calls are still taken, at least: health checks, and jobs, which
                wait for the next server.
        """
        stop_s = time.monotonic() + notice_s
        self._health.enter_graceful_shutdown()
        self._log.write("stopping")
        self.retention.stop()
        self.dispatcher.stop()
        time.sleep(max(0.0, stop_s - time.monotonic()))
        ended = self._server.stop(_GRACE_S)
        ended.wait()
        self._journal.close()
        self._held.close()
        self._log.write("stopped")


def _read(path: Path | None) -> bytes:
    try:
        return (path or Path()).read_bytes()
    except OSError as error:
        raise InvalidInput(f"certificate or key {path}: {error.strerror}", "a PEM file") from error


class _Held:
    """A lock on the storage folder, for as long as the server lives."""

    def __init__(self, root: Path) -> None:
        self._file = (root / "server.lock").open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise OutputError(
                f"storage {root}, which another server has", "a folder for each server"
            ) from error

    def close(self) -> None:
        """Let another server have the folder."""
        self._file.close()


def serve(settings: ServiceSettings) -> int:
    """Run a server until SIGTERM or SIGINT; then stop it without losing work.

    Returns:
        The exit code: 0 after an orderly stop.
    """
    asked = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        asked.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    server = Server(settings)
    server.start()
    asked.wait()
    server.stop(_NOTICE_S)
    return 0
