"""Amounts as people write and read them."""

from __future__ import annotations

import re
from fractions import Fraction

from restore.errors import InvalidInput

__all__ = ["bytes_text", "duration_text", "parse_bytes", "rate_text"]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY_UNITS = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def parse_bytes(text: str) -> int:
    """Read an amount of memory in bytes: ``2GiB``, ``512 MiB``, ``4GB``, ``1.5g``, ``1000000``.

    Raises:
        InvalidInput: no amount, or less than a byte.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", text.strip().lower())
    amount = Fraction(0)
    if match and not (match[3] and not match[2]):
        units = _BINARY_UNITS if match[3] else _UNITS
        amount = Fraction(match[1]) * units[match[2]]
    if amount < 1:
        raise InvalidInput(f"memory {text!r}", "an amount such as 2GiB, 800MB or 1000000")
    return int(amount)


def bytes_text(amount: int) -> str:
    """Write bytes in the largest binary unit that leaves at least 1."""
    size = float(amount)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def duration_text(spent_s: float) -> str:
    """Write a time span: ``0.42 s``, ``12.3 s``, ``3 min 05 s``, ``2 h 07 min``."""
    if spent_s < 9.995:
        return f"{spent_s:.2f} s"
    if spent_s < 99.95:
        return f"{spent_s:.1f} s"
    minutes, seconds = divmod(round(spent_s), 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def rate_text(rate: Fraction | None) -> str:
    """Write a frame rate for people: ``25 fps``, ``29.97 fps (30000/1001)``."""
    if rate is None:
        return "no frame rate"
    if rate.denominator == 1:
        return f"{rate.numerator} fps"
    return f"{float(rate):.3f}".rstrip("0") + f" fps ({rate.numerator}/{rate.denominator})"
