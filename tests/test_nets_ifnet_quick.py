"""The arrangement of IFNet that moves little memory: the same pictures as the published form."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmarks.counting import Traffic
from benchmarks.flow_speed import our_bytes, published_bytes
from restore.kernels import brought as brought_room
from restore.kernels.brought import Found, blended, blended_plain, brought, brought_plain
from restore.models.nets.ifnet import IFNet
from restore.models.nets.ifnet_quick import QuickFlow, proven
from restore.models.nets.ifnet_variants import VARIANTS, recognise
from tests.brought_samples import ROUNDING, brought_sample
from tests.rife_reference import Reference, random_state, read_forms

FORMS = read_forms()
KERNELS = Path(brought_room.__file__).parent
SCALES = {"4.25": (16, 8, 4, 2, 1), "4.25.lite": (32, 16, 8, 4, 1), "4.26.heavy": (16, 8, 4, 2, 1)}
TAKEN = ("4.7", "4.10", "4.12.lite", "4.13", "4.14.lite", "4.22.lite", *SCALES)


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


def loaded(name, reach=0.2, seed=1):
    state = random_state(FORMS[name], reach, seed)
    net = IFNet(recognise(FORMS[name])).eval().requires_grad_(False)
    net.load_state_dict(state)
    return net, state


@pytest.mark.parametrize("name", TAKEN)
def test_pictures_are_those_of_a_second_formulation(name):
    net, state = loaded(name)
    assert QuickFlow.takes(net.variant, 1.0, ensemble=False)
    side = net.variant.multiple_of()
    first, second = pair(side, 2 * side if side < 100 else side)
    with torch.inference_mode():
        got = QuickFlow(net, torch.float32).begin(first, second)(0.3)
        expected = Reference(state, SCALES.get(name, (8, 4, 2, 1))).frame(first, second, 0.3)
    assert got.dtype == torch.float32
    assert (got - expected).abs().max() < 2e-4
    assert (got - (0.7 * first + 0.3 * second)).abs().max() > 0.05


@pytest.mark.parametrize("scale", [0.5, 0.25])
def test_flow_can_be_estimated_smaller(scale):
    net, _ = loaded("4.25")
    first, second = pair(*[net.variant.multiple_of(scale)] * 2)
    with torch.inference_mode():
        got = QuickFlow(net, torch.float32).begin(first, second, scale)(0.75)
        expected = net.begin(first, second, scale)(0.75)
    assert (got - expected).abs().max() < 2e-4


def test_pairs_in_a_batch_are_as_alone():
    quick = QuickFlow(loaded("4.25")[0], torch.float32)
    pairs = [pair(64, 128, seed) for seed in (1, 2)]
    with torch.inference_mode():
        both = quick.begin(*(torch.cat(side) for side in zip(*pairs, strict=True)))(0.5)
        alone = torch.cat([quick.begin(*each)(0.5) for each in pairs])
    assert (both - alone).abs().max() < 1e-5


@pytest.mark.parametrize("form", [torch.bfloat16, torch.float16])
def test_half_precision_is_no_further_off_than_the_published_form(form):
    net, _ = loaded("4.25", 0.1)
    first, second = pair(64, 128)
    with torch.inference_mode():
        exact = net.begin(first, second)(0.5)
        ours = (QuickFlow(net, form).begin(first, second)(0.5) - exact).abs().mean()
        published = (net.to(form).begin(first, second)(0.5) - exact).abs().mean()
    assert 0 < ours < 1.5 * published


def test_a_large_flow_keeps_its_fraction_in_half_precision():
    net, _ = loaded("4.13", 0.0)
    for number, px in ((0, 120.0), (3, 0.125)):
        bias = net.get_submodule(f"block{number}").lastconv[0].bias
        bias.zero_()
        bias.view(6, 4)[0] = px / net.variant.scales[number]
    ramp = torch.linspace(0, 1, 256).expand(1, 3, 32, 256).contiguous()
    quick = QuickFlow(net, torch.bfloat16)
    with torch.inference_mode():
        got = quick.begin(ramp, torch.zeros_like(ramp))(0.5)[0, 0, 16, 50]
    assert float(got) * 2 * 255 == pytest.approx(170.125, abs=0.02)


@pytest.mark.parametrize(
    ("name", "scale", "ensemble", "taken"),
    [
        ("4.25-4.26", 1.0, False, True),
        ("4.25-4.26", 2.0, False, False),  # a block at twice the frame's size
        ("4.7-4.9", 1.0, True, False),
        ("4.6", 1.0, False, False),  # masks add up
        ("4.0-4.1", 1.0, False, False),
    ],
)
def test_what_it_does_not_hold_for_is_left_to_the_published_form(name, scale, ensemble, taken):
    (variant,) = (each for each in VARIANTS if each.name == name)
    assert QuickFlow.takes(variant, scale, ensemble=ensemble) is taken


def test_it_moves_a_fifth_of_the_bytes():
    for form, share in ((torch.float16, 0.17), (torch.float32, 0.3)):
        assert our_bytes(form, (576, 768)) < share * published_bytes(form, (576, 768))


def test_traffic_counts_what_is_read_and_written():
    x, weight = torch.empty(1, 4, 8, 8, device="meta"), torch.empty(6, 4, 3, 3, device="meta")
    with torch.no_grad(), Traffic() as traffic:
        F.relu_(F.conv2d(x, weight, padding=1)).view(6, 64)
    assert traffic.moved == {
        "convolution": 4 * (4 * 64 + 6 * 4 * 9 + 6 * 64),
        "relu_": 4 * 2 * 6 * 64,
    }


def test_the_kernels_against_float64_interpreted():
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, "-m", "tests.brought_interpreted"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert done.stdout.split() == ["kernels", "network", "a_wrong_one_is_noticed"]


def test_the_kernels_compile_for_a_gpu_without_one(tmp_path):
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, "-m", "tests.kernels_for_hopper"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "TRITON_INTERPRET": "0"},
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    sizes = dict(line.split() for line in done.stdout.splitlines())
    omni = {"rows", "depthwise", "gated", "shone", "windows", "channels", "gathered", "applied"}
    planes = {"first", "across", "sharpened"}
    named = {"brought_kernel", "blended_kernel"} | omni | planes
    assert set(sizes) == {f"_{name}" for name in named}
    assert all(int(size) > 10_000 for size in sizes.values())


@pytest.mark.parametrize(
    "path", sorted(KERNELS.glob("*_triton.py")), ids=lambda path: str(path.stem)
)
def test_kernels_name_only_what_triton_knows(path):
    """Its compiler looks up the names of annotations too, which its interpreter does not."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    kernels = [
        each for each in functions if any("jit" in ast.unparse(d) for d in each.decorator_list)
    ]
    assert kernels
    for kernel in kernels:
        for argument in kernel.args.args:
            said = "" if argument.annotation is None else ast.unparse(argument.annotation)
            assert said == "" or said.startswith("tl."), f"{kernel.name}({argument.arg}: {said})"


