"""The store: imports, verification, locks, and the choice of a model."""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from restore.errors import (
    HashMismatch,
    InvalidInput,
    ModelError,
    ModelNotFound,
    UnsafeWeights,
    UnsupportedModel,
)
from restore.models.choose import choose_model
from restore.models.store import ModelStore
from tests.models_material import (
    ASSETS,
    DRIVE_ID,
    entry_of,
    needs_assets,
    sha_of,
    store_of,
    weights,
)


def test_import_knows_a_file_by_its_hash(tmp_path: Path) -> None:
    content = weights()
    path = tmp_path / "browser download (1).safetensors"
    path.write_bytes(content)
    store = store_of(tmp_path, entry_of(content))
    assert store.import_file(path).name == "net"
    assert store.path("net").read_bytes() == content
    assert path.exists()
    with pytest.raises(InvalidInput, match="net"):
        store.import_file(path, "other")


def test_import_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    path.write_bytes(weights(5))
    store = store_of(tmp_path, entry_of(weights()))
    with pytest.raises(InvalidInput, match="--as NAME"):
        store.import_file(path)
    with pytest.raises(HashMismatch):
        store.import_file(path, "net")
    with pytest.raises(InvalidInput, match="name"):
        store.import_file(path, "../net")
    assert [s.state for s in store.list()] == ["absent"]


def test_import_of_an_own_model_is_marked_unverified(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    path.write_bytes(weights(5))
    store = store_of(tmp_path, entry_of(weights()))
    stored = store.import_file(path, "mine-1", role="deartifact")
    assert not stored.verified
    assert (stored.role, stored.licence) == ("deartifact", "unknown")
    record = json.loads((store.root / "mine-1.json").read_text())
    assert record["verified"] is False
    assert record["source_sha256"] == sha_of(path.read_bytes())
    (status,) = [s for s in store.list() if s.name == "mine-1"]
    assert status.state == "present"
    assert "unverified" in status.detail


def test_import_of_damaged_safetensors_is_refused(tmp_path: Path) -> None:
    content = weights()
    store = store_of(tmp_path, entry_of(weights(1)))
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(content[:-100])
    with pytest.raises(UnsupportedModel):
        store.import_file(cut, "cut")
    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"hello")
    with pytest.raises(UnsupportedModel):
        store.import_file(junk, "junk")
    assert not store.weights_path("cut").exists()


def test_pt_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(b"\x80\x02.")
    with pytest.raises(UnsafeWeights, match="TorchScript"):
        store_of(tmp_path, entry_of(weights())).import_file(path, "x")


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    content = weights()
    path = tmp_path / "net.safetensors"
    path.write_bytes(content)
    (tmp_path / "store").write_text("a file where the folder should be")
    with pytest.raises(ModelError, match="RESTORE_MODEL_DIR"):
        store_of(tmp_path, entry_of(content)).import_file(path)


# --- verify ------------------------------------------------------------------------------------


def test_verify_finds_damage_that_keeps_length_and_time(tmp_path: Path) -> None:
    content = weights()
    path = tmp_path / "net.safetensors"
    path.write_bytes(content)
    store = store_of(tmp_path, entry_of(content))
    target = store.import_file(path).path
    assert store.verify(["net"])[0].state == "present"
    facts = target.stat()
    damaged = bytearray(content)
    damaged[-5] ^= 1
    target.write_bytes(damaged)
    os.utime(target, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert store.verify(["net"])[0].state == "damaged"
    target.write_bytes(content[:-1])
    assert store.list()[0].state == "damaged"
    with pytest.raises(HashMismatch):
        store.get("net")


def test_damaged_weights_are_not_opened(tmp_path: Path) -> None:
    from restore.models.load import load_model

    content = weights()
    path = tmp_path / "net.safetensors"
    path.write_bytes(content)
    store = store_of(tmp_path, entry_of(content))
    target = store.import_file(path).path
    # Not safetensors any more: had it been opened, the error would be another one.
    target.write_bytes(b"\xff" * len(content))
    with pytest.raises(HashMismatch, match="nothing opened it"):
        load_model("net", store=store)


def test_records_are_checked(tmp_path: Path) -> None:
    content = weights()
    path = tmp_path / "net.safetensors"
    path.write_bytes(content)
    store = store_of(tmp_path, entry_of(content))
    store.import_file(path)
    store.record_path("net").write_text("{}")
    with pytest.raises(ModelError, match="record"):
        store.get("net")
    store.record_path("net").unlink()
    assert store.get("net").verified
    store.weights_path("net").write_bytes(weights(9))
    with pytest.raises(HashMismatch):
        store.get("net")


def test_a_held_lock_is_waited_for(tmp_path: Path) -> None:
    from restore.models.disk import locked

    lock = tmp_path / "a.lock"
    order: list[str] = []

    def second() -> None:
        with locked(lock):
            order.append("second")

    with locked(lock):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.15)
        order.append("first")
        with pytest.raises(ModelError, match="another process"), locked(lock, timeout_s=0.05):
            pass
    thread.join()
    assert order == ["first", "second"]


