"""Interpolation networks: loading, what every one of them holds to, and a real published one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

from restore.errors import DeviceError, InvalidInput, UnsafeWeights, UnsupportedModel
from restore.models.interpolators import in_format, load_interpolator
from restore.models.nets.fldr import FLdrNet
from restore.models.nets.flow_refiner import FlowRefiner, RefinerShape
from restore.models.store import ModelStore
from restore.stages import StageContext, build_stage
from tests.rife_reference import random_state, read_forms

KINDS = ("rife-4.0", "rife-4.12.lite", "rife-4.25", "fldr", "refiner")
REFINER = RefinerShape((16, 8), (2, 1), 2, 4)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def fldr_state(seed=1):
    shapes = {key: tuple(t.shape) for key, t in FLdrNet().state_dict().items()}
    state = random_state(shapes, 1.0, seed)
    return state | {
        "vfinet.T_param": torch.ones(1),
        "vfinet.z_alpha": -torch.ones(2),
        "meanVec8": torch.ones(16),
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nets")
    states = {f"rife-{n}": random_state(read_forms()[n], 0.1, 1) for n in ("4.0", "4.12.lite")}
    states["rife-4.25"] = random_state(read_forms()["4.25"], 0.1, 1)
    states["fldr"] = fldr_state()
    torch.manual_seed(1)
    states["refiner"] = FlowRefiner(REFINER).state_dict()
    for name, state in states.items():
        save_file(state, folder / f"{name}.safetensors", {"scales": "2,1"})
    return folder


@pytest.fixture(scope="module", params=KINDS)
def model(request, files):
    return load_interpolator(files / f"{request.param}.safetensors")


def pair(height=70, width=45, shift=3, seed=5):
    source = torch.Generator().manual_seed(seed)
    wide = torch.rand(1, 3, 14, 12, generator=source)
    picture = F.interpolate(wide, (height, width + shift), mode="bicubic").clamp(0, 1)[0]
    return picture[..., shift:].contiguous(), picture[..., :width].contiguous()


def test_facts(model):
    kind = model.name.removesuffix(".safetensors")
    multiple = {"rife-4.12.lite": 32, "refiner": 16}.get(kind, 64)
    assert model.multiple_of == multiple
    assert model.dtype == "float32"
    assert model.dtypes == ("float32",) if kind == "fldr" else len(model.dtypes) == 3
    assert model.parameters > 5_000
    assert model.flops_per_px > 500
    assert len(model.part.sha256) == 64
    if kind == "rife-4.25":
        assert model.architecture == "RIFE 4.25-4.26"
        assert model.flops_per_px == pytest.approx(44_400, rel=0.02)


def test_frames_of_any_size_at_any_times_in_their_order(model):
    first, second = pair()
    times = [0.75, 0.2, 0.5]
    got = model.between(first, second, times)
    assert got.shape == (3, 3, 70, 45)
    assert got.dtype == torch.float32
    assert torch.isfinite(got).all()
    assert float(got.min()) >= 0
    assert float(got.max()) <= 1
    again = model.between(first, second, times)
    assert torch.equal(got, again)
    assert torch.equal(got[1:2], model.between(first, second, [0.2]))
    assert not torch.equal(got[0], got[1])


def test_pairs_in_a_batch_do_not_see_each_other(model):
    pairs = [pair(40, 36, seed=n) for n in (1, 2)]
    first, second = (torch.stack(side) for side in zip(*pairs, strict=True))
    got = model.between(first, second, [0.5, 0.25])
    assert got.shape == (2, 2, 3, 40, 36)
    for n in (0, 1):
        assert torch.equal(got[n], model.between(*pairs[n], [0.5, 0.25]))


def test_frames_smaller_than_a_block_pass(model):
    got = model.between(*pair(9, 5), [0.5])
    assert got.shape == (1, 3, 9, 5)


@pytest.mark.parametrize(
    ("shapes", "times"),
    [
        (((3, 32, 32), (3, 32, 33)), [0.5]),
        (((1, 32, 32), (1, 32, 32)), [0.5]),
        (((32, 32), (32, 32)), [0.5]),
        (((3, 0, 32), (3, 0, 32)), [0.5]),
        (((3, 32, 32), (3, 32, 32)), [0.0]),
        (((3, 32, 32), (3, 32, 32)), [0.5, 1.0]),
        (((3, 32, 32), (3, 32, 32)), []),
        (((3, 32, 32), (3, 32, 32)), [float("nan")]),
    ],
)
def test_what_cannot_be_asked(files, shapes, times):
    model = load_interpolator(files / "refiner.safetensors")
    with pytest.raises(InvalidInput):
        model.between(*(torch.zeros(shape) for shape in shapes), times)
    with pytest.raises(InvalidInput):
        model.between(torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(3, 8, 8), [0.5])


def test_an_untrained_refiner_gives_the_searched_motion(files):
    model = load_interpolator(files / "refiner.safetensors")
    first, second = pair(96, 120, shift=6)
    times = [0.001, 0.5, 0.999]
    got = model.between(first, second, times)
    inner = (..., slice(16, -16), slice(16, -16))
    assert (got[0] - first)[inner].abs().max() < 0.02
    assert (got[2] - second)[inner].abs().max() < 0.02
    # The content moves by 6 px to the right: half of it at the middle.
    middle = first.roll(3, -1)
    assert (got[1] - middle)[inner].abs().mean() < 0.01
    assert ((first + second) / 2 - middle)[inner].abs().mean() > 0.03
    turned = model.between(second, first, [0.5])
    assert (turned[0] - got[1]).abs().mean() < 2e-3


def test_a_still_pair_stays_still(files):
    first, _ = pair()
    model = load_interpolator(files / "refiner.safetensors")
    assert (model.between(first, first, [0.3])[0] - first).abs().max() < 1e-4


def test_an_ensemble_is_the_same_from_both_ends(files):
    first, second = pair()
    path = files / "rife-4.12.lite.safetensors"
    both = load_interpolator(path, ensemble=True)
    one = load_interpolator(path)
    got = both.between(first, second, [0.3])
    assert (got - both.between(second, first, [0.7])).abs().max() < 2e-4
    assert (got - one.between(first, second, [0.3])).abs().max() > 1e-3


def test_options_that_a_network_does_not_have(files):
    with pytest.raises(InvalidInput, match="ensemble"):
        load_interpolator(files / "rife-4.25.safetensors", ensemble=True)
    with pytest.raises(InvalidInput, match="flow scale"):
        load_interpolator(files / "rife-4.25.safetensors", flow_scale=0.3)
    for name in ("refiner", "fldr"):
        with pytest.raises(InvalidInput, match="RIFE"):
            load_interpolator(files / f"{name}.safetensors", flow_scale=0.5)
    half = load_interpolator(files / "rife-4.25.safetensors", flow_scale=0.5)
    assert half.multiple_of == 128


def test_convolutions_run_in_bfloat16_and_frames_stay_float32(files):
    exact = load_interpolator(files / "rife-4.12.lite.safetensors")
    fast = in_format(exact, "bfloat16")
    assert (fast.dtype, fast.dtype_note, exact.dtype) == ("bfloat16", "", "float32")
    assert {p.dtype for p in fast.net.parameters()} == {torch.bfloat16}
    first, second = pair(32, 32)
    got, wanted = (m.between(first, second, [0.5]) for m in (fast, exact))
    assert got.dtype == torch.float32
    assert 0 < (got - wanted).abs().mean() < 0.02
    with pytest.raises(InvalidInput, match="float32"):
        in_format(load_interpolator(files / "fldr.safetensors"), "bfloat16")


def test_a_network_that_overflows_in_half_precision_keeps_float32(tmp_path):
    state = FlowRefiner(REFINER).state_dict()
    state["finish.0.weight"] = state["finish.0.weight"] * 1e4
    state["finish.2.weight"] = state["finish.2.weight"] * 1e4
    state["finish.4.bias"] = state["finish.4.bias"] + 0.1
    state["finish.4.weight"] = state["finish.4.weight"] + 1e-7
    path = tmp_path / "hot.safetensors"
    save_file(state, path, {"scales": "2,1"})
    model = in_format(load_interpolator(path), "float16")
    assert model.dtype == "float32"
    assert "float16" in model.dtype_note


def test_other_files_are_refused(files, tmp_path):
    other = tmp_path / "other.safetensors"
    save_file({"layer.weight": torch.zeros(3, 3)}, other)
    with pytest.raises(UnsupportedModel, match="RIFE"):
        load_interpolator(other)
    partial = fldr_state()
    del partial["vfinet.conv_flow1.bias"]
    save_file(partial, other)
    with pytest.raises(UnsupportedModel, match="conv_flow1"):
        load_interpolator(other)
    save_file(FlowRefiner(REFINER).state_dict(), other)
    with pytest.raises(UnsupportedModel, match="scales"):
        load_interpolator(other)
    with pytest.raises(UnsafeWeights):
        load_interpolator("flownet_v4.26.pkl/flownet.pkl")


# --- fLDR-VFI as published ------------------------------------------------------------------------


def triplet(folder: Path):
    frames = []
    for name in ("frame10", "frame11", "frame10i11"):
        with Image.open(folder / f"{name}.png") as picture:
            pixels = np.array(picture.convert("RGB"))
        frames.append(torch.from_numpy(pixels).permute(2, 0, 1).float() / 255)
    return frames


def psnr(made, truth):
    difference = (made.clamp(0, 1) * 255).round() - truth * 255
    return float(10 * torch.log10(255**2 / difference.square().mean()))


@pytest.fixture(scope="module")
def published(assets, tmp_path_factory):
    store = ModelStore(tmp_path_factory.mktemp("store"))
    stored = store.import_file(assets / "models" / "fLDRnet_X4K1000FPS_exp1_best_PSNR.pt")
    assert (stored.name, stored.verified, stored.licence) == ("fLDR-VFI", True, "Apache-2.0")
    return load_interpolator("fldr-vfi", store=store)


@pytest.mark.parametrize(("name", "least_db"), [("RubberWhale", 40.0), ("Urban2", 33.0)])
def test_fldr_makes_real_middle_frames(published, assets, name, least_db):
    folder = assets / "media" / "vfi" / name
    cut = (..., slice(100, 292), slice(100, 356))
    first, second, truth = (frame[cut] for frame in triplet(folder))
    made = published.between(first, second, [0.5])[0]
    assert psnr(made, truth) > least_db
    assert psnr(made, truth) > psnr((first + second) / 2, truth) + 1.5


@pytest.mark.release
def test_fldr_on_all_shared_triplets(published, assets):
    reached, blended = [], []
    for folder in sorted((assets / "media" / "vfi").iterdir()):
        first, second, truth = triplet(folder)
        reached.append(psnr(published.between(first, second, [0.5])[0], truth))
        blended.append(psnr((first + second) / 2, truth))
    assert len(reached) == 6
    assert np.mean(reached) >= 35.4
    assert all(got > blend for got, blend in zip(reached, blended, strict=True))


# --- in the stage ---------------------------------------------------------------------------------


def stage_with(files, **context):
    wanted = {"fps": "2x", "model": str(files / "rife-4.12.lite.safetensors")}
    return build_stage("interpolate", wanted, StageContext(**context))


def test_the_stage_runs_its_network_where_and_as_the_job_does(files) -> None:
    path = files / "rife-4.12.lite.safetensors"
    for precision in ("exact", "fast"):
        stage = stage_with(files, precision=precision)
        assert stage.facts()["format"] == load_interpolator(path, precision=precision).dtype
        assert stage.model.device == "cpu"
    with pytest.raises(DeviceError):
        stage_with(files, device="cuda:99")


@pytest.mark.gpu
def test_on_a_gpu_it_makes_the_same_frames(files) -> None:
    pair = [torch.rand(3, 96, 160, generator=torch.Generator().manual_seed(n)) for n in (0, 1)]
    made = [stage_with(files, device=name)._between(*pair, [0.5])[0] for name in ("cpu", "cuda")]
    assert made[1].device.type == "cpu"
    assert (made[0] - made[1]).abs().max() < 1e-3
