"""How one clean tile becomes one training pair, for each kind of material."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from restore.degrade.film import Compression, FilmDamage, degrade
from restore.degrade.gauges import GAUGES
from restore.degrade.jpeg import jpeg_roundtrip
from restore.degrade.resize import shrink
from restore.degrade.telecine import careless
from restore.media.roundtrip import roundtrip
from restore.train.leaves import dead_leaves

__all__ = ["MAKERS", "MARGINS_PX", "Maker", "Transfers", "draw_reel"]

Picture = NDArray[np.uint8]
Pair = tuple[Picture, Picture, dict[str, Any]]  # input, target, what was drawn


@dataclass(frozen=True)
class Transfers:
    """How often film or tape came by an old way.

    Attributes:
        dv: share of the video tiles coded as DV.
        telecine: share of them combed or blended by a careless transfer.
    """

    dv: float = 0.0
    telecine: float = 0.0


# (clean tile [h, w, 3], scale, strength 0..1, transfers, random) -> pair
Maker = Callable[[Picture, int, float, Transfers, np.random.Generator], Pair]


def _clean(
    tile: Picture, scale: int, strength: float, transfers: Transfers, random: np.random.Generator
) -> Pair:
    """Antialiased bicubic shrinking and nothing else; at scale 1 the picture itself."""
    return (shrink(tile, scale) if scale > 1 else tile), tile, {}


def _leaves(
    tile: Picture, scale: int, strength: float, transfers: Transfers, random: np.random.Generator
) -> Pair:
    """A drawn scene in the tile's colours, shrunk like a clean one."""
    scene = dead_leaves(tile.shape[0], tile, random)
    return _clean(scene, scale, strength, transfers, random)


def _jpeg(
    tile: Picture, scale: int, strength: float, transfers: Transfers, random: np.random.Generator
) -> Pair:
    """JPEG once, or twice with another grid; strength 1 is quality 8, strength 0 quality 75."""
    quality = round(75 * (8 / 75) ** strength)
    half = bool(random.random() < 0.7)
    low = shrink(tile, scale) if scale > 1 else tile
    first = 0
    if random.random() < 0.2:
        first = int(random.integers(30, 90))
        dy, dx = (int(v) for v in random.integers(0, 8, 2))
        framed = np.pad(low, ((dy, 8), (dx, 8), (0, 0)), mode="reflect")
        again = jpeg_roundtrip(framed, first, half)
        low = again[dy : dy + low.shape[0], dx : dx + low.shape[1]]
    low = jpeg_roundtrip(low, quality, half)
    return low, tile, {"quality": quality, "chroma_420": half, "earlier_quality": first}


def _pan(
    tile: Picture, count: int, margin_px: int, random: np.random.Generator
) -> NDArray[np.uint8]:
    """``count`` frames cut from a tile along a straight pan; the last one is its middle."""
    size = tile.shape[0] - 2 * margin_px
    reach = margin_px // max(1, count - 1)
    step = random.integers(-reach, reach + 1, 2) if random.random() < 0.8 else np.zeros(2, np.intp)
    frames = []
    for back in range(count - 1, -1, -1):
        y, x = (margin_px + back * step).tolist()
        frames.append(tile[y : y + size, x : x + size])
    return np.stack(frames)


def _coding(strength: float, random: np.random.Generator) -> Compression:
    """A video codec at a quality that fits the strength: H.264 CRF 18..40, MPEG quantiser 2..20."""
    codec = str(random.choice(["h264", "h264", "mpeg2", "mpeg4"]))
    if codec == "h264":
        return Compression(codec, round(18 + 22 * strength))
    return Compression(codec, round(2 * 10**strength))


