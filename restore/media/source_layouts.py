"""How FFmpeg's packed, interleaved, big-endian and shifted pixel formats map onto planar ones.

Every entry is exact: each sample of the planar format is one sample of the source, moved, shifted
or byte-swapped, never computed. Where a format is in no entry, swscale has to convert it.
"""

from __future__ import annotations

from dataclasses import dataclass

from restore.frames import PIXEL_FORMATS

__all__ = ["Layout", "Tap", "fallback_target", "layout_for"]


@dataclass(frozen=True)
class Tap:
    """Where the samples of one planar plane sit in the source.

    Attributes:
        plane: source plane.
        offset: first sample, in samples of the layout's dtype.
        step: distance to the next sample of the plane.
        shift: unused low bits.
    """

    plane: int
    offset: int = 0
    step: int = 1
    shift: int = 0


@dataclass(frozen=True)
class Layout:
    """The way from one FFmpeg format to the planar format ``target``.

    Attributes:
        target: name in :data:`restore.frames.PIXEL_FORMATS`.
        dtype: numpy type of the source samples, with byte order.
        taps: one for each plane of the target; empty for ``special`` layouts.
        is_full_range: the format itself says full range.
        special: ``palette``, ``mono`` (1 is white) or ``mono-inverted``; else empty.
    """

    target: str
    dtype: str
    taps: tuple[Tap, ...]
    is_full_range: bool = False
    special: str = ""


def _packed(target: str, dtype: str, order: str, shift: int = 0) -> Layout:
    """One plane, samples in the order of the letters; planes are taken G B R A, Y U V A."""
    wanted = {"rgb": "gbr", "yuv": "yuv", "gray": "y"}[PIXEL_FORMATS[target].kind]
    wanted += "a" if PIXEL_FORMATS[target].has_alpha else ""
    taps = tuple(Tap(0, order.index(letter), len(order), shift) for letter in wanted)
    return Layout(target, dtype, taps)


def _grey_alpha(target: str, dtype: str) -> Layout:
    """Grey with alpha has no planar format: three equal planes and the alpha keep every value."""
    return Layout(target, dtype, (Tap(0, 0, 2), Tap(0, 0, 2), Tap(0, 0, 2), Tap(0, 1, 2)))


def _semi_planar(target: str, dtype: str, shift: int = 0, *, swapped: bool = False) -> Layout:
    u, v = (1, 0) if swapped else (0, 1)
    taps = (Tap(0, 0, 1, shift), Tap(1, u, 2, shift), Tap(1, v, 2, shift))
    return Layout(target, dtype, taps)


def _packed_422(target: str, dtype: str, order: str, shift: int = 0) -> Layout:
    taps = (
        Tap(0, order.index("y"), 2, shift),
        Tap(0, order.index("u"), 4, shift),
        Tap(0, order.index("v"), 4, shift),
    )
    return Layout(target, dtype, taps)


def _bit_fields(target: str, dtype: str, shifts: tuple[int, int, int]) -> Layout:
    return Layout(target, dtype, tuple(Tap(0, 0, 1, shift) for shift in shifts))


def _dtype(bits: int, *, is_float: bool, order: str) -> str:
    return f"{order}f4" if is_float else "u1" if bits <= 8 else f"{order}u2"


def _planar() -> dict[str, Layout]:
    table: dict[str, Layout] = {}
    for name, form in PIXEL_FORMATS.items():
        taps = tuple(Tap(plane) for plane in range(form.planes))
        depth, is_float = form.depth_bits, form.is_float
        table[name] = Layout(name, _dtype(depth, is_float=is_float, order="<"), taps)
        if name.endswith("le"):
            big = _dtype(depth, is_float=is_float, order=">")
            table[f"{name[:-2]}be"] = Layout(name, big, taps)
        if is_float:
            half = name.replace("f32le", "f16")
            table[f"{half}le"] = Layout(name, "<f2", taps)
            table[f"{half}be"] = Layout(name, ">f2", taps)
    for chroma in ("420", "422", "444", "440", "411"):
        plain = table[f"yuv{chroma}p"]
        table[f"yuvj{chroma}p"] = Layout(plain.target, "u1", plain.taps, is_full_range=True)
    for end, order in (("le", "<"), ("be", ">")):
        for kind in ("gbrp", "yuv444p"):
            for bits in (10, 12):
                taps = tuple(Tap(plane, shift=16 - bits) for plane in range(3))
                table[f"{kind}{bits}msb{end}"] = Layout(f"{kind}{bits}le", f"{order}u2", taps)
    return table


