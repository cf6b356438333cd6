"""Seeds by place, never from a running generator: order and restarts cannot change them."""

from __future__ import annotations

import hashlib

__all__ = ["seed_for"]


def seed_for(job: str, stage: str, frame: int, tile: int) -> int:
    """A 63-bit seed for one tile of one frame in one stage of one job."""
    name = f"{job}\0{stage}\0{frame}\0{tile}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big") >> 1
