"""Converted networks kept on disk: the same bits at the next start, and made again when damaged."""

from __future__ import annotations

import importlib.util
import os
import time
from dataclasses import replace

import pytest
import torch

import restore.models.openvino_net as room
from restore.models.graphs import KeptGraphs, default_folder
from restore.models.load import load_model
from restore.models.openvino_net import OpenVinoNet
from restore.models.store import ModelStore
from restore.stages.network import Network
from tests.networks import save_network, seeded_network

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="openvino is not installed"
)
CPU = torch.device("cpu")
SAMPLE = torch.rand(1, 1, 3, 24, 32, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def model(tmp_path):
    path = save_network(seeded_network("span"), tmp_path / "span.safetensors")
    return load_model(path, store=ModelStore(tmp_path))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("RESTORE_CACHE_DIR", str(tmp_path / "cache"))
    assert default_folder() == tmp_path / "cache" / "graphs"
    return default_folder()


@pytest.fixture
def conversions(monkeypatch):
    """The sizes that were converted, in order."""
    seen, convert = [], room._converted

    def counted(exact, sample):
        seen.append(tuple(sample.shape))
        return convert(exact, sample)

    monkeypatch.setattr(room, "_converted", counted)
    return seen


def started(model):
    """A stage as each job builds it anew."""
    stage = Network("upscale", model, backend="openvino")
    stage.place(CPU, torch.float32)
    return stage


def test_the_next_start_converts_nothing_and_gives_the_same_bits(model, folder, conversions):
    first = started(model).run(SAMPLE, [0])
    assert conversions == [(1, 3, 24, 32)]
    stage = started(model)
    assert torch.equal(stage.run(SAMPLE, [0]), first)
    assert len(conversions) == 1
    assert stage.facts()["backend"].startswith("openvino")
    stage.run(SAMPLE[..., :16, :], [0])
    assert conversions[1:] == [(1, 3, 16, 32)]


def test_other_weights_and_formats_have_graphs_of_their_own(model, folder, conversions):
    kept = KeptGraphs(folder, model.identity)
    x = SAMPLE[:, 0]
    for dtype, network in (
        ("float32", kept),
        ("float32", replace(kept, network=("another",))),
        ("bfloat16", kept),
    ):
        OpenVinoNet(model.descriptor, dtype, network)(x)
    assert len(conversions) == 3


@pytest.mark.parametrize("name", ["graph.xml", "graph.bin", "hashes.json"])
def test_a_damaged_graph_is_made_again(name, model, folder, conversions):
    first = started(model).run(SAMPLE, [0])
    (place,) = folder.iterdir()
    file = place / name
    file.write_bytes(file.read_bytes()[:-7])
    assert torch.equal(started(model).run(SAMPLE, [0]), first)
    assert len(conversions) == 2
    assert torch.equal(started(model).run(SAMPLE, [0]), first)
    assert len(conversions) == 2


def test_of_a_graph_that_differs_only_the_reason_is_kept(model, folder, conversions, monkeypatch):
    run = room._runner
    monkeypatch.setattr(room, "_runner", lambda graph, dtype: lambda x: run(graph, dtype)(x) + 0.01)
    first = _noted(started(model))
    assert "torch computes" in first
    (place,) = folder.iterdir()
    assert [file.name for file in place.iterdir()] == ["refused.txt"]
    assert _noted(started(model)) == first
    assert len(conversions) == 1


def _noted(stage):
    stage.run(SAMPLE, [0])
    return stage.facts()["backend note"]


def test_the_ones_used_longest_ago_go_first(model, folder):
    kept = KeptGraphs(folder, model.identity)
    net = OpenVinoNet(model.descriptor, "float32", kept)
    net(SAMPLE[:, 0])
    (first,) = folder.iterdir()
    size = sum(file.stat().st_size for file in first.iterdir())
    os.utime(first, (1, 1))
    small = replace(kept, limit_bytes=size * 3 // 2)
    OpenVinoNet(model.descriptor, "float32", small)(SAMPLE[:, 0, :, :16])
    (left,) = folder.iterdir()
    assert left != first


def test_what_a_killed_program_left_is_cleared_once_it_is_old(model, folder):
    for name, age_s in ((".new-old", 4000), (".new-fresh", 60)):
        (folder / name).mkdir(parents=True)
        (folder / name / "graph.bin").write_bytes(b"half")
        os.utime(folder / name, (time.time() - age_s,) * 2)
    started(model).run(SAMPLE, [0])
    left = {place.name for place in folder.iterdir() if place.name.startswith(".")}
    assert left == {".new-fresh"}


def test_a_folder_that_cannot_be_written_stops_nothing(model, folder):
    folder.parent.mkdir()
    folder.write_text("a file where the folder would be")
    first = started(model).run(SAMPLE, [0])
    assert torch.equal(started(model).run(SAMPLE, [0]), first)


def test_a_graph_that_may_only_be_read_is_taken(model, folder, conversions, monkeypatch):
    first = started(model).run(SAMPLE, [0])

    def refused(*_: object) -> None:
        raise PermissionError("another user's")

    monkeypatch.setattr(os, "utime", refused)
    before = len(conversions)
    assert torch.equal(started(model).run(SAMPLE, [0]), first)
    assert len(conversions) == before


def test_a_user_without_a_home_keeps_nothing_and_is_served(model, folder, monkeypatch):
    monkeypatch.setenv("RESTORE_CACHE_DIR", "~nobody-of-this-name/x")
    assert default_folder() is None
    assert started(model).run(SAMPLE, [0]).isfinite().all()
    assert not folder.exists()
