"""Each of our kernels beside its twin in plain torch, in turns, and beside what memory allows.

    python -m benchmarks.kernels [--device cpu|cuda] [--turns 20] [--dry-run] [--out FILE.json]

Shapes are those of a picture of 720x576 px: general-x4v3's features and end, the windows of HAT-L
(plain, shifted, overlapping) and of OmniSR, and in half precision the whole passes of
:mod:`benchmarks.kernels_fused`, beside what torch does (OmniSR's where they prove right). The
limit is a copy of a large tensor, measured in the same run. On a CPU the twin alone runs: its time
is given and the kernel's left out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.kernels_fused import fused_pairs
from benchmarks.machine import machine, median_s
from restore.engine.device import choose_device
from restore.hostenv import tune_host
from restore.kernels.activation import bias_prelu, bias_prelu_plain
from restore.kernels.choose import can_run
from restore.kernels.enlarge import enlarge, enlarge_plain
from restore.kernels.omni import omni_trouble
from restore.kernels.windows import Borders, attend, attend_plain


@dataclass(frozen=True)
class Row:
    """One kernel on one shape in one number format.

    Attributes:
        kernel: which.
        shape: of what it works on.
        number_format: of what goes in.
        twin_ms: median of the twin.
        kernel_ms: median of the kernel; None where it cannot run.
        bytes: that the kernel has to read and write once.
        share: of the bandwidth that a copy reaches, by the kernel; None where it cannot run.
        difference: largest difference from the twin; None where it cannot run, or where what stands
            beside it is no twin.
    """

    kernel: str
    shape: str
    number_format: str
    twin_ms: float
    kernel_ms: float | None
    bytes: int
    share: float | None
    difference: float | None


@dataclass(frozen=True)
class Case:
    """What is timed: two calls of the same meaning, and the bytes that they cannot avoid."""

    kernel: str
    shape: str
    ours: Callable[[], Tensor]
    twin: Callable[[], Tensor]
    bytes: int
    same: bool = True


def _drawn(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    draw = torch.Generator().manual_seed(len(shape))
    return (torch.rand(shape, generator=draw) - 0.5).to(device, dtype)


def _bytes(*tensors: Tensor) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _convolution_cases(
    size: tuple[int, int], device: torch.device, dtype: torch.dtype
) -> list[Case]:
    height, width = size
    x = _drawn((1, 64, height, width), device, dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    bias, slope = _drawn((64,), device, dtype), _drawn((64,), device, dtype)
    last = _drawn((1, 48, height, width), device, dtype)
    last = last.contiguous(memory_format=torch.channels_last)
    base = _drawn((1, 3, height, width), device, dtype).abs()
    cases = [
        Case(
            "activation",
            f"1x64x{height}x{width}",
            # Written over its input, so with slopes below 1 the values only shrink.
            lambda: bias_prelu(x, bias, slope),
            lambda: bias_prelu_plain(x, bias, slope),
            2 * _bytes(x),
        )
    ]
    for name, levels in (("enlargement", 0), ("enlargement, 10 bit", 1023)):
        out = 4 * 48 * height * width  # float32 or int32
        cases.append(
            Case(
                name,
                f"1x48x{height}x{width}",
                lambda levels=levels: enlarge(last, base, 4, levels),
                lambda levels=levels: enlarge_plain(last, base, 4, levels),
                _bytes(last, base) + out,
            )
        )
    return cases


def _window_cases(size: tuple[int, int], device: torch.device, dtype: torch.dtype) -> list[Case]:
    cases = []
    for name, side, around, heads, channels, shifted in (
        ("windows, HAT-L", 16, 16, 6, 30, False),
        ("windows, HAT-L shifted", 16, 16, 6, 30, True),
        ("windows, HAT-L overlapping", 16, 24, 6, 30, False),
        ("windows, OmniSR", 8, 8, 4, 16, False),
    ):
        count = -(-size[0] // side) * -(-size[1] // side)
        q = _drawn((count, side**2, heads, channels), device, dtype)
        k = _drawn((count, around**2, heads, channels), device, dtype)
        bias = _drawn((heads, side**2, around**2), device, dtype)
        borders = None
        if shifted:
            late = torch.arange(side, device=device) >= side // 2
            quarters = (2 * late[:, None] + late.to(torch.int64)).flatten()
            parts = torch.stack([torch.zeros_like(quarters), quarters]).to(torch.int32)
            kinds = (torch.arange(count, device=device) % 10 == 0).to(torch.int32)
            borders = Borders(parts, kinds)
        given = (q, k, k, bias, channels**-0.5, borders)
        cases.append(
            Case(
                name,
                f"{count}x{side**2}x{around**2}x{heads}x{channels}",
                lambda given=given: attend(*given),
                lambda given=given: attend_plain(*given),
                2 * _bytes(q, k) + _bytes(bias),
            )
        )
    return cases


def _copy(device: torch.device, many: int) -> tuple[Callable[[], Tensor], int]:
    """A copy of a tensor of so many bytes, and what it moves."""
    source = torch.zeros(many, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source), 2 * many


def measure(
    size: tuple[int, int], device: torch.device, dtype: torch.dtype, turns: int, copied_bytes: int
) -> list[Row]:
    """All kernels in one number format; kernel, twin and copy take turns."""
    rows = []
    copy, moved = _copy(device, copied_bytes)
    cases = _convolution_cases(size, device, dtype) + _window_cases(size, device, dtype)
    if dtype != torch.float32:
        untried = not omni_trouble(device, dtype) or device.type == "cpu"
        cases += [Case(*pair) for pair in fused_pairs(size, device, dtype, untried=untried)]
    for case in cases:
        calls: dict[str, Callable[[], object]] = {"copy": copy, "twin": case.twin}
        difference = None
        if can_run(device):
            if case.same and case.kernel != "activation":  # which works over its input
                apart = case.ours().double() - case.twin().double()
                difference = float(apart.abs().max())
            calls["ours"] = case.ours
        with torch.inference_mode():
            spent = median_s(calls, device, 10.0, most=turns)
        ours_s = spent.get("ours")
        limit_s = case.bytes / (moved / spent["copy"])
        rows.append(
            Row(
                case.kernel,
                case.shape,
                str(dtype).removeprefix("torch."),
                round(spent["twin"] * 1e3, 4),
                None if ours_s is None else round(ours_s * 1e3, 4),
                case.bytes,
                None if ours_s is None else round(limit_s / ours_s, 3),
                difference,
            )
        )
    return rows


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--formats", default="float32,bfloat16")
    parser.add_argument("--dry-run", action="store_true", help="tiny, one turn")
    parser.add_argument("--out", type=Path, help="write the figures here too")
    asked = parser.parse_args()
    tune_host()
    device = choose_device(asked.device)
    size = (32, 48) if asked.dry_run else (576, 720)
    rows: list[Row] = []
    for form in asked.formats.split(","):
        turns = 1 if asked.dry_run else asked.turns
        copied_bytes = 1 << (20 if asked.dry_run or device.type == "cpu" else 30)
        rows += measure(size, device, getattr(torch, form), turns, copied_bytes)
    for row in rows:
        ours = "      -" if row.kernel_ms is None else f"{row.kernel_ms:7.3f}"
        share = "  -" if row.share is None else f"{row.share:.0%}"
        print(
            f"{row.kernel:27} {row.shape:22} {row.number_format:9} twin {row.twin_ms:9.3f} ms  "
            f"kernel {ours} ms  {row.bytes >> 20:5d} MiB  {share} of a copy"
        )
    table = {"machine": machine(device), "rows": [asdict(row) for row in rows]}
    if asked.out:
        asked.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
