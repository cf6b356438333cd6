"""Random numbers by name: every draw comes from a key, never from what was drawn before."""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["generator"]


def generator(seed: int, *key: int | str) -> np.random.Generator:
    """A Philox generator for (seed, *key*), e.g. (seed, sample, frame).

    Two different keys give independent streams; the same key gives the same stream on every
    machine.

    Source: J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011.
    """
    text = "/".join(str(part) for part in (seed, *key))
    digest = hashlib.sha256(text.encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
