"""Pictures decoded by a GPU's own decoder, taken where they are software's, bit for bit.

Off unless ``RESTORE_DECODER=nvdec`` asks for it: whoever does trusts the file. A driver takes more
address space than a decode child may have, so that there the limit is on data alone
(:mod:`restore.media.zygote`), and what the driver does with a file is outside every limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

import av
import numpy as np
from av.codec.hwaccel import HWAccel, hwdevices_available

from restore.errors import InvalidInput, MediaError
from restore.media.container_in import Damage, Decoded
from restore.media.planar import Plane, sample_dtype
from restore.media.unpack import Unpacker

__all__ = ["ByCard", "card", "checked", "refusal"]

# Whose standards lay down every bit of what comes out.
_EXACT: Final = frozenset({"h264", "hevc", "vp9", "av1"})
_FORMS: Final = frozenset({"yuv420p", "yuv420p10le"})
_COMPARED: Final = 8


@dataclass(frozen=True)
class ByCard:
    """What the card decodes.

    Attributes:
        pictures: from the same one on as software's.
        told: is told of the way from their format to planes.
    """

    pictures: Iterator[Decoded]
    told: Callable[[Unpacker], None]


def refusal(codec: str, form: str) -> str:
    """Why a clip is not for it, or nothing.

    Args:
        codec: FFmpeg's name of the codec.
        form: FFmpeg's name of the pixel format that software decodes it to.
    """
    if codec not in _EXACT:
        return f"{codec} is not among the codecs whose standards lay down every bit"
    return "" if form in _FORMS else f"its pixel format is {form}"


def card() -> HWAccel:
    """The decoder of the first GPU."""
    if "cuda" not in hwdevices_available():
        raise InvalidInput("FFmpeg was built without CUDA")
    return HWAccel("cuda", allow_software_fallback=False)


def checked(
    pictures: Iterator[Decoded],
    unpacker: Unpacker,
    by_card: Callable[[], ByCard],
    say: Callable[[str], None],
) -> Iterator[Decoded]:
    """Software's first pictures, and the card's after them where those were the same.

    Software's decoder stays where it is: where the card's stops, or marks a picture as damaged, it
    goes on to that frame and takes over, so that damage is judged by one decoder.

    Args:
        pictures: by software.
        unpacker: the way from their format to planes.
        by_card: opens the card's decoder.
        say: takes a note for people.

    Raises:
        Damage: of software's decoder.
    """
    held: list[Decoded] = []
    for picture in islice(pictures, _COMPARED):
        held.append(picture)
        yield picture
    try:
        found = by_card()
        why = _differs(held, unpacker, found)
    except (Damage, MediaError, InvalidInput, av.FFmpegError) as error:
        why = str(error)
    if why:
        say(f"NVDEC is not used: {why}")
        yield from pictures
        return
    say(f"decoded by NVDEC, whose first {len(held)} frames were software's bit for bit")
    given = 0
    try:
        for picture in found.pictures:
            if picture.is_damaged:
                break
            given += 1
            yield picture
        else:
            return
    except (Damage, av.FFmpegError) as error:
        say(f"NVDEC stopped ({error}): software decodes the rest")
    yield from islice(pictures, given, None)


def _differs(held: list[Decoded], unpacker: Unpacker, found: ByCard) -> str:
    """What tells the card's pictures from software's, or nothing."""
    for number, ours in enumerate(held):
        theirs = next(found.pictures, None)
        if theirs is None:
            return f"frame {number} does not come out"
        way = Unpacker.for_frame(theirs.frame)
        if way.target != unpacker.target or way.layout is None:
            return f"frame {number} comes out as {theirs.frame.format.name}"
        if ours.is_damaged or theirs.is_damaged or ours.frame.pts != theirs.frame.pts:
            return f"frame {number} is damaged or has another time"
        pairs = zip(_planes(ours, unpacker), _planes(theirs, way), strict=True)
        if not all(np.array_equal(a, b) for a, b in pairs):
            return f"frame {number} has other samples"
        found.told(way)
    return ""


def _planes(picture: Decoded, way: Unpacker) -> list[Plane]:
    form, frame = way.target, picture.frame
    out = [
        np.empty(form.plane_shape(number, frame.width, frame.height), sample_dtype(form))
        for number in range(form.planes)
    ]
    way.unpack(frame, out)
    return out
