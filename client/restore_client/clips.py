"""Clips that are made on the server: what is asked for, from a list of shots on this side."""

from __future__ import annotations

import hashlib
import json
import secrets
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from restore_client.v1 import common_pb2 as common
from restore_client.v1 import generation_pb2 as generation

__all__ = ["ClipList", "clips_request"]

_FILES = ("image", "depth", "video", "mask")


@dataclass(frozen=True)
class ClipList:
    """A list of shots: the tables ``defaults`` and ``shots``, as documented for generation.

    Attributes:
        defaults: fields that all shots share.
        shots: fields of each.
        folder: where names of files begin.
    """

    defaults: Mapping[str, Any]
    shots: tuple[Mapping[str, Any], ...]
    folder: Path

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a list from TOML or JSON.

        Raises:
            OSError: there is no such file.
            ValueError: it is no list of shots.
        """
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() not in (".toml", ".json"):
            raise ValueError(f"{path.name} as a list of shots; expected .toml or .json")
        table = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
        if not isinstance(table, dict) or not set(table) <= {"defaults", "shots"}:
            raise ValueError(f"{path.name} is no list; expected a table defaults and rows shots")
        defaults, shots = table.get("defaults", {}), table.get("shots", [])
        rows = [defaults, *shots] if isinstance(shots, list) else [None]
        if not shots or not all(isinstance(row, dict) for row in rows):
            raise ValueError(f"{path.name} holds no shots; expected rows shots of fields")
        return cls(defaults, tuple(shots), path.absolute().parent)

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that are named and not on the server yet, each once."""
        named = [self._file(row, field) for row in self._rows for field in _FILES]
        return tuple(dict.fromkeys(path for path in named if path is not None))

    def sent(self, uploads: Mapping[Path, str]) -> Self:
        """The list with the names of uploads in place of those of files."""

        def changed(row: Mapping[str, Any]) -> dict[str, Any]:
            found = {field: self._file(row, field) for field in _FILES}
            return {**row, **{f: uploads[path] for f, path in found.items() if path is not None}}

        shots = tuple(changed(shot) for shot in self.shots)
        return type(self)(changed(self.defaults), shots, self.folder)

    def request_id(self, preset: str, container: str) -> str:
        """The same for the same list, files and wishes: asked again, it gives the same jobs."""
        asked = [self.defaults, self.shots, preset, container]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    def places(self, folder: Path, container: str) -> list[Path]:
        """Where each shot's clip goes."""
        names = [Path(str(shot.get("name", number))).name for number, shot in enumerate(self.shots)]
        return [folder / f"{name}{container}" for name in names]

    @property
    def _rows(self) -> tuple[Mapping[str, Any], ...]:
        return (self.defaults, *self.shots)

    def _file(self, row: Mapping[str, Any], field: str) -> Path | None:
        named = row.get(field)
        if not isinstance(named, str) or not named or named.startswith("uploads/"):
            return None
        return self.folder / named


def clips_request(
    shots: Sequence[Mapping[str, object]],
    preset: str,
    container: str,
    request_id: str | None,
    validate_only: bool,
    defaults: Mapping[str, object] | None = None,
) -> generation.CreateClipsRequest:
    """The request; a new id where none is given."""
    table = {"defaults": dict(defaults or {}), "shots": [dict(shot) for shot in shots]}
    return generation.CreateClipsRequest(
        request_id=request_id or secrets.token_hex(16),
        shots=json.dumps(table),
        recipe=common.Recipe(preset=preset),
        delivery=common.Delivery(container=container),
        validate_only=validate_only,
    )
