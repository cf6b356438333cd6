"""Hostile weights files: each is refused, and nothing in it is executed."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import random
import struct
import subprocess
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from restore.errors import ModelError, UnsafeWeights, UnsupportedModel
from restore.models.archive import open_archive
from restore.models.convert_child import state_of
from restore.models.store import ModelStore
from tests.models_material import assorted, converted, saved

# --- attacks: each tries to create a file named by the fixture ----------------------------------


class _Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


class _Plain:
    """A class of nobody's."""


def _zip(path: Path, records: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    return path


def _zipped(path: Path, data: bytes) -> Path:
    return _zip(path, {"archive/data.pkl": data, "archive/version": b"3\n"})


def _stream(path: Path, data: bytes) -> Path:
    head = b"".join(
        pickle.dumps(v, protocol=2)
        for v in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True, "protocol_version": 1001})
    )
    path.write_bytes(head + data + pickle.dumps([], protocol=2))
    return path


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def _hostile_pickles(marker: Path) -> dict[str, bytes]:
    shell = f"touch {marker}"
    code = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    return {
        "os.system in a value": pickle.dumps({"w": _Call(os.system, shell)}, protocol=2),
        "protocol 4": pickle.dumps({"w": _Call(os.system, shell)}, protocol=4),
        "protocol 0": b"(dS'w'\ncos\nsystem\n(S'" + shell.encode() + b"'\ntRs.",
        "eval": pickle.dumps(_Call(eval, code), protocol=2),
        "exec": pickle.dumps([_Call(exec, code)], protocol=2),
        "dict key": pickle.dumps({_Call(os.mkdir, str(marker)): 1}, protocol=2),
        "inst": b"\x80\x02(" + _text(shell) + b"ios\nsystem\n.",
        "obj": b"\x80\x02(cos\nsystem\n" + _text(shell) + b"o.",
        "newobj": b"\x80\x02cos\nsystem\n" + _text(shell) + b"\x85\x81.",
        "names from the stack": b"\x80\x04"
        + _text("os")
        + _text("system")
        + b"\x93"
        + _text(shell)
        + b"\x85R.",
        "hidden behind pop": b"\x80\x02cos\nsystem\n" + _text(shell) + b"\x85R0}.",
        "before a good value": b"\x80\x02cos\nsystem\n" + _text(shell) + b"\x85Rq\x000}.",
        "dotted name": b"\x80\x04"
        + _text("collections")
        + _text("OrderedDict.fromkeys")
        + b"\x93"
        + _text("ab")
        + b"\x85R.",
        "module path": b"\x80\x02ctorch._utils\nos.system\n" + _text(shell) + b"\x85R.",
        "load from bytes": b"\x80\x02ctorch.storage\n_load_from_bytes\n" + _text("x") + b"\x85R.",
        "build": b"\x80\x02c__main__\nThing\n)\x81}" + _text("a") + b"K\x01sb.",
        "extension registry": b"\x80\x02\x82\x01.",
        "text persistent id": b"\x80\x02Pstorage\n.",
        "pickled object": pickle.dumps({"net": _Plain()}, protocol=2),
        "state of an inert object calls": b"\x80\x02cpca_comp\nDCTParams\n)\x81cos\nsystem\n"
        + _text(shell)
        + b"\x85Rb.",
        "newobj of a call": b"\x80\x02cos\nsystem\n" + _text(shell) + b"\x85R)\x81.",
        "inert as a key": b"\x80\x02}ccollections\nCounter\n)RK\x01s.",
        "inert as a storage": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(ccollections\nCounter\n"
        + b")RK\x00)))tR.",
        "another class of an inert module": b"\x80\x02cpca_comp\nOther\n)\x81.",
        "call of a value": b"\x80\x02" + _text("os.system") + _text(shell) + b"\x85R.",
        "call of a storage class": b"\x80\x02ctorch\nFloatStorage\nK\x05\x85R.",
    }


@pytest.mark.parametrize("name", sorted(_hostile_pickles(Path("x"))))
@pytest.mark.parametrize("container", [_zipped, _stream], ids=["zip", "stream"])
def test_hostile_pickles_are_refused_unexecuted(
    name: str, container: Callable[[Path, bytes], Path], tmp_path: Path
) -> None:
    marker = tmp_path / "executed"
    path = container(tmp_path / "a.pth", _hostile_pickles(marker)[name])
    with pytest.raises(UnsafeWeights):
        converted(path)
    assert not marker.exists()
    assert not path.with_suffix(".safetensors").exists()


def test_the_attacks_are_real(tmp_path: Path) -> None:
    """Python's own unpickler does execute them; else the test above would show nothing."""
    fired = []
    for name, data in _hostile_pickles(tmp_path / "m").items():
        marker = tmp_path / hashlib.sha256(name.encode()).hexdigest()[:8]
        try:
            pickle.loads(_hostile_pickles(marker)[name])
        except Exception:
            continue
        finally:
            if marker.exists():
                fired.append(name)
        assert data
    assert len(fired) >= 9


def test_the_offending_name_is_named(tmp_path: Path) -> None:
    data = _hostile_pickles(tmp_path / "m")["os.system in a value"]
    with pytest.raises(UnsafeWeights, match=r"names (posix|nt)\.system, .*byte \d+"):
        converted(_zipped(tmp_path / "a.pth", data))


def test_whole_pickled_networks_are_refused(tmp_path: Path) -> None:
    for zipped in (True, False):
        path = saved(tmp_path / f"{zipped}.pth", nn.Linear(2, 2), zipped=zipped)
        with pytest.raises(UnsafeWeights, match=r"torch\.nn\.modules\.linear"):
            converted(path)


def test_torchscript_is_refused_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), path)
    with pytest.raises(UnsafeWeights, match="TorchScript"):
        converted(path)
    store = ModelStore(tmp_path / "store")
    with pytest.raises(UnsafeWeights):
        store.import_file(path, "net")
    with pytest.raises(UnsafeWeights, match=r"\.pt"):
        store.import_file(path.rename(tmp_path / "net.pt"), "net")


