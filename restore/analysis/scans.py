"""How successive frames were scanned, from the relations of their fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from restore.analysis.combing import FieldMetrics
from restore.analysis.telecine import NOT_TELECINE, FieldVotes, Scan, TelecineFinder

__all__ = ["most_common_scan", "scans"]


def scans(metrics: Sequence[FieldMetrics]) -> list[tuple[Scan, int]]:
    """How each frame was scanned, and its place in the pulldown's five.

    Args:
        metrics: of successive frames, each with the one before.

    Returns:
        One of each for every entry; the place is 0 where there is no pulldown.
    """
    finder, votes = TelecineFinder(), FieldVotes()
    states = []
    for one in metrics:
        votes.add(one)
        state = finder.push(one)
        if state is not None:
            states.append(state)
    states += finder.finish()
    out = []
    for state in states:
        if state == NOT_TELECINE:
            out.append((votes.scan, 0))
        else:
            out.append((Scan.TELECINE_TFF if state < 5 else Scan.TELECINE_BFF, state % 5))
    return out


def most_common_scan(found: Sequence[Scan]) -> Scan:
    """What most frames show; what tells nothing counts for nothing."""
    told = Counter(scan for scan in found if scan is not Scan.UNKNOWN)
    return told.most_common(1)[0][0] if told else Scan.UNKNOWN
