"""Errors as gRPC tells them: a code, the words for people, an ErrorInfo for programs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NoReturn

import grpc
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from restore.errors import RestoreError

__all__ = ["DOMAIN", "Overloaded", "QuotaExceeded", "abort_with", "translated"]

DOMAIN = "restore"


class Overloaded(RestoreError):
    """The server has as much work as it can keep its pace with.

    Args:
        came: what there is too much of.
        retry_s: after which time it makes sense to ask again.
    """

    grpc_code = "RESOURCE_EXHAUSTED"

    def __init__(self, came: str, expected: str = "", fix: str = "", retry_s: float = 5.0) -> None:
        super().__init__(came, expected, fix)
        self.retry_s = retry_s


class QuotaExceeded(RestoreError):
    """The principal has as much as it may have."""

    grpc_code = "RESOURCE_EXHAUSTED"


def _status(error: RestoreError) -> status_pb2.Status:
    info = error_details_pb2.ErrorInfo(
        reason=type(error).__name__,
        domain=DOMAIN,
        metadata={
            key: value
            for key, value in (
                ("came", error.came),
                ("expected", error.expected),
                ("fix", error.fix),
            )
            if value
        },
    )
    details = [_packed(info)]
    if isinstance(error, Overloaded):
        whole, part = divmod(error.retry_s, 1)
        delay = Duration(seconds=int(whole), nanos=int(part * 1e9))
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    code = code_pb2.Code.Value(error.grpc_code)
    return status_pb2.Status(code=code, message=str(error), details=details)


def _packed(message: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def abort_with(context: grpc.ServicerContext, error: RestoreError) -> NoReturn:
    """End the call with an error's status, words and details."""
    context.abort_with_status(rpc_status.to_status(_status(error)))
    raise AssertionError("abort returned")  # it raises; the type checker is not told


@contextlib.contextmanager
def translated(context: grpc.ServicerContext) -> Iterator[None]:
    """Turn what goes wrong inside into the call's status; nothing of ours ends as UNKNOWN."""
    try:
        yield
    except RestoreError as error:
        abort_with(context, error)
