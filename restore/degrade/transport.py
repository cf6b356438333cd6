"""What the transport of film through gate and projector does: weave, breathing, flicker, fading."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform  # type: ignore[attr-defined]

from restore.degrade.resize import resize
from restore.degrade.seeds import generator

__all__ = ["fade", "flicker_gains", "flicker_map", "weave", "weave_path_px"]

Array = NDArray[np.float32]


def weave_path_px(frames: int, rms_px: float, seed: int) -> NDArray[np.float64]:
    """Where the gate holds each frame: ``[T, 2]`` of (down, across) in pixels.

    A slow drift and a fresh error at every pull-down, the vertical one larger, as the claw pulls
    down.
    """
    path = np.zeros((frames, 2))
    if rms_px <= 0.0:
        return path
    slow = generator(seed, "weave")
    period, phase = slow.uniform(8.0, 40.0, 2), slow.random(2) * 2 * np.pi
    for number in range(frames):
        jump = generator(seed, "weave", number).normal(0.0, 1.0, 2)
        drift = np.sqrt(2.0) * np.sin(2 * np.pi * number / period + phase)
        path[number] = rms_px * (0.7 * drift + 0.7 * jump) * (1.1, 0.9)
    return path


def weave(frame: Array, shift_px: tuple[float, float], zoom: float) -> Array:
    """Move a frame ``[H, W, C]`` down and across by parts of a pixel and zoom it about its centre.

    Cubic splines; pixels that come in from beyond the edge are mirrored.
    """
    if shift_px == (0.0, 0.0) and zoom == 1.0:
        return frame
    height, width = frame.shape[:2]
    matrix = np.array([1.0 / zoom, 1.0 / zoom])
    centre = np.array([(height - 1) / 2.0, (width - 1) / 2.0])
    offset = centre - (centre + np.array(shift_px)) * matrix
    out = np.empty_like(frame)
    for channel in range(frame.shape[2]):
        out[..., channel] = affine_transform(
            frame[..., channel], matrix, offset, order=3, mode="mirror"
        )
    return np.clip(out, 0.0, 1.0)


def flicker_gains(frames: int, strength: float, seed: int) -> NDArray[np.float64]:
    """Exposure of each frame as a factor on R'G'B', ``[T]``, about 1."""
    if strength <= 0.0:
        return np.ones(frames)
    slow = generator(seed, "flicker")
    period, phase = slow.uniform(5.0, 25.0), slow.random() * 2 * np.pi
    noise = [float(generator(seed, "flicker", n).normal()) for n in range(frames)]
    wave = np.sin(2 * np.pi * np.arange(frames) / period + phase)
    gains: NDArray[np.float64] = np.exp(strength * (0.6 * wave + 0.8 * np.array(noise)))
    return gains


def flicker_map(size_px: tuple[int, int], strength: float, key: tuple[int, int]) -> Array:
    """The uneven part of flicker: a smooth factor ``[h, w, 1]`` about 1, new for every frame."""
    coarse = generator(key[0], "flicker map", key[1]).normal(0.0, strength, (3, 4, 1))
    return np.exp(resize(coarse.astype(np.float32), size_px, "bicubic"))


def fade(frame: Array, amount: float, density: tuple[float, float, float]) -> Array:
    """Dye fading and lost contrast.

    Args:
        frame: ``[..., 3]`` R'G'B', 0..1.
        amount: 0 none .. 1 badly faded.
        density: share of each of cyan, magenta and yellow dye that is left at amount 1.

    Returns:
        R'G'B' in which each dye's density is scaled and the blacks are lifted; 0..1.
    """
    if amount <= 0.0:
        return frame
    left = 1.0 - amount * (1.0 - np.array(density, dtype=np.float32))
    faded = np.power(np.clip(frame, 1e-3, 1.0), left)
    return np.asarray(0.03 * amount + (1.0 - 0.06 * amount) * faded, dtype=np.float32)
