"""Which pictures each step sees."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

__all__ = ["epoch_batches"]


def epoch_batches(
    buckets: Sequence[tuple[int, int]],
    repeats: Sequence[int],
    batch: int,
    seed: int,
    epoch: int,
) -> list[tuple[int, ...]]:
    """Batches of one epoch: pictures of one bucket each, both levels shuffled.

    Args:
        buckets: each picture's size.
        repeats: how often each is shown.
        batch: most pictures in one.
        seed: of the training.
        epoch: counted from 0; its order depends on nothing that came before.

    Returns:
        Indices of pictures. Every picture is in as many places as it has repeats.
    """
    digest = hashlib.sha256(f"{seed}:order:{epoch}".encode()).digest()
    shuffle = random.Random(int.from_bytes(digest[:8], "little")).shuffle  # noqa: S311  no secret
    shown = [index for index, times in enumerate(repeats) for _ in range(times)]
    shuffle(shown)
    alike: dict[tuple[int, int], list[int]] = {}
    for index in shown:
        alike.setdefault(buckets[index], []).append(index)
    batches = [
        tuple(members[start : start + batch])
        for members in alike.values()
        for start in range(0, len(members), batch)
    ]
    shuffle(batches)
    return batches
