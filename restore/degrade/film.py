"""The film degradation model: a clean clip in, a scanned, damaged, coded one out, with the truth.

The order is that of the real chain: lens and film resolution, gate weave and breathing, faded
dyes, flicker, grain, dirt, the scanner's resampling and sharpening, a careless telecine, then
compression. With two passes the resampling and the compression happen twice, as with material that
was uploaded and downloaded again (the second-order model of X. Wang et al., "Real-ESRGAN", 2021).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from restore.degrade.dirt import Dirt, draw_dirt
from restore.degrade.gauges import GAUGES, blur_px, grain_rms, grain_size_px
from restore.degrade.grain import add_grain
from restore.degrade.jpeg import jpeg_roundtrip
from restore.degrade.optics import blur, sharpen
from restore.degrade.resize import KERNELS, resize
from restore.degrade.seeds import generator
from restore.degrade.telecine import careless
from restore.degrade.transport import fade, flicker_gains, flicker_map, weave, weave_path_px
from restore.errors import InvalidInput

__all__ = ["STRENGTHS", "Compression", "DegradedClip", "FilmDamage", "Roundtrip", "degrade"]

Array = NDArray[np.float32]
# (frames [T, h, w, 3] uint8 R'G'B', codec name, quality) -> the same shape, coded and decoded.
Roundtrip = Callable[[NDArray[np.uint8], str, int], NDArray[np.uint8]]

STRENGTHS: Final[dict[str, float]] = {"light": 0.25, "medium": 0.5, "heavy": 0.85}


@dataclass(frozen=True)
class Compression:
    """One generation of lossy coding.

    Attributes:
        codec: ``none``, ``jpeg``, or a name that the given roundtrip knows (``h264``, ``mpeg2``,
            ``mpeg4``, ``dv``).
        quality: JPEG quality 1..95, H.264 CRF, MPEG quantiser; unused by DV.
    """

    codec: str = "none"
    quality: int = 0


@dataclass(frozen=True)
class FilmDamage:
    """Everything that decides what happens to a clip; pixel sizes are those of the result.

    Attributes:
        seed: names all random draws.
        downscale: whole factor between the truth's size and the result's.
        gauge: where the preset came from; says nothing further.
        blur_px: sigma of lens, film and scanner (down, across).
        focus_breathing: relative change of the blur from frame to frame.
        weave_px: root mean square of the gate weave.
        zoom_breathing: largest relative change of size from frame to frame.
        fade_amount: 0..1.
        fade_density: share of cyan, magenta, yellow dye left at amount 1.
        monochrome: black-and-white stock.
        flicker: standard deviation of the exposure from frame to frame, relative.
        flicker_uneven: the same for its smooth spatial part.
        grain_rms: standard deviation of density at density 1.
        grain_size_px: clump size.
        grain_correlation: 0 colour film .. 1 silver.
        dirt: dust, hair, scratches.
        kernels: resampling kernel of each pass; a pass before the last also changes the size.
        between: size between the passes relative to the result's; unused with one pass.
        sharpen: amount of unsharp masking by the scanner.
        telecine: ``none``, ``combed`` or ``blended``.
        compressions: one for each pass.
    """

    seed: int = 0
    downscale: int = 4
    gauge: str = ""
    blur_px: tuple[float, float] = (0.0, 0.0)
    focus_breathing: float = 0.0
    weave_px: float = 0.0
    zoom_breathing: float = 0.0
    fade_amount: float = 0.0
    fade_density: tuple[float, float, float] = (0.6, 0.9, 0.75)
    monochrome: bool = False
    flicker: float = 0.0
    flicker_uneven: float = 0.0
    grain_rms: float = 0.0
    grain_size_px: float = 0.0
    grain_correlation: float = 0.3
    dirt: Dirt = field(default_factory=Dirt)
    kernels: tuple[str, ...] = ("bicubic",)
    between: float = 1.0
    sharpen: float = 0.0
    telecine: str = "none"
    compressions: tuple[Compression, ...] = (Compression(),)

    def __post_init__(self) -> None:
        if len(self.kernels) != len(self.compressions) or not 1 <= len(self.kernels) <= 2:
            raise InvalidInput(
                f"{len(self.kernels)} kernels and {len(self.compressions)} compressions",
                "one of each for each of one or two passes",
            )
        unknown = [name for name in self.kernels if name not in KERNELS]
        if unknown or self.downscale < 1 or self.telecine not in ("none", "combed", "blended"):
            raise InvalidInput(
                f"kernels {self.kernels}, downscale {self.downscale}, telecine {self.telecine!r}",
                f"kernels of {', '.join(KERNELS)}, 1 or more, none | combed | blended",
            )

    def to_json(self) -> dict[str, Any]:
        """All parameters as plain JSON values, to be written beside the sample."""
        return asdict(self)

    @classmethod
    def from_json(cls, table: dict[str, Any]) -> FilmDamage:
        """The inverse of :meth:`to_json`, also after a trip through a JSON file."""
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in table.items()
        }
        values["dirt"] = Dirt(**table["dirt"])
        values["compressions"] = tuple(Compression(**entry) for entry in table["compressions"])
        return cls(**values)

    @classmethod
    def preset(
        cls,
        gauge: str,
        strength: str | float,
        seed: int,
        *,
        downscale: int = 4,
        scan_height_px: int = 480,
    ) -> FilmDamage:
        """A typical reel of a gauge.

        Args:
            gauge: ``8mm``, ``super8``, ``16mm`` or ``35mm``.
            strength: ``light``, ``medium``, ``heavy``, or 0..1.
            seed: the same seed gives the same reel.
            downscale: factor between the truth's and the scan's size.
            scan_height_px: height of the whole film frame in the scan; smaller pieces of a frame
                keep the height of the whole one here.

        Returns:
            The parameters, without compression.

        Raises:
            InvalidInput: unknown gauge or strength.
        """
        if gauge not in GAUGES:
            raise InvalidInput(f"the gauge {gauge!r}", f"one of {', '.join(GAUGES)}")
        if isinstance(strength, str) and strength not in STRENGTHS:
            raise InvalidInput(f"the strength {strength!r}", f"{', '.join(STRENGTHS)} or 0..1")
        s = STRENGTHS[strength] if isinstance(strength, str) else float(strength)
        if not 0.0 <= s <= 1.0:
            raise InvalidInput(f"a strength of {s}", "0..1")
        soft = blur_px(gauge, scan_height_px) * (0.5 + s)
        unit = scan_height_px / 480.0
        return cls(
            seed=seed,
            downscale=downscale,
            gauge=gauge,
            blur_px=(soft, soft),
            focus_breathing=0.3 * s,
            weave_px=1.2 * s * unit * GAUGES[gauge].unsteadiness,
            zoom_breathing=0.001 * s,
            fade_amount=0.7 * s * s,
            flicker=0.06 * s,
            flicker_uneven=0.02 * s,
            grain_rms=grain_rms(gauge, scan_height_px) * (0.3 + 1.2 * s),
            grain_size_px=grain_size_px(gauge, scan_height_px),
            dirt=Dirt(
                dust_per_mpx=160.0 * s * s / unit**2,
                dust_px=1.3 * unit,
                hairs=1.2 * s * s,
                scratches=round(3 * s * s),
            ),
            sharpen=0.3 * s,
        )


@dataclass(frozen=True)
class DegradedClip:
    """A degraded clip and what is true of it.

    Attributes:
        frames: ``[T, h, w, 3]`` float32 R'G'B', 0..1.
        truth: ``[T, H, W, 3]`` the clean clip, cut to a multiple of the downscale factor.
        target: the truth where the gate and the dyes have left it: with weave, breathing of size,
            fading and flicker, but sharp and clean. What a purely spatial stage can reach.
        parameters: JSON values that give the same clip again from the same truth.
        dust_mask: ``[T, h, w]`` True where dust, hair or a scratch lies.
        weave_px: ``[T, 2]`` how far each frame lies (down, across) of its place, result's pixels.
        flicker: ``[T]`` factor on R'G'B' of each frame.
    """

    frames: Array
    truth: Array
    target: Array
    parameters: dict[str, Any]
    dust_mask: NDArray[np.bool_]
    weave_px: NDArray[np.float64]
    flicker: NDArray[np.float64]


def degrade(
    frames: NDArray[np.floating], damage: FilmDamage, roundtrip: Roundtrip | None = None
) -> DegradedClip:
    """Put a clip through the film chain.

    Args:
        frames: ``[T, H, W, 3]`` R'G'B', 0..1.
        damage: what to do.
        roundtrip: codes and decodes video, for any compression but ``none`` and ``jpeg``
            (``restore.media.roundtrip.roundtrip``).

    Raises:
        InvalidInput: frames of another shape, or a video codec without a roundtrip.
    """
    if frames.ndim != 4 or frames.shape[3] != 3:
        raise InvalidInput(f"frames of shape {frames.shape}", "[T, H, W, 3]")
    k = damage.downscale
    height, width = frames.shape[1] // k, frames.shape[2] // k
    if height < 1 or width < 1 or not frames.shape[0]:
        raise InvalidInput(f"frames of shape {frames.shape}", f"at least one of {k}x{k} px")
    truth = np.ascontiguousarray(frames[:, : height * k, : width * k], dtype=np.float32)
    count = truth.shape[0]
    path = weave_path_px(count, damage.weave_px, damage.seed)
    gains = flicker_gains(count, damage.flicker, damage.seed)
    target = np.empty_like(truth)
    low = np.empty((count, height, width, 3), np.float32)
    masks = np.zeros((count, height, width), np.bool_)
    for number in range(count):
        target[number] = _in_gate(truth[number], damage, number, path[number], gains[number])
        small = _photographed(target[number], damage, number)
        low[number], masks[number] = draw_dirt(small, damage.dirt, (damage.seed, number))
    low = _transferred(np.clip(low, 0.0, 1.0), damage, roundtrip)
    return DegradedClip(low, truth, target, damage.to_json(), masks, path, gains)


def _in_gate(
    frame: Array, damage: FilmDamage, number: int, shift: NDArray[np.float64], gain: float
) -> Array:
    """Weave, breathing of size, stock, fading and flicker, at the truth's size."""
    k = damage.downscale
    swing = float(generator(damage.seed, "zoom", number).uniform(-1.0, 1.0))
    zoom = 1.0 + damage.zoom_breathing * swing
    frame = weave(frame, (float(shift[0]) * k, float(shift[1]) * k), zoom)
    if damage.monochrome:
        frame = np.repeat(frame @ np.array([[0.2126], [0.7152], [0.0722]], np.float32), 3, axis=-1)
    frame = fade(frame, damage.fade_amount, damage.fade_density)
    if damage.flicker_uneven > 0.0:
        key = (damage.seed, number)
        frame = frame * flicker_map((frame.shape[0], frame.shape[1]), damage.flicker_uneven, key)
    return np.asarray(np.clip(frame * np.float32(gain), 0.0, 1.0), dtype=np.float32)


