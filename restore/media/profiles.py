"""Delivery profiles and the choice of one: what can be written, and what is asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePath

from av import VideoFormat

from restore.errors import InvalidInput
from restore.frames import PIXEL_FORMATS, ClipInfo, PixelFormat
from restore.media.profile_table import HARDWARE, PROFILES, DeliveryProfile

__all__ = [
    "AUTO_SPEED",
    "PROFILES",
    "Delivery",
    "DeliveryProfile",
    "default_delivery",
    "is_printf_pattern",
    "profile_named",
]


#: The slowest speed, no slower than the profile's usual one, that keeps up with the rest of a job.
AUTO_SPEED = "auto"


def profile_named(name: str) -> DeliveryProfile:
    """The profile of that name.

    Raises:
        InvalidInput: there is none.
    """
    try:
        return PROFILES[name]
    except KeyError:
        raise InvalidInput(f"delivery profile {name!r}", f"one of {', '.join(PROFILES)}") from None


@dataclass(frozen=True)
class Delivery:
    """How to write: a profile and what departs from its defaults.

    Attributes:
        profile: name of a profile.
        crf: constant rate factor; lower is better and larger.
        speed: encoder speed by the profile's names; ``auto`` is settled when a job is planned, see
            :func:`restore.pace.settled`.
        bit_depth: bits of a sample; 32 means float.
        threads: encoder threads; another number than the profile's may give other bytes.
        pixel_format: planar sample layout; taken by the profile's rules where None.
        encoder: ``software``, whose bytes are the same everywhere, or ``hardware``: a GPU's own,
            see :mod:`restore.media.hardware`.

    Raises:
        InvalidInput: a value that the profile does not have.
    """

    profile: str
    crf: int | None = None
    speed: str | None = None
    bit_depth: int | None = None
    threads: int | None = None
    pixel_format: str | None = None
    encoder: str = "software"

    def __post_init__(self) -> None:
        facts = profile_named(self.profile)
        if self.encoder not in ("software", "hardware"):
            raise InvalidInput(f"encoder {self.encoder!r}", "software or hardware")
        if self.encoder == "hardware":
            if self.profile not in HARDWARE:
                raise InvalidInput(
                    f"a hardware encoder for {self.profile}",
                    f"one of {', '.join(HARDWARE)}",
                    "Name one of them as the codec, or leave the hardware encoder out.",
                )
            facts = HARDWARE[self.profile]
        if self.crf is not None:
            self._check_crf(facts, self.crf)
        if self.speed not in (None, AUTO_SPEED, *facts.speeds):
            expected = f"one of {', '.join(facts.speeds)}" if facts.speeds else "no speed"
            raise InvalidInput(f"speed {self.speed!r} for {facts.name}", expected)
        if self.bit_depth is not None and self.bit_depth not in facts.formats:
            depths = ", ".join(str(bits) for bits in facts.formats)
            raise InvalidInput(f"{self.bit_depth} bit for {facts.name}", f"one of {depths}")
        if self.threads is not None and not 1 <= self.threads <= 64:
            raise InvalidInput(f"{self.threads} encoder threads", "1 to 64")
        if self.pixel_format is not None:
            self._check_format(facts, self.pixel_format)

    @staticmethod
    def _check_crf(facts: DeliveryProfile, crf: int) -> None:
        if facts.crf is None:
            raise InvalidInput(f"crf {crf} for {facts.name}", "no crf, it has a fixed quality")
        if not facts.crf[0] <= crf <= facts.crf[1]:
            raise InvalidInput(f"crf {crf} for {facts.name}", f"{facts.crf[0]} to {facts.crf[1]}")

    def _check_format(self, facts: DeliveryProfile, name: str) -> None:
        if name not in facts.all_formats():
            raise InvalidInput(
                f"pixel format {name!r} for {facts.name}",
                f"one of {', '.join(facts.all_formats())}",
            )
        depth = PIXEL_FORMATS[name].depth_bits
        if self.bit_depth is not None and depth != self.bit_depth:
            raise InvalidInput(
                f"pixel format {name!r} with a bit depth of {self.bit_depth}",
                "a depth that agrees, or one of the two alone",
            )

    @property
    def facts(self) -> DeliveryProfile:
        """The profile."""
        return (HARDWARE if self.encoder == "hardware" else PROFILES)[self.profile]


def _source_format(source: ClipInfo) -> tuple[int, PixelFormat | None]:
    """Bit depth of the source's samples, and their layout where it is a planar one."""
    name = source.pixel_format.replace("yuvj", "yuv")
    planar = PIXEL_FORMATS.get(name)
    if planar:
        return planar.depth_bits, planar
    try:
        return max(part.bits for part in VideoFormat(name).components), None
    except ValueError:
        return 8, None


def default_delivery(destination: str, source: ClipInfo) -> Delivery:
    """The usual delivery for a file name.

    ``.mp4`` and ``.mkv`` give H.264, or H.265 with 10 bit where the source is deeper than 8 bit or
    HDR; ``.mov`` gives ProRes 422 HQ, ``.png``, ``.tif``, ``.exr`` and ``.dpx`` (single files or
    printf patterns) their own kind, a name with a slash at its end or an existing folder PNG files,
    ``-`` and ``.y4m`` YUV4MPEG2. Files of frames keep 8 bit for an 8-bit source and take 16 bit
    otherwise.

    Raises:
        InvalidInput: an ending that belongs to no profile, or none at all.
    """
    depth, planar = _source_format(source)
    suffix = PurePath(destination).suffix.lower()
    if destination == "-" or suffix == ".y4m":
        names = PROFILES["y4m"].all_formats()
        if planar and planar.name in names:
            return Delivery("y4m", pixel_format=planar.name)
        return Delivery("y4m", bit_depth=min(b for b in (8, 10, 12, 14, 16) if b >= min(depth, 16)))
    if not suffix and not destination.endswith(("/", "\\")) and not Path(destination).is_dir():
        raise InvalidInput(
            f"output {destination!r} has no ending",
            f"an ending such as .mp4, .mkv or .mov, or {destination}/ for a folder of pictures",
        )
    if not suffix or destination.endswith(("/", "\\")):
        return Delivery("png", bit_depth=8 if depth <= 8 else 16)
    if suffix in (".mp4", ".mkv"):
        return Delivery("h265") if source.color.is_hdr or depth > 8 else Delivery("h264")
    if suffix == ".mov":
        return Delivery("prores422hq")
    for facts in PROFILES.values():
        if facts.kind == "sequence" and suffix in facts.suffixes:
            return Delivery(facts.name, bit_depth=_sequence_depth(facts, depth))
    known = sorted({ending for facts in PROFILES.values() for ending in facts.suffixes})
    raise InvalidInput(
        f"output {destination!r} ends in {suffix!r}",
        f"{', '.join(known)}, a folder, or - for a pipe",
    )


def _sequence_depth(facts: DeliveryProfile, depth: int) -> int:
    if 32 in facts.formats:
        return 32
    fitting = [bits for bits in facts.formats if bits >= depth]
    return min(fitting, default=facts.max_depth_bits)


_PRINTF = re.compile(r"%0?\d*d")


def is_printf_pattern(destination: str) -> bool:
    """Whether the name numbers its files, as ``frame_%06d.png`` does."""
    return bool(_PRINTF.search(PurePath(destination).name))
