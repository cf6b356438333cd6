"""A still region and a moving one, in a loop without a seam."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from restore.errors import InvalidInput

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Loop", "find_loop", "looped"]


@dataclass(frozen=True)
class Loop:
    """Which frames go round.

    Attributes:
        start: first frame of the loop.
        frames: its length.
        fade: frames over which its end becomes what was before its start.
        error: RMS difference of the moving region where it closes, 0..1.
    """

    start: int
    frames: int
    fade: int
    error: float


def find_loop(clip: Sequence[Tensor], mask: Tensor, frames: int, fade: int) -> Loop:
    """The stretch of a clip that closes best (A. Schoedl et al., "Video Textures", 2000).

    Args:
        clip: ``[3, h, w]`` each.
        mask: ``[h, w]`` 0..1: where it moves.
        frames: least length; up to half more is tried.
        fade: frames of the crossfade.

    Raises:
        InvalidInput: the clip is too short, or nothing may move.
    """
    if not bool((mask > 0.5).any()):
        raise InvalidInput("a mask without white", "white where the picture shall move")
    if frames < 2 or fade < 1 or fade >= frames:
        raise InvalidInput(
            f"a loop of {frames} frames with {fade} of fade", "a fade shorter than it"
        )
    if len(clip) < frames + fade:
        raise InvalidInput(
            f"a clip of {len(clip)} frames", f"at least {frames + fade} for a loop of {frames}"
        )
    inside = mask > 0.5
    moving = [frame[:, inside] for frame in clip]
    best = Loop(0, 0, fade, float("inf"))
    for length in range(frames, min(len(clip) - fade, frames + frames // 2) + 1):
        for start in range(fade, len(clip) - length + 1):
            pairs = [(start + length - k, start - k) for k in range(1, fade + 1)]
            error = sum(float((moving[a] - moving[b]).square().mean()) for a, b in pairs) / fade
            if error < best.error**2 - 1e-12:
                best = Loop(start, length, fade, error**0.5)
    return best


def looped(clip: Sequence[Tensor], still: Tensor, mask: Tensor, loop: Loop) -> Iterator[Tensor]:
    """One round of the loop, ``[3, h, w]`` float32; its first frame follows its last.

    Args:
        clip: as given to :func:`find_loop`.
        still: ``[3, h, w]``: what stands where the mask is black.
        mask: ``[h, w]`` 0..1; in between both are mixed.
        loop: as found.
    """
    for number in range(loop.frames):
        frame = clip[loop.start + number]
        into = number - (loop.frames - loop.fade)
        if into >= 0:
            share = (into + 1) / (loop.fade + 1)
            frame = (1 - share) * frame + share * clip[loop.start + number - loop.frames]
        yield still + mask * (frame - still)
