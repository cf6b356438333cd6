"""The kernels compute what their twins do: interpreted here, compiled on a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from restore.kernels.activation import bias_prelu, bias_prelu_plain, bias_prelu_trouble
from restore.kernels.choose import can_run
from restore.kernels.enlarge import enlarge, enlarge_plain, enlarge_trouble
from restore.kernels.windows import OUTSIDE, attend, attend_plain, attend_trouble
from tests.kernels_samples import epilogue_sample, tail_sample, window_sample

_FORMS = {"float32": 2e-6, "float16": 1e-3, "bfloat16": 8e-3}


@pytest.mark.timeout(700)  # the interpreter takes minutes where others share the cores
def test_the_kernels_against_float64_interpreted() -> None:
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, "-m", "tests.kernels_interpreted"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    checks = ["activation", "tail", "windows", "a_wrong_one_is_noticed", "rooms_of_their_own"]
    checks += ["odd_sizes", "an_address_outside_is_noticed", "networks"]
    assert done.stdout.split() == checks


def test_the_cpu_takes_the_twins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert not can_run(torch.device("cpu"))
    x, bias, slope = epilogue_sample(1, 5, 3, 4, "float32")
    before = x.clone()
    assert torch.equal(bias_prelu(x, bias, slope), bias_prelu_plain(before, bias, slope))
    assert torch.equal(x, before)
    x, base = tail_sample(1, 3, 4, 5, 2, "bfloat16")
    assert torch.equal(enlarge(x, base, 2, 255), enlarge_plain(x, base, 2, 255))


def test_the_twin_of_windows_is_attention_as_it_is_written_down() -> None:
    q, k, v, bias, borders = window_sample(3, 10, 10, 2, 8, "float32", shifted=True)
    assert borders is not None
    q, k, v, bias = (t.double() for t in (q, k, v, bias))
    scores = torch.einsum("wphc,wkhc->whpk", q, k) * 0.3 + bias
    parts = borders.parts[borders.kinds.long()]
    scores += ((parts[:, :, None] != parts[:, None, :]) * OUTSIDE)[:, None]
    truth = torch.einsum("whpk,wkhc->wphc", scores.softmax(-1), v)
    assert (attend_plain(q, k, v, bias, 0.3, borders) - truth).abs().max() <= 1e-12


@pytest.mark.gpu
@pytest.mark.parametrize("form", sorted(_FORMS))
def test_on_a_gpu(form: str) -> None:
    cuda = torch.device("cuda")
    dtype = getattr(torch, form)
    assert not bias_prelu_trouble(cuda, dtype)
    assert not enlarge_trouble(cuda, dtype)
    assert not attend_trouble(cuda, dtype)
    x, bias, slope = epilogue_sample(2, 64, 37, 53, form)
    truth = bias_prelu_plain(x.double(), bias.double(), slope.double())
    found = bias_prelu(x.to(cuda), bias.to(cuda), slope.to(cuda)).cpu().double()
    assert (found - truth).abs().max() <= 3 * _FORMS[form]
    x, base = tail_sample(2, 3, 37, 53, 4, form)
    truth = enlarge_plain(x.double(), base.double(), 4)
    assert (enlarge(x.to(cuda), base.to(cuda), 4).cpu() - truth).abs().max() <= 2e-6
    codes = enlarge(x.to(cuda), base.to(cuda), 4, 1023).cpu()
    assert torch.equal(codes, enlarge_plain(x, base, 4, 1023))
    for pixels, keys, channels in ((256, 256, 30), (256, 576, 30), (64, 64, 16)):
        shifted = pixels == keys
        q, k, v, bias, borders = window_sample(5, pixels, keys, 6, channels, form, shifted)
        truth = attend_plain(*(t.double() for t in (q, k, v, bias)), channels**-0.5, borders)
        there = None if borders is None else borders.to(cuda)
        q, k, v, bias = (t.to(cuda) for t in (q, k, v, bias))
        found = attend(q, k, v, bias, channels**-0.5, there).cpu().double()
        assert (found - truth).abs().max() <= 2 * _FORMS[form]


def test_the_benchmark_runs_dry(tmp_path: Path) -> None:
    out = tmp_path / "rows.json"
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    subprocess.run(
        [sys.executable, "-m", "benchmarks.kernels", "--device", "cpu", "--dry-run", "--out", out],
        check=True,
        capture_output=True,
        timeout=120,
        env=environment,
    )
    rows = json.loads(out.read_text(encoding="utf-8"))["rows"]
    assert {row["number_format"] for row in rows} == {"float32", "bfloat16"}
    assert len(rows) == 28
    assert all(row["twin_ms"] > 0 and row["bytes"] > 0 for row in rows)
    assert all(row["kernel_ms"] is None for row in rows)
