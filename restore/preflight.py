"""What can be known to go wrong before any work is done: names, ranges, rates."""

from __future__ import annotations

import os
from pathlib import Path

from restore.errors import InvalidInput, OutputError
from restore.frames import ClipInfo
from restore.media.profiles import Delivery, is_printf_pattern
from restore.time import FrameRange, format_rate, rescale

__all__ = ["check_destination", "check_frames", "check_rate", "expected_frames"]


def check_destination(source: str, destination: str, delivery: Delivery) -> None:
    """Refuse a destination that is the source, or that has no folder to be written into.

    Raises:
        InvalidInput: writing would replace what is read.
        OutputError: the folder is missing or may not be written to.
    """
    if destination == "-":
        return
    target = Path(destination)
    if source != "-":
        _check_apart(source, target, delivery)
    folder = target.absolute().parent
    if not folder.is_dir():
        raise OutputError(
            f"there is no folder {folder}", "an existing folder", f"Make it: mkdir -p {folder}"
        )
    if not os.access(folder, os.W_OK):
        raise OutputError(f"the folder {folder} may not be written to")


def _check_apart(source: str, target: Path, delivery: Delivery) -> None:
    read = Path(source)
    is_pattern = is_printf_pattern(source) and not read.exists()
    folder = read.parent if is_pattern else read
    same = not is_pattern and read.exists() and target.exists() and target.samefile(read)
    # Pictures among the source's pictures could take the place of some.
    if folder.is_dir() and delivery.facts.kind == "sequence":
        is_folder = target.suffix.lower() not in delivery.facts.suffixes
        place = target if is_folder else target.parent
        replaces = is_folder or is_printf_pattern(str(target)) or target.exists()
        same = same or (replaces and place.exists() and place.samefile(folder))
    if same:
        raise InvalidInput(
            f"{target} is the source itself, or among its pictures", "another place for the result"
        )


def check_frames(
    destination: str, delivery: Delivery, frames: int | None, wanted: FrameRange
) -> None:
    """Refuse a range without frames, and several frames into the name of one picture.

    Raises:
        InvalidInput: there is nothing to do, or no place for more than one frame.
    """
    if frames is not None and frames <= 0:
        stop = "" if wanted.stop is None else wanted.stop
        raise InvalidInput(f"the range {wanted.start}:{stop} lies behind the end of the clip")
    is_one_picture = (
        delivery.facts.kind == "sequence"
        and Path(destination).suffix.lower() in delivery.facts.suffixes
        and not is_printf_pattern(destination)
    )
    if is_one_picture and frames is not None and frames > 1:
        name = Path(destination)
        raise InvalidInput(
            f"{frames} frames for the one picture {destination}",
            f"a pattern such as {name.with_name(f'{name.stem}_%06d{name.suffix}')}, or a folder/",
        )


def check_rate(info: ClipInfo, asked: str | None) -> None:
    """Refuse a rate for a clip that has times of its own.

    Raises:
        InvalidInput: the source is no image or image sequence.
    """
    if asked is not None and not info.container.startswith("image"):
        own = "its own" if info.frame_rate is None else format_rate(info.frame_rate)
        raise InvalidInput(
            f"a rate of {asked} for {info.source}, which has times of its own ({own} fps)",
            "a rate for image sequences only",
        )


def expected_frames(info: ClipInfo, wanted: FrameRange) -> int | None:
    """Frames of a range, by what the clip says of itself; None where it does not."""
    total = info.decoded_frames or info.declared_frames
    if total is None and info.duration and info.frame_rate:
        total = rescale(1, info.duration, 1 / info.frame_rate)
    if total is None:
        return None if wanted.stop is None else wanted.stop - wanted.start
    stop = total if wanted.stop is None else min(total, wanted.stop)
    return max(0, stop - wanted.start)
