"""Whether live streams gave back all that they held."""

from __future__ import annotations

import time
from pathlib import Path

from tests.service_world import World

__all__ = ["mapped", "settled"]


def mapped() -> list[str]:
    """Segments that this process still has."""
    return [line for line in Path("/proc/self/maps").read_text().splitlines() if "live" in line]


def settled(world: World, within_s: float = 2.0) -> None:
    """Everything is given back in time."""
    ends, metrics = time.monotonic() + within_s, world.server.metrics
    while time.monotonic() < ends:
        taken, free = metrics.acquired._value.get(), metrics.released._value.get()
        if taken == free and not mapped():
            break
        time.sleep(0.01)
    assert taken == free
    assert mapped() == []
    assert next(iter(metrics.shared_bytes.collect())).samples[0].value == 0
