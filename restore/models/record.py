"""The record that lies beside each weights file in the store: what it is and where it came from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from restore.errors import ModelError
from restore.models.disk import new_file

__all__ = ["Record", "read_record", "write_record"]


@dataclass(frozen=True)
class Record:
    """What the store knows about one of its files.

    Attributes:
        name: name of the model.
        sha256: of the safetensors file in the store.
        size_bytes: of the safetensors file in the store.
        source_file: name of the file that was fetched or imported.
        source_sha256: its hash; equals ``sha256`` where nothing was converted.
        converter: version of the conversion, or an empty string where nothing was converted.
        verified: whether the source's hash stands in the catalogue.
        role: what the model is for.
        licence: SPDX identifier, or ``unknown``.
        attribution: line to print wherever the model was used; empty where unknown.
    """

    name: str
    sha256: str
    size_bytes: int
    source_file: str
    source_sha256: str
    converter: str
    verified: bool
    role: str
    licence: str
    attribution: str


_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _RecordFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str
    sha256: _Sha256
    size_bytes: Annotated[int, Field(ge=0)]
    source_file: str
    source_sha256: _Sha256
    converter: str
    verified: bool
    role: str
    licence: str
    attribution: str


def write_record(path: Path, record: Record) -> None:
    """Writes a record as JSON, whole or not at all."""
    text = _RecordFile(**asdict(record)).model_dump_json(indent=2)
    with new_file(path) as file:
        file.write(text.encode() + b"\n")


def read_record(path: Path) -> Record | None:
    """Returns the record in a file, or None where there is no such file.

    Raises:
        ModelError: the file is there but is no record.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return Record(**_RecordFile.model_validate_json(content).model_dump())
    except ValidationError as error:
        raise ModelError(
            f"{path} is not a record of the model store: {error}",
            "the JSON that `restore models import` writes",
            "Delete the file and fetch or import the model again.",
        ) from error
