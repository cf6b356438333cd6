"""Quality of the shipped models: ``python -m benchmarks.quality [--assets DIR] [--out DIR]``.

Prints a table, writes ``quality.json`` and ``quality.png``. Sets and rows that need the test assets
(RESTORE_TEST_ASSETS) are left out, and said so, where there are none.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.quality_metrics import pan_error, psnr_y, ssim_y
from benchmarks.quality_models import Row, milliseconds, rows_1x, rows_4x
from benchmarks.quality_moving import clip_milliseconds, clip_row, score_moving, shipped_row
from benchmarks.quality_niqe import Niqe
from benchmarks.quality_sets import PAN_PX, Case, coded, film, set5
from restore.degrade.film import STRENGTHS
from restore.models.catalog import default_catalog
from restore.models.windowed import ARCHITECTURE

BORDER_PX = 4
FRAME_PX = (184, 240)  # what ms per frame is timed on
# Rows that are shown beside the window models on moving, grainy clips.
MOVING = ("lanczos3", "restore-4x-s", "realesr-general-x4v3 dn=0.5")
MOVING_FRAMES_PX = ((184, 240), (368, 480))
Result = dict[str, Any]


def score(row: Row, cases: list[Case], border_px: int, niqe: Niqe | None) -> Result:
    """Means over a set's frames, each picture weighing the same."""
    psnr, ssim, blind = [], [], []
    for case in cases:
        shots = [row.run(low) for low in case.low]
        pairs = list(zip(shots, case.high, strict=True))
        psnr.append(np.mean([psnr_y(a, b, border_px) for a, b in pairs]))
        ssim.append(np.mean([ssim_y(a, b, border_px) for a, b in pairs]))
        if niqe is not None:
            blind.append(niqe(shots[0]))
    found = {"psnr_y_db": float(np.mean(psnr)), "ssim_y": float(np.mean(ssim))}
    if niqe is not None:
        found["niqe"] = float(np.nanmean(blind))
    return found


def _steadiness(row: Row, cases: list[Case]) -> float:
    step = (4 * PAN_PX[0], 4 * PAN_PX[1])
    errors = [pan_error(np.stack([row.run(f) for f in c.low]), step, 8) for c in cases]
    return float(np.mean(errors))


def _measure_4x(assets: Path | None, say: Console) -> tuple[list[Row], dict[str, Result]]:
    rows = rows_4x(assets)
    niqe = Niqe(assets / "models" / "niqe_pris_params.npz") if assets else None
    sets = {f"film {s}": film(assets, s, steady=False) for s in STRENGTHS}
    if assets is not None:
        sets = {"Set5 x4": set5(assets), **sets}
    steady = film(assets, "medium", steady=True)
    results: dict[str, Result] = {}
    for row in rows:
        say.print(f"… {row.name}", style="dim")
        found: Result = {"parameters": row.parameters, "mflop_per_px": row.flop_per_px / 1e6}
        for name, cases in sets.items():
            found[name] = score(row, cases, BORDER_PX, niqe)
        found["warp_error"] = _steadiness(row, steady)
        found["ms_per_frame"] = milliseconds(row, FRAME_PX)
        results[row.name] = found
    return rows, results


def _measure_1x(assets: Path | None) -> dict[str, Result]:
    sets = {f"JPEG q{q}": coded(assets, "jpeg", q) for q in (10, 20, 30, 40)}
    sets |= {f"H.264 crf {q}": coded(assets, "h264", q) for q in (28, 33, 38)}
    sets["clean"] = coded(assets, "jpeg", 95)
    return {
        row.name: {
            "parameters": row.parameters,
            "mflop_per_px": row.flop_per_px / 1e6,
            **{name: score(row, cases, 0, None) for name, cases in sets.items()},
            "ms_per_frame": milliseconds(row, FRAME_PX) if row.parameters else 0.0,
        }
        for row in rows_1x()
    }


