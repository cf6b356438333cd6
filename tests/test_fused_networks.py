"""Networks that run by fused passes give spandrel's picture, here and on a GPU."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn

from restore.engine.planes_proof import planes_trouble
from restore.kernels.block_end import end_block_trouble
from restore.kernels.brought import brought_trouble
from restore.kernels.convolution import Act, Residual, convolve, convolve_trouble, prepared
from restore.kernels.convolution_cuda import Form, form_for
from restore.kernels.features import features_trouble
from restore.kernels.image_windows import attend_picture_trouble
from restore.kernels.omni import omni_trouble
from restore.models.fold import fold_span
from restore.models.fused_attention import fuse_attention
from restore.models.fused_convolutions import fuse_convolutions
from restore.models.fused_hat import fuse_hat
from restore.models.fused_omni import fuse_omni
from restore.models.own_kernels import use_kernels


def _compact(act: str = "prelu", scale: int = 4) -> nn.Module:
    from spandrel.architectures.Compact import Compact

    return Compact(num_in_ch=3, num_out_ch=3, num_conv=2, upscale=scale, act_type=act)


def _span(channels: int = 48) -> nn.Module:
    from spandrel.architectures.SPAN import SPAN

    return SPAN(num_in_ch=3, num_out_ch=3, feature_channels=channels, upscale=2)


def _esrgan(scale: int = 4, shuffle: int | None = None) -> nn.Module:
    from spandrel.architectures.ESRGAN import ESRGAN

    channels = 3 * (shuffle or 1) ** 2
    return ESRGAN(in_nc=channels, num_blocks=2, scale=scale, shuffle_factor=shuffle)


def _hat() -> nn.Module:
    from spandrel.architectures.HAT import HAT

    return HAT(
        img_size=64,
        embed_dim=180,
        depths=(2, 2),
        num_heads=(6, 6),
        window_size=16,
        compress_ratio=3,
        squeeze_factor=30,
        overlap_ratio=0.5,
        mlp_ratio=2,
        upscale=4,
        num_feat=64,
        upsampler="pixelshuffle",
        resi_connection="1conv",
    )


def _omnisr(scale: int = 1) -> nn.Module:
    from spandrel.architectures.OmniSR import OmniSR

    return OmniSR(num_feat=64, block_num=1, window_size=8, res_num=2, up_scale=scale)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module], bool]]] = {
    "compact": (_compact, fuse_convolutions),
    "compact, relu, 2x": (lambda: _compact("relu", 2), fuse_convolutions),
    "compact, leakyrelu, 1x": (lambda: _compact("leakyrelu", 1), fuse_convolutions),
    "span": (_span, fuse_convolutions),
    "esrgan": (_esrgan, fuse_convolutions),
    "esrgan, 2x, shuffled": (lambda: _esrgan(2, 2), fuse_convolutions),
    "hat": (_hat, fuse_hat),
    "omnisr": (_omnisr, fuse_omni),
    "omnisr, 2x": (lambda: _omnisr(2), fuse_omni),
}


def _made(name: str) -> nn.Module:
    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.meshgrid's note on its own future
        model = NETWORKS[name][0]().eval().requires_grad_(False)
    for values in model.parameters():
        values.add_(0.02 * torch.randn_like(values))
    fold_span(model)
    return model


@pytest.mark.parametrize("name", NETWORKS)
def test_the_fused_passes_give_the_same_picture(name: str) -> None:
    plain = _made(name)
    fused = copy.deepcopy(plain)
    fuse_attention(fused)
    assert NETWORKS[name][1](fused)
    x = torch.rand(2, 3, 42, 50, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        truth, found = plain(x), fused(x)
    assert found.shape == truth.shape
    assert (found - truth).abs().max() <= 2e-5 * max(1.0, float(truth.abs().max()))


@pytest.mark.parametrize("make", [lambda: _span(52), lambda: nn.Conv2d(3, 3, 3)])
def test_what_there_is_no_kernel_for_is_left_as_it_is(make: Callable[[], nn.Module]) -> None:
    model = make()
    fold_span(model)
    before = model.forward
    assert not any(fuse(model) for fuse in (fuse_convolutions, fuse_hat, fuse_omni))
    assert model.forward == before


def test_the_twin_is_the_convolution_as_it_is_written_down() -> None:
    draw = torch.Generator().manual_seed(0)
    weight = torch.rand(8, 48, 3, 3, generator=draw, dtype=torch.float64) - 0.5
    x = torch.rand(1, 5, 6, 48, generator=draw, dtype=torch.float64) - 0.5
    more = torch.rand(1, 10, 12, 8, generator=draw, dtype=torch.float64)
    conv = prepared(weight, None, act=Act.SLOPE, slope=0.25, enlarge=2, residuals=1)
    assert conv is not None
    # Beside what is read: the written channels are part of wider pixels.
    wide = torch.zeros(1, 10, 12, 24, dtype=torch.float64)
    found = convolve(conv, x, wide[..., 8:16], Residual(more, 0.5))
    large = x.permute(0, 3, 1, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    truth = torch.nn.functional.leaky_relu(torch.conv2d(large, weight, padding=1), 0.25)
    truth = truth.permute(0, 2, 3, 1) * 0.5 + more
    assert (found - truth).abs().max() <= 1e-12
    assert (wide[..., :8] == 0).all()
    assert (wide[..., 16:] == 0).all()


def test_only_shapes_with_a_kernel_are_prepared() -> None:
    assert prepared(torch.zeros(65, 64, 3, 3), None) is None
    assert prepared(torch.zeros(64, 52, 3, 3), None) is None
    assert prepared(torch.zeros(64, 64, 1, 1), None) is None
    conv = prepared(torch.zeros(3, 160, 3, 3), None)
    assert conv is not None
    assert conv.weights.shape == (5, 9, 16, 32)
    assert (conv.kept, conv.inputs) == (8, 160)


@pytest.mark.parametrize("block_kib", [99, 163, 227])
@pytest.mark.parametrize("capability", [80, 86, 90, 120])
def test_every_card_has_a_form(
    block_kib: int, capability: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from restore.kernels import convolution_cuda
    from restore.kernels.compiled import Card

    card = Card(capability, 100, (block_kib + 1) << 10, block_kib << 10)
    monkeypatch.setattr(convolution_cuda, "card", lambda device: card)
    form_for.cache_clear()
    for channels, sets in ((16, 1), (48, 1), (64, 1), (32, 3), (32, 6)):
        for out in (16, 32, 48, 64):
            form = form_for(0, channels, out, sets)
            assert form.shared_bytes(channels, out, sets) <= card.block_bytes
            assert form.wgmma == (capability == 90)
    form_for.cache_clear()
    old = Card(75, 100, 65536, 65536)
    monkeypatch.setattr(convolution_cuda, "card", lambda device: old)
    with pytest.raises(RuntimeError, match=r"7\.5"):
        form_for(0, 64, 64, 1)
    form_for.cache_clear()


def test_shared_memory_is_that_of_the_program() -> None:
    # As convolution.cu reckons it: weights that stay, then two pieces for each of three groups.
    form = Form("sm_90a", 8, 3, 2, wgmma=True)
    assert form.shared_bytes(64, 64, 1) == 9 * 64 * 128 + 6 * 23 * 1024


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_kernels_that_prove_themselves_apart_against_their_twins_on_a_gpu(
    dtype: torch.dtype,
) -> None:
    cuda = torch.device("cuda", 0)
    assert not omni_trouble(cuda, dtype)
    assert not brought_trouble(cuda, dtype)
    assert not planes_trouble(cuda, torch.float32)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_the_kernels_against_their_twins_on_a_gpu(dtype: torch.dtype) -> None:
    cuda = torch.device("cuda", 0)
    for trouble in (
        convolve_trouble,
        attend_picture_trouble,
        end_block_trouble,
        features_trouble,
    ):
        assert not trouble(cuda, dtype), trouble


@pytest.mark.gpu
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_on_a_gpu_no_further_from_the_truth_than_spandrel(name: str, dtype: torch.dtype) -> None:
    plain = _made(name)
    x = torch.rand(2, 3, 42, 50, generator=torch.Generator().manual_seed(1))
    fused = copy.deepcopy(plain)
    fuse_attention(fused)
    fused.to("cuda", dtype)
    said = use_kernels(fused, torch.device("cuda", 0), dtype)
    failed = "trial" in said  # which leaves spandrel's form, and the program unharmed
    assert not failed or name.startswith("omnisr")
    assert "differs" not in said
    assert failed or "forward" in vars(fused) or name.startswith("esrgan")
    with torch.inference_mode():
        truth = copy.deepcopy(plain).double()(x.double())
        theirs = plain.to("cuda", dtype)(x.to("cuda", dtype)).cpu().double()
        ours = fused(x.to("cuda", dtype)).cpu().double()
        again = fused(x.to("cuda", dtype)).cpu().double()
    assert torch.equal(ours, again)
    error, allowed = ((made - truth).square().mean().sqrt() for made in (ours, theirs))
    assert error <= 1.1 * allowed
