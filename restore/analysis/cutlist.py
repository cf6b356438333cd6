"""A clip's list of cuts as a file that people read, correct and give back."""

from __future__ import annotations

import csv
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore.errors import InvalidInput

__all__ = ["CutList", "read_cut_list"]

_KINDS = ".toml, .json or .csv"


@dataclass(frozen=True)
class CutList:
    """Where shots begin and where one dissolves into the next.

    Attributes:
        cuts: source numbers, from 0, of the frames that begin a shot; the first shot's is left out.
        dissolves: source frames ``[start, stop)`` in which one scene turns into another.
        frames: frames that were looked at; 0 where a person wrote the list.
    """

    cuts: tuple[int, ...]
    dissolves: tuple[tuple[int, int], ...] = ()
    frames: int = 0

    def to_toml(self) -> str:
        """The list as text that :func:`read_cut_list` takes back."""
        lines = [
            "# Frames that begin a shot, counted from 0. Correct them and give this file back:",
            "# the setting `cuts` of stage `shots` takes its name.",
            f"frames = {self.frames}",
            "cuts = [" + ", ".join(str(cut) for cut in self.cuts) + "]",
            "# Frames [start, stop) in which one scene turns into another; no cut is made there.",
            "dissolves = ["
            + ", ".join(f"[{start}, {stop}]" for start, stop in self.dissolves)
            + "]",
        ]
        return "\n".join(lines) + "\n"


def read_cut_list(path: Path) -> CutList:
    """Read a list of cuts.

    Args:
        path: TOML or JSON with ``cuts`` (and ``dissolves``), JSON that is a plain list, or CSV
            whose first column holds the frame numbers, with or without a heading.

    Raises:
        InvalidInput: no such file, another kind of file, or something else in it.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the cut list {path}: {error}", f"a readable {_KINDS} file") from error
    try:
        table = _parsed(path, text)
        cuts = [_frame(value) for value in table.get("cuts", [])]
        dissolves = [(_frame(pair[0]), _frame(pair[1])) for pair in table.get("dissolves", [])]
    except (ValueError, TypeError, IndexError, AttributeError) as error:
        raise InvalidInput(
            f"the cut list {path}: {error}", "whole frame numbers from 0 under the name cuts"
        ) from error
    return CutList(tuple(sorted(set(cuts) - {0})), tuple(sorted(dissolves)))


def _parsed(path: Path, text: str) -> dict[str, Any]:
    kind = path.suffix.lower()
    if kind == ".toml":
        return tomllib.loads(text)
    if kind == ".json":
        table = json.loads(text)
        return {"cuts": table} if isinstance(table, list) else table
    if kind == ".csv":
        rows = [row[0].strip() for row in csv.reader(text.splitlines()) if row and row[0].strip()]
        if rows and not rows[0].lstrip("-").isdigit():
            rows = rows[1:]
        return {"cuts": [int(row) for row in rows]}
    raise InvalidInput(f"a cut list named {path.name}", f"a {_KINDS} file")


def _frame(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no frame number")
    return value
