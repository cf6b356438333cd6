"""How a file becomes a model of the store: from the mirror, the network or the user's own disk."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from restore.errors import (
    HashMismatch,
    InvalidInput,
    ModelError,
    ModelNotFound,
    UnsupportedModel,
)
from restore.models.catalog import AcceptedFile, ModelEntry
from restore.models.convert import CONVERTER, check_safetensors, convert, kind_of
from restore.models.disk import free_bytes, locked, move_in, place, sha256_file
from restore.models.download import Report
from restore.models.record import Record, read_record, write_record
from restore.models.store import ModelStore, StoredModel, how_to_get, record_of

__all__ = ["import_file", "pull"]

Tell = Callable[[Report], None]


def pull(store: ModelStore, entry: ModelEntry, tell: Tell) -> StoredModel:
    """Brings one model here; see ``ModelStore.pull``."""
    if entry.embedded:
        return store.get(entry.name)
    with locked(_lock_path(store, entry.name)):
        if store.has(entry.name):
            here = store.get(entry.name)
            if sha256_file(here.path, fresh=True) == here.sha256:
                return here
        if not entry.is_hashed:
            raise ModelNotFound(f"{entry.name} cannot be checked", fix=how_to_get(entry))
        for file in entry.files:
            mirrored = _in_mirror(store, entry, file, tell)
            if mirrored is not None:
                return _take_in(store, entry, mirrored, file, tell)
        failures: list[ModelError] = []
        for file in entry.files:
            for url in file.urls:
                try:
                    part = _download(store, entry, file, url, tell)
                except (ModelNotFound, HashMismatch) as error:
                    failures.append(error)
                    continue
                try:
                    return _take_in(store, entry, part, file, tell)
                finally:
                    part.unlink(missing_ok=True)
        kinds = {type(failure) for failure in failures}
        kind = HashMismatch if kinds == {HashMismatch} else ModelNotFound
        reasons = " / ".join(map(str, failures)) or "it has no address"
        raise kind(f"{entry.name} could not be fetched: {reasons}", fix=_by_hand(store, entry))


def _by_hand(store: ModelStore, entry: ModelEntry) -> str:
    """Says what a person can do where we failed."""
    file = entry.published
    where = "Google Drive only, " * entry.only_on_google_drive + (
        f"at {entry.urls[0]}" if entry.urls else "from its author"
    )
    mirror = (
        f"the mirror {store.mirror} does not hold it"
        if store.mirror
        else "or put it into a folder and name that in RESTORE_MODEL_MIRROR"
    )
    return (
        f"Fetch {file.file} ({file.size_bytes} bytes, sha256 {file.sha256}; {where}) by hand on "
        f"any machine and run `restore models import {file.file}`; {mirror}."
    )


def _in_mirror(store: ModelStore, entry: ModelEntry, file: AcceptedFile, tell: Tell) -> Path | None:
    """Returns the mirror's copy of a file, found by name or by hash, if it is the right one."""
    if store.mirror is None:
        return None
    if not store.mirror.is_dir():
        raise InvalidInput(
            f"RESTORE_MODEL_MIRROR names {store.mirror}, which is no folder",
            "a folder with published weights files",
        )
    names = (file.file, f"{entry.name}/{file.file}", file.sha256, f"{file.sha256}.{file.kind}")
    for name in names:
        path = store.mirror / name
        if not path.is_file() or path.stat().st_size != file.size_bytes:
            continue
        tell(Report(entry.name, "mirror", 0, file.size_bytes))
        if sha256_file(path) == file.sha256:
            return path
    return None


def _download(
    store: ModelStore, entry: ModelEntry, file: AcceptedFile, url: str, tell: Tell
) -> Path:
    """Returns the complete download of a file, its hash verified."""
    part = store.root / ".part" / f"{file.sha256}.part"
    room = free_bytes(store.root)
    if room < 2 * file.size_bytes:
        raise ModelError(
            f"{store.root} has {room} bytes left",
            f"{2 * file.size_bytes} for {file.file} and its conversion",
            "Make room, or name another folder in RESTORE_MODEL_DIR.",
        )
    # Leftovers of an earlier attempt may be wrong: then everything is fetched once more.
    for fresh in (False, True):
        resumed = part.exists() and part.stat().st_size > 0
        store.downloader.fetch(
            url,
            part,
            file.size_bytes,
            lambda done: tell(Report(entry.name, "download", done, file.size_bytes)),
        )
        found = sha256_file(
            part, lambda done: tell(Report(entry.name, "verify", done, file.size_bytes))
        )
        if found == file.sha256:
            return part
        part.unlink()
        if fresh or not resumed:
            break
    raise HashMismatch(
        f"what {url} delivered has sha256 {found}",
        file.sha256,
        "Nothing opened it and it was deleted.",
    )


