"""The catalogue: every model that this project knows by name, with the facts that identify it.

``catalog.toml`` holds published models, ``weights/embedded.toml`` those that ship in the package.
pydantic checks the files at the edge; inside there are frozen dataclasses only.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from restore.errors import CatalogError, ModelNotFound

__all__ = [
    "CATALOG_PATH",
    "EMBEDDED_DIR",
    "AcceptedFile",
    "Catalog",
    "ModelEntry",
    "Role",
    "default_catalog",
    "read_catalog",
]

Role = Literal["deartifact", "upscale", "denoise", "interpolate", "deinterlace", "stabilise"]

CATALOG_PATH = Path(__file__).with_name("catalog.toml")
EMBEDDED_DIR = Path(__file__).with_name("weights")

_DRIVE_HOSTS = frozenset({"drive.google.com", "docs.google.com", "drive.usercontent.google.com"})


@dataclass(frozen=True)
class AcceptedFile:
    """A file that is a catalogued model: the published one, or another accepted as the same.

    Attributes:
        file: file name.
        size_bytes: exact length; 0 where the publisher gives no hash.
        sha256: 64 lower-case hex digits; empty where the publisher gives none.
        origin: where this file came from, in words.
        urls: where it can be fetched; empty where it can only be imported.
    """

    file: str
    size_bytes: int
    sha256: str
    origin: str
    urls: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The file's extension without the dot, such as ``pth`` or ``safetensors``."""
        return self.file.rpartition(".")[2].lower()


@dataclass(frozen=True)
class ModelEntry:
    """One model of the catalogue.

    Attributes:
        name: the name to ask for it by; also the name of its file in the store.
        aliases: other names by which it is found, such as the author's file stem.
        role: what it is for.
        architecture: network family.
        scale: output size over input size, a whole number.
        rank: order within role and scale for ``--quality best``; higher is stronger.
        published: the file that gives the model its identity.
        accepted: other files that are the same model.
        converted_sha256: sha256 of our own conversion where known, else an empty string.
        licence: SPDX identifier.
        commercial_use: whether the licence allows it.
        author: who made it.
        attribution: the line to print wherever the model was used.
        notes: what a person should know before choosing it.
        embedded: whether the file ships in the package.
        mflop_per_px: million operations per input pixel, a multiplication and an addition counted
            as two; 0 where it is not known.
        look: ``faithful`` or ``vivid`` for models that ship and differ in it; else empty.
    """

    name: str
    aliases: tuple[str, ...]
    role: Role
    architecture: str
    scale: int
    rank: int
    published: AcceptedFile
    accepted: tuple[AcceptedFile, ...]
    converted_sha256: str
    licence: str
    commercial_use: bool
    author: str
    attribution: str
    notes: str
    embedded: bool
    mflop_per_px: float = 0.0
    look: str = ""

    @property
    def files(self) -> tuple[AcceptedFile, ...]:
        """Every file that is this model; safetensors first, for they need no conversion."""
        every = (self.published, *self.accepted)
        return tuple(sorted(every, key=lambda f: f.kind != "safetensors"))

    @property
    def urls(self) -> tuple[str, ...]:
        """Every address from which the model can be fetched, in order of preference."""
        return tuple(url for file in self.files for url in file.urls)

    @property
    def only_on_google_drive(self) -> bool:
        """Whether each address is on Google Drive, which may refuse or ask for a browser."""
        return bool(self.urls) and all(urlsplit(u).hostname in _DRIVE_HOSTS for u in self.urls)

    @property
    def embedded_path(self) -> Path:
        """Where an embedded model's file lies in the package."""
        return EMBEDDED_DIR / self.published.file

    @property
    def is_hashed(self) -> bool:
        """Whether the publisher gives a hash; else the first import records one."""
        return bool(self.published.sha256)

    def file_with(self, sha256: str) -> AcceptedFile | None:
        """Returns the file of this model that has the hash, or None."""
        return next((f for f in self.files if sha256 and f.sha256 == sha256), None)


@dataclass(frozen=True)
class Catalog:
    """The models known by name. Names and aliases are compared without regard to case."""

    entries: tuple[ModelEntry, ...]

    def __iter__(self) -> Iterator[ModelEntry]:
        return iter(self.entries)

    def find(self, name: str) -> ModelEntry | None:
        """Returns the entry with this name or alias, or None."""
        wanted = name.casefold()
        for entry in self.entries:
            if any(known.casefold() == wanted for known in (entry.name, *entry.aliases)):
                return entry
        return None

    def get(self, name: str) -> ModelEntry:
        """Returns the entry with this name or alias.

        Raises:
            ModelNotFound: the name is unknown; the nearest known names are given.
        """
        entry = self.find(name)
        if entry is None:
            from difflib import get_close_matches

            known = [n for e in self.entries for n in (e.name, *e.aliases)]
            by_fold = {n.casefold(): n for n in known}
            near = [by_fold[m] for m in get_close_matches(name.casefold(), list(by_fold), 3, 0.5)]
            raise ModelNotFound(
                f"no model is called {name!r}",
                "a name from `restore models list`" + (f", perhaps {', '.join(near)}" * bool(near)),
                "A file of your own comes in by `restore models import FILE --as NAME`.",
            )
        return entry

    def identify(self, sha256: str) -> tuple[ModelEntry, AcceptedFile] | None:
        """Returns the model and the file that a sha256 belongs to, or None."""
        for entry in self.entries:
            file = entry.file_with(sha256)
            if file is not None:
                return entry, file
        return None

    def by_file(self, file: str) -> ModelEntry | None:
        """Returns the model without a published hash whose file has this name, or None."""
        wanted = file.casefold()
        unhashed = (entry for entry in self.entries if not entry.is_hashed)
        return next((e for e in unhashed if e.published.file.casefold() == wanted), None)

    def ranked(self, role: str, scale: int) -> tuple[ModelEntry, ...]:
        """Returns the models of a role and a scale, strongest first."""
        fitting = [e for e in self.entries if e.role == role and e.scale == scale]
        return tuple(sorted(fitting, key=lambda e: (-e.rank, e.name)))