def _good_records() -> dict[str, bytes]:
    stream = io.BytesIO()
    torch.save({"w": torch.arange(64.0)}, stream)
    with zipfile.ZipFile(stream) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_zip_bombs_are_refused(tmp_path: Path) -> None:
    records = _good_records()
    with pytest.raises(UnsafeWeights, match="compressed"):
        converted(_zip(tmp_path / "deflated.pth", records, zipfile.ZIP_DEFLATED))
    bomb = {**records, "archive/data/9": bytes(64 << 20)}
    path = _zip(tmp_path / "bomb.pth", bomb, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(UnsafeWeights):
        converted(path)


def test_records_that_overlap_are_refused(tmp_path: Path) -> None:
    """Many directory entries that point at the same bytes."""
    path = _zip(tmp_path / "a.pth", {**_good_records(), "archive/big": bytes(100_000)})
    with zipfile.ZipFile(path, "a") as archive:
        shared = archive.getinfo("archive/big")
        for index in range(50):
            copy = zipfile.ZipInfo(f"archive/data/{index + 10}")
            copy.file_size = copy.compress_size = shared.file_size
            copy.CRC, copy.header_offset = shared.CRC, shared.header_offset
            archive.filelist.append(copy)
        archive._didModify = True
    with pytest.raises(UnsafeWeights, match="says it holds"):
        converted(path)


@pytest.mark.parametrize("twin", ["archive/data.pkl", "archive/DATA.PKL"])
def test_records_of_one_name_are_refused(twin: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    _zip(path, _good_records())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(twin, b"\x80\x02}.")
    with pytest.raises(UnsafeWeights):
        converted(path)


def _tensor_pickle(
    count: int, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> bytes:
    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(pickle.dumps(v, 2)[2:-1] for v in values) + b"t"

    storage = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text("0") + _text("cpu")
    storage += pickle.dumps(count, 2)[2:-1] + b"tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + pickle.dumps(offset, 2)[2:-1]
    tensor += numbers(shape) + numbers(strides) + b"\x89ccollections\nOrderedDict\n)RtR"
    return b"\x80\x02}" + _text("w") + tensor + b"s."


@pytest.mark.parametrize(
    ("count", "offset", "shape", "strides"),
    [
        (64, 0, (65,), (1,)),
        (64, 60, (5,), (1,)),
        (64, 0, (8, 8), (8, 2)),
        (64, 0, (2,), (1 << 40,)),
        (64, 0, (1 << 20, 1 << 20), (0, 0)),
        (64, -4, (4,), (1,)),
        (64, 8, (4,), (-1,)),
        (64, 0, (4, 4), (1,)),
        (1 << 39, 0, (4,), (1,)),
        (65, 0, (4,), (1,)),
        (64, 0, (1,) * 20, (1,) * 20),
    ],
)
def test_impossible_tensors_are_refused(
    count: int, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], tmp_path: Path
) -> None:
    good = {**_good_records(), "archive/data.pkl": _tensor_pickle(64, 0, (8, 8), (8, 1))}
    state, _ = converted(_zip(tmp_path / "good.pth", good))
    assert torch.equal(state["w"], torch.arange(64.0).reshape(8, 8))
    bad = {**good, "archive/data.pkl": _tensor_pickle(count, offset, shape, strides)}
    with pytest.raises(UnsafeWeights):
        converted(_zip(tmp_path / "bad.pth", bad))


def test_endless_pickles_end(tmp_path: Path) -> None:
    path = _zipped(tmp_path / "a.pth", b"\x80\x02" + b"]" * 5_100_000 + b".")
    with pytest.raises(UnsafeWeights, match="instructions"):
        converted(path)


def test_old_tar_files_and_junk_are_refused(tmp_path: Path) -> None:
    tar = tmp_path / "a.pth"
    with tarfile.open(tar, "w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    with pytest.raises(UnsafeWeights, match="tar"):
        converted(tar)
    junk = tmp_path / "b.pth"
    junk.write_bytes(b"GIF89a" + bytes(100))
    with pytest.raises(UnsupportedModel):
        converted(junk)
    other = tmp_path / "c.pth"
    other.write_bytes(pickle.dumps({"a": 1}, 2))
    with pytest.raises(UnsupportedModel, match="none of torch's"):
        converted(other)


@pytest.mark.parametrize("zipped", [True, False])
def test_mutated_files_end_in_our_errors_or_in_tensors(zipped: bool) -> None:
    stream = io.BytesIO()
    torch.save(assorted(), stream, _use_new_zipfile_serialization=zipped)
    good = stream.getvalue()
    rng = random.Random(11)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(400):
        content = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        if rng.random() < 0.2:
            del content[rng.randrange(len(content)) :]
        try:
            archive = open_archive(bytes(content))
            for spec in state_of(archive).values():
                archive.storage(spec.storage)
            outcomes["read"] += 1
        except ModelError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 20


def test_the_child_is_limited() -> None:
    code = """
import resource, tempfile
from restore.models.convert_child import set_limits
set_limits(1 << 20)
assert resource.getrlimit(resource.RLIMIT_CORE)[1] == 0
assert resource.getrlimit(resource.RLIMIT_CPU)[0] < 120
try:
    bytearray(3 << 30)
except MemoryError:
    print("memory")
try:
    files = [open("/dev/null") for _ in range(64)]
except OSError:
    print("files")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.stdout.split() == ["memory", "files"]
