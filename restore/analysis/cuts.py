"""Where shots begin: PySceneDetect's detectors propose, a look at both sides confirms.

The detectors (B. Castellano, PySceneDetect) compare neighbouring frames. That alone takes a flash,
a splice mark or a jump of the film for two cuts. So each proposal is held until the frames after it
are there, and confirmed only if none of them shows what was seen before it.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector, ContentDetector

from restore.analysis.likeness import unlike
from restore.analysis.pictures import equalised

__all__ = ["LOOKAHEAD", "CutFinder"]

LOOKAHEAD: Final = 3
"""Frames after a proposed cut that are looked at; what returns within them was a flash."""

# In grey levels of equalised pictures; low, since a proposal costs little and is looked at again.
_ADAPTIVE_RATIO: Final = 1.8
_ADAPTIVE_LEAST: Final = 7.0
_CONTENT_LEAST: Final = 22.0
_UNLIKE: Final = 0.62
# PySceneDetect asks for a rate to count in; only frame numbers are read from it here.
_RATE: Final = 25.0


class CutFinder:
    """Takes small pictures one by one and says of each, ``LOOKAHEAD`` pictures later, if it cuts.

    Holds ``2 * LOOKAHEAD + 1`` pictures, whatever the clip's length.
    """

    def __init__(self) -> None:
        self._adaptive = AdaptiveDetector(
            adaptive_threshold=_ADAPTIVE_RATIO,
            min_scene_len=1,
            min_content_val=_ADAPTIVE_LEAST,
            luma_only=True,
        )
        self._content = ContentDetector(
            threshold=_CONTENT_LEAST,
            min_scene_len=1,
            luma_only=True,
        )
        self._held: deque[tuple[int, NDArray[np.float32]]] = deque(maxlen=2 * LOOKAHEAD + 1)
        self._proposed: set[int] = set()
        self._arrived = 0
        self._decided = 0

    def push(self, picture: NDArray[np.float32]) -> bool | None:
        """Take the next picture.

        Args:
            picture: ``[h, w]`` luma 0..1, about 100 px wide, of one size for all.

        Returns:
            Whether the picture ``LOOKAHEAD`` places before begins a shot; None while there is none.
        """
        self._held.append((self._arrived, picture))
        self._propose(picture)
        self._arrived += 1
        return self._decide() if self._arrived > LOOKAHEAD else None

    def finish(self) -> list[bool]:
        """Say it of the pictures that are still undecided, after the last one came."""
        if not self._arrived:
            return []
        # The adaptive detector wants two more frames before it speaks of the last ones.
        last = self._held[-1][1]
        count = self._arrived
        for _ in range(self._adaptive.window_width):
            self._propose(last)
            self._arrived += 1
        self._arrived = count
        return [self._decide() for _ in range(count - self._decided)]

    def _propose(self, picture: NDArray[np.float32]) -> None:
        grey = cv2.cvtColor(equalised(picture), cv2.COLOR_GRAY2BGR)
        now = FrameTimecode(self._arrived, fps=_RATE)
        for detector in (self._adaptive, self._content):
            self._proposed.update(found.frame_num for found in detector.process_frame(now, grey))

    def _decide(self) -> bool:
        number = self._decided
        self._decided += 1
        if number not in self._proposed or number == 0:
            return False
        self._proposed.discard(number)
        before = [held for held in self._held if held[0] < number]
        after = [held for held in self._held if held[0] >= number]
        return all(
            unlike(old, new) >= _UNLIKE
            for was, old in before
            for now, new in after
            if now - was <= LOOKAHEAD + 1
        )
