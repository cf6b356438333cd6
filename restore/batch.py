"""Many inputs, one folder: which files are meant, and what number and name each result gets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from restore.errors import InvalidInput

__all__ = [
    "PICTURE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "BatchItem",
    "expand_inputs",
    "natural_key",
    "number_outputs",
]

VIDEO_SUFFIXES = frozenset(
    {
        ".3gp", ".asf", ".avi", ".dv", ".flv", ".gxf", ".ivf", ".lxf", ".m2t", ".m2ts", ".m4v",
        ".mj2", ".mjpeg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogg",
        ".ogv", ".rm", ".ts", ".vob", ".webm", ".wmv", ".wtv", ".y4m",
    }
)  # fmt: skip
PICTURE_SUFFIXES = frozenset(
    {".bmp", ".dpx", ".exr", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
)
_KEPT = frozenset({".mkv", *PICTURE_SUFFIXES - {".bmp", ".jpeg", ".jpg", ".webp"}})
_DIGITS = 4


@dataclass(frozen=True)
class BatchItem:
    """One input of many.

    Attributes:
        number: the input's number, kept in the result's name.
        source: the input.
        destination: the result.
        is_done: the result is there already.
    """

    number: int
    source: str
    destination: str
    is_done: bool


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts ``clip2`` before ``clip10``, without regard to case."""
    parts = re.findall(r"\d+|\D+", text.casefold())
    return tuple((0, int(p), p) if p.isdecimal() else (1, 0, p) for p in parts)


def _listed(folder: Path) -> tuple[list[str], list[str]]:
    """Videos and pictures right inside a folder; hidden files are left alone."""
    names = [entry for entry in folder.iterdir() if entry.is_file() and entry.name[0] != "."]
    videos = [str(entry) for entry in names if entry.suffix.lower() in VIDEO_SUFFIXES]
    pictures = [str(entry) for entry in names if entry.suffix.lower() in PICTURE_SUFFIXES]
    return videos, pictures


def expand_inputs(inputs: Sequence[str]) -> tuple[tuple[str, ...], bool, tuple[str, ...]]:
    """Turn what was named into sources.

    A folder that holds videos stands for its videos, one that holds pictures only is one source:
    an image sequence. Videos of a folder, and several inputs, come in natural order.

    Args:
        inputs: files, folders, printf patterns, or ``-``.

    Returns:
        The sources, whether they are a batch (whose output is a folder), and notes for people.

    Raises:
        InvalidInput: nothing was named, a folder without media, or the same file twice.
    """
    if not inputs:
        raise InvalidInput("no input", "a file, a folder, an image sequence, or - for a pipe")
    sources: list[str] = []
    notes: list[str] = []
    is_batch = len(inputs) > 1
    for given in inputs:
        if given == "-" or not Path(given).is_dir():
            sources.append(given)
            continue
        videos, pictures = _listed(Path(given))
        if videos:
            sources += videos
            is_batch = True
            if pictures:
                notes.append(
                    f"{given}: {len(pictures)} pictures beside the videos were left out; "
                    "name them to have them done"
                )
        elif pictures:
            sources.append(given)
        else:
            raise InvalidInput(f"folder {given!r} holds no videos and no pictures")
    if is_batch and "-" in sources:
        raise InvalidInput("the pipe - among several inputs", "- alone")
    if len(set(sources)) != len(sources):
        twice = next(source for source in sources if sources.count(source) > 1)
        raise InvalidInput(f"input {twice!r} is named twice", "each input once")
    return tuple(sorted(sources, key=natural_key)), is_batch, tuple(notes)


def _own_number(source: str) -> tuple[int | None, str]:
    """The number that a name begins with, and the rest of its stem."""
    path = Path(source.rstrip("/\\"))
    stem = path.name if path.is_dir() else path.stem
    match = re.match(r"(\d+)(?:[-_. ]+|$)", stem)
    if match and int(match[1]) > 0:
        return int(match[1]), stem[match.end() :]
    return None, stem


def _suffix(source: str, suffixes: Sequence[str]) -> str:
    """Ending of a result: the source's where it may be, else the delivery's usual one."""
    own = "" if Path(source).is_dir() else Path(source).suffix.lower()
    if suffixes:
        return own if own in suffixes else suffixes[0]
    return own if own in _KEPT else (".png" if own in PICTURE_SUFFIXES else ".mp4")


def _claimed(folder: Path) -> dict[str, int]:
    """Names without their number, of results that are in the folder, and the number of each."""
    found: dict[str, int] = {}
    names: Iterable[Path] = folder.iterdir() if folder.is_dir() else ()
    for entry in names:
        match = re.fullmatch(rf"(\d{{{_DIGITS},}})((?:_.*)?)", entry.name)
        if match:
            found[match[2]] = int(match[1])
    return found


def number_outputs(
    sources: Sequence[str], folder: str, suffixes: Sequence[str] = (), *, is_sequence: bool = False
) -> tuple[BatchItem, ...]:
    """Name the results ``0001_name.mp4``, ``0002_other.mp4`` and so on.

    Where every source's name begins with a number of its own, results keep it; else sources are
    numbered as they come. A source whose result is already in the folder keeps that result's
    number, so that files added later do not shift the ones that are done.

    Args:
        sources: in order.
        folder: where results go; it need not exist.
        suffixes: endings that the delivery writes, the usual one first; none where the source's
            ending decides.
        is_sequence: the delivery writes pictures: a clip becomes a folder of them.

    Raises:
        InvalidInput: the folder is a file, or holds one of the sources.
    """
    root = Path(folder)
    if root.exists() and not root.is_dir():
        raise InvalidInput(f"output {folder!r} is a file", "a folder, for several inputs")
    for source in sources:
        if Path(source).absolute().parent.resolve() == root.resolve():
            raise InvalidInput(
                f"output folder {folder!r} holds the input {source!r}",
                "another folder: the next run would take results for inputs",
            )
    own = [_own_number(source) for source in sources]
    numbers = [number for number, _ in own if number is not None]
    keeps = len(set(numbers)) == len(sources)
    tails = []
    for source, (_, rest) in zip(sources, own, strict=True):
        name = rest if keeps else _stem(source)
        is_clip = Path(source).suffix.lower() not in PICTURE_SUFFIXES
        ending = "" if is_sequence and is_clip else _suffix(source, suffixes)
        tails.append((f"_{name}" if name else "") + ending)
    chosen = numbers if keeps else _free_numbers(tails, _claimed(root))
    items = []
    for source, number, tail in zip(sources, chosen, tails, strict=True):
        target = root / f"{number:0{_DIGITS}d}{tail}"
        is_done = any(target.iterdir()) if target.is_dir() else target.exists()
        is_folder = is_sequence and not target.suffix
        items.append(BatchItem(number, source, f"{target}/" if is_folder else str(target), is_done))
    return tuple(items)


def _stem(source: str) -> str:
    path = Path(source.rstrip("/\\"))
    return path.name if path.is_dir() else path.stem


def _free_numbers(tails: Sequence[str], claimed: dict[str, int]) -> list[int]:
    kept = [claimed.get(tail) if tails.count(tail) == 1 else None for tail in tails]
    taken = set(claimed.values())
    chosen: list[int] = []
    following = 1
    for number in kept:
        if number is None:
            while following in taken:
                following += 1
            number = following
            following += 1
        chosen.append(number)
    return chosen
