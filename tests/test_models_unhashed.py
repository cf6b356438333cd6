"""Models whose publishers give no hash: the first import checks their form and records one."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from restore.cli import app
from restore.errors import CatalogError, HashMismatch, ModelNotFound, UnsupportedModel
from restore.models.catalog import CATALOG_PATH, default_catalog, read_catalog
from restore.models.choose import choose_model
from restore.models.interpolators import load_interpolator
from restore.models.store import ModelStore
from tests.rife_reference import random_state, read_forms


def flownet(path, form="4.12.lite", seed=1):
    """As published: torch.save of a state dict with ``module.`` and a teacher."""
    state = random_state(read_forms()[form], 0.1, seed)
    saved = {f"module.{key}": tensor for key, tensor in state.items()}
    saved["module.block_tea.conv0.0.0.weight"] = torch.zeros(4, 4)
    torch.save(saved, path)
    return path


def test_every_rife_of_the_catalogue_is_a_form_that_is_known():
    entries = [e for e in default_catalog() if e.architecture.startswith("RIFE")]
    assert len(entries) >= 13
    forms = read_forms()
    from restore.models.nets.ifnet_variants import recognise

    known = {f"RIFE {recognise(shapes).name}" for shapes in forms.values()}
    for entry in entries:
        assert entry.architecture in known
        assert (entry.role, entry.licence, entry.is_hashed) == ("interpolate", "MIT", False)
        assert entry.urls[0].endswith(entry.published.file)


def test_a_file_comes_in_by_its_name_and_its_hash_binds_later_ones(tmp_path, monkeypatch):
    root = tmp_path / "store"
    monkeypatch.setenv("RESTORE_MODEL_DIR", str(root))
    file = flownet(tmp_path / "flownet_v4.12.lite.pkl")
    store = ModelStore(root)
    stored = store.import_file(file)
    assert (stored.name, stored.role, stored.licence) == ("RIFE-4.12.lite", "interpolate", "MIT")
    assert not stored.verified
    record = json.loads(store.record_path(stored.name).read_text("utf-8"))
    assert record["source_sha256"] == stored.source_sha256
    (status,) = store.verify(["RIFE-4.12.lite"])
    assert status.state == "present"
    assert "gives no hash" in status.detail
    model = load_interpolator("rife-v4.12.lite", store=store)
    assert model.architecture == "RIFE 4.12.lite-4.13.lite"
    assert store.import_file(file).sha256 == stored.sha256
    with pytest.raises(HashMismatch, match=r"when RIFE-4\.12\.lite first came in"):
        store.import_file(flownet(file, seed=2))
    with pytest.raises(HashMismatch, match="first came in"):
        store.import_file(file.rename(tmp_path / "other.pkl"), "RIFE-4.12.lite")
    listed = CliRunner().invoke(app, ["models", "list", "--role", "interpolate", "--json"])
    (row,) = [r for r in json.loads(listed.stdout) if r["name"] == "RIFE-4.12.lite"]
    assert (row["state"], row["bytes"], row["sha256"]) == ("present", None, None)


def test_a_file_of_another_form_is_refused_whatever_its_name_says(tmp_path):
    store = ModelStore(tmp_path / "store")
    file = flownet(tmp_path / "flownet_v4.15.lite.pkl")
    with pytest.raises(UnsupportedModel, match=r"the file is a RIFE 4\.12\.lite"):
        store.import_file(file)
    assert not store.has("RIFE-4.15.lite")
    assert store.import_file(file, "mine", role="interpolate").name == "mine"


def test_pulling_says_what_to_do_by_hand(tmp_path):
    store = ModelStore(tmp_path / "store")
    for act in (store.pull, store.get):
        with pytest.raises(ModelNotFound, match=r"restore models import flownet_v4\.26\.pkl"):
            act("RIFE-4.26")


def test_choosing_an_interpolation_model(tmp_path):
    store = ModelStore(tmp_path / "store")
    with pytest.raises(ModelNotFound, match="restore models pull fLDR-VFI"):
        choose_model("interpolate", 1, store)
    store.import_file(flownet(tmp_path / "flownet_v4.12.lite.pkl"))
    choice = choose_model("interpolate", 1, store, "best")
    assert choice.name == "RIFE-4.12.lite"
    assert "`restore models import flownet_v4.25.heavy.pkl`" in choice.reason


def test_bytes_and_hash_come_together_or_not_at_all(tmp_path):
    text = CATALOG_PATH.read_text("utf-8")
    broken = tmp_path / "broken.toml"
    broken.write_text(text.replace("bytes = 3780002\n", ""), "utf-8")
    with pytest.raises(CatalogError, match="together"):
        read_catalog([broken])
