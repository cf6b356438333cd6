"""OpenVINO in place of torch: the same pictures, chosen and refused in words, recorded."""

from __future__ import annotations

import importlib.util
import json
import socket
from pathlib import Path

import pytest
import spandrel
import torch

import restore
from restore.api import make_job
from restore.backend import backend_version, choose_backend
from restore.engine.footprint import peak_bytes_per_px
from restore.engine.settings import EngineSettings
from restore.errors import InvalidInput, MissingExtra
from restore.jobs.durable import make_durable
from restore.models.compiled_net import CompiledNet
from restore.models.openvino_net import OpenVinoNet
from restore.models.store import ModelStore
from restore.models.tensorrt_net import TENSORRT
from restore.precision import choose_dtype
from restore.recipe import load_preset
from restore.stages import StageContext, build_stage
from tests.models_material import ASSETS
from tests.networks import save_network, seeded_network

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="the extra openvino is not installed"
)
SAMPLE = torch.rand(2, 1, 3, 40, 52, generator=torch.Generator().manual_seed(7))
MODELS = ("restore-4x-s", "restore-1x-deartifact-s", "restore-4x-vivid-s")


def stage_of(model: str, backend: str, tmp_path: Path, dtype: torch.dtype = torch.float32):
    name = "deartifact" if "1x" in model else "upscale"
    stage = build_stage(
        name, {"model": model}, StageContext(ModelStore(tmp_path / "store"), backend=backend)
    )
    stage.place(torch.device("cpu"), dtype)
    return stage


@needs_openvino
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_openvino_gives_torchs_picture(model, precision, tmp_path):
    dtype = choose_dtype(precision, "cpu", (torch.float32, torch.bfloat16))
    exact = stage_of(model, "torch", tmp_path).run(SAMPLE, [0, 0])
    stage = stage_of(model, "openvino", tmp_path, dtype)
    found = stage.run(SAMPLE, [0, 0])
    assert "backend note" not in stage.facts()
    assert stage.facts()["backend"] == backend_version("openvino")
    assert found.dtype == torch.float32
    assert found.shape == exact.shape
    assert (found - exact).abs().max() <= (4e-5 if dtype == torch.float32 else 0.06)
    # What was handed out is not overwritten by the next call.
    kept = found.clone()
    stage.run(1 - SAMPLE, [0, 0])
    assert torch.equal(found, kept)
    assert torch.equal(stage.run(SAMPLE, [0, 0]), kept)


@pytest.mark.skipif(ASSETS is None, reason="RESTORE_TEST_ASSETS is not set")
@needs_openvino
def test_openvino_gives_torchs_picture_with_published_weights(tmp_path):
    path = Path(ASSETS) / "models/realesr-general-x4v3.safetensors"
    exact = stage_of(str(path), "torch", tmp_path).run(SAMPLE, [0, 0])
    stage = stage_of(str(path), "openvino", tmp_path)
    found = stage.run(SAMPLE, [0, 0])
    assert "backend note" not in stage.facts()
    assert (found - exact).abs().max() <= 4e-5


@needs_openvino
def test_nothing_is_sent_while_converting(tmp_path, monkeypatch):
    def refused(*_):
        raise AssertionError("a connection while a network was converted")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    stage_of(MODELS[0], "openvino", tmp_path).run(SAMPLE, [0, 0])


@needs_openvino
def test_a_network_that_cannot_be_converted_is_computed_by_torch():
    class Odd(torch.nn.Module):
        def forward(self, x):
            return torch.linalg.svd(x, full_matrices=False)[0]

    net, x = Odd(), torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    compiled = OpenVinoNet(net, "float32")
    assert torch.equal(compiled(x), net(x))
    assert "torch computes" in compiled.note


@pytest.mark.parametrize("off", [0.01, float("nan")])
def test_a_result_that_differs_is_not_used(monkeypatch, off):
    import restore.models.openvino_net as room

    monkeypatch.setattr(room, "_converted", lambda net, sample: net)
    monkeypatch.setattr(room, "_runner", lambda net, dtype: lambda x: net(x) + off)
    compiled = OpenVinoNet(torch.nn.Identity(), "float32")
    x = torch.rand(1, 3, 8, 8)
    assert torch.equal(compiled(x), x)
    assert compiled.note == f"OpenVINO differs from torch by {off} in float32; torch computes"


@needs_openvino
def test_tiles_are_the_same_with_either_backend(tmp_path):
    found = {
        name: peak_bytes_per_px(stage_of(MODELS[0], name, tmp_path))
        for name in ("torch", "openvino")
    }
    assert found["torch"] == found["openvino"]


def test_what_may_be_asked_for(monkeypatch):
    assert choose_backend("torch", "cuda") == "torch"
    assert choose_backend("auto", "cuda") == "torch"
    with pytest.raises(InvalidInput, match="one of auto, torch, openvino, tensorrt, compile"):
        EngineSettings(backend="tensorflow")
    with pytest.raises(InvalidInput, match="--device cpu"):
        choose_backend("openvino", "cuda")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert choose_backend("auto", "cpu") == "auto"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert choose_backend("auto", "cpu") == "torch"
    with pytest.raises(MissingExtra, match=r"pip install 'restore-film\[openvino\]'"):
        choose_backend("openvino", "cpu")


