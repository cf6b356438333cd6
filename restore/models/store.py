"""The store: verified safetensors files on this machine, one for each model."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from restore.errors import HashMismatch, InvalidInput, ModelError, ModelNotFound
from restore.models.catalog import Catalog, ModelEntry, default_catalog
from restore.models.disk import sha256_file
from restore.models.download import Downloader, Report
from restore.models.record import Record, read_record

__all__ = ["ModelState", "ModelStatus", "ModelStore", "StoredModel", "default_root"]

ModelState = Literal["embedded", "present", "absent", "damaged"]

_CUSTOM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


@dataclass(frozen=True)
class StoredModel:
    """A weights file that is here.

    Attributes:
        name: the model's name.
        path: the safetensors file; nothing has been checked but its length.
        sha256: the hash that the file must have, to be checked before it is opened.
        size_bytes: its length.
        source_sha256: hash of the published file that it was converted from (or equals it).
        role: what the model is for.
        licence: SPDX identifier or ``unknown``.
        attribution: line to print wherever the model was used; may be empty.
        verified: whether the catalogue vouches for the source.
        scale: the catalogue's scale, or None for a model that it does not know.
    """

    name: str
    path: Path
    sha256: str
    size_bytes: int
    source_sha256: str
    role: str
    licence: str
    attribution: str
    verified: bool
    scale: int | None


@dataclass(frozen=True)
class ModelStatus:
    """One line of ``restore models list`` or ``verify``.

    Attributes:
        name: the model's name.
        role: what it is for.
        state: ``embedded``, ``present``, ``absent`` or ``damaged``.
        detail: what is wrong, or what a person should know; may be empty.
        entry: the catalogue's entry, or None for a model of the user's own.
        path: where the file is, or would be.
        verified: whether the catalogue vouches for the file.
    """

    name: str
    role: str
    state: ModelState
    detail: str
    entry: ModelEntry | None
    path: Path
    verified: bool


def default_root() -> Path:
    """Returns ``$RESTORE_MODEL_DIR``, or ``restore/models`` in the user's XDG data folder."""
    named = os.environ.get("RESTORE_MODEL_DIR")
    if named:
        return Path(named).expanduser()
    data = os.environ.get("XDG_DATA_HOME", "")
    # The XDG base directory specification 0.8 asks for relative values to be ignored.
    home = Path(data) if Path(data).is_absolute() else Path.home() / ".local" / "share"
    return home / "restore" / "models"


