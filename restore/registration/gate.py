"""The path of a scan's frames by their perforations, and where the picture lies beside these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from restore.errors import InvalidInput
from restore.registration.perforation import Gauge, Hole

__all__ = ["GatePath", "picture_area"]

Doubles = NDArray[np.float64]

_SEEN: Final = 0.9  # share of a shot's first frames that must show the hole
_FEWEST: Final = 3
_EVEN: Final = 0.012  # how much the hole's height may differ from frame to frame, of itself
# Of Super 8 (SMPTE ST 154, the image that a projector shows), mm: its left side from the hole's
# outer edge, its width and height; its middle is the hole's.
_SUPER8_MM: Final = (0.99, 5.36, 4.01)


class GatePath:
    """Where the film lay in each frame of a shot, as its perforation tells."""

    def __init__(self) -> None:
        self.holes: list[Hole | None] = []

    @property
    def unseen(self) -> int:
        """Frames in which the hole was not made out."""
        return sum(hole is None for hole in self.holes)

    @property
    def is_steady(self) -> bool:
        """Whether the hole is seen nearly always, and always as large."""
        heights = [hole.height_px for hole in self.holes if hole is not None]
        needed = max(min(_FEWEST, len(self.holes)), _SEEN * len(self.holes))
        if not heights or len(heights) < needed:
            return False
        return float(np.std(heights)) <= _EVEN * float(np.median(heights))

    def places(self) -> Doubles:
        """``[n, 2]`` px (across, down) of every frame; between its neighbours where unseen."""
        seen = [n for n, hole in enumerate(self.holes) if hole is not None]
        if not seen:
            return np.zeros((len(self.holes), 2))
        known = np.array([(h.outer_px, h.middle_px) for h in self.holes if h is not None])
        every = np.arange(len(self.holes))
        return np.stack([np.interp(every, seen, known[:, axis]) for axis in (0, 1)], 1)


def picture_area(
    holes: Sequence[Hole | None], width_px: int, height_px: int
) -> tuple[int, int, int, int]:
    """The part of a Super 8 scan that a projector shows.

    The holes' median place and height say where the film lies and at what scale; the picture's
    place beside them is laid down. Sizes are made even, as 4:2:0 wants them.

    Args:
        holes: of some frames of the reel.
        width_px: of the scan.
        height_px: of the scan.

    Returns:
        Left, top, width and height in px, within the frame.

    Raises:
        InvalidInput: too few holes are seen, or those of another gauge.
    """
    path = GatePath()
    path.holes = list(holes)
    seen = [hole for hole in holes if hole is not None]
    if not path.is_steady or {hole.gauge for hole in seen} != {Gauge.SUPER8}:
        raise InvalidInput(
            "a scan in which no Super 8 perforation is steadily seen",
            "one that shows it whole in nearly every frame",
            "Give the rectangle: crop = [left, top, width, height].",
        )
    per_mm = float(np.median([hole.height_px for hole in seen])) / Gauge.SUPER8.value[1]
    outer, middle = (float(part) for part in np.median(path.places(), axis=0))
    offset, wide, tall = (length * per_mm for length in _SUPER8_MM)
    left = outer - offset - wide if seen[0].on_right else outer + offset
    start, stop = max(0, round(left)), min(width_px, round(left + wide))
    top, bottom = max(0, round(middle - tall / 2)), min(height_px, round(middle + tall / 2))
    return start, top, (stop - start) // 2 * 2, (bottom - top) // 2 * 2
