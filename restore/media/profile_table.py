"""The one table of delivery profiles: what can be written and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

__all__ = ["HARDWARE", "PROFILES", "DeliveryProfile"]

Speeds = tuple[str, ...]
_X26X_SPEEDS: Speeds = (
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
)


@dataclass(frozen=True)
class DeliveryProfile:
    """One way of writing video.

    Attributes:
        name: what people call it.
        summary: one line for people.
        kind: ``video`` in a container, ``sequence`` of image files, or ``pipe``.
        encoder: FFmpeg's name of the encoder; ``y4m`` is written by this project itself.
        suffixes: file name endings it can have, the usual one first.
        formats: planar sample layouts by bit depth, the usual one first.
        alpha_formats: layouts with an alpha plane by bit depth.
        default_depth_bits: bit depth taken where none is asked for.
        threads: encoder threads. Constant, never the machine's number of cores, since the bytes
            that some encoders write depend on it.
        crf: lowest, highest and usual constant rate factor; None where there is none.
        speeds: encoder speeds by name, fastest first; empty where there is none.
        default_speed: the usual one.
        options: encoder options that are always set.
        is_limited_only: the codec or its containers cannot say full range.
        is_lossless: the samples come back unchanged.
        min_size_px: smallest width and height the encoder takes.
    """

    name: str
    summary: str
    kind: Literal["video", "sequence", "pipe"]
    encoder: str
    suffixes: tuple[str, ...]
    formats: Mapping[int, tuple[str, ...]]
    default_depth_bits: int
    threads: int
    alpha_formats: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    crf: tuple[int, int, int] | None = None
    speeds: Speeds = ()
    default_speed: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    is_limited_only: bool = False
    is_lossless: bool = False
    min_size_px: tuple[int, int] = (1, 1)

    @property
    def supports_alpha(self) -> bool:
        """Whether an alpha plane can be kept."""
        return bool(self.alpha_formats)

    @property
    def max_depth_bits(self) -> int:
        """Deepest samples it can hold; 32 means float."""
        return max(self.formats)

    def all_formats(self) -> tuple[str, ...]:
        """Every sample layout it can be asked for."""
        tables = (self.formats, self.alpha_formats)
        return tuple(name for table in tables for names in table.values() for name in names)


def _yuv(depths: tuple[int, ...], chromas: tuple[str, ...]) -> dict[int, tuple[str, ...]]:
    return {
        bits: tuple(f"yuv{c}p" + (f"{bits}le" if bits > 8 else "") for c in chromas)
        for bits in depths
    }


def _rgb(depths: tuple[int, ...], stem: str = "gbrp") -> dict[int, tuple[str, ...]]:
    return {bits: (stem + (f"{bits}le" if bits > 8 else ""),) for bits in depths}


def _merge(*tables: Mapping[int, tuple[str, ...]]) -> dict[int, tuple[str, ...]]:
    depths = sorted({bits for table in tables for bits in table})
    return {bits: tuple(n for t in tables for n in t.get(bits, ())) for bits in depths}


_ALL_CHROMA = ("420", "422", "444")
_GRAY = {8: ("gray",), 10: ("gray10le",), 12: ("gray12le",), 16: ("gray16le",)}
_YUVA = {
    bits: tuple(f"yuva{c}p" + (f"{bits}le" if bits > 8 else "") for c in ("444", "422", "420"))
    for bits in (8, 10, 16)
}

_TABLE = (
    DeliveryProfile(
        name="h264",
        summary="H.264 by x264: plays everywhere; small files",
        kind="video",
        encoder="libx264",
        suffixes=(".mp4", ".mkv", ".mov"),
        formats=_yuv((8, 10), _ALL_CHROMA),
        default_depth_bits=8,
        threads=8,
        crf=(0, 51, 16),
        speeds=_X26X_SPEEDS,
        # On grainy film medium makes no smaller files at twice the time: docs/performance.md.
        default_speed="faster",
    ),
    DeliveryProfile(
        name="h265",
        summary="H.265 by x265, 10 bit: smaller files, HDR",
        kind="video",
        encoder="libx265",
        suffixes=(".mp4", ".mkv", ".mov"),
        formats=_yuv((8, 10, 12), _ALL_CHROMA),
        default_depth_bits=10,
        threads=8,
        crf=(0, 51, 18),
        speeds=_X26X_SPEEDS,
        default_speed="medium",
        min_size_px=(64, 64),
    ),
    DeliveryProfile(
        name="av1",
        summary="AV1 by SVT-AV1, 10 bit: smallest files for the web",
        kind="video",
        encoder="libsvtav1",
        suffixes=(".mp4", ".mkv"),
        formats=_yuv((8, 10), ("420",)),
        default_depth_bits=10,
        threads=4,
        crf=(1, 63, 24),
        speeds=tuple(str(preset) for preset in range(13, -1, -1)),
        default_speed="6",
        min_size_px=(64, 64),
    ),
    DeliveryProfile(
        name="prores422hq",
        summary="ProRes 422 HQ, 10 bit: editing and mastering",
        kind="video",
        encoder="prores_ks",
        suffixes=(".mov", ".mkv"),
        formats={10: ("yuv422p10le",)},
        default_depth_bits=10,
        threads=8,
        options={"profile": "hq", "vendor": "apl0"},
        is_limited_only=True,
    ),
    DeliveryProfile(
        name="prores4444",
        summary="ProRes 4444, 10 bit, with alpha: mastering without chroma loss",
        kind="video",
        encoder="prores_ks",
        suffixes=(".mov", ".mkv"),
        formats={10: ("yuv444p10le",)},
        alpha_formats={10: ("yuva444p10le",)},
        default_depth_bits=10,
        threads=8,
        options={"profile": "4444", "vendor": "apl0", "alpha_bits": "16"},
        is_limited_only=True,
    ),
    DeliveryProfile(
        name="dnxhr_hqx",
        summary="DNxHR HQX, 10 bit 4:2:2: editing in Avid and Resolve",
        kind="video",
        encoder="dnxhd",
        suffixes=(".mov",),
        formats={10: ("yuv422p10le",)},
        default_depth_bits=10,
        threads=8,
        options={"profile": "dnxhr_hqx"},
        is_limited_only=True,
        min_size_px=(256, 120),
    ),
    DeliveryProfile(
        name="ffv1",
        summary="FFV1 version 3, 8 to 16 bit, lossless: archive",
        kind="video",
        encoder="ffv1",
        suffixes=(".mkv",),
        formats=_merge(
            _yuv((8, 10, 12, 14, 16), ("444", "422", "420")),
            _rgb((8, 10, 12, 14, 16)),
            _GRAY,
        ),
        alpha_formats=_merge(_YUVA, _rgb((8, 10, 12, 14, 16), "gbrap")),
        default_depth_bits=16,
        threads=8,
        # Archive practice (RFC 9043): version 3, range coder, every frame a key frame, slices
        # with checksums.
        options={"level": "3", "coder": "1", "context": "0", "g": "1", "slicecrc": "1"},
        is_lossless=True,
    ),
    DeliveryProfile(
        name="png",
        summary="PNG files, 8 or 16 bit RGB, lossless",
        kind="sequence",
        encoder="png",
        suffixes=(".png",),
        formats=_merge(_rgb((8, 16)), {8: ("gray",), 16: ("gray16le",)}),
        alpha_formats=_rgb((8, 16), "gbrap"),
        default_depth_bits=16,
        threads=4,
        is_lossless=True,
    ),
    DeliveryProfile(
        name="tiff",
        summary="TIFF files, 8 or 16 bit RGB, lossless",
        kind="sequence",
        encoder="tiff",
        suffixes=(".tif", ".tiff"),
        formats=_merge(_rgb((8, 16)), {8: ("gray",), 16: ("gray16le",)}),
        alpha_formats=_rgb((8, 16), "gbrap"),
        default_depth_bits=16,
        threads=4,
        options={"compression_algo": "deflate"},
        is_lossless=True,
    ),
    DeliveryProfile(
        name="exr",
        summary="OpenEXR files, float RGB; the clip's transfer stays applied",
        kind="sequence",
        encoder="exr",
        suffixes=(".exr",),
        formats={32: ("gbrpf32le", "grayf32le")},
        alpha_formats={32: ("gbrapf32le",)},
        default_depth_bits=32,
        threads=4,
        options={"compression": "zip16"},
        is_lossless=True,
    ),
    DeliveryProfile(
        name="dpx",
        summary="DPX files, 10, 12 or 16 bit RGB, lossless: film scanners and grading",
        kind="sequence",
        encoder="dpx",
        suffixes=(".dpx",),
        formats=_rgb((8, 10, 12, 16)),
        alpha_formats=_rgb((8, 16), "gbrap"),
        default_depth_bits=10,
        threads=1,
        is_lossless=True,
    ),
    DeliveryProfile(
        name="y4m",
        summary="YUV4MPEG2 for pipes, lossless",
        kind="pipe",
        encoder="y4m",
        suffixes=(".y4m",),
        formats=_merge(_yuv((8, 10, 12, 14, 16), _ALL_CHROMA), {8: ("gray",), 16: ("gray16le",)}),
        default_depth_bits=8,
        threads=1,
        is_lossless=True,
    ),
)

# The same codecs by a GPU's own encoder, which not every GPU has.
_NVENC_SPEEDS: Speeds = tuple(f"p{preset}" for preset in range(1, 8))
_NVENC_OPTIONS = {"rc": "vbr", "b": "0", "tune": "hq"}
_HARDWARE_TABLE = (
    DeliveryProfile(
        name="h264",
        summary="H.264 by NVENC, 8 bit",
        kind="video",
        encoder="h264_nvenc",
        suffixes=(".mp4", ".mkv", ".mov"),
        formats=_yuv((8,), ("420", "444")),
        default_depth_bits=8,
        threads=1,
        crf=(1, 51, 19),
        speeds=_NVENC_SPEEDS,
        default_speed="p5",
        options=_NVENC_OPTIONS,
        min_size_px=(160, 64),
    ),
    DeliveryProfile(
        name="h265",
        summary="H.265 by NVENC, 10 bit",
        kind="video",
        encoder="hevc_nvenc",
        suffixes=(".mp4", ".mkv", ".mov"),
        formats={8: ("yuv420p", "yuv444p"), 10: ("yuv420p10le",)},
        default_depth_bits=10,
        threads=1,
        crf=(1, 51, 21),
        speeds=_NVENC_SPEEDS,
        default_speed="p5",
        options=_NVENC_OPTIONS,
        min_size_px=(160, 64),
    ),
)

PROFILES: Mapping[str, DeliveryProfile] = MappingProxyType({entry.name: entry for entry in _TABLE})
HARDWARE: Mapping[str, DeliveryProfile] = MappingProxyType(
    {entry.name: entry for entry in _HARDWARE_TABLE}
)
