"""The header of a safetensors file, in an order of its own."""

from __future__ import annotations

import json

__all__ = ["in_order"]


def in_order(data: bytes) -> bytes:
    """The same safetensors file with its header's keys sorted: the library's order is random."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + length :]
