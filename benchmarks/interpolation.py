"""Frames between frames: ``python -m benchmarks.interpolation [--assets DIR] [--out DIR]``.

Prints tables, writes ``interpolation.json`` and a picture of scenes that are hard. Needs the test
assets (RESTORE_TEST_ASSETS).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.interpolation_methods import Method, Picture, methods
from benchmarks.interpolation_scenes import SCENES, Triplet, clip_triplets, drawn, middlebury
from benchmarks.quality_metrics import ssim_y

SIZES_PX = ((480, 640), (1080, 1440))


def psnr(result: Picture, truth: Picture) -> float:
    """On R'G'B' over the whole frame, dB."""
    gap = np.mean(np.square(result.astype(np.float64) - truth))
    return float(10 * np.log10(255.0**2 / max(gap, 1e-12)))


def scored(method: Method, sets: dict[str, list[Triplet]]) -> dict[str, dict[str, float]]:
    """PSNR and SSIM of every set, and of every Middlebury triplet by itself."""
    found: dict[str, dict[str, float]] = {}
    for name, triplets in sets.items():
        made = [method(t.first, t.second) for t in triplets]
        pairs = list(zip(made, triplets, strict=True))
        each = {t.name: psnr(m, t.truth) for m, t in pairs}
        found[name] = {
            "psnr_db": float(np.mean(list(each.values()))),
            "ssim_y": float(np.mean([ssim_y(m, t.truth, 0) for m, t in pairs])),
        }
        if name in ("Middlebury", "drawn"):
            found[name] |= each
    return found


def timed(method: Method, triplet: Triplet, runs: int) -> dict[str, dict[str, float]]:
    """Median wall and CPU milliseconds of one new frame."""
    found = {}
    for height, width in SIZES_PX:
        pair = [
            np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))
            for picture in (triplet.first, triplet.second)
        ]
        wall, cpu = [], []
        for _ in range(runs + 1):
            began, used = time.perf_counter(), time.process_time()
            method(*pair)
            wall.append(time.perf_counter() - began)
            cpu.append(time.process_time() - used)
        found[f"{width}x{height}"] = {
            "ms": 1000 * median(wall[1:]),
            "cpu_ms": 1000 * median(cpu[1:]),
        }
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.interpolation", description=__doc__)
    parser.add_argument("--assets", type=Path, default=os.environ.get("RESTORE_TEST_ASSETS"))
    parser.add_argument("--out", type=Path, default=Path("out/interpolation"))
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves it to torch")
    parser.add_argument("--model", action="append", default=[], help="a network of the store")
    parser.add_argument("--runs", type=int, default=3, help="that times are the median of")
    arguments = parser.parse_args()
    if arguments.assets is None:
        parser.error("RESTORE_TEST_ASSETS is not set and --assets not given")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    assets = Path(arguments.assets)
    arguments.out.mkdir(parents=True, exist_ok=True)
    sets = {"Middlebury": middlebury(assets), **clip_triplets(assets)}
    sets["drawn"] = [drawn(assets, scene) for scene in SCENES]
    ways = methods(assets, arguments.model)
    say = Console(width=140)
    facts = {"threads": torch.get_num_threads(), "cores": os.cpu_count(), "runs": arguments.runs}
    results: dict[str, object] = {}
    table = Table("method", *sets, *(f"ms {w}x{h}" for h, w in SIZES_PX))
    for name, method in ways.items():
        found = scored(method, sets)
        times = timed(method, sets["Middlebury"][2], arguments.runs)
        results[name] = {"sets": found, "times": times}
        table.add_row(
            name,
            *(f"{found[s]['psnr_db']:.2f} / {found[s]['ssim_y']:.3f}" for s in sets),
            *(f"{t['ms']:.0f} ({t['cpu_ms']:.0f} CPU)" for t in times.values()),
        )
        # After each: the last ones take long on a CPU.
        (arguments.out / "interpolation.json").write_text(
            json.dumps({"facts": facts, "methods": results}, indent=1) + "\n"
        )
        say.print(f"… {name}", style="dim")
    say.print(table)
    rows = [
        np.hstack([t.first, *(way(t.first, t.second) for way in ways.values()), t.truth])
        for t in sets["drawn"]
    ]
    Image.fromarray(np.vstack(rows)).save(arguments.out / "interpolation.png")


if __name__ == "__main__":
    main()
