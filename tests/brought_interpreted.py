"""Runs the kernels of interpolation networks in Triton's interpreter.

``python -m tests.brought_interpreted``; as in ``tests.kernels_interpreted`` the interpreter has to
be asked for before Triton is imported.
"""

from __future__ import annotations

import os
import sys

os.environ["TRITON_INTERPRET"] = "1"

import torch

from restore.kernels.brought import (
    Found,
    blended,
    blended_plain,
    brought,
    brought_plain,
    brought_trouble,
)
from restore.models.nets.ifnet import IFNet
from restore.models.nets.ifnet_quick import QuickFlow
from restore.models.nets.ifnet_variants import recognise
from tests.addresses import held
from tests.brought_samples import ROUNDING, brought_sample
from tests.rife_reference import random_state, read_forms


def kernels():
    """Every number of blocks, number format and width of the ends."""
    for n, scale, form, packed, features in (
        (2, 4, "float16", 8, 8),
        (1, 2, "float32", 16, 0),
        (1, 1, "bfloat16", 4, 8),
        (1, 1, "float32", 8, 8),
    ):
        ends, found, frames = brought_sample(n, scale, form, packed, features)
        wide = [Found(one.raw.double(), one.scale) for one in found]
        truth = brought_plain((ends[0].double(), ends[1].double()), wide, 0.3, scale)
        got = brought(ends, found, 0.3, scale)
        assert got.dtype == ends[0].dtype
        assert got.shape == truth.shape
        reach = max(1.0, float(truth.abs().max()))
        assert (got.double() - truth).abs().max() <= 2 * ROUNDING[form] * reach, (scale, form)
        out = blended(*frames, found)
        truth = blended_plain(frames[0].double(), frames[1].double(), wide)
        assert (out - truth).abs().max() <= ROUNDING["float32"]


def network():
    """A whole network by kernels gives the published form's picture, and says so."""
    shapes = read_forms()["4.13"]
    net = IFNet(recognise(shapes)).eval().requires_grad_(False)
    net.load_state_dict(random_state(shapes, 0.2, 1))
    first, second = torch.rand(2, 1, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    quick = QuickFlow(net, torch.float32)
    assert quick.passes.said == "activation, warping"
    with torch.inference_mode():
        assert (quick.begin(first, second)(0.4) - net.begin(first, second)(0.4)).abs().max() < 5e-4


def a_wrong_one_is_noticed():
    """The check at load passes what is right and names what is wrong; the twin then computes."""
    here = torch.device("cpu")
    for form in ("float32", "float16"):
        assert not brought_trouble(here, getattr(torch, form)), form
    import restore.kernels.brought_triton as kernel

    right, kernel.run_blended = kernel.run_blended, lambda first, second, found: first
    assert "differs" in brought_trouble(here, torch.float32)
    kernel.run_blended = right
    right, kernel.run_brought = kernel.run_brought, None
    assert "does not run here" in brought_trouble(here, torch.float32)
    kernel.run_brought = right


def main() -> int:
    """All of them."""
    torch.set_num_threads(1)
    with held() as ground:
        for check in (kernels, network, a_wrong_one_is_noticed):
            check()
            sys.stdout.write(check.__name__ + "\n")
    assert ground.addresses > 10**5
    return 0


if __name__ == "__main__":
    sys.exit(main())
