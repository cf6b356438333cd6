"""Runs the kernels in Triton's interpreter: ``python -m tests.kernels_interpreted``.

The interpreter has to be asked for before Triton is imported, so this is a program of its own. It
raises where a kernel is further from float64 than its number format explains.
"""

from __future__ import annotations

import copy
import os
import sys

os.environ["TRITON_INTERPRET"] = "1"

from functools import partial

import pytest
import torch
import triton
import triton.language as tl
from hypothesis import given, settings
from hypothesis import strategies as st

from restore.kernels import omni
from restore.kernels.activation import bias_prelu, bias_prelu_plain, bias_prelu_trouble
from restore.kernels.block_end import end_block_trouble
from restore.kernels.choose import TOLERANCE, can_run
from restore.kernels.enlarge import enlarge, enlarge_plain, enlarge_trouble
from restore.kernels.features import features_trouble
from restore.kernels.image_windows import attend_picture_trouble
from restore.kernels.windows import attend, attend_plain, attend_trouble
from restore.models.fused_attention import fuse_attention
from restore.models.own_kernels import use_kernels
from tests.addresses import held
from tests.kernels_samples import epilogue_sample, tail_sample, window_sample
from tests.networks import network_with_strong_bias

_QUIET = settings(max_examples=8, deadline=None, derandomize=True, database=None)
_FORMS = st.sampled_from(["float32", "bfloat16", "float16"])
_ROUNDING = {"float32": 2e-6, "float16": 1e-3, "bfloat16": 8e-3}
_sides = st.integers(1, 19)


@_QUIET
@given(st.integers(1, 3), st.integers(1, 70), _sides, _sides, _FORMS, *[st.booleans()] * 3)
def activation(n, c, h, w, form, last, one_slope, biased):
    x, bias, slope = epilogue_sample(n, c, h, w, form, last=last, one_slope=one_slope)
    bias = bias if biased else None
    wide = None if bias is None else bias.double()
    truth = bias_prelu_plain(x.double(), wide, slope.double())
    twin = bias_prelu_plain(x, bias, slope).double()
    found = bias_prelu(x, bias, slope)
    assert found.data_ptr() == x.data_ptr()
    assert found.dtype == x.dtype
    reach = max(1.0, float(truth.abs().max()))
    error = (found.double() - truth).abs().max()
    assert error <= _ROUNDING[form] * reach, (float(error), form)
    if form != "bfloat16":  # which the interpreter cuts off where a GPU rounds to the nearest
        assert error <= (twin - truth).abs().max() + 1e-6 * reach


@_QUIET
@given(st.integers(1, 2), st.sampled_from([1, 3]), _sides, _sides, _FORMS, st.integers(1, 4))
def tail(n, c, h, w, form, scale):
    x, base = tail_sample(n, c, h, w, scale, form)
    truth = enlarge_plain(x.double(), base.double(), scale)
    assert (enlarge(x, base, scale) - truth).abs().max() <= 2e-6
    for levels in (255, 1023):
        assert torch.equal(enlarge(x, base, scale, levels), enlarge_plain(x, base, scale, levels))


@_QUIET
@given(
    st.integers(1, 3),
    st.sampled_from([(16, 16), (49, 49), (64, 64), (64, 144), (70, 70)]),
    st.integers(1, 3),
    st.sampled_from([8, 16, 30, 32, 40]),
    # The interpreter multiplies the bits of bfloat16 as if they were whole numbers.
    st.sampled_from(["float32", "float16"]),
    st.booleans(),
)
def windows(count, sizes, heads, channels, form, shifted):
    pixels, keys = sizes
    shifted = shifted and pixels == keys
    q, k, v, bias, borders = window_sample(count, pixels, keys, heads, channels, form, shifted)
    scale = channels**-0.5
    wide = [t.double() for t in (q, k, v, bias)]
    truth = attend_plain(*wide, scale, borders)
    found = attend(q, k, v, bias, scale, borders)
    assert found.shape == q.shape
    assert found.dtype == q.dtype
    assert (found.double() - truth).abs().max() <= 2 * _ROUNDING[form], form


def a_wrong_one_is_noticed():
    """The check at load passes what is right and names what is wrong."""
    here = torch.device("cpu")
    for trouble in (bias_prelu_trouble, enlarge_trouble, attend_trouble):
        for form in ("float32", "float16"):
            assert not trouble(here, getattr(torch, form)), (trouble, form)
    import restore.kernels.activation_triton as kernel

    right, kernel.run = kernel.run, lambda x, bias, slope: x
    assert "differs" in bias_prelu_trouble(here, torch.float32)
    kernel.run = None
    assert "does not run here" in bias_prelu_trouble(here, torch.float32)
    kernel.run = right


