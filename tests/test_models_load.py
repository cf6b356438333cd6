"""Loading: facts, folding, precision, blending, and published weights against golden pictures."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from restore.errors import DeviceError, InvalidInput, ModelNotFound, UnsafeWeights, UnsupportedModel
from restore.models.dtype import select_dtype
from restore.models.fold import fold_span
from restore.models.load import LoadedModel, denoise_blend, load_model
from restore.models.place import placed
from restore.models.store import ModelStore
from tests.models_material import ASSETS, needs_assets
from tests.networks import NETWORKS, save_network, seeded_network
from tests.networks import _compact as compact
from tests.networks import _span as span


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


def _load(name: str, tmp_path: Path, store: ModelStore, **kw: object) -> LoadedModel:
    return load_model(
        save_network(seeded_network(name), tmp_path / f"{name}.safetensors"), store=store, **kw
    )


def _picture(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("name", "architecture", "scale", "tiling", "halo_px", "multiple_of", "dtypes"),
    [
        # conv_1, 6 blocks of 3, conv_2 and the convolution before the shuffle: 21 radii of one.
        ("span", "SPAN", 4, "exact", 21, 1, {"float32", "float16", "bfloat16"}),
        ("hat", "HAT", 4, "approximate", 32, 8, {"float32", "bfloat16"}),
        ("omnisr", "OmniSR", 1, "approximate", 32, 8, {"float32", "float16", "bfloat16"}),
        # First, 3 x 5 in the block, trunk: 17 at 1x; then 2x: 1, 4x: 3, which is 1.25 px more.
        ("esrgan", "ESRGAN", 4, "exact", 19, 1, {"float32", "float16", "bfloat16"}),
        ("esrgan_x2", "ESRGAN", 2, "exact", 38, 4, {"float32", "float16", "bfloat16"}),
        ("realplksr_dysample", "PLKSR", 4, "approximate", 32, 1, {"float32"}),
        # First 3x3, in each of 2 blocks two 3x3 and one 9x9, last 3x3: 1 + 2 * 6 + 1.
        ("realplksr_layernorm", "PLKSR", 4, "exact", 14, 1, {"float32", "float16", "bfloat16"}),
        ("compact", "RealESRGAN Compact", 4, "exact", 6, 1, {"float32", "float16", "bfloat16"}),
        ("dncnn", "DnCNN", 1, "exact", 20, 1, {"float32", "bfloat16"}),
    ],
)
def test_facts(
    name: str,
    architecture: str,
    scale: int,
    tiling: str,
    halo_px: int,
    multiple_of: int,
    dtypes: set[str],
    tmp_path: Path,
    store: ModelStore,
) -> None:
    model = _load(name, tmp_path, store)
    assert (model.architecture, model.scale, model.tiling) == (architecture, scale, tiling)
    assert (model.halo_px, model.multiple_of) == (halo_px, multiple_of)
    assert set(model.dtypes) == dtypes
    assert model.flops_per_px > 0
    assert bool(model.tiling_reason) == (tiling != "exact")


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_same_result_as_the_network_itself(name: str, tmp_path: Path, store: ModelStore) -> None:
    network = seeded_network(name)
    model = load_model(save_network(network, tmp_path / "w.safetensors"), store=store)
    channels = 1 if name == "dncnn" else 3
    x = _picture(2, channels, 40, 56)
    with torch.inference_mode():
        expected = network(x.clone()).clamp(0, 1)
    got = model(x)
    assert got.dtype == torch.float32
    assert got.shape == (2, channels, 40 * model.scale, 56 * model.scale)
    assert (got - expected).abs().max() <= 1e-5


@pytest.mark.parametrize(
    "name", ["span", "esrgan", "esrgan_x2", "compact", "dncnn", "realplksr_layernorm"]
)
def test_a_tile_with_its_halo_equals_the_whole(
    name: str, tmp_path: Path, store: ModelStore
) -> None:
    model = _load(name, tmp_path, store)
    align = model.multiple_of
    halo = -(-model.halo_px // align) * align
    x = _picture(1, 3, 96, 128)
    core = (slice(48, 56), slice(60, 68))
    s = model.scale

    def tile(margin: int) -> torch.Tensor:
        rows, cols = (slice(max(c.start - margin, 0), c.stop + margin) for c in core)
        out = model(x[..., rows, cols])
        top, left = core[0].start - rows.start, core[1].start - cols.start
        return out[..., top * s : (top + 8) * s, left * s : (left + 8) * s]

    whole = model(x)[..., 48 * s : 56 * s, 60 * s : 68 * s]
    assert (tile(halo) - whole).abs().max() <= 1e-6
    changed = x.clone()
    changed[..., : 48 - model.halo_px, :] = 0.0
    assert (model(changed)[..., 48 * s :, :] - model(x)[..., 48 * s :, :]).abs().max() <= 1e-6


def test_facts_come_from_the_structure_and_not_from_the_weights(
    tmp_path: Path, store: ModelStore
) -> None:
    network = compact(convs=9)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    model = load_model(save_network(network, tmp_path / "zero.safetensors"), store=store)
    assert model.halo_px == 11


@pytest.mark.parametrize(
    "operation",
    [
        nn.ReLU(),
        nn.LeakyReLU(0.1),
        nn.PReLU(),
        nn.SiLU(),
        nn.Sigmoid(),
        nn.GELU(),
        nn.Tanh(),
        nn.Hardtanh(),
        nn.ReLU6(),
        nn.Hardsigmoid(),
        nn.Hardswish(),
        nn.ELU(),
        nn.Softplus(),
        nn.Mish(),
        nn.MaxPool2d(1),
        nn.AvgPool2d(1),
        nn.Conv2d(1, 1, 1),
    ],
    ids=lambda m: type(m).__name__,
)
def test_local_operations_keep_the_nan_that_the_probe_follows(operation: nn.Module) -> None:
    x = torch.full((1, 1, 8, 33), 0.5)
    x[..., 5, 17] = float("nan")
    with torch.inference_mode():
        assert torch.equal(torch.isnan(operation(x.clone())), torch.isnan(x))


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("channels", [16, 48])
def test_folded_span_is_bit_identical_and_needs_few_operations(channels: int) -> None:
    torch.manual_seed(channels)
    network = span(feature_channels=channels).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.06)
    folded = copy.deepcopy(network)
    assert fold_span(folded) == 20
    x = _picture(2, 3, 37, 52)
    with torch.inference_mode():
        assert torch.equal(network(x), folded(x))
        with _Counter() as before:
            network(x)
        with _Counter() as after:
            folded(x)
    assert after.count * 10 < before.count
    assert fold_span(compact()) == 0


def test_span_is_folded_in_float32_before_it_is_cast(tmp_path: Path, store: ModelStore) -> None:
    exact = _load("span", tmp_path, store)
    cast = placed(exact, "cpu", torch.bfloat16)
    assert cast.dtype == "bfloat16"
    wide, narrow = (dict(m.descriptor.model.named_parameters()) for m in (exact, cast))
    assert not [name for name in wide if ".sk." in name or "eval_conv" in name]
    assert wide.keys() == narrow.keys()
    for name, weight in wide.items():
        assert weight.dtype == torch.float32
        assert torch.equal(narrow[name], weight.to(torch.bfloat16))


def test_hat_never_runs_in_float16(tmp_path: Path, store: ModelStore) -> None:
    model = _load("hat", tmp_path, store)
    flags = {
        "supports_half": "float16" in model.dtypes,
        "supports_bfloat16": "bfloat16" in model.dtypes,
    }
    assert select_dtype("fast", "cuda", **flags) is torch.bfloat16
    assert select_dtype("fast", "cpu", **flags, cpu_bfloat16=True) is torch.bfloat16
    assert select_dtype("exact", "cuda", **flags) is torch.float32


@pytest.mark.parametrize(
    ("half", "bfloat16", "cpu_bfloat16", "on_cpu", "on_gpu"),
    [
        (True, True, True, torch.bfloat16, torch.float16),
        (True, True, False, torch.float32, torch.float16),
        (False, True, True, torch.bfloat16, torch.bfloat16),
        (False, False, True, torch.float32, torch.float32),
    ],
)
def test_fast_precision(half, bfloat16, cpu_bfloat16, on_cpu, on_gpu) -> None:
    flags = {"supports_half": half, "supports_bfloat16": bfloat16}
    assert select_dtype("fast", "cpu", **flags, cpu_bfloat16=cpu_bfloat16) is on_cpu
    assert select_dtype("fast", "cuda", **flags) is on_gpu
    with pytest.raises(InvalidInput, match="quick"):
        select_dtype("quick", "cpu", **flags)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_fast_precision_gives_a_float32_picture_close_to_exact(
    name: str, tmp_path: Path, store: ModelStore
) -> None:
    exact = _load(name, tmp_path, store)
    fast = _load(name, tmp_path, store, precision="fast")
    x = _picture(1, 3, 32, 40)
    assert fast.dtype in fast.dtypes
    got = fast(x)
    assert got.dtype == torch.float32
    assert (got - exact(x)).abs().mean() < 0.01


def test_grey_network_treats_each_channel_alone(tmp_path: Path, store: ModelStore) -> None:
    model = _load("dncnn", tmp_path, store)
    x = _picture(2, 3, 24, 20)
    together = model(x)
    assert together.shape == x.shape
    for channel in range(3):
        alone = model(x[:, channel : channel + 1])
        assert (together[:, channel : channel + 1] - alone).abs().max() <= 1e-6


@pytest.mark.parametrize("size", [(1, 1), (3, 17), (16, 5), (33, 47)])
@pytest.mark.parametrize("name", ["hat", "omnisr", "esrgan_x2", "span", "dncnn"])
def test_any_size_goes_in(
    name: str, size: tuple[int, int], tmp_path: Path, store: ModelStore
) -> None:
    model = _load(name, tmp_path, store)
    out = model(_picture(2, 3, *size))
    assert out.shape == (2, 3, size[0] * model.scale, size[1] * model.scale)
    assert bool(torch.isfinite(out).all())


def test_output_is_clamped(tmp_path: Path, store: ModelStore) -> None:
    network = compact()
    with torch.no_grad():
        network.body[-1].bias.fill_(3.0)
    model = load_model(save_network(network, tmp_path / "w.safetensors"), store=store)
    assert model(_picture(1, 3, 9, 9)).max() == 1.0


def test_networks_that_take_one_picture_at_a_time(tmp_path: Path, store: ModelStore) -> None:
    from spandrel.architectures.DnCNN import DnCNN

    torch.manual_seed(4)
    # The noise map that is joined to the picture has room for one.
    network = DnCNN(in_nc=4, out_nc=3, nc=8, nb=20, act_mode="R", mode="FDnCNN")
    model = load_model(save_network(network, tmp_path / "w.safetensors"), store=store)
    assert model.one_by_one
    x = _picture(3, 3, 12, 16)
    together = model(x)
    for index in range(3):
        assert torch.equal(together[index], model(x[index : index + 1])[0])


def test_bad_input_is_named(tmp_path: Path, store: ModelStore) -> None:
    model = _load("compact", tmp_path, store)
    for wrong in (torch.zeros(3, 8, 8), torch.zeros(1, 1, 8, 8), torch.zeros(1, 3, 0, 8)):
        with pytest.raises(InvalidInput):
            model(wrong)
    with pytest.raises(InvalidInput, match="uint8"):
        model(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


def test_refusals(tmp_path: Path, store: ModelStore) -> None:
    with pytest.raises(ModelNotFound, match="restore models import"):
        load_model("4x-Nomos8kHAT-L-otf", store=store)
    with pytest.raises(ModelNotFound, match="realesr-general-x4v3"):
        load_model("realesr-general-x4", store=store)
    pth = tmp_path / "a.pth"
    pth.write_bytes(b"")
    with pytest.raises(UnsafeWeights, match="import"):
        load_model(pth, store=store)
    with pytest.raises(ModelNotFound):
        load_model(tmp_path / "none.safetensors", store=store)
    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(UnsupportedModel):
        load_model(junk, store=store)
    save_file({"weight": torch.zeros(3)}, tmp_path / "odd.safetensors")
    with pytest.raises(UnsupportedModel, match="architecture"):
        load_model(tmp_path / "odd.safetensors", store=store)
    good = save_network(compact(), tmp_path / "good.safetensors")
    with pytest.raises(DeviceError, match="warp:3"):
        load_model(good, store=store, device="warp:3")


def test_missing_tensors_are_refused(tmp_path: Path, store: ModelStore) -> None:
    state = {k: t.clone() for k, t in span().state_dict().items()}
    del state["block_2.c1_r.eval_conv.bias"]
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(UnsupportedModel, match="block_2"):
        load_model(tmp_path / "part.safetensors", store=store)


def test_blend_mixes_weights_in_the_stated_shares(tmp_path: Path, store: ModelStore) -> None:
    a, b = seeded_network("compact", 1), seeded_network("compact", 2)
    a_path = save_network(a, tmp_path / "a.safetensors")
    b_path = save_network(b, tmp_path / "b.safetensors")
    mixed = compact()
    mixed.load_state_dict(
        {k: 0.75 * t + 0.25 * b.state_dict()[k] for k, t in a.state_dict().items()}
    )
    expected = load_model(save_network(mixed, tmp_path / "m.safetensors"), store=store)
    got = load_model(a_path, store=store, blend=(b_path, 0.25))
    x = _picture(1, 3, 12, 12)
    assert torch.equal(got(x), expected(x))
    assert [p.weight for p in got.parts] == [0.75, 0.25]
    assert len({p.sha256 for p in got.parts}) == 2
    assert got.name == "0.75 a.safetensors + 0.25 b.safetensors"
    with pytest.raises(UnsupportedModel, match="different tensors"):
        load_model(
            a_path,
            store=store,
            blend=(save_network(compact(convs=5), tmp_path / "c.safetensors"), 0.5),
        )
    with pytest.raises(InvalidInput):
        load_model(a_path, store=store, blend=(b_path, 1.5))


def test_denoise_strength_names_the_twin() -> None:
    assert denoise_blend(1.0) == ("realesr-general-wdn-x4v3", 0.0)
    assert denoise_blend(0.25) == ("realesr-general-wdn-x4v3", 0.75)
    with pytest.raises(InvalidInput):
        denoise_blend(1.2)


@needs_assets
@pytest.mark.parametrize("side_px", [16, 32, 64])
def test_golden_pictures(side_px: int, store: ModelStore) -> None:
    from skimage.io import imread

    root = Path(str(ASSETS))
    model = load_model(root / "models" / "realesr-general-x4v3.safetensors", store=store)
    source = imread(root / "golden" / f"{side_px}x{side_px}.png")[..., :3]
    golden = imread(root / "golden" / f"{side_px}x{side_px}-realesr-general-x4v3.png")[..., :3]
    out = model(torch.from_numpy(source.copy()).permute(2, 0, 1)[None].float() / 255)
    got = (out[0].permute(1, 2, 0) * 255).round().numpy().astype(np.int64)
    assert np.abs(got - golden.astype(np.int64)).max() <= 1
    assert model.name == "realesr-general-x4v3"
    assert model.halo_px == 34


@needs_assets
def test_denoise_blend_of_the_published_twins(store: ModelStore) -> None:
    folder = Path(str(ASSETS)) / "models"
    paths = [folder / f"realesr-general{w}-x4v3.safetensors" for w in ("", "-wdn")]
    general, wdn = (load_file(path) for path in paths)
    _, share = denoise_blend(0.3)
    model = load_model(paths[0], store=store, blend=(paths[1], share))
    state = model.descriptor.model.state_dict()
    key = "body.10.weight"
    expected = 0.3 * general[key].float() + 0.7 * wdn[key].float()
    assert (state[key] - expected).abs().max() <= 1e-7
    assert [p.name for p in model.parts] == ["realesr-general-x4v3", "realesr-general-wdn-x4v3"]
    assert "+" in model.name


@needs_assets
@pytest.mark.parametrize(
    ("file", "halo_px"), [("4xLSDIRCompactC3", 18), ("realesr-animevideov3", 18)]
)
def test_published_compacts_load_in_fast_precision(
    file: str, halo_px: int, store: ModelStore
) -> None:
    path = Path(str(ASSETS)) / "models" / f"{file}.safetensors"
    exact = load_model(path, store=store)
    fast = load_model(path, store=store, precision="fast")
    x = torch.linspace(0, 1, 48).expand(1, 3, 32, 48)
    assert (fast(x) - exact(x)).abs().max() < 0.03
    assert exact.halo_px == halo_px