class ModelStore:
    """Weights on this machine.

    Args:
        root: folder of the store; ``default_root()`` where None. It need not exist.
        catalog: the models known by name; the package's where None.
        mirror: folder with published files for machines without a network;
            ``$RESTORE_MODEL_MIRROR`` where None.
        downloader: how files are fetched.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        catalog: Catalog | None = None,
        mirror: Path | None = None,
        downloader: Downloader | None = None,
    ) -> None:
        self.root = root if root is not None else default_root()
        self.catalog = catalog if catalog is not None else default_catalog()
        named = os.environ.get("RESTORE_MODEL_MIRROR")
        self.mirror = mirror or (Path(named).expanduser() if named else None)
        self.downloader = downloader or Downloader()

    def weights_path(self, name: str) -> Path:
        """Returns where the file of a model that is not embedded lies, or would lie."""
        return self.root / f"{name}.safetensors"

    def record_path(self, name: str) -> Path:
        """Returns where the record of a model lies, or would lie."""
        return self.root / f"{name}.json"

    def get(self, name: str) -> StoredModel:
        """Finds a model's file by the model's name or alias; opens nothing.

        Raises:
            ModelNotFound: the name is unknown, or the weights are not here.
            HashMismatch: the file is not the one that its record speaks of.
        """
        entry = self.catalog.find(name)
        if entry is not None:
            return _embedded(entry) if entry.embedded else self._fetched(entry)
        if not _CUSTOM_NAME.fullmatch(name) or not self.weights_path(name).is_file():
            self.catalog.get(name)  # raises with the nearest names
        record = read_record(self.record_path(name))
        if record is None:
            raise ModelError(
                f"{self.weights_path(name)} has no record beside it",
                "a model that came in by `restore models import`",
                f"Run `restore models import FILE --as {name}`.",
            )
        return self._stored(record, scale=None)

    def path(self, name: str) -> Path:
        """Returns the path of a model's weights; raises as ``get`` does."""
        return self.get(name).path

    def has(self, name: str) -> bool:
        """Whether a model's file is here with the right length."""
        try:
            self.get(name)
        except ModelError:
            return False
        return True

    def _fetched(self, entry: ModelEntry) -> StoredModel:
        path = self.weights_path(entry.name)
        if not path.is_file():
            raise ModelNotFound(
                f"the weights of {entry.name} are not on this machine (looked for {path})",
                fix=how_to_get(entry),
            )
        record = read_record(self.record_path(entry.name))
        if record is None:
            found = sha256_file(path)
            file = entry.file_with(found)
            if file is None:
                raise HashMismatch(
                    f"{path} has sha256 {found} and no record",
                    f"a file of {entry.name}",
                    f"Delete it. {how_to_get(entry)}",
                )
            record = record_of(entry, found, path.stat().st_size, file.file, found, "")
        ours = entry.converted_sha256 if record.converter else ""
        known = entry.file_with(record.source_sha256) is not None or not entry.is_hashed
        if not known or ours not in ("", record.sha256):
            raise HashMismatch(
                f"{path} was made from a file with sha256 {record.source_sha256}",
                f"a file of {entry.name}: {entry.published.sha256}",
                f"Delete it. {how_to_get(entry)}",
            )
        return self._stored(record, scale=entry.scale)

    def _stored(self, record: Record, scale: int | None) -> StoredModel:
        path = self.weights_path(record.name)
        found_bytes = path.stat().st_size
        if found_bytes != record.size_bytes:
            raise HashMismatch(
                f"{path} is {found_bytes} bytes long",
                f"{record.size_bytes} bytes",
                f"The file is damaged. Run `restore models pull {record.name}` or import it again.",
            )
        return StoredModel(
            name=record.name,
            path=path,
            sha256=record.sha256,
            size_bytes=record.size_bytes,
            source_sha256=record.source_sha256,
            role=record.role,
            licence=record.licence,
            attribution=record.attribution,
            verified=record.verified,
            scale=scale,
        )

    def names(self) -> tuple[str, ...]:
        """Returns the names of the catalogue, then those of the user's own models."""
        known = [entry.name for entry in self.catalog]
        stems = (path.stem for path in self.root.glob("*.safetensors"))
        own = sorted(stem for stem in stems if _CUSTOM_NAME.fullmatch(stem))
        return (*known, *(name for name in own if self.catalog.find(name) is None))

    def list(self) -> tuple[ModelStatus, ...]:
        """Returns the state of every model, judged by records and lengths; nothing is hashed."""
        return tuple(self._status(name, check=False) for name in self.names())

    def verify(self, names: Iterable[str] = ()) -> tuple[ModelStatus, ...]:
        """Hashes the files of the named models, or of all, and returns their states."""
        wanted = tuple(names) or self.names()
        return tuple(self._status(name, check=True) for name in wanted)

    def _status(self, name: str, *, check: bool) -> ModelStatus:
        entry = self.catalog.find(name)
        path = entry.embedded_path if entry and entry.embedded else self.weights_path(name)
        role = entry.role if entry else "unknown"
        detail = "on Google Drive only" if entry and entry.only_on_google_drive else ""
        try:
            stored = self.get(name)
            if check:
                # A file that rots on the disk keeps its modification time: hash it anew.
                found = sha256_file(stored.path, fresh=True)
                if found != stored.sha256:
                    raise HashMismatch(f"{stored.path} has sha256 {found}", stored.sha256)
        except ModelNotFound:
            return ModelStatus(name, role, "absent", detail, entry, path, verified=False)
        except ModelError as error:
            return ModelStatus(name, role, "damaged", str(error), entry, path, verified=False)
        state: ModelState = "embedded" if entry and entry.embedded else "present"
        if not stored.verified:
            whose = "its publisher gives no hash" if entry else "your own file"
            detail = f"unverified: {whose}, licence {stored.licence}"
        return ModelStatus(
            entry.name if entry else name,
            stored.role,
            state,
            detail,
            entry,
            path,
            verified=stored.verified,
        )

    def pull(self, name: str, report: Callable[[Report], None] | None = None) -> StoredModel:
        """Brings a catalogued model here: from the mirror folder if there is one, else by network.

        The hash is verified before anything opens the file; a ``.pth`` is then converted to
        safetensors in a child process. An interrupted download goes on where it stopped. Two pulls
        of one model at the same time are safe: the second waits and finds it done.

        Args:
            name: name or alias.
            report: called as it goes; an exception that it raises stops the pull.

        Raises:
            ModelNotFound: unknown name, or no source could deliver; says what to fetch by hand.
            HashMismatch: every source delivered something else.
            UnsafeWeights: the file could run code.
        """
        from restore.models.arrive import pull

        with self._writable():
            return pull(self, self.catalog.get(name), report or (lambda _: None))

    def import_file(
        self,
        path: Path,
        name: str | None = None,
        *,
        role: str = "upscale",
        licence: str = "unknown",
        attribution: str = "",
    ) -> StoredModel:
        """Takes in a file that is already on this machine; its hash says which model it is.

        Args:
            path: a ``.safetensors`` or ``.pth`` file.
            name: needed for a file that the catalogue does not know; it is then recorded as
                unverified under this name.
            role: what an unknown file is for.
            licence: licence of an unknown file.
            attribution: line to print for an unknown file.

        Raises:
            InvalidInput: the hash is unknown and no name was given, or the name does not fit.
            HashMismatch: the file is not the catalogue's model of that name, or not the one that
                was recorded when a model without a published hash first came in.
            UnsafeWeights: the file could run code.
            UnsupportedModel: the file is of another kind.
        """
        from restore.models.arrive import import_file

        if name is not None and not _CUSTOM_NAME.fullmatch(name):
            raise InvalidInput(
                f"{name!r} cannot be a model's name",
                "1 to 100 letters, digits, dots, dashes, plus signs and underscores",
            )
        with self._writable():
            return import_file(
                self, path, name, role=role, licence=licence, attribution=attribution
            )

    @contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ModelError(
                f"the model store {self.root} or a file for it cannot be used: {error}",
                "a readable file, and a folder that can be written to with room in it",
                "Name another folder in RESTORE_MODEL_DIR.",
            ) from error