# --- choice ------------------------------------------------------------------------------------


def _family(tmp_path: Path) -> tuple[ModelStore, list[Path]]:
    contents = [weights(seed, kib=4) for seed in range(4)]
    drive = f"https://drive.google.com/file/d/{DRIVE_ID}"
    rows = [
        ("small", 10, ()),
        ("middle", 50, ()),
        ("big", 90, (drive,)),
        ("open", 80, ("https://example.org/o",)),
    ]
    entries = [
        entry_of(content, *urls, name=name, aliases=(), rank=rank)
        for content, (name, rank, urls) in zip(contents, rows, strict=True)
    ]
    paths = []
    for index, content in enumerate(contents):
        paths.append(tmp_path / f"{index}.safetensors")
        paths[-1].write_bytes(content)
    return store_of(tmp_path, *entries), paths


def test_best_takes_the_strongest_present_and_says_what_pulling_would_change(
    tmp_path: Path,
) -> None:
    store, paths = _family(tmp_path)
    with pytest.raises(ModelNotFound, match="pull open"):
        choose_model("upscale", 4, store, "best")
    store.import_file(paths[0])
    store.import_file(paths[1])
    choice = choose_model("upscale", 4, store, "best")
    assert choice.name == "middle"
    assert "restore models pull big" in choice.reason
    assert "Google Drive only" in choice.reason
    assert "open" in choice.reason
    store.import_file(paths[2])
    choice = choose_model("upscale", 4, store, "best")
    assert choice.name == "big"
    assert "nothing in the catalogue ranks higher" in choice.reason
    with pytest.raises(ModelNotFound):
        choose_model("deartifact", 1, store, "best")
    with pytest.raises(InvalidInput):
        choose_model("upscale", 4, store, "great")


def test_fast_takes_what_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, paths = _family(tmp_path)
    monkeypatch.setattr("restore.models.catalog.EMBEDDED_DIR", tmp_path)
    first, *rest = store.catalog.entries
    shipped = replace(first, embedded=True, published=replace(first.published, file=paths[0].name))
    store = store_of(tmp_path, shipped, *rest)
    store.import_file(paths[1])
    assert store.list()[0].state == "embedded"
    assert store.verify(["small"])[0].state == "embedded"
    choice = choose_model("upscale", 4, store, "fast")
    assert choice.name == "small"
    assert "--quality best` would take middle" in choice.reason
    assert store.pull("small").path == paths[0]


