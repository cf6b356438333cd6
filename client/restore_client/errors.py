"""Errors of the service, with what came, what was expected and what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import grpc

from restore_client.v1 import error_pb2

__all__ = ["ServiceError", "from_call", "translated"]

_DETAILS = "grpc-status-details-bin"


class ServiceError(Exception):
    """A call failed.

    Attributes:
        code: gRPC status.
        reason: name of the error, such as ``QuotaExceeded``; empty where the server did not say.
        came: what was found.
        expected: what would have been accepted.
        fix: what can be done.
        retry_s: after which time to ask again; None where that is no use.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        *,
        reason: str = "",
        came: str = "",
        expected: str = "",
        fix: str = "",
        retry_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason
        self.came, self.expected, self.fix = came, expected, fix
        self.retry_s = retry_s


def from_call(error: grpc.RpcError | grpc.aio.AioRpcError) -> ServiceError:
    """The error that a failed call carries."""
    metadata = error.trailing_metadata() or ()
    packed = next((value for key, value in metadata if key == _DETAILS), b"")
    status = error_pb2.CallStatus.FromString(packed)
    info, retry_s = error_pb2.CallErrorInfo(), None
    for detail in status.details:
        kind = detail.type_url.rpartition(".")[2]
        if kind == "ErrorInfo":
            info = error_pb2.CallErrorInfo.FromString(detail.value)
        elif kind == "RetryInfo":
            delay = error_pb2.CallRetryInfo.FromString(detail.value).retry_delay
            retry_s = delay.seconds + delay.nanos / 1e9
    given = {key: info.metadata.get(key, "") for key in ("came", "expected", "fix")}
    return ServiceError(
        error.code(), error.details() or "", reason=info.reason, retry_s=retry_s, **given
    )


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn gRPC's errors into :class:`ServiceError`."""
    try:
        yield
    except grpc.RpcError as error:
        raise from_call(error) from error
