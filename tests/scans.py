"""Scans of film that show more than the picture: made by us, and real ones moved by us."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import torch
from scipy.ndimage import shift as spline_shift

from restore.degrade.grain import grain_field
from restore.degrade.seeds import generator
from restore.degrade.transport import weave_path_px
from restore.frames import Frame
from tests.engine_stages import RGB

SIZE = (168, 224)
PER_MM = 36.0  # of the scan
MIDDLE = 84.0
OUTER = 14.0


def rounded(size, left, top, width, height, radius):
    """Coverage of a rectangle with rounded corners, ``[h, w]``, by 8 x 8 points a pixel."""
    y, x = ((np.arange(n * 8) + 0.5) / 8 for n in size)
    dx = np.maximum(np.abs(x - left - width / 2) - width / 2 + radius, 0)[None]
    dy = np.maximum(np.abs(y - top - height / 2) - height / 2 + radius, 0)[:, None]
    inside = (np.hypot(dx, dy) <= radius).astype(np.float32)
    return inside.reshape(size[0], 8, size[1], 8).mean((1, 3))


def ground(height, width, seed=0):
    """``[h, w, 3]`` with structure from 1.5 to 40 px."""
    parts = [
        amount * grain_field((height, width, 3), size, generator(seed, str(size)))
        for size, amount in ((1.0, 0.05), (5.0, 0.08), (18.0, 0.12))
    ]
    return np.clip(0.5 + sum(parts), 0, 1).astype(np.float32)


def super8(scene, *, blown=False, leak=0.0):
    """A Super 8 frame as a scanner sees it: ``scene`` ``[>=145, >=190, 3]`` in its gate."""
    film = np.full((*SIZE, 3), 0.03, np.float32)
    left, top = round(OUTER + 0.78 * PER_MM), round(MIDDLE - 2.0 * PER_MM)
    tall, wide = round(4.0 * PER_MM), SIZE[1] - left - 6
    film[top : top + tall, left : left + wide] = 1.0 if blown else scene[:tall, :wide]
    if leak:
        glow = np.exp(-np.arange(SIZE[1]) / 25).astype(np.float32)
        film += leak * glow[None, :, None]
    hole = rounded(
        SIZE, OUTER, MIDDLE - 0.5715 * PER_MM, 0.914 * PER_MM, 1.143 * PER_MM, 0.13 * PER_MM
    )[..., None]
    return np.clip(cv2.GaussianBlur(film * (1 - hole) + 1.3 * hole, (0, 0), 0.8), 0, 1)


def moved(clip, path, seed=0, grain=0.02):
    """Each frame of a clip moved as a whole by ``path`` ``[n, 2]`` (down, across), under grain."""
    random = np.random.default_rng(seed)
    out = [
        spline_shift(one, (*step, 0), order=3, mode="nearest") + random.normal(0, grain, one.shape)
        for one, step in zip(clip, path, strict=True)
    ]
    return np.clip(out, 0, 1).astype(np.float32)


def drifted(scan, path):
    """A scan ``[h, w, 3]`` moved by each (down, across) of a path, exactly: by its phases."""
    tall, wide = (n // 2 for n in scan.shape[:2])
    spectrum = np.fft.rfft2(np.pad(scan, ((0, tall), (0, wide), (0, 0)), "reflect"), axes=(0, 1))
    down = np.fft.fftfreq(scan.shape[0] + tall)[:, None, None]
    across = np.fft.rfftfreq(scan.shape[1] + wide)[None, :, None]
    size = (scan.shape[0] + tall, scan.shape[1] + wide)
    return [
        np.fft.irfft2(spectrum * np.exp(-2j * np.pi * (down * y + across * x)), size, axes=(0, 1))[
            : scan.shape[0], : scan.shape[1]
        ]
        for y, x in path
    ]


def dusty(clip, seed=0, marks=3):
    """Dirt on the edges of the hole, of each frame for itself."""
    random = np.random.default_rng(seed)
    out = clip.copy()
    for one in out:
        for _ in range(marks):
            y, x = random.integers(60, 108), random.integers(int(OUTER) - 3, int(OUTER) + 30)
            cv2.circle(one, (int(x), int(y)), int(random.integers(1, 4)), (0.0, 0.0, 0.0), -1)
    return out


def weaving(count, rms_px=2.0, seed=0):
    return weave_path_px(count, rms_px, seed)


def frames_of(pictures, shot=0, start=0):
    return [
        Frame(
            torch.from_numpy(np.ascontiguousarray(p.transpose(2, 0, 1))),
            pts=n, time_base=Fraction(1, 18), color=RGB, index=n, shot=shot,
        )
        for n, p in enumerate(pictures, start)
    ]  # fmt: skip
