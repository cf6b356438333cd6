"""Time and memory of RIFE 4.25 as published and in this project's arrangement, side by side.

    python -m benchmarks.flow_speed [--device cpu|cuda] [--size 2880x2304] [--turns 9]
                                    [--formats float32,float16] [--dry-run] [--out FILE.json]

One frame in the middle of a pair, seeded weights in the published shapes. ``eager`` is the
published form in a plain loop, with warps in float32 whatever the convolutions run in. All ways
take turns on the same pair, with a copy of a large tensor for the bandwidth; medians are printed.
Bytes are counted (:mod:`benchmarks.counting`): of the published form operation by operation, of
ours what its passes have to read and write. On a GPU our form is also played back as a CUDA graph.
Whole jobs come last (:mod:`benchmarks.flow_job`).
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.counting import Traffic
from benchmarks.machine import machine, median_s, peak_memory_bytes, reset_peak_memory, settle
from restore.engine.device import choose_device
from restore.hostenv import tune_host
from restore.kernels.brought import Found
from restore.models.nets.ifnet import IFNet
from restore.models.nets.ifnet_quick import Passes, QuickFlow
from restore.models.nets.ifnet_variants import VARIANTS

_VARIANT = next(each for each in VARIANTS if each.name == "4.25-4.26")


@dataclass(frozen=True)
class Row:
    """One way to make a frame.

    Attributes:
        way: ``eager`` or ``ours``, with what is special.
        number_format: of the convolutions.
        size: of the frames, width x height px.
        frame_ms: median.
        fps: frames a second.
        bytes: that this way moves, counted.
        bandwidth: of a copy in the same run, bytes a second.
        share: of that bandwidth, by ``bytes``.
        published_share: fps over what that bandwidth allows the published form in this format.
        times_eager: fps over those of the published form in the same format; 1 for itself.
        peak_bytes: most device memory that a frame added; of the program on a CPU.
        difference: largest difference from the published form in float32; and its mean.
        mean_difference: of all pixels.
        kernels: which kernels of our own ran.
    """

    way: str
    number_format: str
    size: str
    frame_ms: float
    fps: float
    bytes: int
    bandwidth: float
    share: float
    published_share: float
    times_eager: float
    peak_bytes: int
    difference: float
    mean_difference: float
    kernels: str


def seeded(seed: int = 7) -> IFNet:
    """The network with weights that move things by some pixels, float32 on the CPU."""
    draw = torch.Generator().manual_seed(seed)
    net = IFNet(_VARIANT).eval().requires_grad_(False)
    for name, weight in net.named_parameters():
        fan_in = max(1, weight[0].numel())
        drawn = torch.randn(weight.shape, generator=draw) * (2.0 / fan_in) ** 0.5
        if name.endswith("beta"):
            drawn = 0.3 * drawn + 0.5
        elif weight.ndim == 1:
            drawn = 0.05 * drawn
        weight.copy_(drawn * (0.2 if "lastconv" in name else 1.0))
    return net


def our_bytes(form: torch.dtype, sides: tuple[int, int]) -> int:
    """What our arrangement has to move for one frame of a pair, heads included."""
    with torch.device("meta"):
        net = IFNet(_VARIANT).eval().requires_grad_(False)
    moved = [0]

    def size_of(x: Tensor, share: float = 1.0) -> int:
        return int(share * x.numel() * x.element_size())

    def steps(found: Sequence[Found], last: float) -> int:
        # Of earlier blocks only flows are read: four channels.
        return sum(size_of(one.raw, 16 / one.raw.shape[1]) for one in found[:-1]) + size_of(
            found[-1].raw, last
        )

    def bring(ends: tuple[Tensor, Tensor], found: Sequence[Found], _: float, scale: int) -> Tensor:
        n, packed, height, width = ends[0].shape
        rest = 1 << (found[0].raw.shape[1] // 4).bit_length()
        out = ends[0].new_empty(n, 2 * packed + rest, height // scale, width // scale)
        moved[0] += sum(size_of(end, min(1.0, 4 / scale**2)) for end in ends)
        moved[0] += steps(found, 1.0) + size_of(out)
        return out

    def blend(first: Tensor, second: Tensor, found: Sequence[Found]) -> Tensor:
        moved[0] += 3 * size_of(first) + steps(found, 1.0)
        return torch.empty_like(first)

    quick = QuickFlow(net, form, Passes(bring=bring, blend=blend))
    frame = torch.empty(1, 3, *sides, device="meta")
    with torch.no_grad(), Traffic() as traffic:
        quick.begin(frame, frame)(0.5)
    return moved[0] + sum(traffic.moved.values())


def published_bytes(form: torch.dtype, sides: tuple[int, int]) -> int:
    """What the published form moves for one frame of a pair, operation by operation."""
    with torch.device("meta"):
        net = IFNet(_VARIANT).eval().requires_grad_(False).to(form)
    frame = torch.empty(1, 3, *sides, device="meta")
    with torch.no_grad(), Traffic() as traffic:
        net.begin(frame, frame)(0.5)
    return sum(traffic.moved.values())


def _pair(size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Film-like: soft shapes, moved by 9 px, padded as a job pads them."""
    draw = torch.Generator().manual_seed(1)
    small = torch.rand(1, 3, size[0] // 16 + 2, size[1] // 16 + 2, generator=draw).to(device)
    wide = F.interpolate(small, (size[0], size[1] + 9), mode="bicubic").clamp(0, 1)
    multiple = _VARIANT.multiple_of()
    below, right = (-n % multiple for n in size)
    first, second = (
        F.pad(part, (0, right, 0, below), mode="replicate")
        for part in (wide[..., 9:], wide[..., :-9])
    )
    return first.contiguous(), second.contiguous()


def _graph(call: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """The call recorded once and played back."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        made = call()

    def play() -> Tensor:
        graph.replay()
        return made

    return play


def _peak_bytes(call: Callable[[], Tensor], device: torch.device) -> int:
    reset_peak_memory(device)
    before = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
    call()
    settle(device)
    return peak_memory_bytes(device) - before


def compare(
    form: torch.dtype, device: torch.device, size: tuple[int, int], turns: int, copied_bytes: int
) -> list[Row]:
    """All ways in one number format, in turns."""
    first, second = _pair(size, device)
    sides = (first.shape[-2], first.shape[-1])
    exact = seeded().to(device)
    eager = exact if form == torch.float32 else copy.deepcopy(exact).to(form)
    ours = QuickFlow(exact, form)
    source = torch.zeros(copied_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    calls: dict[str, Callable[[], Tensor]] = {
        "copy": lambda: target.copy_(source),
        "eager": lambda: eager.begin(first, second)(0.5),
        "ours": lambda: ours.begin(first, second)(0.5),
    }
    rows = []
    with torch.inference_mode():
        # What is not a kernel sends its constants over in each call, which no graph may hold.
        if device.type == "cuda" and ours.passes.said == "activation, warping":
            calls["ours, CUDA graph"] = _graph(calls["ours"])
        truth = exact.begin(first, second)(0.5)
        off = {way: (call() - truth).abs() for way, call in calls.items() if way != "copy"}
        differences = {way: (float(d.max()), float(d.mean())) for way, d in off.items()}
        del truth, off
        spent_s = median_s({**calls}, device, 60.0, most=turns)
        peaks = {way: _peak_bytes(call, device) for way, call in calls.items()}
    bandwidth = 2 * copied_bytes / spent_s["copy"]
    published = published_bytes(form, sides)
    for way in differences:
        moved = published if way == "eager" else our_bytes(form, sides)
        taken_s = spent_s[way]
        rows.append(
            Row(
                way,
                str(form).removeprefix("torch."),
                f"{size[1]}x{size[0]}",
                round(taken_s * 1e3, 3),
                round(1 / taken_s, 2),
                moved,
                bandwidth,
                round(moved / bandwidth / taken_s, 3),
                round(published / bandwidth / taken_s, 3),
                round(spent_s["eager"] / taken_s, 3),
                peaks[way],
                *differences[way],
                "" if way == "eager" else ours.passes.said,
            )
        )
    return rows


def _jobs(device: torch.device, size: tuple[int, int], frames: int, turns: int) -> list[object]:
    """Whole jobs, where the packages for them are there."""
    try:
        from benchmarks.flow_job import job_rows
    except ImportError as missing:
        print(f"jobs are not measured: {missing}")
        return []
    rows = job_rows(seeded(), device, size, frames, turns)
    for row in rows:
        print(f"job, {row.way:30} {row.size:10} {row.fps:7.2f} fps  x{row.times_loop:.2f}")
    return [asdict(row) for row in rows]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--size", help="of the frames, WIDTHxHEIGHT px")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--formats", help="number formats with commas")
    parser.add_argument("--frames", type=int, help="of the film that the jobs double")
    parser.add_argument("--no-jobs", action="store_true", help="the network alone")
    parser.add_argument("--dry-run", action="store_true", help="tiny, one turn")
    parser.add_argument("--out", type=Path, help="write the figures here too")
    asked = parser.parse_args()
    tune_host()
    device = choose_device(asked.device)
    on_gpu = device.type == "cuda"
    text = asked.size or ("64x64" if asked.dry_run else "2880x2304" if on_gpu else "512x384")
    width, height = map(int, text.split("x"))
    formats = asked.formats or ("float32,float16" if on_gpu else "float32,bfloat16")
    rows: list[Row] = []
    for form in formats.split(","):
        turns = 1 if asked.dry_run else asked.turns
        copied_bytes = 1 << (20 if asked.dry_run else 30 if on_gpu else 27)
        rows += compare(getattr(torch, form), device, (height, width), turns, copied_bytes)
    for row in rows:
        print(
            f"{row.way:17} {row.number_format:9} {row.size:10} {row.frame_ms:9.2f} ms "
            f"{row.fps:7.2f} fps  x{row.times_eager:.2f}  {row.bytes / 1e9:6.2f} GB  "
            f"{row.share:4.0%} of {row.bandwidth / 1e9:.0f} GB/s, {row.published_share:.0%} of the "
            f"published form's limit  {row.peak_bytes >> 20:6d} MiB  off {row.difference:.1e} "
            f"(mean {row.mean_difference:.1e})  {row.kernels}",
            flush=True,
        )
    table = {"machine": machine(device), "rows": [asdict(row) for row in rows], "jobs": []}
    if asked.out:  # before the jobs, which need more of the machine
        asked.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    if not asked.no_jobs:
        frames = asked.frames or (3 if asked.dry_run else 24 if on_gpu else 6)
        table["jobs"] = _jobs(device, (height, width), frames, 1 if asked.dry_run else 3)
    if asked.out:
        asked.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