def record_of(
    entry: ModelEntry,
    sha256: str,
    size_bytes: int,
    source_file: str,
    source_sha256: str,
    converter: str,
) -> Record:
    """Returns the record of a file that the catalogue vouches for."""
    return Record(
        name=entry.name,
        sha256=sha256,
        size_bytes=size_bytes,
        source_file=source_file,
        source_sha256=source_sha256,
        converter=converter,
        verified=True,
        role=entry.role,
        licence=entry.licence,
        attribution=entry.attribution,
    )


def how_to_get(entry: ModelEntry) -> str:
    """Returns a sentence on how to bring a catalogued model here."""
    if not entry.is_hashed:
        file = entry.published.file
        return (
            f"Its publisher gives no hash to check a download by: fetch {file} from "
            f"{entry.urls[0]} yourself and run `restore models import {file}`, which records one."
        )
    if not entry.only_on_google_drive:
        return f"Run `restore models pull {entry.name}`."
    return (
        f"Run `restore models pull {entry.name}`. It is on Google Drive only; if that refuses, "
        f"fetch {entry.published.file} from {entry.urls[0]} with a browser and run "
        f"`restore models import {entry.published.file}`."
    )


def _embedded(entry: ModelEntry) -> StoredModel:
    path = entry.embedded_path
    if not path.is_file():
        raise ModelError(
            f"{path} is missing", "the weights that ship in the package", "Reinstall the package."
        )
    return StoredModel(
        name=entry.name,
        path=path,
        sha256=entry.published.sha256,
        size_bytes=entry.published.size_bytes,
        source_sha256=entry.published.sha256,
        role=entry.role,
        licence=entry.licence,
        attribution=entry.attribution,
        verified=True,
        scale=entry.scale,
    )
