"""Time and memory of window attention in spandrel's form and in the fused one, side by side.

    python -m benchmarks.attention [--device cpu|cuda] [--size 192x128] [--turns 5]
                                   [--formats float32,bfloat16] [--dry-run] [--out FILE.json]

HAT-L and OmniSR 1x in the published shapes with seeded weights; both forms take turns on the same
picture and medians are printed. Memory is what tensors held at most: on a GPU by the allocator, on
the CPU by torch's profiler.
"""

from __future__ import annotations

import argparse
import copy
import json
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from torch import Tensor, nn

from benchmarks.anchors import ANCHORS
from benchmarks.machine import machine, settle
from restore.engine.device import choose_device
from restore.hostenv import tune_host
from restore.models.fused_attention import fuse_attention

_NETWORKS = ("omnisr-1x", "hat-l")


@dataclass(frozen=True)
class Row:
    """One network in one number format.

    Attributes:
        network: an anchor's name.
        number_format: of weights and picture.
        size: input, width x height px.
        plain_s: median of a picture in spandrel's form.
        fused_s: median in the fused form.
        ratio: median of plain over fused, turn by turn.
        plain_bytes: most memory that a pass of spandrel's form added.
        fused_bytes: the same of the fused form.
        difference: largest difference of the two pictures.
    """

    network: str
    number_format: str
    size: str
    plain_s: float
    fused_s: float
    ratio: float
    plain_bytes: int
    fused_bytes: int
    difference: float


def _peak_bytes(call: Callable[[], Tensor], device: torch.device) -> int:
    """Most bytes of tensors alive at once, above what was alive before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        settle(device)
        return torch.cuda.max_memory_allocated(device) - before
    with torch.profiler.profile(profile_memory=True) as profile:
        call()
    held = most = 0
    for event in profile.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def compare(
    name: str, dtype: torch.dtype, device: torch.device, size: tuple[int, int], turns: int
) -> Row:
    """Both forms of one network on a picture of ``size`` (height, width)."""
    torch.manual_seed(7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.meshgrid's note on its own future
        plain = ANCHORS[name].make().eval().requires_grad_(False)
    fused = copy.deepcopy(plain)
    fuse_attention(fused)
    picture = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))
    picture = picture.to(device, dtype, memory_format=torch.channels_last)

    def ready(network: nn.Module) -> Callable[[], Tensor]:
        network.to(device=device, dtype=dtype, memory_format=torch.channels_last)
        return lambda: network(picture)

    calls = [ready(plain), ready(fused)]
    spent: list[list[float]] = [[], []]
    with torch.inference_mode():
        difference = float((calls[0]() - calls[1]()).abs().max())
        for _ in range(turns):
            for call, times in zip(calls, spent, strict=True):
                settle(device)
                began = perf_counter()
                call()
                settle(device)
                times.append(perf_counter() - began)
        peaks = [_peak_bytes(call, device) for call in calls]
    ratio = median(a / b for a, b in zip(*spent, strict=True))
    text = f"{size[1]}x{size[0]}"
    form = str(dtype).removeprefix("torch.")
    plain_s, fused_s = (round(median(times), 4) for times in spent)
    return Row(name, form, text, plain_s, fused_s, round(ratio, 3), *peaks, difference)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--size", help="input, WIDTHxHEIGHT px")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--networks", default=",".join(_NETWORKS))
    parser.add_argument("--formats", default="float32,bfloat16")
    parser.add_argument("--dry-run", action="store_true", help="tiny, one turn")
    parser.add_argument("--out", type=Path, help="write the figures here too")
    asked = parser.parse_args()
    tune_host()
    device = choose_device(asked.device)
    on_gpu = device.type == "cuda"
    text = asked.size or ("32x32" if asked.dry_run else "720x576" if on_gpu else "192x128")
    width, height = map(int, text.split("x"))
    rows = []
    for name in asked.networks.split(","):
        for form in asked.formats.split(","):
            turns = 1 if asked.dry_run else asked.turns
            row = compare(name, getattr(torch, form), device, (height, width), turns)
            rows.append(row)
            print(
                f"{row.network:10} {row.number_format:9} {row.size:9} {row.plain_s:8.3f} s "
                f"{row.fused_s:8.3f} s  x{row.ratio:.2f}  {row.plain_bytes >> 20:6d} MiB "
                f"{row.fused_bytes >> 20:6d} MiB  {row.difference:.1e}",
                flush=True,
            )
    table = {"machine": machine(device), "rows": [asdict(row) for row in rows]}
    if asked.out:
        asked.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
