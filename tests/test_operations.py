"""Operations are counted as torch counts them, and film jobs do not load its compiler."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.flop_counter import FlopCounterMode

from restore.operations import Flops, Watch
from tests.cli_material import program, write_clip


def convolved() -> None:
    torch.nn.Conv2d(3, 8, 3, padding=1)(torch.rand(2, 3, 20, 24))


def attended() -> None:
    query = torch.rand(1, 2, 16, 8)
    scaled_dot_product_attention(query, query, query)


def multiplied() -> None:
    torch.nn.Linear(16, 32)(torch.rand(4, 5, 16)) @ torch.rand(32, 3)


def added() -> None:
    torch.rand(8).add(1).softmax(0)


@pytest.mark.parametrize("form", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("work", [convolved, attended, multiplied, added])
def test_counts_what_torch_counts(work, form):
    with form(), FlopCounterMode(display=False) as torchs:
        work()
    with form(), Flops() as ours:
        work()
    assert ours.total == torchs.get_total_flops()
    assert ours.total > 0 or work not in (convolved, multiplied)


def test_sees_every_operation_within_another_count():
    seen = []

    class Names(Watch):
        def seen(self, func, args, kwargs, result):
            seen.append(str(func))

    with torch.inference_mode(), Flops() as flops, Names():
        torch.rand(4, 3) @ torch.rand(3, 5)
    assert {"aten.rand.default", "aten.matmul.default"} <= set(seen)
    assert flops.total == 2 * 4 * 3 * 5


def test_a_film_job_does_without_the_compiler(tmp_path):
    source = str(write_clip(tmp_path / "clip.mp4", 3))
    code = (
        "import sys\nimport restore\n"
        f"out = {str(tmp_path / 'out.mkv')!r}\n"
        f"report = restore.run({source!r}, out, '8mm', no_networks=True)\n"
        "assert report.run.frames_out\n"
        "print([name for name in ('torch._dynamo', 'sympy') if name in sys.modules])\n"
    )
    assert program(code).stdout.strip() == "[]"
