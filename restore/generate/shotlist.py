"""Shot lists: TOML, JSON, CSV or a Markdown table, all with the same fields."""

from __future__ import annotations

import csv
import io
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from restore.errors import InvalidInput
from restore.generate.shot import Shot, has_use_for
from restore.validation import refusal

__all__ = ["ShotList", "load_shots", "shot_from", "shots_from"]

_MOST_BYTES: Final = 16 << 20
_TEXT: Final = frozenset({"name", "kind", "scene", "model", "revision", "variant", "prompt"}) | {
    "negative_prompt",
    "seed",
    "image",
    "depth",
    "video",
    "mask",
    "precision",
    "offload",
    "fps",
}


@dataclass(frozen=True)
class ShotList:
    """Shots in their order.

    Attributes:
        source: the file.
        shots: checked, names all different.
    """

    source: Path
    shots: tuple[Shot, ...]


def load_shots(path: Path) -> ShotList:
    """Read a list.

    TOML and JSON hold a table ``defaults`` and rows ``shots``; a CSV file and a Markdown table
    hold a row for each shot under a line of field names. There ``move.zoom`` and the like name
    fields of tables, pairs are ``1;1.2``, and ``lora`` is
    ``file@strength/text_strength:trigger``, several divided by ``|``. Empty cells count as not
    given.

    Raises:
        InvalidInput: names file, row and field, what was expected there.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InvalidInput(f"{path.name} of {path.stat().st_size} bytes", "a list of shots")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}", "a list of shots") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path.name} is no UTF-8 text", "a list of shots") from error
    suffix = path.suffix.lower()
    if suffix == ".toml":
        rows = _from_table(path, _toml(path, text))
    elif suffix == ".json":
        rows = _from_table(path, _json(path, text))
    elif suffix == ".csv":
        rows = _from_cells(path, list(csv.reader(io.StringIO(text), strict=True)))
    elif suffix in (".md", ".markdown"):
        rows = _from_cells(path, _markdown(path, text))
    else:
        raise InvalidInput(f"{path.name} as a list of shots", ".toml, .json, .csv or .md")
    return ShotList(path, _named_apart(path, rows))


def _named_apart(path: Path, rows: list[dict[str, Any]]) -> tuple[Shot, ...]:
    """Shots that all have names of their own, and are at least one."""
    if not rows:
        raise InvalidInput(f"{path.name} holds no shot", "at least one")
    shots = tuple(_checked(path, number, row) for number, row in enumerate(rows, 1))
    seen: dict[str, int] = {}
    for number, shot in enumerate(shots, 1):
        # Not every file system tells cases apart.
        first = seen.setdefault(shot.name.lower(), number)
        if first != number:
            raise InvalidInput(
                f"{path.name}: shots {first} and {number} are both named {shot.name!r}",
                "a name for each, which its files get",
            )
    return shots


def _toml(path: Path, text: str) -> Any:  # noqa: ANN401  whatever the file holds
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{path.name} is no TOML: {error}") from error


def _json(path: Path, text: str) -> Any:  # noqa: ANN401  whatever the file holds
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{path.name} is no JSON: {error}") from error


def _from_table(path: Path, table: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    known = {"defaults", "shots"}
    if not isinstance(table, dict) or set(table) - known:
        found = sorted(set(table) - known) if isinstance(table, dict) else type(table).__name__
        raise InvalidInput(f"{path.name} holds {found}", "a table defaults and rows shots")
    defaults, shots = table.get("defaults", {}), table.get("shots", [])
    if not isinstance(defaults, dict) or not isinstance(shots, list):
        raise InvalidInput(f"{path.name}", "a table defaults and rows shots")
    rows = []
    for number, row in enumerate(shots, 1):
        if not isinstance(row, dict):
            raise InvalidInput(f"{path.name}, shot {number}: {row!r}", "a table of fields")
        kind = str(row.get("kind", defaults.get("kind", "")))
        rows.append(_merged(_used(defaults, kind), row))
    return rows


def _used(defaults: dict[str, Any], kind: str) -> dict[str, Any]:
    """Defaults without the files that shots of a kind have no use for."""
    return {name: value for name, value in defaults.items() if has_use_for(kind, name)}


def _merged(defaults: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """Tables within are merged too."""
    merged = {**defaults, **row}
    for name, value in row.items():
        if isinstance(value, dict) and isinstance(defaults.get(name), dict):
            merged[name] = _merged(defaults[name], value)
    return merged


def _markdown(path: Path, text: str) -> list[list[str]]:
    """The first table of a page."""
    table: list[list[str]] = []
    for line in text.splitlines():
        inner = line.strip()
        if not inner.startswith("|"):
            if table:
                break
            continue
        escaped = inner.strip("|").replace("\\|", "\0")
        cells = [cell.strip().replace("\0", "|") for cell in escaped.split("|")]
        if not all(set(cell) <= set("-: ") and cell for cell in cells):
            table.append(cells)
    if len(table) < 2:
        raise InvalidInput(f"{path.name} holds no table of shots", "a Markdown table: | name | ...")
    return table


def _from_cells(path: Path, lines: list[list[str]]) -> list[dict[str, Any]]:
    lines = [line for line in lines if any(cell.strip() for cell in line)]
    if not lines:
        return []
    names = [cell.strip().lower().replace(" ", "_") for cell in lines[0]]
    rows = []
    for number, cells in enumerate(lines[1:], 1):
        if len(cells) > len(names):
            raise InvalidInput(
                f"{path.name}, shot {number} has {len(cells)} cells", f"{len(names)} or fewer"
            )
        row: dict[str, Any] = {}
        for name, cell in zip(names, cells, strict=False):
            if cell.strip():
                _put(row, name, cell.strip(), f"{path.name}, shot {number}")
        rows.append(row)
    return rows


def _put(row: dict[str, Any], name: str, cell: str, where: str) -> None:
    first, _, rest = name.partition(".")
    if rest:
        _put(row.setdefault(first, {}), rest, cell, where)
    elif name == "lora":
        row[name] = [_lora(part.strip(), where) for part in cell.split("|")]
    elif ";" in cell and name not in _TEXT:
        row[name] = [part.strip() for part in cell.split(";")]
    else:
        row[name] = cell


def _lora(text: str, where: str) -> dict[str, Any]:
    rest, _, trigger = text.partition(":")
    file, _, strengths = rest.partition("@")
    found: dict[str, Any] = {"file": file.strip(), "trigger": trigger.strip()}
    if strengths:
        parts = strengths.split("/")
        try:
            values = [float(part) for part in parts]
        except ValueError:
            values = []
        if not 1 <= len(values) <= 2:
            raise InvalidInput(
                f"{where}: lora {text!r}", "file@strength/text_strength:trigger, as a@0.8/0.7:sks"
            )
        found |= {"strength": values[0], "text_strength": values[-1]}
    return found


def _checked(path: Path, number: int, row: dict[str, Any]) -> Shot:
    name = row.get("name")
    return shot_from(
        row, f"{path.name}, shot {number}" + (f" ({name})" if isinstance(name, str) else "")
    )


def shots_from(text: str, name: str) -> tuple[Shot, ...]:
    """Shots of a list in JSON that is no file.

    Raises:
        InvalidInput: see :func:`load_shots`.
    """
    path = Path(name)
    rows = _from_table(path, _json(path, text))
    return _named_apart(path, rows)


def shot_from(row: dict[str, Any], where: str) -> Shot:
    """A shot from its fields.

    Args:
        row: by name.
        where: what was read, for people.

    Raises:
        InvalidInput: names the field and what was expected there.
    """
    try:
        return Shot(**row)
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:  # what is wrong is how fields go together
            raise InvalidInput(where, first["msg"].removeprefix("Value error, ")) from error
        raise refusal(error, Shot, where) from error
    except TypeError as error:
        raise InvalidInput(f"{where}: {error}", "names of fields") from error