@pytest.mark.gpu
@pytest.mark.parametrize("form", sorted(ROUNDING))
def test_on_a_gpu(form):
    cuda, dtype = torch.device("cuda"), getattr(torch, form)
    assert proven(cuda, dtype).said == "activation, warping"
    for scale in (4, 2, 1):
        ends, found, frames = brought_sample(2, scale, form)
        truth = brought_plain(
            tuple(end.double() for end in ends),
            [Found(one.raw.double(), one.scale) for one in found],
            0.3,
            scale,
        )
        there = [Found(one.raw.to(cuda), one.scale) for one in found]
        got = brought((ends[0].to(cuda), ends[1].to(cuda)), there, 0.3, scale).cpu().double()
        assert (got - truth).abs().max() <= ROUNDING[form] * max(1.0, float(truth.abs().max()))
        got = blended(frames[0].to(cuda), frames[1].to(cuda), there).cpu()
        assert (got - blended_plain(*frames, found)).abs().max() <= 2e-5
    net, _ = loaded("4.25")
    first, second = pair(192, 256)
    with torch.inference_mode():
        ours = QuickFlow(net.to(cuda), dtype).begin(first.to(cuda), second.to(cuda))(0.5)
        plain = net.begin(first.to(cuda), second.to(cuda))(0.5)
    assert (ours - plain).abs().mean() < {"float32": 2e-3, "float16": 4e-3}.get(form, 2e-2)


def test_the_benchmark_runs_dry(tmp_path):
    out = tmp_path / "rows.json"
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.flow_speed"),
            *("--device", "cpu", "--dry-run", "--out", str(out)),
        ],
        check=True,
        capture_output=True,
        timeout=120,
        env=environment,
    )
    table = json.loads(out.read_text(encoding="utf-8"))
    rows, jobs = table["rows"], table["jobs"]
    assert [job["way"].partition(",")[0] for job in jobs] == ["ours", "plain loop"]
    assert all(job["fps"] > 0 for job in jobs)
    assert jobs[0]["times_loop"] == pytest.approx(jobs[0]["fps"] / jobs[1]["fps"], rel=0.02)
    assert [(row["way"], row["number_format"]) for row in rows] == [
        (way, form) for form in ("float32", "bfloat16") for way in ("eager", "ours")
    ]
    assert all(row["frame_ms"] > 0 and row["bytes"] > 0 and row["share"] > 0 for row in rows)
    assert rows[1]["difference"] < 1e-4
    assert rows[1]["bytes"] < rows[0]["bytes"]
