"""Finds the files of an image sequence: one picture, a folder, or a printf pattern."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from restore.errors import InvalidInput, UnsupportedMedia
from restore.media.image_kinds import SUFFIXES

__all__ = ["ImageFiles", "find_images", "is_pattern", "natural_key"]

_PATTERN = re.compile(r"%(?:0(\d+))?d")
_LAST_NUMBER = re.compile(r"(\d+)(?=\D*$)")


@dataclass(frozen=True)
class ImageFiles:
    """The pictures of a sequence in order.

    Attributes:
        files: paths, at least one.
        first_number: number in the first name; None where there is none.
        warnings: gaps in the numbers.
    """

    files: tuple[Path, ...]
    first_number: int | None = None
    warnings: tuple[str, ...] = ()


def natural_key(name: str) -> tuple[tuple[bool, int, str], ...]:
    """Sort key that counts: ``frame9`` before ``frame10``."""
    parts = re.split(r"(\d+)", name.casefold())
    return (*((part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts),)


def is_pattern(source: str) -> bool:
    """Whether the last part of a path holds ``%d`` or ``%05d`` and no file has that very name."""
    path = Path(source)
    return bool(_PATTERN.search(path.name)) and not path.exists()


def _gaps(numbers: Sequence[int]) -> tuple[str, ...]:
    missing = [
        f"{a + 1}" if b - a == 2 else f"{a + 1}-{b - 1}" for a, b in pairwise(numbers) if b - a > 1
    ]
    if not missing:
        return ()
    shown = ", ".join(missing[:10]) + (
        f" and {len(missing) - 10} more" if len(missing) > 10 else ""
    )
    return (f"the numbering has gaps: {shown} missing; the pictures are taken as consecutive",)


def _by_pattern(source: str) -> ImageFiles:
    path = Path(source)
    marks = _PATTERN.findall(path.name)
    if len(marks) != 1:
        raise InvalidInput(f"pattern {path.name!r}", "exactly one %d or %05d in the file name")
    if not path.parent.is_dir():
        raise InvalidInput(f"there is no folder {path.parent}")
    width = int(marks[0]) if marks[0] else 0
    before, after = (re.escape(part.replace("%%", "%")) for part in re.split(r"%\d*d", path.name))
    name = re.compile(f"{before}(\\d+){after}")
    found: dict[int, Path] = {}
    for entry in path.parent.iterdir():
        match = name.fullmatch(entry.name)
        # As printf writes it: padded to the width, longer only without leading zeros.
        if match and match[1] == f"{int(match[1]):0{width}d}":
            found[int(match[1])] = entry
    if not found:
        example = _PATTERN.sub(f"{1:0{width}d}", path.name)
        raise InvalidInput(f"no file matches {source}", f"files such as {example}")
    numbers = sorted(found)
    return ImageFiles(tuple(found[number] for number in numbers), numbers[0], _gaps(numbers))


def _in_folder(folder: Path) -> ImageFiles:
    names = [
        entry.name
        for entry in folder.iterdir()
        if entry.suffix.lower() in SUFFIXES and not entry.name.startswith(".") and entry.is_file()
    ]
    if not names:
        raise InvalidInput(f"{folder} holds no pictures", "PNG, TIFF, DPX, EXR or JPEG files")
    kinds = Counter(SUFFIXES[Path(name).suffix.lower()] for name in names)
    if len(kinds) > 1:
        listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        raise UnsupportedMedia(
            f"{folder} holds pictures of several kinds ({listed})",
            "a folder of one kind",
            "Name one of them with a pattern, such as scan_%05d.dpx.",
        )
    names.sort(key=natural_key)
    matches = [_LAST_NUMBER.search(Path(name).stem) for name in names]
    numbers = [int(match[1]) for match in matches if match]
    counted = len(numbers) == len(names) and len({_prefix(name) for name in names}) == 1
    files = tuple(folder / name for name in names)
    if not counted:
        return ImageFiles(files)
    return ImageFiles(files, numbers[0], _gaps(numbers))


def _prefix(name: str) -> str:
    return _LAST_NUMBER.sub("", Path(name).stem)


def find_images(source: str) -> ImageFiles:
    """The pictures that a source names.

    Args:
        source: a picture file, a folder of pictures of one kind, or a pattern with one ``%d``.

    Raises:
        InvalidInput: nothing there, or a malformed pattern.
        UnsupportedMedia: a folder of several kinds.
    """
    path = Path(source)
    try:
        if path.is_dir():
            return _in_folder(path)
        if is_pattern(source):
            return _by_pattern(source)
    except OSError as problem:
        raise InvalidInput(f"{source} cannot be read: {problem.strerror}") from None
    return ImageFiles((path,))
