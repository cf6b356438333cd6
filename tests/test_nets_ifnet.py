"""IFNet of RIFE 4: published names and shapes, and its arithmetic against a second formulation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from restore.errors import UnsupportedModel
from restore.models.nets import ifnet
from restore.models.nets.ifnet import IFNet
from restore.models.nets.ifnet_variants import VARIANTS, inference_keys, recognise
from tests.rife_reference import Reference, random_state, read_forms

FORMS = read_forms()
# What the tensors' shapes alone do not tell: how much smaller each block works.
SCALES = {"4.25": (16, 8, 4, 2, 1), "4.25.lite": (32, 16, 8, 4, 1), "4.26.heavy": (16, 8, 4, 2, 1)}
# 4.20 and 4.25.heavy only have other widths than 4.13 and 4.25.
COMPARED = sorted(set(FORMS) - {"4.20", "4.25.heavy", "4.21"})


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pair(height, width, seed=5):
    source = torch.Generator().manual_seed(seed)
    small = torch.rand(2, 3, 9, 9, generator=source)
    both = F.interpolate(small, (height, width), mode="bicubic").clamp(0, 1)
    return both[:1], both[1:]


def reach_of(name):
    """Such that flows are some pixels."""
    return 0.05 if name == "4.0" else 0.2


def loaded(name, reach, seed=1):
    state = random_state(FORMS[name], reach, seed)
    net = IFNet(recognise(FORMS[name])).eval()
    net.load_state_dict(state)
    return net, state


def test_there_is_a_list_for_each_form_and_no_other():
    found = {recognise(shapes).name for shapes in FORMS.values()}
    assert found == {variant.name for variant in VARIANTS}
    assert len(FORMS) == len(VARIANTS) == 17


@pytest.mark.parametrize("name", FORMS)
def test_published_names_and_shapes_are_exactly_ours(name):
    variant = recognise(FORMS[name])
    with torch.device("meta"):
        ours = {key: tuple(t.shape) for key, t in IFNet(variant).state_dict().items()}
    assert ours == FORMS[name]


@pytest.mark.parametrize("name", ["4.0", "4.13", "4.25"])
def test_prefixes_and_parts_for_training_are_left_out_by_name(name):
    published = {f"module.{key}": shape for key, shape in FORMS[name].items()}
    for extra in ("block_tea.conv0.0.0.weight", "teacher.lastconv.0.bias", "caltime.0.weight"):
        published[f"module.{extra}"] = (3,)
    assert recognise(published).name == recognise(FORMS[name]).name
    names = inference_keys(published)
    assert set(names) == set(FORMS[name])
    assert names["block0.lastconv.0.weight" if name != "4.0" else "block0.lastconv.weight"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s | {"block9.beta": (4,)}, r"block9\.beta"),
        (lambda s: {k: v for k, v in s.items() if k != "encode.cnn3.bias"}, r"cnn3\.bias missing"),
        (lambda s: s | {"encode.cnn0.weight": (16, 4, 3, 3)}, r"\(16, 4, 3, 3\) instead of"),
    ],
)
def test_other_tensors_are_refused_with_the_nearest_form(change, said):
    with pytest.raises(UnsupportedModel, match=said) as caught:
        recognise(change(FORMS["4.25"]))
    assert "4.25-4.26" in str(caught.value)


@pytest.mark.parametrize("name", COMPARED)
def test_the_arithmetic_is_that_of_a_second_formulation(name):
    net, state = loaded(name, reach_of(name))
    side = net.variant.multiple_of()
    first, second = pair(side, side + (side if side < 100 else 0))
    with torch.inference_mode():
        got = net.begin(first, second)(0.3)
        expected = Reference(state, SCALES.get(name, (8, 4, 2, 1))).frame(first, second, 0.3)
    assert got.dtype == torch.float32
    assert (got - expected).abs().max() < 2e-4
    # Both move things: a blend in place would be something else altogether.
    assert (got - (0.7 * first + 0.3 * second)).abs().max() > 0.05


@pytest.mark.parametrize("name", ["4.0", "4.5", "4.7", "4.14.lite"])
def test_the_ensemble_is_that_of_a_second_formulation_and_symmetric(name):
    net, state = loaded(name, reach_of(name))
    first, second = pair(64, 64)
    with torch.inference_mode():
        got = net.begin(first, second, ensemble=True)(0.25)
        plain = net.begin(first, second)(0.25)
        turned = net.begin(second, first, ensemble=True)(0.75)
        expected = Reference(state, (8, 4, 2, 1)).frame(first, second, 0.25, ensemble=True)
    assert (got - expected).abs().max() < 2e-4
    assert (got - plain).abs().max() > 1e-3
    assert (got - turned).abs().max() < 2e-4


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_flow_can_be_estimated_smaller_or_larger(scale):
    net, state = loaded("4.6", 0.2)
    side = net.variant.multiple_of(scale)
    first, second = pair(side, side)
    scales = tuple(each / scale for each in (8, 4, 2, 1))
    with torch.inference_mode():
        got = net.begin(first, second, scale)(0.5)
        expected = Reference(state, scales).frame(first, second, 0.5)
    assert (got - expected).abs().max() < 2e-4
    assert net.variant.multiple_of(0.5) == 64
    assert recognise(FORMS["4.25.lite"]).multiple_of(0.5) == 256


def test_the_oldest_form_begins_again_where_motion_is_large():
    first, second = pair(64, 64)
    for reach, expected in ((0.05, False), (0.5, True)):
        net, state = loaded("4.0", reach, seed=3)
        reference = Reference(state, (8, 4, 2, 1))
        with torch.inference_mode():
            got = net.begin(first, second)(0.5)
            wanted = reference.frame(first, second, 0.5)
        assert reference.restarted is expected
        # Large flows sharpen rounding differences at edges: a few pixels may differ.
        assert (got - wanted).abs().mean() < 1e-4


def test_warping_and_positions_stay_in_float32(monkeypatch):
    seen = []
    plain = ifnet.warp

    def watched(picture, flow):
        seen.append((picture.dtype, flow.dtype))
        return plain(picture, flow)

    monkeypatch.setattr(ifnet, "warp", watched)
    net, _ = loaded("4.25", 0.1)
    first, second = pair(64, 64)
    with torch.inference_mode():
        exact = net.begin(first, second)(0.5)
        net.bfloat16()
        fast = net.begin(first, second)(0.5)
    assert len(seen) == 2 * (4 * 4 + 2)
    assert set(seen) == {(torch.float32, torch.float32)}
    assert fast.dtype == torch.float32
    assert (fast - exact).abs().mean() < 0.02


def test_a_large_flow_keeps_its_fraction_in_half_precision():
    net, _ = loaded("4.6", 0.0)
    with torch.no_grad():
        # The first block moves by 120 px, the last adds an eighth of a pixel.
        for number, px in ((0, 120.0), (3, 0.125)):
            bias = net.get_submodule(f"block{number}").lastconv[0].bias
            bias.zero_()
            bias.view(6, 4)[0] = px / net.variant.scales[number]
    ramp = torch.linspace(0, 1, 256).expand(1, 3, 32, 256).contiguous()
    with torch.inference_mode():
        got = net.bfloat16().begin(ramp, torch.zeros_like(ramp))(0.5)[0, 0, 16, 50]
    # mask 0: half of each; the second frame is black.
    assert float(got) * 2 * 255 == pytest.approx(170.125, abs=0.02)
