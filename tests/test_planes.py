"""The way back by kernels gives what it gives by torch's passes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from restore.color import ChromaSite, Matrix, Range
from restore.engine.pixels import from_frame, planes_by_kernel, planes_by_torch
from restore.engine.planes_proof import planes_trouble
from restore.engine.transfer import Packed
from restore.frames import pixel_format
from restore.kernels import proving
from tests.planes_samples import color_of, exact_codes, frame_of

LEFT = color_of(Matrix.BT709, Range.LIMITED, ChromaSite.LEFT)


@pytest.mark.timeout(400)  # the interpreter takes minutes where others share the cores
def test_the_kernels_against_torch_and_float64_interpreted():
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, "-m", "tests.planes_interpreted"],
        capture_output=True,
        text=True,
        timeout=360,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    checks = ["planes", "what_they_do_not_cover_goes_the_old_way", "a_wrong_one_is_noticed"]
    assert done.stdout.split() == checks


def test_the_cpu_takes_torch_and_starts_nothing(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(proving, "tried", lambda *_: pytest.fail("a child for a CPU"))
    frame = frame_of((18, 22), LEFT)
    assert planes_trouble(torch.device("cpu"), torch.float32) == ""
    assert planes_by_kernel(frame, pixel_format("yuv420p"), LEFT) is None


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le", "yuv444p12le"])
def test_torch_is_within_half_a_code_value_of_float64(name):
    fmt = pixel_format(name)
    frame = frame_of((50, 70), LEFT)
    planes = planes_by_torch(frame, fmt, LEFT)
    for plane, truth in zip(planes, exact_codes(frame, fmt, LEFT), strict=True):
        assert np.abs(plane.numpy() - truth).max() <= 0.502


def test_planes_are_sent_in_the_block_they_were_written_to():
    like = [torch.empty(shape, dtype=torch.uint16, device="meta") for shape in ((4, 6), (3, 5))]
    packed = Packed.of(like, torch.device("cpu"))
    for number, plane in enumerate(packed.planes):
        plane.copy_(torch.arange(plane.numel()).view(plane.shape) + 1000 * number)
    assert packed.block.numel() == 512
    for number, (sent, plane) in enumerate(zip(packed.fetched(), like, strict=True)):
        assert sent.shape == plane.shape
        assert np.array_equal(sent.ravel(), np.arange(sent.size) + 1000 * number)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["yuv420p", "yuv420p10le", "yuv422p", "yuv444p16le"])
@pytest.mark.parametrize("site", [ChromaSite.LEFT, ChromaSite.CENTER, ChromaSite.TOPLEFT])
@pytest.mark.parametrize("is_gray", [False, True])
def test_on_a_gpu(name, site, is_gray):
    cuda = torch.device("cuda", 0)
    assert not planes_trouble(cuda, torch.float32)
    spec, fmt = color_of(Matrix.BT709, Range.LIMITED, site), pixel_format(name)
    frame = frame_of((578, 1042), spec, is_gray=is_gray, device=cuda)
    assert planes_by_kernel(frame, fmt, spec) is not None
    twins = planes_by_torch(frame, fmt, spec)
    for ours, twin in zip(from_frame(frame, fmt, spec).planes, twins, strict=True):
        off = np.abs(ours.astype(np.int64) - twin.cpu().numpy().astype(np.int64))
        assert off.max() <= 1
        assert (off > 0).mean() <= 1e-3