def test_tensorrt_is_for_a_gpu_and_where_it_is_installed(monkeypatch):
    with pytest.raises(InvalidInput, match="'tensorrt' on device 'cpu'; expected an NVIDIA GPU"):
        choose_backend("tensorrt", "cpu")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'restore-film\[tensorrt\]'"):
        choose_backend("tensorrt", "cuda")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert choose_backend("tensorrt", "cuda") == "tensorrt"
    assert choose_backend("auto", "cuda") == "torch"


@pytest.mark.skipif(
    importlib.util.find_spec("torch_tensorrt") is not None, reason="torch-tensorrt is installed"
)
def test_torch_computes_what_tensorrt_cannot():
    descriptor = spandrel.ModelLoader().load_from_state_dict(seeded_network("compact").state_dict())
    compiled = CompiledNet(TENSORRT, descriptor, descriptor, "float32")
    x = torch.rand(1, 3, 16, 20, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(compiled(x), descriptor(x))
    assert compiled.used == ("torch",)
    assert compiled.note.startswith("TensorRT cannot take the network (No module named")


def test_tensorrt_is_left_out_where_it_cannot_help(tmp_path):
    path = save_network(seeded_network("hat"), tmp_path / "hat.safetensors")
    stage = stage_of(str(path), "tensorrt", tmp_path)
    assert "backend" not in stage.facts()


@pytest.mark.gpu
@pytest.mark.skipif(
    importlib.util.find_spec("torch_tensorrt") is None, reason="the extra tensorrt is missing"
)
def test_tensorrt_gives_torchs_picture(tmp_path):
    cuda = torch.device("cuda")
    found = []
    for backend in ("torch", "tensorrt"):
        stage = stage_of(MODELS[0], backend, tmp_path)
        stage.place(cuda, torch.float32)
        found.append(stage.run(SAMPLE.to(cuda), [0, 0]))
    assert "backend note" not in stage.facts()
    assert (found[0] - found[1]).abs().max() <= 4e-5


def test_auto_leaves_networks_that_gain_little_to_torch(tmp_path):
    assert "backend" not in stage_of(MODELS[0], "auto", tmp_path).facts()


@needs_openvino
def test_a_network_that_fell_back_is_not_said_to_be_openvinos(tmp_path, monkeypatch):
    import restore.models.openvino_net as room

    stage = stage_of(MODELS[0], "openvino", tmp_path)
    assert "found at run time" in stage.facts()["backend note"]
    monkeypatch.setattr(room, "_converted", lambda net, sample: net)
    monkeypatch.setattr(room, "_runner", lambda net, dtype: lambda x: net(x) + 0.01)
    monkeypatch.setenv("RESTORE_CACHE_DIR", str(tmp_path))
    stage.place(torch.device("cpu"), torch.float32)
    stage.run(SAMPLE, [0, 0])
    assert stage.facts()["backend"] == backend_version("torch")
    assert "torch computes" in stage.facts()["backend note"]


def test_networks_over_several_frames_say_that_torch_computes_them(tmp_path):
    from restore.models.load import load_model
    from restore.models.windowed import load_window_model
    from restore.stages.window_network import WindowNetwork

    store = ModelStore(tmp_path)
    window = load_window_model("restore-4x-temporal-s", store)
    alone = load_model(MODELS[0], store=store)
    asked = WindowNetwork("upscale", window, alone, backend="openvino")
    assert asked.facts()["backend"] == backend_version("torch")
    assert "backend" not in WindowNetwork("upscale", window, alone).facts()


@needs_openvino
def test_a_job_records_its_backend(tmp_path):
    import numpy as np
    from PIL import Image

    source, out = tmp_path / "in.png", tmp_path / "out.png"
    Image.fromarray(np.full((32, 32, 3), 90, np.uint8)).save(source)
    report = restore.run(source, out, backend="openvino", device="cpu", scale=4)
    assert all(stage.facts["backend"].startswith("openvino 20") for stage in report.run.stages)
    job = make_job(
        source, tmp_path / "o.mkv", load_preset("default"), {"backend": "openvino", "rate": 25}
    )
    plan, pinned, _ = make_durable(job)
    body = json.loads(plan.canonical())
    assert body["settings"]["backend"] == pinned.settings.backend == "openvino"
    assert all(s["facts"]["backend"] == backend_version("openvino") for s in body["stages"])


@needs_openvino
def test_auto_takes_it_for_span(tmp_path):
    path = save_network(seeded_network("span"), tmp_path / "span.safetensors")
    exact = stage_of(str(path), "torch", tmp_path).run(SAMPLE, [0, 0])
    stage = stage_of(str(path), "auto", tmp_path)
    found = stage.run(SAMPLE, [0, 0])
    assert stage.facts()["backend"] == backend_version("openvino")
    assert "backend note" not in stage.facts()
    assert (found - exact).abs().max() <= 4e-5
