"""Brightness, contrast and colour that breathe from frame to frame, held still within each shot."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from restore.analysis.pictures import small_rgb
from restore.engine.stage import Memory, StreamSpec
from restore.engine.trace import Table, Trace
from restore.frames import Frame
from restore.motion.course import settled
from restore.motion.gain import Shading, exposure_change, surface
from restore.stages import StageContext

__all__ = ["Deflicker"]

Doubles = NDArray[np.float64]

_LONG_SIDE_PX: Final = 128  # of the pictures that exposure is measured on
_MAP_PX: Final = 96  # long side of the correction before it is enlarged
_NOTHING: Final = 1e-4  # change of a logarithm that no eye and no 12 bit sample shows


class Deflicker:
    """Holds the exposure of a shot to its own slow course.

    Between neighbouring frames the change of exposure is measured along the motion of the picture
    (:func:`restore.motion.gain.exposure_change`) as a smooth surface per channel and a change of
    contrast, and summed over the shot. A straight line is fitted robustly to the sums about each
    frame, and the frame brought to the line: fades stay, breathing goes, errors of the sum cancel.
    Where the light changes in a step that lasts, the line ends at the step. A frame that would need
    more than ``limit`` is taken for a flash of light and left alone.
    """

    class Settings(BaseModel):
        """Settings of the stage.

        ``radius``: frames looked at on each side; flicker slower than about twice as many frames
        is taken for a change of light. ``strength``: share of the flicker that is taken out.
        ``uneven``: whether flicker may differ over the frame. ``contrast``: whether contrast
        breathes too. ``limit``: largest correction, as a factor on R'G'B' values.
        """

        model_config = ConfigDict(extra="forbid", frozen=True)

        radius: int = Field(default=20, ge=2, le=30)
        strength: float = Field(default=1.0, ge=0, le=1)
        uneven: bool = True
        contrast: bool = True
        limit: float = Field(default=1.6, gt=1, le=4)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        waves = (3, 4) if settings.uneven else (1, 1)
        self._kind = Shading(*waves, contrast=settings.contrast)
        self._before: list[float] = []
        self._gains = array("d")  # frame, red, green, blue
        self._flashes = 0
        self.spec = StreamSpec(
            "deflicker", delay=settings.radius, memory=Memory.SHOT, trace=Trace.RESIDUAL
        )

    @classmethod
    def build(cls, settings: Settings, context: StageContext) -> Self:
        """Make the stage."""
        return cls(settings)

    def facts(self) -> Mapping[str, str]:
        """Settings, and how much flicker there was."""
        facts = {name: f"{value:g}" for name, value in self._settings.model_dump().items()}
        if self._before:
            rms = float(np.sqrt(np.mean(np.square(self._before))))
            facts["flicker found"] = f"{np.expm1(rms):.2%} RMS"
            facts["flashes left alone"] = str(self._flashes)
        return facts

    def table(self) -> Table:
        """The mean gain of each frame, as a factor on R'G'B'."""
        every = np.frombuffer(self._gains).reshape(-1, 4).tolist()
        return Table("gains", ("red", "green", "blue"), [tuple(row) for row in every])

    def stream(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Give every frame once, each as soon as ``radius`` frames after it are known."""
        shot: _Shot | None = None
        for frame in frames:
            if shot is None or frame.shot != shot.number or frame.data.shape != shot.shape:
                if shot is not None:
                    yield from self._given(shot, 0)
                shot = _Shot(frame, self._kind, self._settings.radius)
            else:
                shot.add(frame, self._kind)
            yield from self._given(shot, self._settings.radius)
        if shot is not None:
            yield from self._given(shot, 0)

    def _given(self, shot: _Shot, keep: int) -> Iterator[Frame]:
        while len(shot.waiting) > keep:
            course, now = shot.course()
            overall = np.arange(shot.channels) * self._kind.terms
            terms = (settled(course, now, overall) - course[now]).reshape(shot.channels, -1)
            frame = shot.waiting.popleft()
            self._before.append(float(terms[:, 0].mean()))
            if np.abs(terms[:, 0]).max() > np.log(self._settings.limit):
                self._flashes += 1
                self._gains.extend((frame.index, 1, 1, 1))
                yield frame
            else:
                terms = terms * self._settings.strength
                self._gains.extend((frame.index, *np.exp(terms[:, 0])))
                data = _corrected(frame.data, terms, shot.middle, self._kind)
                yield replace(frame, data=data)


class _Shot:
    """Frames of one shot that wait, and the course of its exposure about them."""

    def __init__(self, first: Frame, kind: Shading, radius: int) -> None:
        self.number = first.shot
        self.shape = first.data.shape
        self.channels = first.data.shape[0]
        self.waiting: deque[Frame] = deque([first])
        self._small = small_rgb(first.data, _LONG_SIDE_PX)
        logs = np.log(np.maximum(self._small.reshape(-1, self.channels), 0.01))
        self.middle: Doubles = np.median(logs, axis=0).astype(np.float64)
        self._sums: deque[Doubles] = deque([np.zeros(self.channels * kind.terms)])
        self._radius = radius

    def add(self, frame: Frame, kind: Shading) -> None:
        """Take the next frame of the shot."""
        small = small_rgb(frame.data, _LONG_SIDE_PX)
        change = exposure_change(self._small, small, self.middle, kind)
        self._sums.append(self._sums[-1] + change.ravel())
        self._small = small
        self.waiting.append(frame)

    def course(self) -> tuple[Doubles, int]:
        """Sums ``[n, channels * terms]`` about the frame that waits longest, and its row."""
        now = len(self._sums) - len(self.waiting)
        # At a shot's end the frames that are missing ahead are made up for by more behind.
        wanted = 2 * self._radius + 1 - min(len(self.waiting), self._radius + 1)
        while now > wanted:
            self._sums.popleft()
            now -= 1
        return np.stack(list(self._sums)[: now + self._radius + 1]), now


def _corrected(data: Tensor, terms: Doubles, middle: Doubles, kind: Shading) -> Tensor:
    """Bring ``[3, h, w]`` to other exposure terms ``[3, terms]``."""
    if float(np.abs(terms).max()) < _NOTHING:
        return data
    height, width = data.shape[-2:]
    ratio = _MAP_PX / max(height, width)
    size = (max(2, round(height * ratio)), max(2, round(width * ratio)))
    bent = kind.contrast and float(np.abs(terms[:, -1]).max()) > 1e-3
    smooth = surface(terms, *size, kind)
    if bent:
        smooth -= (terms[:, -1] * middle).astype(np.float32)[:, None, None]
    gain = _enlarged(smooth, height, width, data)
    if bent:
        # The power law is carried on as a straight line below 1 %, where noise may be negative.
        logs = data.clamp(min=0.01).log_()
        for plane, log, power in zip(gain, logs, terms[:, -1].tolist(), strict=True):
            plane.add_(log, alpha=power)
    return gain.exp_().mul_(data)


def _enlarged(smooth: NDArray[np.float32], height: int, width: int, like: Tensor) -> Tensor:
    """``[C, h', w']`` at full size, on the device of a frame."""
    if like.device.type != "cpu":
        small = torch.from_numpy(smooth).to(like)
        return F.interpolate(small[None], (height, width), mode="bilinear", align_corners=False)[0]
    import cv2

    # Several times quicker than torch's.
    out = torch.empty(len(smooth), height, width)
    for plane, large in zip(smooth, out.numpy(), strict=True):
        cv2.resize(plane, (width, height), dst=large, interpolation=cv2.INTER_LINEAR)
    return out.to(like)
