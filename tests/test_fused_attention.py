"""The fused attention computes what spandrel's networks compute."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from restore.models.fused_attention import fuse_attention
from restore.models.load import load_model
from restore.models.store import ModelStore
from restore.stages.network import Network
from tests.networks import network_with_strong_bias, save_network, seeded_network

_BLOCKS = {"hat": 3, "omnisr": 2}


def _pair(name: str) -> tuple[nn.Module, nn.Module]:
    plain = network_with_strong_bias(name)
    fused = copy.deepcopy(plain)
    assert fuse_attention(fused) == _BLOCKS[name]
    return plain, fused


def _picture(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("name", sorted(_BLOCKS))
@pytest.mark.parametrize("size", [(8, 8), (8, 24), (32, 8), (24, 40), (19, 33)])
def test_equals_spandrel_in_float32(name: str, size: tuple[int, int]) -> None:
    plain, fused = _pair(name)
    least_px = 16 if name == "omnisr" else 8
    x = _picture(2, 3, *(max(side, least_px) for side in size))
    with torch.inference_mode():
        assert (fused(x) - plain(x)).abs().max() <= 1e-5


@pytest.mark.parametrize("name", sorted(_BLOCKS))
def test_no_further_from_the_truth_in_bfloat16(name: str) -> None:
    plain, fused = _pair(name)
    x = _picture(1, 3, 24, 40)
    with torch.inference_mode():
        truth = copy.deepcopy(plain).double()(x.double())
        theirs = plain.bfloat16()(x.bfloat16()).double()
        ours = fused.bfloat16()(x.bfloat16()).double()
    error = (ours - truth).square().mean().sqrt()
    assert error <= 1.25 * (theirs - truth).square().mean().sqrt()


def test_the_shifted_windows_do_not_see_the_other_side() -> None:
    """Without its mask a HAT gives another picture: the test above would notice."""
    _, fused = _pair("hat")
    x = _picture(1, 3, 24, 24)
    with torch.inference_mode():
        right = fused(x)
        for block in fused.modules():
            if hasattr(block, "shift_px") and block.shift_px:
                block._mask = lambda _below, _right, like: torch.zeros((), dtype=like.dtype)
        assert (fused(x) - right).abs().max() > 1e-4


@pytest.mark.parametrize("name", sorted(_BLOCKS))
def test_weights_keep_their_names_and_values(name: str) -> None:
    plain, fused = _pair(name)
    before, after = plain.state_dict(), fused.state_dict()
    assert set(before) == set(after)
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("name", ["compact", "span", "esrgan", "dncnn"])
def test_other_networks_stay(name: str) -> None:
    assert fuse_attention(seeded_network(name)) == 0


@pytest.mark.parametrize("name", sorted(_BLOCKS))
def test_the_loader_fuses_and_says_so(name: str, tmp_path: Path) -> None:
    path = save_network(network_with_strong_bias(name), tmp_path / "w.safetensors")
    store = ModelStore(tmp_path / "store")
    fused = load_model(path, store=store)
    plain = load_model(path, store=store, fused=False)
    assert (fused.fused_blocks, plain.fused_blocks) == (_BLOCKS[name], 0)
    assert fused.flops_per_px == plain.flops_per_px
    assert f"fused in {_BLOCKS[name]} blocks" in Network("upscale", fused).facts()["attention"]
    assert "attention" not in Network("upscale", plain).facts()
    x = _picture(1, 3, 24, 40)
    assert (fused(x) - plain(x)).abs().max() <= 1e-5


@pytest.mark.gpu
@pytest.mark.parametrize("name", sorted(_BLOCKS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu(name: str, dtype: torch.dtype) -> None:
    plain, fused = _pair(name)
    x = _picture(2, 3, 24, 40)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        truth = copy.deepcopy(plain).double()(x.double())
        theirs = plain.to("cuda", dtype)(x.to("cuda", dtype)).cpu().double()
        ours = fused.to("cuda", dtype)(x.to("cuda", dtype)).cpu().double()
    slack = 1e-5 if dtype == torch.float32 else 0.0
    error = (ours - truth).square().mean().sqrt()
    assert error <= 1.25 * (theirs - truth).square().mean().sqrt() + slack
