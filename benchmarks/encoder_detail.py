"""What each speed of an encoder costs and keeps of grain: at the same rate factor, side by side.

    python -m benchmarks.encoder_detail [--profile h264] [--frames 25] [--out FILE.json]

On drawn film at 720x576 and, where ``RESTORE_TEST_ASSETS`` names them, on real scans. Detail is the
deviation of luma from what a Gaussian of 1 px leaves (fine), and what lies between Gaussians of 1
and 2.5 px (middling), after and before.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.machine import machine
from benchmarks.stages import film
from restore.color import ChromaSite, ColorSpec, Matrix, Primaries, Range, Transfer
from restore.demo.clips import frames_of
from restore.engine.pixels import from_frame
from restore.frames import RawFrame
from restore.hostenv import tune_host
from restore.media.layout import choose_format
from restore.media.master import VideoSpec
from restore.media.profiles import PROFILES, Delivery
from restore.media.reader import ClipReader
from restore.media.writer import open_writer

_RATE = Fraction(25)
_COLOR = ColorSpec(Matrix.BT709, Primaries.BT709, Transfer.BT709, Range.LIMITED, ChromaSite.LEFT)
_FILMS = (
    "a_trip_down_market_street_before_the_fire",
    "san_francisco_earthquake_and_fire",
    "the_great_train_robbery",
)

Plane = NDArray[Any]


@dataclass(frozen=True)
class Row:
    """One speed on one clip.

    Attributes:
        clip: which.
        speed: the encoder's name for it.
        cpu_ms: processor time of a frame, all threads.
        frame_bytes: mean.
        psnr_db: of luma.
        fine: share of the fine detail's deviation that is left.
        middling: the same of middling detail.
    """

    clip: str
    speed: str
    cpu_ms: float
    frame_bytes: int
    psnr_db: float
    fine: float
    middling: float


def _clips(count: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    yield "drawn", film(count, (576, 720))
    assets = os.environ.get("RESTORE_TEST_ASSETS")
    for name in _FILMS if assets else ():
        paths = sorted((Path(str(assets)) / "media" / "film" / name).glob("*.png"))[:count]
        read = [cv2.imread(str(path)) for path in paths]
        yield name, np.stack([one[..., ::-1] for one in read if one is not None]) / np.float32(255)


def _bands(luma: Plane) -> tuple[Plane, Plane]:
    plane = luma.astype(np.float32)
    near, far = (cv2.GaussianBlur(plane, (0, 0), sigma) for sigma in (1.0, 2.5))
    return plane - near, near - far


def measure(clip: str, frames: list[RawFrame], delivery: Delivery) -> Row:
    """Encodes and reads back."""
    first = frames[0]
    video = VideoSpec(first.width_px, first.height_px, 1 / _RATE, _COLOR, frame_rate=_RATE)
    with tempfile.TemporaryDirectory() as folder:
        path, before = Path(folder) / "clip.mkv", time.process_time()
        with open_writer(str(path), delivery, video) as writer:
            for frame in frames:
                writer.write(frame)
        spent_s, size = time.process_time() - before, path.stat().st_size
        with ClipReader(str(path)) as reader:
            pairs = [(a.planes[0], b.planes[0]) for a, b in zip(frames, reader, strict=True)]
    off = np.mean([np.square(a.astype(np.float64) - b).mean() for a, b in pairs])
    power = np.array([[[np.square(band).mean() for band in _bands(x)] for x in p] for p in pairs])
    fine, middling = np.sqrt(power[:, 1].mean(0) / power[:, 0].mean(0)).tolist()
    return Row(
        clip,
        str(delivery.speed),
        round(1000 * spent_s / len(frames), 1),
        size // len(frames),
        round(10 * float(np.log10(255**2 / off)), 2),
        round(fine, 3),
        round(middling, 3),
    )


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--profile", default="h264")
    parser.add_argument("--speeds", default="medium,fast,faster,veryfast")
    parser.add_argument("--frames", type=int, default=25)
    parser.add_argument("--out", type=Path, help="write the figures here too")
    asked = parser.parse_args()
    tune_host()
    rows: list[Row] = []
    for name, clip in _clips(asked.frames):
        height, width = (side // 2 * 2 for side in clip.shape[1:3])
        video = VideoSpec(width, height, 1 / _RATE, _COLOR, frame_rate=_RATE)
        layout, _ = choose_format(Delivery(asked.profile, bit_depth=8), video)
        shown = frames_of(clip[:, :height, :width], _RATE)
        frames = [from_frame(frame, layout, _COLOR) for frame in shown]
        for speed in asked.speeds.split(","):
            delivery = Delivery(asked.profile, speed=speed, bit_depth=8)
            rows.append(measure(name, frames, delivery))
            row = rows[-1]
            print(
                f"{row.clip[:24]:24} {row.speed:10} {row.cpu_ms:7.1f} ms of work "
                f"{row.frame_bytes / 1024:7.1f} KiB  {row.psnr_db:.2f} dB  "
                f"fine {row.fine:.3f}  middling {row.middling:.3f}",
                flush=True,
            )
    if asked.out:
        crf = PROFILES[asked.profile].crf
        table = {
            "machine": machine(torch.device("cpu")),
            "rate_factor": crf and crf[2],
            "rows": [asdict(row) for row in rows],
        }
        asked.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