def test_good_takes_the_strongest_small_published_one_or_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, paths = _family(tmp_path)
    monkeypatch.setattr("restore.models.catalog.EMBEDDED_DIR", tmp_path)
    first, middle, big, spare = store.catalog.entries
    shipped = replace(
        first,
        embedded=True,
        mflop_per_px=0.3,
        published=replace(first.published, file=paths[0].name),
    )
    costs = {"middle": 2.4, "big": 36.0, "open": 0.0}  # 0: not known, and so taken for large
    rows = [replace(e, mflop_per_px=costs[e.name]) for e in (middle, big, spare)]
    store = store_of(tmp_path, shipped, *rows)
    store.import_file(paths[2])
    store.import_file(paths[3])
    alone = choose_model("upscale", 4, store, "good")
    assert alone.name == "small"
    assert "no small published model is on this machine" in alone.reason
    assert "models pull middle" in alone.reason
    store.import_file(paths[1])
    choice = choose_model("upscale", 4, store, "good")
    assert choice.name == "middle"
    assert "2.4 MFLOP a pixel" in choice.reason
    assert choose_model("upscale", 4, store, "best").name == "big"
    bare = store_of(tmp_path / "bare", *rows)
    bare.root.mkdir(parents=True)
    bare.import_file(paths[2])
    bare.import_file(paths[3])
    fallen = choose_model("upscale", 4, bare, "good")
    assert fallen.name == "big"
    assert "the cheapest here" in fallen.reason


def test_the_look_decides_among_what_ships_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, paths = _family(tmp_path)
    monkeypatch.setattr("restore.models.catalog.EMBEDDED_DIR", tmp_path)
    first, second, third, _ = store.catalog.entries
    plain, crisp = (
        replace(e, embedded=True, look=look, published=replace(e.published, file=path.name))
        for e, look, path in ((second, "faithful", paths[1]), (first, "vivid", paths[0]))
    )
    store = store_of(tmp_path, plain, crisp, third)
    assert choose_model("upscale", 4, store).name == "middle"
    for quality in ("fast", "good", "best"):
        assert choose_model("upscale", 4, store, quality, "vivid").name == "small"
    store.import_file(paths[2])
    assert choose_model("upscale", 4, store, "fast", "vivid").name == "small"
    assert choose_model("upscale", 4, store, "best", "vivid").name == "big"
    with pytest.raises(InvalidInput, match="look"):
        choose_model("upscale", 4, store, "fast", "gaudy")


def test_what_ships_verifies_runs_and_is_the_default(tmp_path: Path) -> None:
    import torch

    from restore.models.load import load_model

    store = ModelStore(tmp_path / "empty")
    shipped = [entry for entry in store.catalog if entry.embedded]
    assert {(e.role, e.scale) for e in shipped} >= {("deartifact", 1), ("upscale", 4)}
    for entry in shipped:
        assert store.verify([entry.name])[0].state == "embedded"
        if entry.architecture == "WindowCompact":
            continue  # takes several frames: tests of its own
        model = load_model(entry.name, store=store)
        assert model.tiling == "exact"
        out = model(torch.full((1, 3, 12, 20), 0.5))
        assert out.shape == (1, 3, 12 * entry.scale, 20 * entry.scale)
    for role, scale in (("deartifact", 1), ("upscale", 4)):
        for quality in ("fast", "best"):
            assert choose_model(role, scale, store, quality).entry.embedded


# --- published weights -------------------------------------------------------------------------


@needs_assets
def test_published_weights_are_recognised_converted_and_run(tmp_path: Path) -> None:
    import torch

    from restore.models.load import load_model

    folder = Path(str(ASSETS)) / "models"
    store = ModelStore(tmp_path / "store")
    names = {
        file: store.import_file(folder / file).name
        for file in (
            "realesr-general-x4v3.safetensors",
            "realesr-general-wdn-x4v3.safetensors",
            "realesr-animevideov3.safetensors",
            "4xLSDIRCompactC3.safetensors",
            "dncnn_25.pth",
        )
    }
    assert names["dncnn_25.pth"] == "dncnn-grey-25"
    assert {s.state for s in store.verify(names.values())} == {"present"}
    grey = load_model("dncnn_25", store=store)
    clean = torch.linspace(0.2, 0.8, 64).expand(1, 3, 64, 64)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1)) * 25 / 255
    before, after = noise.square().mean(), (grey(clean + noise) - clean).square().mean()
    assert after < before / 10
    assert choose_model("upscale", 4, store, "best").name == "realesr-general-x4v3"