def import_file(
    store: ModelStore, path: Path, name: str | None, *, role: str, licence: str, attribution: str
) -> StoredModel:
    """Takes in one file; see ``ModelStore.import_file``."""
    if not path.is_file():
        raise InvalidInput(f"there is no file {path}", "a .safetensors or .pth file")
    sha256 = sha256_file(path)
    size_bytes = path.stat().st_size
    known = store.catalog.identify(sha256)
    kind_of(path, path.name, vouched=known is not None)
    if known is not None:
        entry, file = known
        if name is not None and store.catalog.find(name) is not entry:
            raise InvalidInput(
                f"{path} is the catalogue's {entry.name}", f"no other name than that, not {name!r}"
            )
        if entry.embedded:
            return store.get(entry.name)
        with locked(_lock_path(store, entry.name)):
            return _take_in(store, entry, path, file, lambda _: None)
    unhashed = store.catalog.by_file(path.name) if name is None else store.catalog.find(name)
    if unhashed is not None and not unhashed.is_hashed:
        return _first_seen(store, unhashed, path, sha256)
    if name is None:
        raise InvalidInput(
            f"{path} has sha256 {sha256}, which the catalogue does not know",
            "a published file of a catalogued model",
            "It may be damaged or changed. To use it all the same, name it: "
            f"`restore models import {path.name} --as NAME`.",
        )
    entry_of_name = store.catalog.find(name)
    if entry_of_name is not None:
        raise HashMismatch(
            f"{path} has sha256 {sha256} and {size_bytes} bytes",
            f"{entry_of_name.published.sha256} and {entry_of_name.published.size_bytes} bytes for "
            f"{entry_of_name.name}",
            "The download is damaged or another file. To use it all the same, choose a new name.",
        )
    own = AcceptedFile(path.name, size_bytes, sha256, "the user's own", ())
    with locked(_lock_path(store, name)):
        made, made_bytes, converter = _write_weights(store, name, path, own)
        record = Record(
            name=name,
            sha256=made,
            size_bytes=made_bytes,
            source_file=path.name,
            source_sha256=sha256,
            converter=converter,
            verified=False,
            role=role,
            licence=licence,
            attribution=attribution,
        )
        write_record(store.record_path(name), record)
    return store.get(name)


def _first_seen(store: ModelStore, entry: ModelEntry, path: Path, sha256: str) -> StoredModel:
    """Takes in a model whose publisher gives no hash; the first file's hash binds later ones."""
    with locked(_lock_path(store, entry.name)):
        earlier = read_record(store.record_path(entry.name))
        if earlier is not None and earlier.source_sha256 != sha256:
            raise HashMismatch(
                f"{path} has sha256 {sha256}",
                f"{earlier.source_sha256}, recorded when {entry.name} first came in",
                "Ask its publisher which one is right. To take this one, delete "
                f"{store.weights_path(entry.name)} and {store.record_path(entry.name).name}.",
            )
        file = AcceptedFile(path.name, path.stat().st_size, sha256, "recorded at first import", ())
        made, made_bytes, converter = _write_weights(
            store, entry.name, path, file, lambda weights: _check_form(entry, weights)
        )
        record = record_of(entry, made, made_bytes, path.name, sha256, converter)
        write_record(store.record_path(entry.name), replace(record, verified=False))
    return store.get(entry.name)


def _check_form(entry: ModelEntry, weights: Path) -> None:
    """Refuses a file that is of another form than its name says."""
    from safetensors import safe_open

    from restore.models.nets.ifnet_variants import recognise

    with safe_open(weights, framework="np") as file:
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    found = f"RIFE {recognise(shapes).name}"
    if found != entry.architecture:
        raise UnsupportedModel(
            f"the file is a {found}", f"{entry.architecture}, which {entry.name} is"
        )


def _take_in(
    store: ModelStore, entry: ModelEntry, path: Path, file: AcceptedFile, tell: Tell
) -> StoredModel:
    """Makes a verified file the store's file of a catalogued model."""
    tell(Report(entry.name, "convert", 0, file.size_bytes))
    made, made_bytes, converter = _write_weights(store, entry.name, path, file)
    record = record_of(entry, made, made_bytes, file.file, file.sha256, converter)
    write_record(store.record_path(entry.name), record)
    tell(Report(entry.name, "done", file.size_bytes, file.size_bytes))
    return store.get(entry.name)


def _write_weights(
    store: ModelStore,
    name: str,
    source: Path,
    file: AcceptedFile,
    check: Callable[[Path], None] = lambda _: None,
) -> tuple[str, int, str]:
    """Copies or converts a file into the store; returns its sha256, length and the converter."""
    target = store.weights_path(name)
    vouched = store.catalog.identify(file.sha256) is not None
    kind = kind_of(source, file.file, vouched=vouched)
    store.root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".taking-", dir=store.root) as folder:
        made = Path(folder) / target.name
        if kind == "safetensors":
            place(source, made, file.sha256)
            check_safetensors(made)
            sha256, converter = file.sha256, ""
        else:
            sha256, converter = convert(source, made, file.sha256, file.file), CONVERTER
        check(made)
        made_bytes = made.stat().st_size
        move_in(made, target)
    return sha256, made_bytes, converter


def _lock_path(store: ModelStore, name: str) -> Path:
    return store.root / ".lock" / f"{name}.lock"