def _photographed(frame: Array, damage: FilmDamage, number: int) -> Array:
    """Blur, the scan's sampling, grain."""
    k = damage.downscale
    swing = float(generator(damage.seed, "focus", number).normal())
    softer = k * float(np.exp(damage.focus_breathing * swing))
    frame = blur(frame, (damage.blur_px[0] * softer, damage.blur_px[1] * softer))
    height, width = frame.shape[0] // k, frame.shape[1] // k
    if len(damage.kernels) == 2:
        between = (max(2, round(height * damage.between)), max(2, round(width * damage.between)))
        frame = resize(frame, between, damage.kernels[0])
    small = resize(frame, (height, width), damage.kernels[-1])
    return add_grain(
        np.clip(small, 0.0, 1.0),
        damage.grain_rms,
        damage.grain_size_px,
        1.0 if damage.monochrome else damage.grain_correlation,
        (damage.seed, number),
    )


def _transferred(low: Array, damage: FilmDamage, roundtrip: Roundtrip | None) -> Array:
    """Sharpening, telecine and each pass's compression."""
    if damage.sharpen > 0.0:
        low = np.stack([sharpen(frame, damage.sharpen) for frame in low])
    low = careless(low, damage.telecine, damage.seed % 5)
    for compression in damage.compressions:
        if compression.codec == "none":
            continue
        coded = np.clip(np.rint(low * 255.0), 0, 255).astype(np.uint8)
        if compression.codec == "jpeg":
            coded = np.stack([jpeg_roundtrip(f, compression.quality, True) for f in coded])
        elif roundtrip is None:
            raise InvalidInput(
                f"compression by {compression.codec} without a roundtrip",
                "jpeg, none, or a roundtrip that codes video",
                "Pass restore.media.roundtrip.roundtrip.",
            )
        else:
            coded = roundtrip(coded, compression.codec, compression.quality)
        low = coded.astype(np.float32) / np.float32(255.0)
    return np.clip(low, 0.0, 1.0)