_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$")]
_Url = Annotated[str, Field(pattern=r"^(https://|http://(127\.0\.0\.1|localhost)[:/])\S+$")]
_Bytes = Annotated[int, Field(gt=0, le=16 << 30)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _AcceptedRow(_Row):
    file: _Name
    bytes: _Bytes
    sha256: _Sha256
    origin: Annotated[str, Field(min_length=3)]
    urls: list[_Url] = []

    def inside(self) -> AcceptedFile:
        return AcceptedFile(self.file, self.bytes, self.sha256, self.origin, tuple(self.urls))


class _ModelRow(_Row):
    name: _Name
    aliases: list[_Name] = []
    role: Role
    architecture: Annotated[str, Field(min_length=1)]
    scale: Annotated[int, Field(ge=1, le=16)]
    rank: int
    file: _Name
    bytes: _Bytes | Literal[0] = 0
    sha256: _Sha256 | Literal[""] = ""
    licence: Annotated[str, Field(min_length=2)]
    commercial_use: bool
    author: Annotated[str, Field(min_length=1)]
    attribution: Annotated[str, Field(min_length=1)]
    urls: list[_Url] = []
    notes: str = ""
    converted_sha256: _Sha256 | Literal[""] = ""
    embedded: bool = False
    mflop_per_px: Annotated[float, Field(ge=0)] = 0.0
    look: Literal["", "faithful", "vivid"] = ""
    accepted: list[_AcceptedRow] = []

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if bool(self.bytes) != bool(self.sha256):
            raise ValueError("bytes and sha256 are given together, or neither is")
        return self

    def inside(self) -> ModelEntry:
        published = AcceptedFile(
            self.file, self.bytes, self.sha256, "as published", tuple(self.urls)
        )
        return ModelEntry(
            name=self.name,
            aliases=tuple(self.aliases),
            role=self.role,
            architecture=self.architecture,
            scale=self.scale,
            rank=self.rank,
            published=published,
            accepted=tuple(row.inside() for row in self.accepted),
            converted_sha256=self.converted_sha256,
            licence=self.licence,
            commercial_use=self.commercial_use,
            author=self.author,
            attribution=self.attribution,
            notes=self.notes,
            embedded=self.embedded,
            mflop_per_px=self.mflop_per_px,
            look=self.look,
        )


class _CatalogFile(_Row):
    schema_: Annotated[Literal[1], Field(alias="schema")]
    model: list[_ModelRow]


def read_catalog(paths: Iterable[Path]) -> Catalog:
    """Reads and checks catalogue files.

    Args:
        paths: TOML files; later files add to earlier ones.

    Raises:
        CatalogError: a file is malformed, or two models share a name, an alias or a hash.
    """
    entries: list[ModelEntry] = []
    for path in paths:
        try:
            rows = _CatalogFile.model_validate(tomllib.loads(path.read_text("utf-8"))).model
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
            raise CatalogError(
                f"{path} is not a usable catalogue: {error}",
                "schema = 1 and [[model]] tables with the fields that catalog.toml has",
                "Correct the file, or reinstall the package if it is ours.",
            ) from error
        entries.extend(row.inside() for row in rows)
    _refuse_doubles(entries)
    return Catalog(tuple(entries))


def _refuse_doubles(entries: list[ModelEntry]) -> None:
    owner: dict[str, str] = {}
    for entry in entries:
        names = {n.casefold() for n in (entry.name, *entry.aliases)}
        for key in (*sorted(names), *(f.sha256 for f in entry.files if f.sha256)):
            if key in owner:
                raise CatalogError(
                    f"{key!r} stands for {owner[key]!r} and for {entry.name!r}",
                    "each name, alias and sha256 in one place only",
                )
            owner[key] = entry.name


@lru_cache(maxsize=1)
def default_catalog() -> Catalog:
    """Returns the catalogue of the package: published models and, where present, embedded ones."""
    embedded = EMBEDDED_DIR / "embedded.toml"
    return read_catalog([CATALOG_PATH, *([embedded] if embedded.is_file() else [])])