def rooms_of_their_own():
    """Kernels whose self-check is the whole comparison: each against its twin."""
    here = torch.device("cpu")
    for trouble in (attend_picture_trouble, end_block_trouble, features_trouble):
        for form in ("float32", "float16"):
            assert not trouble(here, getattr(torch, form)), (trouble, form)
    # In float32 :func:`odd_sizes` holds them, on less: this takes most of the program's time.
    assert not omni.omni_trouble(here, torch.float16)


def odd_sizes():
    """OmniSR's kernels where a block is larger than the picture, and where it ends within one."""

    def drawn(*shape):
        return 2 * torch.rand(shape, generator=draw) - 1

    def hold(kernel, plain, *given, **named):
        pairs = [(kernel(*given, **named), plain(*given, **named))]
        if isinstance(pairs[0][0], tuple):
            pairs = list(zip(*pairs[0], strict=True))
        for found, truth in pairs:
            assert (found - truth).abs().max() <= TOLERANCE["float32"], (kernel, given[0].shape)

    draw = torch.Generator().manual_seed(4)
    by = omni.Rows(0.2 * drawn(192, 64), norm=drawn(2, 64))
    small = [omni.Rows(0.3 * drawn(c, 16), drawn(c)) for c in (16, 64)]
    out, bias, warmth = 0.2 * drawn(64, 64), drawn(4, 64, 64), drawn(4)
    for n, h, w in ((1, 1, 1), (2, 1, 9), (1, 5, 3)):
        x = drawn(n, h, w, 64)
        hold(partial(omni.rows, by), partial(omni.rows_plain, by), x)
        hold(omni.depthwise, omni.depthwise_plain, x, 0.3 * drawn(9, 64), drawn(64))
        hold(omni.gated, omni.gated_plain, drawn(n, h, w, 128), 0.3 * drawn(9, 128), out, x)
        hold(omni.shone, omni.shone_plain, x, drawn(n, h, w, 16), drawn(n, h, w, 16), *small)
    for n, h, w in ((1, 8, 8), (2, 16, 8)):
        x, three = drawn(n, h, w, 64), drawn(n, h, w, 192)
        for grid in (False, True):
            given = (x, by, out, bias, omni.HEAD**-0.5)
            hold(omni.attend_windows, omni.attend_windows_plain, *given, grid=grid)
        nine = 0.3 * drawn(9, 192)
        hold(omni.attend_channels, omni.attend_channels_plain, three, nine, warmth, out, x)
        hold(omni.attend_spread, omni.attend_spread_plain, three, warmth, out, x)


@triton.jit
def _one_too_far(x, out, count, block: tl.constexpr):
    place = tl.arange(0, block)
    tl.store(out + place, tl.load(x + place + 1, mask=place < count), mask=place < count)


def an_address_outside_is_noticed():
    """In memory that is there all the same, behind a tensor that ends before it."""
    memory, out = torch.arange(9.0), torch.zeros(8)
    _one_too_far[(1,)](memory, out, 8, block=8)
    assert torch.equal(out, memory[1:])
    with pytest.raises(Exception, match="1 of 8 addresses read lie outside"):
        _one_too_far[(1,)](memory[:8], out, 8, block=8)


def networks():
    """A network that runs by kernels gives spandrel's own picture, and says by which."""
    here = torch.device("cpu")
    for name, said in (
        ("compact", "activation, enlargement"),
        ("hat", "window attention"),
        ("omnisr", "window attention"),
        ("span", ""),
    ):
        plain = network_with_strong_bias(name)
        ours = copy.deepcopy(plain)
        fuse_attention(ours)
        assert use_kernels(ours, here, torch.float32) == said
        x = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(5))
        with torch.inference_mode():
            assert (ours(x) - plain(x)).abs().max() <= 1e-5, name
    import restore.kernels.enlarge_triton as kernel

    right, kernel.run = kernel.run, lambda x, base, scale, levels: enlarge_plain(x, 0 * base, scale)
    wrong = use_kernels(network_with_strong_bias("compact"), here, torch.float32)
    assert "activation, the enlargement's differs from its twin by" in wrong
    kernel.run = right


def main() -> int:
    """All of them."""
    assert can_run(torch.device("cpu"))
    torch.set_num_threads(1)
    checks = (
        activation,
        tail,
        windows,
        a_wrong_one_is_noticed,
        rooms_of_their_own,
        odd_sizes,
        an_address_outside_is_noticed,
        networks,
    )
    with held() as ground:
        for check in checks:
            check()
            sys.stdout.write(check.__name__ + "\n")
    assert ground.launches > 100
    assert ground.addresses > 10**7
    return 0


if __name__ == "__main__":
    sys.exit(main())
