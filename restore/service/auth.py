"""Who asks: bearer tokens, client certificates, or the only person on a loopback address."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from restore.service.settings import ServiceSettings

__all__ = ["LOCAL", "Authenticator", "principal_of"]

#: Everybody on a loopback address without tokens.
LOCAL = "local"
_OPEN = ("/grpc.health.v1.Health/",)


class Authenticator(grpc.ServerInterceptor):
    """Lets nobody in whose principal is not known. Health checks are open to all.

    Args:
        settings: of the server.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._refusal: Any = grpc.unary_unary_rpc_method_handler(_refuse)

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Any],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:  # noqa: ANN401 - grpc's own type
        """Pass the call on, or refuse it."""
        details: Any = handler_call_details
        # A client's certificate was verified when the connection was made.
        is_known = self._settings.tls_client_ca is not None or not self._settings.tokens
        if details.method.startswith(_OPEN) or is_known:
            return continuation(handler_call_details)
        if _by_token(self._settings, details.invocation_metadata) is None:
            return self._refusal
        return continuation(handler_call_details)


def _refuse(request: object, context: grpc.ServicerContext) -> None:
    context.abort(
        grpc.StatusCode.UNAUTHENTICATED,
        "no valid token; expected metadata 'authorization: Bearer TOKEN'.",
    )


def _by_token(settings: ServiceSettings, metadata: Sequence[tuple[str, str | bytes]]) -> str | None:
    given = next((value for key, value in metadata if key == "authorization"), "")
    scheme, _, token = str(given).partition(" ")
    if scheme.lower() != "bearer":
        return None
    found = None
    for principal, expected in settings.tokens.items():
        # Every token is compared, each in constant time: the time tells nothing.
        if hmac.compare_digest(token.encode(), expected.encode()):
            found = principal
    return found


def principal_of(context: grpc.ServicerContext, settings: ServiceSettings) -> str:
    """Whose call this is; the authenticator has let it pass."""
    if settings.tokens:
        named = _by_token(settings, context.invocation_metadata())
        if named is not None:
            return named
    for identity in context.peer_identities() or ():
        return f"certificate:{bytes(identity).decode(errors='replace')}"
    return LOCAL
