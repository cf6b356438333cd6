"""Frames between two frames, without weights: optical flow both ways, brought to the time between.

The flows are splatted to that time, holes are closed, near flows are tried where the two frames
disagree, and a last search between the two warped frames takes out what is left. Each pixel then
comes from both frames, or from the one that shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import cv2
import numpy as np
import torch
from torch import Tensor

from restore.errors import InvalidInput
from restore.interpolation.holes import filled
from restore.interpolation.movers import movers
from restore.interpolation.planes import (
    Flags,
    Plane,
    apart,
    averaged,
    fetched,
    fetched_by,
    grey8,
    mean_of_channels,
    moved,
    planar,
    shrunk,
    tensor,
)
from restore.motion.flow import Effort, flow8
from restore.motion.splat import splat

__all__ = ["FlowInterpolator"]

_ROWS: Final = 600  # flow is searched in frames of about this height at most
_SPLAT_ROWS: Final = 160  # and splatted at half of it where it is above this; flow is that smooth
_STRICT: Final = 20.0  # importance falls by e for a difference of one over this
_LIFT: Final = 30.0  # importance of movers: they pass in front
_CONSISTENT: Final = (0.01, 0.5)  # N. Sundaram et al., ECCV 2010: share of both flows, slack
_NEAR: Final = (8, 4)  # flows from that far away are tried, px
_BOX_PX: Final = 5
_GAIN: Final = np.float32(0.4)  # grey levels of 255 that another flow must be better by
_STILL: Final = 2.0  # grey levels of 255 between frames of a thing that stands, noise apart
_EDGE: Final = 16  # grey levels of 255 of an edge that stands
_ALIKE: Final = 24.0  # grey levels of 255 between two showings of a thing that moves
_MOVING_PX: Final = 0.7
_MOSTLY: Final = 0.65  # of what is around a thing that stands has to move
_DISAGREE: Final = (0.05, 0.15)  # between the two warped frames, for one of them to be left out
_ONE_SIDED: Final = 0.7


class FlowInterpolator:
    """Makes frames between two frames by motion; computed on the CPU, the same on every device.

    Args:
        quick: leave out flows from beside, search less between the two warped frames, and fetch by
            a cubic: about two thirds of the time (docs/interpolation.md has both figures).
    """

    name = "flow"
    #: What a network of its cost would take for each pixel of a new frame.
    flops_per_px = 0.041e6
    #: Takes a fourth channel along the motion of all four.
    moves_alpha = True

    def __init__(self, quick: bool = False) -> None:
        self.quick = quick

    def between(self, first: Tensor, second: Tensor, times: Sequence[float]) -> Tensor:
        """Frames at given times.

        Args:
            first: ``[C, h, w]`` float32 R'G'B', nominal 0..1; one to four channels.
            second: the next frame, of the same shape.
            times: each above 0 (first) and below 1 (second).

        Returns:
            ``[T, C, h, w]`` in the order of ``times``, on the device of ``first``; not clamped.

        Raises:
            InvalidInput: shapes that differ, or a time out of range.
        """
        if first.shape != second.shape or first.ndim != 3 or not 1 <= first.shape[0] <= 4:
            raise InvalidInput(
                f"frames of {tuple(first.shape)} and {tuple(second.shape)}",
                "two [C, h, w] of one shape, C from 1 to 4",
            )
        if not times or not all(0 < time < 1 for time in times):
            raise InvalidInput(f"times {list(times)}", "times between 0 and 1, both not included")
        if first.shape[0] == 1:  # OpenCV drops a single channel
            return self.between(first.expand(3, -1, -1), second.expand(3, -1, -1), times)[:, :1]
        pair = _Pair(planar(first), planar(second), self.quick)
        return torch.stack([tensor(pair.at(time), first) for time in times])


class _Pair:
    """Two frames and the motion between them, ``[h, w, C]`` each."""

    def __init__(self, first: Plane, second: Plane, quick: bool) -> None:
        self._quick = quick
        self._full = first, second
        self._factor = max(1, round(first.shape[0] / _ROWS))
        self._first, self._second = shrunk(first, self._factor), shrunk(second, self._factor)
        # Dark film would leave the search a handful of the 256 levels.
        self._range = (
            float(min(self._first.min(), self._second.min())),
            float(max(self._first.max(), self._second.max())),
        )
        self._grey = grey8(self._first, *self._range), grey8(self._second, *self._range)
        with ThreadPoolExecutor(2) as pool:
            forward, backward = pool.map(
                flow8, self._grey, self._grey[::-1], [Effort.MEDIUM, Effort.MEDIUM]
            )
        self._half = 2 if self._first.shape[0] > _SPLAT_ROWS else 1
        self._forward = shrunk(forward, self._half, self._half)
        self._backward = shrunk(backward, self._half, self._half)
        self._weigh()

    def _weigh(self) -> None:
        """How much each pixel's flow counts, and which pixels the other frame does not show."""
        one, other = shrunk(self._first, self._half), shrunk(self._second, self._half)
        forward, backward = self._forward.copy(), self._backward.copy()
        moving = np.zeros(one.shape[:2], bool), np.zeros(one.shape[:2], bool)
        for mover in movers(one, other, self._forward, self._backward):
            forward[mover.first] = mover.step_px
            backward[mover.second] = [-step for step in mover.step_px]
            moving[0][mover.first] = True
            moving[1][mover.second] = True
        self._forward, self._backward = forward, backward
        self._hidden = (
            _hidden(forward, backward, self._half),
            _hidden(backward, forward, self._half),
        )
        self._importance = (
            _importance(one, other, forward, self._hidden[0], moving[0]),
            _importance(other, one, backward, self._hidden[1], moving[1]),
        )
        still = self._standing()
        for weight, flow in zip(self._importance, (forward, backward), strict=True):
            small = cv2.resize(still.astype(np.float32), weight.shape[::-1]) > 0.5
            flow[small] = 0
            weight[small] = _LIFT
        self._still = still
        # What passes in front, in each frame; what is behind it there is not to be had from it.
        self._front = [np.maximum(still, self._grown(m.astype(np.float32))) for m in moving]

    def _standing(self) -> Flags:
        """Titles and the like: what stands while most of what is around it moves."""
        flow = self._grown(self._forward) * np.float32(self._half)
        speed = np.sqrt(_squared(flow))
        around = averaged((speed > _MOVING_PX).astype(np.float32), speed.shape[0] // 3)
        if float(around.max()) < _MOSTLY:
            return np.zeros(speed.shape, bool)
        moved = fetched(self._grey[1], flow, 1.0, cv2.INTER_LINEAR)
        along = averaged(cv2.absdiff(self._grey[0], moved).astype(np.float32), _BOX_PX)
        change = cv2.absdiff(*self._grey)
        limit = _STILL + 1.5 * float(np.median(along))
        alike = cv2.medianBlur((change < limit).astype(np.uint8), 3)
        # Flat places are alike by chance: an edge has to stand, and nothing to move with the rest.
        steep = cv2.morphologyEx(self._grey[0], cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
        seeds = (alike > 0) & (along > 2 * limit) & (steep > _EDGE) & (around > _MOSTLY)
        reach = cv2.dilate(seeds.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        odd = (along > limit) | (speed < 0.5)
        return np.asarray((alike > 0) & reach & odd, bool)

    def at(self, time: float) -> Plane:
        """The frame at a time, 0..1."""
        flow, front = self._flow(time)
        parts = -time, 1 - time
        planes = [self._grown(plane) for plane in self._hidden] + self._front
        if self._factor > 1:
            height, width = self._full[0].shape[:2]
            small = flow.shape[:2]
            flow = np.asarray(cv2.resize(flow, (width, height)), np.float32)
            flow *= np.array([width / small[1], height / small[0]], np.float32)
            front, *planes = (
                np.asarray(cv2.resize(plane, (width, height)), np.float32)
                for plane in (front, *planes)
            )
        jobs = zip(self._full, parts, strict=True)
        kernel = cv2.INTER_CUBIC if self._quick else cv2.INTER_LANCZOS4
        way = apart(flow)
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(lambda job: fetched_by(job[0], way, job[1], kernel), jobs)
        gap = averaged(mean_of_channels(_apart_by(first, second)), _BOX_PX)
        low, high = _DISAGREE
        doubt = np.clip((gap - low) / (high - low), 0, 1) * _ONE_SIDED
        # What one frame alone shows comes from it; what is behind something, from the other.
        weights = []
        for side, share in ((0, 1 - time), (1, time)):
            lost = fetched_by(planes[1 - side], way, parts[1 - side], cv2.INTER_LINEAR)
            behind = _outside(flow, parts[side])
            if planes[2 + side].any():
                covered = fetched_by(planes[2 + side], way, parts[side], cv2.INTER_LINEAR)
                behind = np.maximum(covered * (1 - front), behind)
            weights.append(share * (1.01 - doubt * lost) * (1.01 - behind))
        total = weights[0] + weights[1]
        return np.asarray(
            first * (weights[0] / total)[..., None] + second * (weights[1] / total)[..., None],
            np.float32,
        )

    def _flow(self, time: float) -> tuple[Plane, Plane]:
        """Flow from first to second frame at a time between, and what stands still, 0..1."""
        sums, weight = _thrown(self._forward, time, self._importance[0])
        more, other = _thrown(self._backward, 1 - time, self._importance[1])
        # Nearer in time is nearer in place.
        total = (1 - time) * weight + time * other
        both = ((1 - time) * sums - time * more) / np.maximum(total, 1e-8)[..., None]
        mixed = np.asarray(both, np.float32)
        # What passes in front says nothing about what is behind it.
        front = total > _LIFT / 4
        trust = np.where(front, 0, np.clip(20 * total - 0.5, 0, 1)).astype(np.float32)
        flow = self._grown(filled(mixed, trust)) * np.float32(self._half)
        ahead = self._grown(filled(mixed, front.astype(np.float32))) * np.float32(self._half)
        # The piece that was matched is a little larger than the thing.
        alike = averaged(self._difference(apart(ahead), time), 3) < _ALIKE
        moving = (self._grown(front.astype(np.float32)) > 0.5) & alike
        flow[moving] = ahead[moving]
        flow[self._still] = 0
        moving |= self._still
        edge = np.maximum(_outside(flow, -time), _outside(flow, 1 - time)) > 0
        near = np.maximum(*self._front) > self._still
        near = cv2.dilate(near.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        sure = moving | edge | near
        # The edges of a title fit the picture's flow by chance.
        about = cv2.dilate(self._still.astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
        if not self._quick:
            flow = self._chosen(flow, time, sure | about)
        warped = [
            grey8(fetched(p, flow, part, cv2.INTER_CUBIC), *self._range)
            for p, part in zip((self._first, self._second), (-time, 1 - time), strict=True)
        ]
        rest = flow8(warped[0], warped[1], Effort.FAST if self._quick else Effort.MEDIUM)
        rest[(sure & ~moving) | self._still] = 0
        wide = cv2.dilate(moving.astype(np.float32), np.ones((3, 3), np.uint8))
        return np.asarray(flow + rest, np.float32), np.asarray(wide, np.float32)

    def _chosen(self, flow: Plane, time: float, sure: Flags) -> Plane:
        """Flows from near where the frames agree better with them: edges of things."""
        best = apart(flow)
        least = self._gap(best, time) - _GAIN
        open_ = ~sure
        for step in _NEAR:
            base = best[0].copy(), best[1].copy()
            for across, down in ((step, 0), (-step, 0), (0, step), (0, -step)):
                near = moved(base[0], across, down), moved(base[1], across, down)
                gap = self._gap(near, time)
                better = ((gap < least) & open_).astype(np.uint8)
                for plane, other in zip(best, near, strict=True):
                    cv2.copyTo(other, better, plane)
                # The next one has to be better by as much again.
                cv2.copyTo(gap - _GAIN, better, least)
        return np.asarray(cv2.merge(best), np.float32)

    def _gap(self, flow: tuple[Plane, Plane], time: float) -> Plane:
        return averaged(self._difference(flow, time), _BOX_PX)

    def _difference(self, flow: tuple[Plane, Plane], time: float) -> Plane:
        one = fetched_by(self._grey[0], flow, -time, cv2.INTER_LINEAR)
        other = fetched_by(self._grey[1], flow, 1 - time, cv2.INTER_LINEAR)
        return cv2.absdiff(one, other).astype(np.float32)

    def _grown(self, plane: Plane) -> Plane:
        """From the size that flow is splatted at to the one that it is searched at."""
        height, width = self._first.shape[:2]
        if plane.shape[:2] == (height, width):
            return plane
        return np.asarray(cv2.resize(plane, (width, height)), np.float32)


def _thrown(flow: Plane, part: float, importance: Plane) -> tuple[Plane, Plane]:
    """A flow splatted along itself: ``[h, w, 2]`` sums and ``[h, w]`` weights."""
    field = torch.from_numpy(np.ascontiguousarray(flow.transpose(2, 0, 1)))[None]
    sums, weight = splat(field, field * part, torch.from_numpy(importance)[None, None])
    return planar(sums[0]), weight[0, 0].numpy()


def _outside(flow: Plane, part: float) -> Plane:
    """1 where a flow leaves the frame."""
    height, width = flow.shape[:2]
    x = flow[..., 0] * np.float32(part) + np.arange(width, dtype=np.float32)
    y = flow[..., 1] * np.float32(part) + np.arange(height, dtype=np.float32)[:, None]
    beyond = (x < -0.5) | (x > width - 0.5) | (y < -0.5) | (y > height - 0.5)
    return np.asarray(beyond, np.float32)


def _apart_by(one: Plane, other: Plane) -> Plane:
    return np.asarray(cv2.absdiff(one, other), np.float32)


def _squared(flow: Plane) -> Plane:
    """Squared lengths."""
    x, y = apart(flow)
    return x * x + y * y


def _hidden(forward: Plane, backward: Plane, factor: int) -> Plane:
    """0..1: pixels whose flow there and back does not return, in px of the searched frame."""
    share, slack = _CONSISTENT
    back = fetched(backward, forward, 1.0, cv2.INTER_LINEAR)
    gap = _squared(forward + back)
    size = _squared(forward) + _squared(back)
    lost = np.clip(gap / (share * size + slack / factor**2) - 0.5, 0, 1)
    return np.asarray(lost, np.float32)


def _importance(one: Plane, other: Plane, flow: Plane, hidden: Plane, moving: Flags) -> Plane:
    """What a pixel's flow weighs, by brightness constancy as in the paper on softmax splatting."""
    gap = mean_of_channels(_apart_by(one, fetched(other, flow, 1.0, cv2.INTER_LINEAR)))
    weight = np.exp(-_STRICT * np.minimum(gap, 0.5)) * (1 - 0.99 * hidden)
    return np.asarray(np.where(moving, np.float32(_LIFT), weight), np.float32)
