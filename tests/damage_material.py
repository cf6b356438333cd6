"""Clips with known truth for the repair stages: real motion, real shapes of damage."""

from __future__ import annotations

import av
import cv2
import numpy as np
import torch

from restore.degrade.grain import add_grain
from restore.degrade.scene import moving_clip

FILMS = (
    "a_trip_down_market_street_before_the_fire",
    "san_francisco_earthquake_and_fire",
    "the_great_train_robbery",
)


def texture(height, width, seed=0):
    """``[h, w, 3]`` picture with edges, lines and flat parts, for tests without assets."""
    random = np.random.default_rng(seed)
    picture = np.full((height, width, 3), 0.45, np.float32)
    for _ in range(60):
        x, y = random.integers(0, width), random.integers(0, height)
        w, h = random.integers(8, width // 4), random.integers(8, height // 4)
        picture[y : y + h, x : x + w] = random.uniform(0.1, 0.85, 3) * [1, 0.9, 0.8]
    fine = cv2.GaussianBlur(random.normal(0, 0.2, (height, width)), (0, 0), 1.5)
    return np.clip(cv2.GaussianBlur(picture, (0, 0), 0.8) + fine[..., None], 0, 1).astype(
        np.float32
    )


def grainy(frames, strength, seed=0):
    return np.stack(
        [np.clip(add_grain(f, strength, 0.8, 1.0, (seed, n)), 0, 1) for n, f in enumerate(frames)]
    )


def photo_clip(assets, name, count, size, seed, grain=0.02):
    photo = cv2.imread(str(assets / "media" / "photos" / f"{name}.jpg"))[..., ::-1]
    photo = cv2.resize(photo, None, fx=0.3, fy=0.3, interpolation=cv2.INTER_AREA)
    return grainy(moving_clip(np.ascontiguousarray(photo), count, size, seed), grain, seed)


def real_clip(assets, name, start, count, size):
    """``[count, h, w, 3]`` float32 of a shared clip."""
    out = []
    with av.open(str(assets / "media" / "clips" / name)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number >= start:
                picture = frame.to_ndarray(format="rgb24")
                out.append(cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA))
            if len(out) == count:
                break
    return np.stack(out).astype(np.float32) / 255


def film(assets, name, start, count):
    paths = sorted((assets / "media" / "film" / name).glob("*.png"))[start : start + count]
    frames = [cv2.imread(str(path))[..., ::-1] for path in paths]
    return np.stack(frames).astype(np.float32) / 255


def damage_shapes(assets):
    """(kind, alpha) of the largest pieces of every shared shape."""
    found = []
    for path in sorted((assets / "media" / "damage").glob("*/*.png")):
        alpha = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., 3].astype(np.float32) / 255
        _, labels, stats, _ = cv2.connectedComponentsWithStats((alpha > 0.05).astype(np.uint8))
        for label in np.argsort(-stats[1:, cv2.CC_STAT_AREA])[:3] + 1:
            x, y, w, h, area = stats[label]
            if area >= 20:
                piece = (alpha * (labels == label))[y : y + h, x : x + w]
                found.append((path.parent.name, piece))
    return found


def damaged(frames, shapes, seed, marks):
    """Every frame with its own marks, dark or bright, 1 to 8 % (hairs 8 to 25 %) of the height."""
    random = np.random.default_rng(seed)
    out = frames.copy()
    height, width = frames.shape[1:3]
    for frame in out:
        for _ in range(marks):
            kind, alpha = shapes[random.integers(len(shapes))]
            low, high = (0.08, 0.25) if kind in ("hair", "lint") else (0.01, 0.08)
            ratio = height * np.exp(random.uniform(np.log(low), np.log(high))) / max(alpha.shape)
            alpha = np.rot90(alpha, random.integers(4))
            size = [max(2, round(n * ratio)) for n in alpha.shape[::-1]]
            small = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
            small *= min(1.0, alpha.max()) / max(float(small.max()), 1e-3)
            y = random.integers(0, height - small.shape[0])
            x = random.integers(0, width - small.shape[1])
            part = frame[y : y + small.shape[0], x : x + small.shape[1]]
            part += (random.choice([0.03, 0.93]) - part) * small[..., None]
    return out


def tensor(frames):
    """``[T, h, w, 3]`` to ``[T, 3, h, w]``."""
    return torch.from_numpy(np.ascontiguousarray(frames, dtype=np.float32)).permute(0, 3, 1, 2)


def windows(frames, radius):
    """``[T, 2 radius + 1, 3, h, w]`` as the engine makes them, ends repeated."""
    every, last = tensor(frames), len(frames) - 1
    span = range(-radius, radius + 1)
    return torch.stack(
        [every[[min(max(n + k, 0), last) for k in span]] for n in range(len(frames))]
    )
