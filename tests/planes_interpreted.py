"""Runs the kernels of the way back in Triton's interpreter: ``python -m tests.planes_interpreted``.

As in ``tests.kernels_interpreted`` the interpreter has to be asked for before Triton is imported.
"""

from __future__ import annotations

import os
import sys

os.environ["TRITON_INTERPRET"] = "1"

import numpy as np
import torch

from restore.color import ChromaSite, Matrix, Range
from restore.engine import planes_proof
from restore.engine.pixels import from_frame, planes_by_kernel, planes_by_torch
from restore.engine.planes_proof import planes_trouble
from restore.frames import pixel_format
from tests.addresses import held
from tests.planes_samples import color_of, exact_codes, frame_of

_CASES = (
    # Layout, site, matrix, range, grey, size: sizes end within blocks, and just beyond one.
    ("yuv420p", ChromaSite.LEFT, Matrix.BT709, Range.LIMITED, False, (34, 278)),
    ("yuv420p10le", ChromaSite.TOPLEFT, Matrix.BT2020_NCL, Range.LIMITED, False, (16, 514)),
    ("yuv420p12le", ChromaSite.CENTER, Matrix.SMPTE170M, Range.FULL, False, (38, 42)),
    ("yuv420p16le", ChromaSite.TOP, Matrix.YCGCO, Range.LIMITED, True, (18, 16)),
    ("yuv422p", ChromaSite.LEFT, Matrix.BT709, Range.FULL, True, (7, 32)),
    ("yuv422p10le", ChromaSite.CENTER, Matrix.BT709, Range.LIMITED, False, (5, 1044)),
    ("yuv440p", ChromaSite.LEFT, Matrix.SMPTE240M, Range.LIMITED, False, (20, 33)),
    ("yuv440p12le", ChromaSite.TOPLEFT, Matrix.BT709, Range.FULL, False, (20, 33)),
    ("yuv444p", ChromaSite.LEFT, Matrix.RGB, Range.FULL, False, (3, 515)),
    ("yuv444p16le", ChromaSite.BOTTOM, Matrix.BT709, Range.LIMITED, True, (3, 5)),
)


def planes():
    """Every layout: torch's passes but for ties, and within half a code value of float64."""
    apart, samples = 0, 0
    for name, site, matrix, full, is_gray, size in _CASES:
        fmt, spec = pixel_format(name), color_of(matrix, full, site)
        frame = frame_of(size, spec, is_gray=is_gray)
        packed = planes_by_kernel(frame, fmt, spec)
        assert packed is not None, name
        found = packed.fetched()
        twins = planes_by_torch(frame, fmt, spec)
        exact = exact_codes(frame, fmt, spec)
        for ours, twin, truth in zip(found, twins, exact, strict=True):
            assert ours.dtype == twin.numpy().dtype
            off = np.abs(ours.astype(np.int64) - twin.numpy().astype(np.int64))
            assert off.max() <= 1, (name, int(off.max()))
            apart, samples = apart + int((off > 0).sum()), samples + off.size
            # float32 keeps 24 bits: of 65535 that is a hundredth, over all sums.
            error = np.abs(ours - truth).max()
            assert error <= 0.5 + (0.02 if fmt.depth_bits == 16 else 0.002), (name, float(error))
        for sent, plane in zip(from_frame(frame, fmt, spec).planes, found, strict=True):
            assert np.array_equal(sent, plane)
    assert apart <= samples / 1000, (apart, samples)


def what_they_do_not_cover_goes_the_old_way():
    """Fields, alpha, RGB, odd sides, float samples, bottom sites, quarters."""
    spec = color_of(Matrix.BT709, Range.LIMITED, ChromaSite.LEFT)
    frame = frame_of((32, 32), spec)
    for name in ("yuva420p", "gbrp", "gbrpf32le", "gray", "yuv411p", "yuv410p"):
        assert planes_by_kernel(frame, pixel_format(name), spec) is None, name
    fmt = pixel_format("yuv420p")
    assert planes_by_kernel(frame, fmt, spec) is not None
    assert planes_by_kernel(frame_of((32, 32), spec, woven=True), fmt, spec) is None
    for size in ((33, 32), (32, 33), (14, 32), (32, 14)):
        assert planes_by_kernel(frame_of(size, spec), fmt, spec) is None
    low = color_of(Matrix.BT709, Range.LIMITED, ChromaSite.BOTTOM)
    assert planes_by_kernel(frame, fmt, low) is None


def a_wrong_one_is_noticed():
    """The proof passes what is right and names what is wrong."""
    here = torch.device("cpu")
    assert not planes_trouble(here, torch.float32)
    import restore.kernels.planes_triton as kernel

    planes_proof._CASES = planes_proof._CASES[:1]
    right = kernel.run

    def shifted(data, plan, noise, out):
        right(data.roll(1, -1), plan, noise, out)

    kernel.run = shifted
    assert "yuv420p differs from its twin" in planes_trouble(here, torch.float32)
    kernel.run = None
    assert "yuv420p does not run here" in planes_trouble(here, torch.float32)
    kernel.run = right


def main() -> int:
    """All of them."""
    torch.set_num_threads(1)
    for check in (planes, what_they_do_not_cover_goes_the_old_way, a_wrong_one_is_noticed):
        with held() as ground:
            check()
        assert ground.launches
        assert ground.addresses
        sys.stdout.write(check.__name__ + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
