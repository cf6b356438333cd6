"""Frames between frames: ``python -m benchmarks.interpolation [--quick] [--out DIR]``.

Prints tables, writes ``interpolation.json`` and a picture of what is hard: titles, small fast
things, occlusions, thin structures, repeated texture and large motion. Needs the test assets
(RESTORE_TEST_ASSETS). Ways are timed in turns, so that a busy machine is busy for all of them;
what counts is their ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from statistics import median

import cv2
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


def timed(
    ways: dict[str, Method], triplet: Triplet, runs: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Median wall and CPU milliseconds of one new frame, by way and size."""
    found: dict[str, dict[str, dict[str, float]]] = {name: {} for name in ways}
    for height, width in SIZES_PX:
        pair = [
            np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))
            for picture in (triplet.first, triplet.second)
        ]
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(runs + 1):
            for name, way in ways.items():
                began, used = time.perf_counter(), time.process_time()
                way(*pair)
                taken[name].append((time.perf_counter() - began, time.process_time() - used))
        for name, rounds in taken.items():
            wall, cpu = zip(*rounds[1:], strict=True)
            found[name][f"{width}x{height}"] = {
                "ms": 1000 * median(wall),
                "ms_least": 1000 * min(wall),
                "cpu_ms": 1000 * median(cpu),
            }
    return found


def shown(ways: dict[str, Method], triplets: list[Triplet]) -> Picture:
    """What is hard of each drawn scene, twice as large: first frame, every way, truth."""
    rows = []
    for triplet in triplets:
        x, y = SCENES[triplet.name]
        row = {"first frame": triplet.first}
        row |= {name: way(triplet.first, triplet.second) for name, way in ways.items()}
        cells = []
        for name, picture in (row | {"truth": triplet.truth}).items():
            crop = picture[max(0, y - 45) :, max(0, x - 60) :][:90, :120]
            cell = cv2.resize(crop, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
            cell = np.pad(cell, ((18, 2), (0, 2), (0, 0)))
            place, face = (4, 13), cv2.FONT_HERSHEY_SIMPLEX
            label = f"{triplet.name}: {name}"
            cells.append(cv2.putText(cell, label, place, face, 0.42, (255, 255, 255), 1))
        rows.append(np.hstack(cells))
    return np.vstack(rows)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.interpolation", description=__doc__)
    parser.add_argument("--assets", type=Path, default=os.environ.get("RESTORE_TEST_ASSETS"))
    parser.add_argument("--out", type=Path, default=Path("out/interpolation"))
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves it to torch")
    parser.add_argument("--model", action="append", default=[], help="a network of the store")
    parser.add_argument("--runs", type=int, default=0, help="that times are the median of")
    parser.add_argument("--quick", action="store_true", help="under four minutes on two cores")
    arguments = parser.parse_args()
    if arguments.assets is None:
        parser.error("RESTORE_TEST_ASSETS is not set and --assets not given")
    runs = arguments.runs or (3 if arguments.quick else 7)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    assets = Path(arguments.assets)
    arguments.out.mkdir(parents=True, exist_ok=True)
    sets = {"Middlebury": middlebury(assets), **clip_triplets(assets, 2 if arguments.quick else 5)}
    sets["drawn"] = [drawn(assets, scene) for scene in SCENES]
    ways = methods(assets, arguments.model)
    say = Console(width=140)
    facts = {"threads": torch.get_num_threads(), "cores": os.cpu_count(), "runs": runs}
    facts |= {"places_of_each_clip": len(sets["bikes"]), "load": os.getloadavg()[0]}
    results: dict[str, object] = {}
    table = Table("method", *sets, *(f"ms {w}x{h}" for h, w in SIZES_PX))
    times = timed(ways, sets["Middlebury"][2], runs)
    for name, method in ways.items():
        found = scored(method, sets)
        results[name] = {"sets": found, "times": times[name]}
        table.add_row(
            name,
            *(f"{found[s]['psnr_db']:.2f} / {found[s]['ssim_y']:.3f}" for s in sets),
            *(f"{t['ms']:.0f} ({t['cpu_ms']:.0f} CPU)" for t in times[name].values()),
        )
        say.print(f"… {name}", style="dim")
    (arguments.out / "interpolation.json").write_text(
        json.dumps({"facts": facts, "methods": results}, indent=1) + "\n"
    )
    say.print(table)
    Image.fromarray(shown(ways, sets["drawn"])).save(arguments.out / "interpolation.png")


if __name__ == "__main__":
    main()
