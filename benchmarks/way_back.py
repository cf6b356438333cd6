"""The way back of a frame, R'G'B' to planes on the host: kernels beside torch's passes, in turns.

    python -m benchmarks.way_back [--device cpu|cuda] [--turns 20] [--dry-run] [--out FILE.json]

2880x2304 px. Planes alone, and with the copy to the host; on a CPU, where kernels do not run,
torch's passes alone. Bytes are counted: of torch's passes as :mod:`benchmarks.counting` does,
of the kernels what they read and write once, noise and half-made chroma with it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import torch

from benchmarks.counting import Traffic
from benchmarks.machine import machine, median_s
from restore.color import ChromaSite, ColorSpec, Matrix, Primaries, Range, Transfer
from restore.engine.device import choose_device
from restore.engine.pixels import planes_by_kernel, planes_by_torch
from restore.engine.planes_proof import planes_trouble
from restore.engine.transfer import fetched
from restore.frames import Frame, PixelFormat, pixel_format
from restore.hostenv import tune_host

_LAYOUTS = (
    ("yuv420p", ChromaSite.LEFT),
    ("yuv420p10le", ChromaSite.LEFT),
    ("yuv420p10le", ChromaSite.CENTER),
    ("yuv444p10le", ChromaSite.LEFT),
)


@dataclass(frozen=True)
class Row:
    """One layout.

    Attributes:
        layout: name and siting.
        torch_ms: median of torch's passes.
        kernel_ms: of the kernels; None where they do not run.
        torch_sent_ms: of torch's passes with the copy to the host.
        kernel_sent_ms: of the kernels with it.
        torch_bytes: that torch's passes move.
        kernel_bytes: that the kernels move.
    """

    layout: str
    torch_ms: float
    kernel_ms: float | None
    torch_sent_ms: float
    kernel_sent_ms: float | None
    torch_bytes: int
    kernel_bytes: int


def _kernel_bytes(size: tuple[int, int], fmt: PixelFormat, site: ChromaSite) -> int:
    pixels = size[0] * size[1]
    chroma = 2 * (pixels >> (fmt.log2_h + fmt.log2_w))
    moved = 12 * pixels + fmt.sample_bytes * (pixels + chroma)
    if fmt.depth_bits <= 8:
        moved += 4 * (pixels + chroma)
    if fmt.log2_h or fmt.log2_w:
        moved += 2 * 4 * 2 * (pixels >> fmt.log2_h)
    if fmt.log2_w and not site.is_left:
        moved += 2 * 4 * chroma
    return moved


def measure(
    size: tuple[int, int], layout: tuple[str, ChromaSite], device: torch.device, turns: int
) -> Row:
    """One layout; kernels where they proved themselves."""
    fmt, site = pixel_format(layout[0]), layout[1]
    spec = ColorSpec(Matrix.BT709, Primaries.BT709, Transfer.BT709, Range.LIMITED, site)
    data = torch.rand(3, *size, generator=torch.Generator().manual_seed(0)).to(device)
    frame = Frame(data, 0, Fraction(1, 25), spec, 0)
    calls: dict[str, Callable[[], object]] = {
        "torch": lambda: planes_by_torch(frame, fmt, spec),
        "torch sent": lambda: fetched(planes_by_torch(frame, fmt, spec)),
    }

    def sent() -> object:
        packed = planes_by_kernel(frame, fmt, spec)
        return packed and packed.fetched()

    with torch.inference_mode():
        if planes_by_kernel(frame, fmt, spec) is not None:
            calls |= {"kernel": lambda: planes_by_kernel(frame, fmt, spec), "kernel sent": sent}
        spent = median_s(calls, device, 8.0, most=turns)
        with Traffic() as traffic:
            planes_by_torch(frame, fmt, spec)
    ms = {name: round(seconds * 1e3, 3) for name, seconds in spent.items()}
    return Row(
        f"{fmt.name} {site.name.lower()}",
        ms["torch"],
        ms.get("kernel"),
        ms["torch sent"],
        ms.get("kernel sent"),
        sum(traffic.moved.values()),
        _kernel_bytes(size, fmt, site),
    )


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--dry-run", action="store_true", help="tiny, one turn")
    parser.add_argument("--out", type=Path, help="write the figures here too")
    asked = parser.parse_args()
    tune_host()
    device = choose_device(asked.device)
    trouble = planes_trouble(device, torch.float32)
    size = (48, 64) if asked.dry_run else (2304, 2880)
    turns = 1 if asked.dry_run else asked.turns
    rows = [measure(size, layout, device, turns) for layout in _LAYOUTS]
    for row in rows:
        print(
            f"{row.layout:20} torch {row.torch_ms:8.3f} ms, sent {row.torch_sent_ms:8.3f}  "
            f"kernel {row.kernel_ms} ms, sent {row.kernel_sent_ms}  "
            f"{row.torch_bytes / 1e6:.0f} MB to {row.kernel_bytes / 1e6:.0f}"
        )
    if trouble:
        print(f"kernels: {trouble}")
    table = {"machine": machine(device), "trouble": trouble, "rows": [asdict(row) for row in rows]}
    if asked.out:
        asked.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
