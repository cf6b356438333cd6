"""Conversion: what honest ``.pth`` files become, and that hostile ones are refused unexecuted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from restore.errors import HashMismatch, ModelError, UnsupportedModel
from restore.models.convert import CONVERTER, convert
from restore.models.load import load_model
from restore.models.store import ModelStore
from tests.models_material import ASSETS, assorted, converted, needs_assets, saved


@pytest.mark.parametrize("zipped", [True, False])
def test_every_number_format_and_layout_survives(zipped: bool, tmp_path: Path) -> None:
    expected = assorted()
    got, _ = converted(saved(tmp_path / "a.pth", expected, zipped=zipped))
    assert got.keys() == expected.keys()
    for key, tensor in expected.items():
        assert got[key].dtype == tensor.dtype, key
        assert torch.equal(got[key], tensor.detach()), key


@pytest.mark.parametrize("zipped", [True, False])
def test_networks_with_metadata_and_buffers(zipped: bool, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PReLU(4))
    path = saved(tmp_path / "n.pth", network.state_dict(), zipped=zipped)
    got, _ = converted(path)
    reference = torch.load(path, weights_only=True, map_location="cpu")
    assert got.keys() == reference.keys()
    assert all(torch.equal(got[key], reference[key]) for key in got)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda good, bad: {"params": bad, "params_ema": good},
        lambda good, bad: {"params": good},
        lambda good, bad: {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in good.items()}},
        lambda good, bad: {"model_state_dict": {"params": good}},
        lambda good, bad: {"anything": good},
        lambda good, bad: {"optimizer": {"lr": 0.1, "betas": (0.9, 0.99)}, "params": good},
    ],
)
def test_the_state_dict_is_found(wrap: Callable[..., object], tmp_path: Path) -> None:
    good = {"a.weight": torch.ones(3), "a.bias": torch.ones(2)}
    bad = {key: torch.zeros(3) for key in good}
    got, _ = converted(saved(tmp_path / "a.pth", wrap(good, bad), zipped=True))
    assert got.keys() == good.keys()
    assert all(bool(t.all()) for t in got.values())


@pytest.mark.parametrize("value", [{"g": {"a": 1}, "d": {"b": 2}}, [1, 2], {"lr": 0.1}, "text", 7])
def test_files_without_a_state_dict_are_refused(value: object, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="no state dict"):
        converted(saved(tmp_path / "a.pth", value, zipped=True))


def test_one_source_always_gives_the_same_bytes_and_says_what_it_was(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", assorted(), zipped=True)
    _, first = converted(path)
    _, second = converted(path)
    assert first == second
    with safe_open(path.with_suffix(".safetensors"), framework="pt") as file:
        assert file.metadata() == {
            "converter": CONVERTER,
            "source_file": "a.pth",
            "source_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }


def test_a_source_that_changed_is_not_read(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", assorted(), zipped=True)
    with pytest.raises(HashMismatch):
        convert(path, tmp_path / "b.safetensors", "0" * 64, "a.pth")
    assert not (tmp_path / "b.safetensors").exists()


def test_import_converts_and_the_network_runs(tmp_path: Path) -> None:
    from spandrel.architectures.SPAN import SPAN

    torch.manual_seed(1)
    network = SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=2).eval()
    path = saved(tmp_path / "mine.pth", {"params": network.state_dict()}, zipped=True)
    store = ModelStore(tmp_path / "store")
    stored = store.import_file(path, "mine")
    assert stored.path.suffix == ".safetensors"
    assert stored.source_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    x = torch.rand(1, 3, 20, 20)
    with torch.inference_mode():
        expected = network(x).clamp(0, 1)
    assert (load_model("mine", store=store)(x) - expected).abs().max() < 5e-5


@needs_assets
def test_published_files_read_as_torch_reads_them(tmp_path: Path) -> None:
    folder = Path(str(ASSETS)) / "models"
    for name in ("dncnn_25.pth", "temporalfix_s1_v1.1.pth", "disney-deep-deinterlacing.pt"):
        path = tmp_path / f"{name}.pth"
        path.write_bytes((folder / name).read_bytes())
        got, _ = converted(path)
        expected = torch.load(path, weights_only=True, map_location="cpu")
        while not any(isinstance(v, torch.Tensor) for v in expected.values()):
            expected = expected.get("params_ema") or next(iter(expected.values()))
        assert got.keys() == expected.keys()
        assert all(torch.equal(got[key], expected[key]) for key in got)


@needs_assets
def test_a_checkpoint_is_read_past_what_is_no_weight(tmp_path: Path) -> None:
    """It holds numbers of numpy, a counter and objects of a class of its own."""
    path = tmp_path / "fldr.pth"
    path.write_bytes(
        (Path(str(ASSETS)) / "models" / "fLDRnet_X4K1000FPS_exp1_best_PSNR.pt").read_bytes()
    )
    got, _ = converted(path)
    assert len(got) == 104
    assert got["vfinet.T_param"].item() == pytest.approx(1.5616, abs=1e-4)
    assert got["vfinet.conv_flow2.0.weight"].shape == (96, 100, 3, 3)
    assert not any("weightMat" in name for name in got)


def _run_onnx_graph(content: bytes, x: torch.Tensor) -> torch.Tensor:
    """Executes the eight operations of an exported SPAN graph, read by this test's own means."""

    def fields(data: bytes) -> list[tuple[int, object]]:
        found, at = [], 0

        def number() -> int:
            nonlocal at
            value = shift = 0
            while True:
                byte = data[at]
                at += 1
                value |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    return value

        while at < len(data):
            key = number()
            if key & 7 == 0:
                found.append((key >> 3, number()))
                continue
            size = number() if key & 7 == 2 else {1: 8, 5: 4}[key & 7]
            found.append((key >> 3, data[at : at + size]))
            at += size
        return found

    def tensor(data: bytes) -> torch.Tensor:
        parts = fields(data)
        dims = [v for f, v in parts if f == 1]
        raw = next(v for f, v in parts if f == 9)
        kind = torch.float32 if (2, 1) in parts else torch.int64
        return torch.frombuffer(bytearray(raw), dtype=kind).reshape(dims)

    graph = next(v for f, v in fields(content) if f == 7)
    named = {"input": x}
    for f, v in fields(graph):
        if f == 5:
            named[next(n for g, n in fields(v) if g == 8).decode()] = tensor(v)
    last = "input"
    for f, v in fields(graph):
        if f != 1:
            continue
        node = fields(v)
        inputs = [named[n.decode()] for g, n in node if g == 1]
        last = next(n for g, n in node if g == 2).decode()
        match next(n for g, n in node if g == 4).decode():
            case "Constant":
                attribute = next(n for g, n in node if g == 5)
                named[last] = tensor(next(n for g, n in fields(attribute) if g == 5))
            case "Conv":
                weight = inputs[1]
                named[last] = torch.nn.functional.conv2d(
                    inputs[0], weight, inputs[2], padding=weight.shape[-1] // 2
                )
            case "Sigmoid":
                named[last] = inputs[0].sigmoid()
            case "Mul":
                named[last] = inputs[0] * inputs[1]
            case "Add":
                named[last] = inputs[0] + inputs[1]
            case "Sub":
                named[last] = inputs[0] - inputs[1]
            case "Concat":
                named[last] = torch.cat(inputs, 1)
            case "DepthToSpace":
                named[last] = torch.nn.functional.pixel_shuffle(inputs[0], 4)
            case other:
                raise AssertionError(other)
    return named[last]


