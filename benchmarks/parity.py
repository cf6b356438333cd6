"""Speed on this machine beside realesrgan's RealESRGANer: same weights, same picture, one run.

    python -m benchmarks.parity WEIGHTS.safetensors PICTURE.png [--runs 5]

WEIGHTS are those of realesr-general-x4v3. Needs the extra ``parity``. Rows take turns, so that a
machine that slows down slows all of them; medians are printed, and the ratio to RealESRGANer.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch

import numpy as np
import torch
from PIL import Image

from benchmarks.realesrgan_peer import realesrganer
from restore.color import ColorSpec, Matrix, Primaries, Range, Transfer
from restore.engine.run import run
from restore.engine.settings import EngineSettings
from restore.frames import RawFrame, pixel_format
from restore.models.store import ModelStore
from restore.stages import StageContext, build_stage

RGB = ColorSpec(Matrix.RGB, Primaries.BT709, Transfer.SRGB, Range.FULL)


class _Last:
    pixel_format = pixel_format("gbrp")
    color = RGB

    def write(self, frame: RawFrame) -> None:
        self.frame = frame


def _ours(weights: Path, picture: np.ndarray, precision: str) -> Callable[[], np.ndarray]:
    folder = Path(tempfile.mkdtemp())
    stage = build_stage("upscale", {"model": str(weights)}, StageContext(ModelStore(folder)))
    planes = tuple(np.ascontiguousarray(picture[..., c]) for c in (1, 2, 0))
    height, width = picture.shape[:2]
    raw = RawFrame(planes, pixel_format("gbrp"), width, height, 0, Fraction(1, 25), RGB, 0)
    settings = EngineSettings("cpu", precision, tile_px=0, batch=1)

    def call() -> np.ndarray:
        sink = _Last()
        run([raw], sink, [stage], settings)
        return np.stack([sink.frame.planes[i] for i in (2, 0, 1)], -1)

    return call


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    picture = np.array(Image.open(options.picture).convert("RGB"))
    peer = realesrganer(options.weights)
    rows: dict[str, Callable[[], np.ndarray]] = {
        "RealESRGANer, fp32": lambda: peer.enhance(picture[..., ::-1].copy())[0][..., ::-1],
        "restore, exact": _ours(options.weights, picture, "exact"),
        "restore, fast": _ours(options.weights, picture, "fast"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    results = {name: call() for name, call in rows.items()}  # also the warm-up
    for _ in range(options.runs):
        for name, call in rows.items():
            began = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - began)
    reference = statistics.median(seconds["RealESRGANer, fp32"])
    theirs = results["RealESRGANer, fp32"].astype(int)
    table = [
        {
            "row": name,
            "median_s": round(statistics.median(seconds[name]), 3),
            "min_s": round(min(seconds[name]), 3),
            "max_s": round(max(seconds[name]), 3),
            "times_faster": round(reference / statistics.median(seconds[name]), 2),
            "largest_difference": int(np.abs(results[name].astype(int) - theirs).max()),
        }
        for name in rows
    ]
    height, width = picture.shape[:2]
    print(
        f"realesr-general-x4v3, {width}x{height}, {options.runs} runs, {torch.__version__}, "
        f"{torch.get_num_threads()} threads, {platform.machine()}"
    )
    for row in table:
        print(
            f"{row['row']:20s} {row['median_s']:7.3f} s ({row['min_s']} to {row['max_s']})  "
            f"{row['times_faster']:5.2f}x  largest difference {row['largest_difference']}/255"
        )
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