def _codec(
    tile: Picture, scale: int, strength: float, transfers: Transfers, random: np.random.Generator
) -> Pair:
    """The last of a few frames of a panning shot, after a real video encoder.

    A combed or blended frame carries something of the one after it, which is coded with it.
    """
    telecine = "none"
    if transfers.telecine and random.random() < transfers.telecine:
        telecine = str(random.choice(["combed", "blended"]))
    count, after = int(random.integers(1, 7)), int(telecine != "none")
    frames = _pan(tile, count + after, MARGINS_PX["codec"] * scale, random)
    small = np.stack([shrink(f, scale) for f in frames]) if scale > 1 else frames
    place = count - 1
    if after:
        # Two frames in five are spoiled: the phase is such that this one is the first of them.
        spoiled = careless(small.astype(np.float32), telecine, (1 - place) % 5)
        small = np.rint(spoiled).astype(np.uint8)
    is_dv = transfers.dv and random.random() < transfers.dv
    coding = Compression("dv") if is_dv else _coding(strength, random)
    coded = roundtrip(small, coding.codec, coding.quality)
    facts = {"codec": coding.codec, "quality": coding.quality, "frames": len(frames)}
    if after:
        facts["telecine"] = telecine
    return coded[place], frames[place], facts


def _spread(value: float, random: np.random.Generator) -> float:
    return value * float(random.lognormal(0.0, 0.35))


def draw_reel(scale: int, strength: float, random: np.random.Generator) -> FilmDamage:
    """A preset of a random gauge with every figure spread about, and a random transfer.

    No combing or blending: one frame alone cannot undo them, so this stage must not try.
    """
    damage = FilmDamage.preset(
        str(random.choice(list(GAUGES))),
        strength,
        int(random.integers(2**31)),
        downscale=scale,
        scan_height_px=int(random.integers(240, 561)),
    )
    passes = 2 if random.random() < 0.4 else 1
    kernels = tuple(str(random.choice(["bicubic", "bilinear", "box", "lanczos3"])) for _ in "12")
    codings = []
    for _ in range(passes):
        kind = random.random()
        if kind < 0.35:
            codings.append(Compression("jpeg", round(92 - 62 * strength * random.random())))
        elif kind < 0.75:
            codings.append(_coding(0.75 * strength * float(random.random()), random))
        else:
            codings.append(Compression())
    soft = _spread(damage.blur_px[0], random)
    # A preset counts scratches and hairs on a whole frame, some ten tiles wide and high.
    dirt = replace(
        damage.dirt,
        scratches=int(random.random() < damage.dirt.scratches / 10),
        hairs=damage.dirt.hairs / 30,
    )
    return replace(
        damage,
        blur_px=(soft * random.uniform(0.85, 1.15), soft * random.uniform(0.85, 1.15)),
        dirt=dirt,
        grain_rms=_spread(damage.grain_rms, random),
        grain_size_px=_spread(damage.grain_size_px, random),
        grain_correlation=float(random.random()),
        monochrome=bool(random.random() < 0.25),
        sharpen=float(random.random()) * 2 * damage.sharpen,
        kernels=kernels[:passes],
        between=random.uniform(1.0, 4.0) if passes == 2 else 1.0,
        compressions=tuple(codings),
    )


def _film(
    tile: Picture, scale: int, strength: float, transfers: Transfers, random: np.random.Generator
) -> Pair:
    """The film model's last frame against its truth, moved and toned as the gate left it."""
    damage = draw_reel(scale, strength, random)
    video = any(c.codec not in ("none", "jpeg") for c in damage.compressions)
    frames = _pan(tile, 3 if video else 1, MARGINS_PX["film"] * scale, random)
    clip = degrade(frames.astype(np.float32) / 255.0, damage, roundtrip)
    low, high = (np.rint(a[-1] * 255.0).astype(np.uint8) for a in (clip.frames, clip.target))
    return low, high, {"frames": len(frames), "damage": clip.parameters}


MAKERS: Final[dict[str, Maker]] = {
    "clean": _clean,
    "leaves": _leaves,
    "jpeg": _jpeg,
    "codec": _codec,
    "film": _film,
}
# How much more than a tile each maker needs on every side, in pixels of the network's input.
MARGINS_PX: Final[dict[str, int]] = {"clean": 0, "leaves": 0, "jpeg": 0, "codec": 16, "film": 8}
