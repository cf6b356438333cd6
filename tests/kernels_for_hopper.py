"""Compiles kernels for a GPU that is not there, as launched: interpolation's, OmniSR's, planes'.

``python -m tests.kernels_for_hopper``: Triton's own way from a call to machine code, but for a
driver that only names its target, so nothing is started. It replaces the driver, so it is a program
of its own. The interpreter takes what the compiler does not: names of other modules, for one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

from restore.kernels import brought_triton, omni, planes_triton
from restore.kernels.planes import Halving, Plan
from tests.brought_samples import brought_sample


class Named:
    """A driver of which nothing but the target is asked."""

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return device

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)


_SHARED_BYTES = 232_448  # of a multiprocessor


def omni_as_launched() -> None:
    """By the sample that is held against the twins, whose results nobody looks at here."""

    def started(kernel: Callable[[], Any], twin: object, form: str) -> str:
        kernel()
        return ""

    omni.difference = started
    omni.can_try = lambda *_: True
    assert not omni.omni_trouble(torch.device("cpu"), torch.bfloat16)


def planes(height: int, width: int, down: Halving, across: Halving, bits: int) -> None:
    """What the way back launches for one layout."""
    rows = ((0.2, 0.7, 0.1), (-0.1, -0.4, 0.5), (0.5, -0.4, -0.1))
    pair = (219.0, 16.0)
    taps = (1.4, -0.2, 0.03)
    plan = Plan(rows, pair, pair, (1 << bits) - 1, down, across, taps, is_gray=bits == 8)
    small = height // 2 if down else height, width // 2 if across else width
    shapes = (height, width), small, small
    noise = [torch.zeros(shape) for shape in shapes] if bits == 8 else None
    form = torch.uint8 if bits == 8 else torch.uint16
    data = torch.zeros(3, height, width)
    planes_triton.run(data, plan, noise, [torch.zeros(shape, dtype=form) for shape in shapes])


def main() -> int:
    """All of them as they are launched; prints each with the bytes of its machine code."""
    driver.set_active(Named())
    start = JITFunction.run

    def compiled(self: JITFunction, *given: Any, grid: object, warmup: bool, **options: Any) -> Any:
        made = start(self, *given, grid=(1,), warmup=True, **options)
        assert made.metadata.shared <= _SHARED_BYTES, self.__name__
        sys.stdout.write(f"{self.__name__} {len(made.asm['cubin'])}\n")
        return made

    JITFunction.run = compiled
    ends, found, frames = brought_sample(1, 2, "float16")
    steps = [(one.raw, one.scale) for one in found]
    brought_triton.run_brought(ends, steps, 0.3, 2, 16)
    brought_triton.run_blended(*frames, steps)
    omni_as_launched()
    for bits in (8, 10):
        planes(32, 32, Halving.CENTRED, Halving.COSITED, bits)
        planes(32, 32, Halving.COSITED, Halving.CENTRED, bits)
        planes(32, 32, Halving.NONE, Halving.NONE, bits)
    return 0


if __name__ == "__main__":
    with torch.inference_mode():
        sys.exit(main())