@needs_assets
def test_a_published_span_graph_gives_the_same_pictures_as_its_weights(tmp_path: Path) -> None:
    path = Path(str(ASSETS)) / "models" / "4xSPANkendata_fp32.onnx"
    store = ModelStore(tmp_path / "store")
    assert store.import_file(path).name == "4x-SPANkendata"
    model = load_model("4x-SPANkendata", store=store)
    assert (model.architecture, model.scale, model.halo_px) == ("SPAN", 4, 21)
    # The graph normalises by other values than spandrel assumes for every SPAN.
    assert model.descriptor.model.img_range == 1.0
    assert model.descriptor.model.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    x = torch.rand(1, 3, 24, 31, generator=torch.Generator().manual_seed(2))
    expected = _run_onnx_graph(path.read_bytes(), x).clamp(0, 1)
    assert expected.shape == (1, 3, 96, 124)
    assert (model(x) - expected).abs().max() <= 5e-5


@needs_assets
def test_other_onnx_graphs_are_refused(tmp_path: Path) -> None:
    content = (Path(str(ASSETS)) / "models" / "4xSPANkendata_fp32.onnx").read_bytes()
    store = ModelStore(tmp_path / "store")
    for index, changed in enumerate(
        (
            content.replace(b"block_3.c2_r.eval_conv.bias", b"block_3.c2_r.eval_conv.bibs"),
            content.replace(b"Sigmoid", b"Softmax"),
            content[:5000],
            content[:-7],
        )
    ):
        path = tmp_path / f"{index}.onnx"
        path.write_bytes(changed)
        with pytest.raises(ModelError):
            store.import_file(path, f"own-{index}")
        assert not store.weights_path(f"own-{index}").exists()
