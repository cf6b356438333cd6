"""What is decided about one stage, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from restore.frames import ClipInfo
from restore.inspection.findings import ReelFindings, ShotFindings

__all__ = ["Choice", "Reel", "per_cent"]


@dataclass(frozen=True)
class Choice:
    """Whether a stage is used and how.

    Attributes:
        used: whether it is.
        why: one clause for people.
        settings: its settings where it is used.
    """

    used: bool
    why: str
    settings: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Reel:
    """A reel as the rules see it: what was measured, and what its file says."""

    found: ReelFindings
    info: ClipInfo
    bits_per_px: float | None

    @property
    def shots(self) -> tuple[ShotFindings, ...]:
        """Those that show something."""
        return tuple(shot for shot in self.found.shots if not shot.is_black)


def per_cent(share: float) -> str:
    """``4 %``, ``0.6 %``, ``0.02 %``."""
    value = 100 * share
    return f"{value:.0f} %" if value >= 9.95 else f"{value:.2g} %"
