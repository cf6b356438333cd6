"""The two containers that ``torch.save`` writes: a zip of records, and the older plain stream.

A file is judged by its content, never by its name. Whatever could be read in two ways, or is
larger inside than outside, is refused.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

from restore.errors import UnsafeWeights, UnsupportedModel
from restore.models.pickle_reader import StorageSpec, TensorSpec, read_pickle

__all__ = ["Archive", "open_archive"]

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_MOST_RECORDS = 200_000
_LARGEST_PICKLE_BYTES = 64 << 20

Storages = Callable[[StorageSpec], memoryview]


class Archive:
    """What a file holds: a value with tensors in it, and the bytes of their storages.

    Args:
        value: nested plain values and ``TensorSpec``.
        storages: returns the little-endian bytes of a storage.
        facts: what a loader needs besides the tensors.
    """

    def __init__(
        self,
        value: Any,  # noqa: ANN401
        storages: Storages,
        facts: Mapping[str, str] | None = None,
    ) -> None:
        self.value = value
        self.facts = dict(facts or {})
        self._storages = storages

    def storage(self, spec: StorageSpec) -> memoryview:
        """Returns the bytes of a storage.

        Raises:
            UnsafeWeights: it is missing or not as long as the pickle says.
        """
        data = self._storages(spec)
        if len(data) != spec.count * spec.item_bytes:
            raise UnsafeWeights(
                f"storage {spec.key!r} is {len(data)} bytes long",
                f"{spec.count * spec.item_bytes} bytes as the pickle says",
            )
        return data


def open_archive(content: bytes) -> Archive:
    """Reads a ``.pth`` of either kind.

    Raises:
        UnsafeWeights: TorchScript, pickled objects, an archive that could be read in two ways.
        UnsupportedModel: something else altogether.
    """
    if content[:4] == b"PK\x03\x04":
        return _open_zip(content)
    if content[257:262] == b"ustar":
        raise UnsafeWeights("the file is a tar archive, torch's oldest format", "a zip or a stream")
    if content[:1] == b"\x80":
        return _open_stream(content)
    raise UnsupportedModel(
        f"the file begins with {content[:8]!r}", "a .pth that torch.save wrote, or a .safetensors"
    )


def _open_zip(content: bytes) -> Archive:
    try:
        archive = zipfile.ZipFile(BytesIO(content))
        entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, struct.error, NotImplementedError) as error:
        raise UnsafeWeights(f"the zip archive is damaged: {error}") from error
    names = [entry.filename for entry in entries]
    pickles = [n for n in names if n.count("/") == 1 and n.endswith("/data.pkl")]
    if any(n.partition("/")[2].startswith("code/") or n.endswith("constants.pkl") for n in names):
        raise UnsafeWeights(
            "the file is a TorchScript archive, which holds a program",
            "a state dict",
            "Ask the author for a .safetensors file or a .pth with the state dict alone.",
        )
    _check_entries(entries, len(content))
    if len(pickles) != 1:
        raise UnsupportedModel(
            f"the zip archive holds {len(pickles)} records named data.pkl",
            "one, as torch.save writes",
        )
    top = pickles[0].removesuffix("data.pkl")

    def record(name: str, limit_bytes: int) -> bytes:
        try:
            info = archive.getinfo(top + name)
            if info.file_size > limit_bytes:
                raise UnsafeWeights(f"the record {name} is {info.file_size} bytes long")
            return archive.read(info)
        except (KeyError, ValueError, zipfile.BadZipFile, EOFError, struct.error, OSError) as error:
            raise UnsafeWeights(f"the record {name} is missing or damaged: {error}") from error

    if f"{top}byteorder" in names and record("byteorder", 16) != b"little":
        raise UnsupportedModel("the numbers in the file are not little-endian")
    value, _ = read_pickle(record("data.pkl", _LARGEST_PICKLE_BYTES))
    return Archive(
        value, lambda spec: memoryview(record(f"data/{spec.key}", spec.count * spec.item_bytes))
    )


def _check_entries(entries: list[zipfile.ZipInfo], file_bytes: int) -> None:
    if len(entries) > _MOST_RECORDS:
        raise UnsafeWeights(f"the zip archive has {len(entries)} records")
    if len({entry.filename.casefold() for entry in entries}) != len(entries):
        raise UnsafeWeights("the zip archive has two records of one name")
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise UnsafeWeights(
                f"the record {entry.filename!r} is compressed",
                "stored records, as torch.save writes",
            )
        if entry.flag_bits & 0x1:
            raise UnsafeWeights(f"the record {entry.filename!r} is encrypted")
    inside = sum(entry.file_size for entry in entries)
    if inside > file_bytes:
        raise UnsafeWeights(
            f"the zip archive is {file_bytes} bytes long and says it holds {inside}"
        )


def _open_stream(content: bytes) -> Archive:
    """Reads magic number, protocol, system facts, the value, and the storages in their order."""
    magic, position = read_pickle(content)
    if magic != _LEGACY_MAGIC:
        raise UnsupportedModel("the file is a pickle, but none of torch's", "torch.save's format")
    protocol, position = read_pickle(content, position)
    facts, position = read_pickle(content, position)
    if protocol != _LEGACY_PROTOCOL or not isinstance(facts, dict):
        raise UnsupportedModel(f"the file has torch's protocol {protocol!r}", "1001")
    if facts.get("little_endian") is not True:
        raise UnsupportedModel("the numbers in the file are not little-endian")
    value, position = read_pickle(content, position)
    keys, position = read_pickle(content, position)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise UnsafeWeights("the list of storages is malformed")
    item_bytes = {spec.key: spec.item_bytes for spec in _storages_in(value)}
    view = memoryview(content)
    found: dict[str, memoryview] = {}
    for key in keys:
        size = item_bytes.get(key)
        head = view[position : position + 8]
        if size is None or len(head) != 8 or key in found:
            raise UnsafeWeights("the storages do not fit their list")
        (count,) = struct.unpack("<q", head)
        stop = position + 8 + count * size
        if count < 0 or stop > len(content):
            raise UnsafeWeights(f"storage {key!r} reaches beyond the end of the file")
        found[key] = view[position + 8 : stop]
        position = stop
    return Archive(value, lambda spec: found.get(spec.key, memoryview(b"")))


def _storages_in(value: Any) -> list[StorageSpec]:  # noqa: ANN401
    """Collects every storage of a nested value, visiting each container once."""
    found: list[StorageSpec] = []
    seen: set[int] = set()
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, TensorSpec):
            found.append(item.storage)
        elif isinstance(item, StorageSpec):
            found.append(item)
        elif isinstance(item, (dict, list, tuple)) and id(item) not in seen:
            seen.add(id(item))
            waiting.extend(item.values() if isinstance(item, dict) else item)
    return found