def _packed_rgb() -> dict[str, Layout]:
    table = {
        name: _packed("gbrap" if "a" in name else "gbrp", "u1", name.replace("24", ""))
        for name in (
            "rgb24", "bgr24", "rgba", "bgra", "argb", "abgr", "rgb0", "bgr0", "0rgb", "0bgr",
        )
    }  # fmt: skip
    for end, order in (("le", "<"), ("be", ">")):
        for name in ("rgb", "bgr"):
            table[f"{name}48{end}"] = _packed("gbrp16le", f"{order}u2", name)
            table[f"{name}a64{end}"] = _packed("gbrap16le", f"{order}u2", f"{name}a")
        for suffix, kind in (("f16", "f2"), ("f32", "f4")):
            table[f"rgb{suffix}{end}"] = _packed("gbrpf32le", f"{order}{kind}", "rgb")
            table[f"rgba{suffix}{end}"] = _packed("gbrapf32le", f"{order}{kind}", "rgba")
            table[f"ya{suffix}{end}"] = _grey_alpha("gbrapf32le", f"{order}{kind}")
        table[f"x2rgb10{end}"] = _bit_fields("gbrp10le", f"{order}u4", (10, 0, 20))
        table[f"x2bgr10{end}"] = _bit_fields("gbrp10le", f"{order}u4", (10, 20, 0))
        table[f"ya16{end}"] = _grey_alpha("gbrap16le", f"{order}u2")
    table["ya8"] = _grey_alpha("gbrap", "u1")
    return table


def _packed_yuv() -> dict[str, Layout]:
    table = {
        "nv12": _semi_planar("yuv420p", "u1"),
        "nv21": _semi_planar("yuv420p", "u1", swapped=True),
        "nv16": _semi_planar("yuv422p", "u1"),
        "nv24": _semi_planar("yuv444p", "u1"),
        "nv42": _semi_planar("yuv444p", "u1", swapped=True),
        "yuyv422": _packed_422("yuv422p", "u1", "yuyv"),
        "yvyu422": _packed_422("yuv422p", "u1", "yvyu"),
        "uyvy422": _packed_422("yuv422p", "u1", "uyvy"),
        "ayuv": _packed("yuva444p", "u1", "ayuv"),
        "uyva": _packed("yuva444p", "u1", "uyva"),
        "vuya": _packed("yuva444p", "u1", "vuya"),
        "vuyx": _packed("yuv444p", "u1", "vuyx"),
        "vyu444": _packed("yuv444p", "u1", "vyu"),
    }
    for end, order in (("le", "<"), ("be", ">")):
        half = f"{order}u2"
        table[f"nv20{end}"] = _semi_planar("yuv422p10le", half)
        for bits in (10, 12, 16):
            low = 16 - bits
            for digit, chroma in (("0", "420"), ("2", "422"), ("4", "444")):
                planar = f"yuv{chroma}p{bits}le"
                table[f"p{digit}{bits}{end}"] = _semi_planar(planar, half, low)
            table[f"y2{bits}{end}"] = _packed_422(f"yuv422p{bits}le", half, "yuyv", low)
        table[f"xv36{end}"] = _packed("yuv444p12le", half, "uyvx", 4)
        table[f"xv48{end}"] = _packed("yuv444p16le", half, "uyvx")
        table[f"ayuv64{end}"] = _packed("yuva444p16le", half, "ayuv")
        table[f"xv30{end}"] = _bit_fields("yuv444p10le", f"{order}u4", (10, 0, 20))
        table[f"v30x{end}"] = _bit_fields("yuv444p10le", f"{order}u4", (12, 2, 22))
    return table


_SPECIAL = {
    "pal8": Layout("gbrap", "u1", (), is_full_range=True, special="palette"),
    "monob": Layout("gray", "u1", (), is_full_range=True, special="mono"),
    "monow": Layout("gray", "u1", (), is_full_range=True, special="mono-inverted"),
}
_LAYOUTS = {**_planar(), **_packed_rgb(), **_packed_yuv(), **_SPECIAL}


def layout_for(name: str) -> Layout | None:
    """The exact way from FFmpeg's format ``name`` to a planar one; None where there is none."""
    return _LAYOUTS.get(name)


def fallback_target(bits: int, *, has_alpha: bool, is_grey: bool, is_yuv: bool) -> str:
    """The planar format that swscale is asked for where no exact way exists.

    Args:
        bits: of the deepest component.
        has_alpha: an alpha component exists.
        is_grey: only one colour component.
        is_yuv: components are luma and chroma.
    """
    deep = "" if bits <= 8 else "16le"
    alpha = "a" if has_alpha else ""
    if is_grey and not has_alpha:
        return f"gray{deep}"
    return f"yuv{alpha}444p{deep}" if is_yuv else f"gbr{alpha}p{deep}"
