"""What is asked for where clips are made on the server."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence

from restore_client.v1 import common_pb2 as common
from restore_client.v1 import generation_pb2 as generation

__all__ = ["clips_request"]


def clips_request(
    shots: Sequence[Mapping[str, object]],
    preset: str,
    container: str,
    request_id: str | None,
    validate_only: bool,
) -> generation.CreateClipsRequest:
    """The request; a new id where none is given."""
    return generation.CreateClipsRequest(
        request_id=request_id or secrets.token_hex(16),
        shots=json.dumps({"shots": [dict(shot) for shot in shots]}),
        recipe=common.Recipe(preset=preset),
        delivery=common.Delivery(container=container),
        validate_only=validate_only,
    )
