"""The rates that film was shot and shown at."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

__all__ = ["FILM_RATES", "named_rate"]

FILM_RATES: Final = (
    *(Fraction(fps) for fps in (12, 15, 16, 18, 20, 24, 25, 30)),
    Fraction(50, 3),
    Fraction(24000, 1001),
    Fraction(30000, 1001),
)


def named_rate(measured: Fraction, slack: Fraction) -> Fraction:
    """The usual rate that a measured one stands for, or itself where none is near.

    Args:
        measured: frames in a second.
        slack: by how much it may be off; half a percent is always allowed.
    """
    slack = max(measured / 200, slack)
    near = [fps for fps in FILM_RATES if abs(fps - measured) <= slack]
    return min(near, key=lambda fps: abs(fps - measured), default=measured)