def _measure_moving(assets: Path | None, rows: list[Row], say: Console) -> dict[str, Result]:
    """What a window of frames is worth: the shipped window models beside rows of one frame."""
    chosen = [row for row in rows if row.name in MOVING]
    windowed = [e.name for e in default_catalog() if e.embedded and e.architecture == ARCHITECTURE]
    ways = [*(clip_row(row) for row in chosen), *(shipped_row(name) for name in windowed)]
    results = score_moving(ways, assets, lambda line: say.print(line, style="dim"))
    singles = [clip_row(row) for row in chosen if row.name == "restore-4x-s"]
    for way in (*singles, *ways[len(chosen) :]):
        for size in MOVING_FRAMES_PX:
            results[way.name][f"ms_per_frame {size[1]}x{size[0]}"] = clip_milliseconds(way, size)
    return results


METRICS = {
    "psnr_y_db": ("PSNR-Y, dB", 2),
    "ssim_y": ("SSIM", 4),
    "warp_error": ("warp error along a known pan, lower is steadier", 2),
    "niqe": ("NIQE, lower is better", 2),
}
COSTS = {
    "parameters": 0,
    "mflop_per_px": 3,
    "ms_per_frame": 0,
    "warp_error": 2,
}


def _tables(title: str, results: dict[str, Result]) -> list[Table]:
    """One table for each figure of merit, then one for steadiness and cost."""
    first = next(iter(results.values()))
    sets = [name for name, value in first.items() if isinstance(value, dict)]
    tables = []
    for metric, (words, digits) in METRICS.items():
        if metric not in first[sets[0]]:
            continue
        table = Table("model", *sets, title=f"{title}: {words}", title_justify="left")
        for model, found in results.items():
            table.add_row(model, *(f"{found[name][metric]:.{digits}f}" for name in sets))
        tables.append(table)
    costs = [name for name in COSTS if name in first]
    if not costs:
        return tables
    table = Table("model", *costs, title=f"{title}: cost and steadiness", title_justify="left")
    for model, found in results.items():
        table.add_row(model, *(f"{found[name]:,.{COSTS[name]}f}" for name in costs))
    return [*tables, table]


def _picture(rows: list[Row], assets: Path | None, path: Path) -> None:
    """A held-out frame: Lanczos, our model, realesr-general at half strength, and the truth."""
    case = film(assets, "medium", steady=False)[0]
    names = [row.name for row in rows]
    wanted = [n for n in names if n in ("lanczos3", "restore-4x-s") or n.endswith("dn=0.5")]
    shots = [row.run(case.low[0]) for row in rows if row.name in wanted] + [case.high[0]]
    Image.fromarray(np.hstack([s[40:344, 60:364] for s in shots])).save(path)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--assets", type=Path, default=os.environ.get("RESTORE_TEST_ASSETS"))
    parser.add_argument("--out", type=Path, default=Path("out/quality"))
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves it to torch")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    assets = Path(arguments.assets) if arguments.assets else None
    say = Console(width=120)
    if assets is None:
        say.print("RESTORE_TEST_ASSETS is not set: no Set5, no NIQE, no published models.")
    rows, upscale = _measure_4x(assets, say)
    deartifact = _measure_1x(assets)
    moving = _measure_moving(assets, rows, say)
    tables = (("4x", upscale), ("4x, moving and grainy", moving), ("1x", deartifact))
    for table in (one for title, results in tables for one in _tables(title, results)):
        say.print(table)
    say.print("Perceptual figure: NIQE. No backbone for LPIPS or DISTS is to be had.")
    arguments.out.mkdir(parents=True, exist_ok=True)
    facts = {"threads": torch.get_num_threads(), "frame_px": FRAME_PX}
    (arguments.out / "quality.json").write_text(
        json.dumps({"facts": facts, "4x": upscale, "moving": moving, "1x": deartifact}, indent=1)
        + "\n"
    )
    _picture(rows, assets, arguments.out / "quality.png")


if __name__ == "__main__":
    main()
