"""Moving, grainy clips: what several frames are worth over one.

Two sets from held-out pictures, gauges in turn, nine frames each. In ``moving_clips`` a camera pans
and zooms on a path of its own, a piece of the picture crosses it, and the gate weaves: PSNR-Y and
SSIM are taken there. In ``steady_pans`` the camera alone moves, by parts of a degraded pixel that
are whole pixels of the truth: the warp error along that motion is exact.

The grain is twice that of the film sets' usual reels, as of a fast or pushed stock: 3 to 9 code
values of luma where film is grainiest, against 2 to 6.5 measured in the public-domain films of the
test assets, which have been through a video encoder since.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.quality_metrics import pan_error, psnr_y, ssim_y
from benchmarks.quality_models import Row
from benchmarks.quality_sets import Case, held_out_pictures
from restore.color import ColorSpec
from restore.degrade.film import STRENGTHS, FilmDamage, degrade
from restore.degrade.scene import moving_clip
from restore.engine.run import process
from restore.engine.settings import EngineSettings
from restore.frames import Frame
from restore.media.roundtrip import roundtrip
from restore.stages import StageContext, build_stage

__all__ = [
    "ClipRow",
    "clip_milliseconds",
    "clip_row",
    "moving_clips",
    "score_moving",
    "shipped_row",
    "steady_pans",
]

Picture = NDArray[np.uint8]

SIZE_PX: Final = (72, 96)  # of a degraded frame: the pictures are small
FRAMES: Final = 9
STEP_PX: Final = (3, 7)  # of the steady pans, in pixels of the truth
GRAIN: Final = 2.0
CRF: Final = 18
BORDER_PX: Final = 4
PAN_BORDER_PX: Final = 8


@dataclass(frozen=True)
class ClipRow:
    """One way from a degraded clip to a better one: ``[T, h, w, 3]`` uint8 to four times that."""

    name: str
    run: Callable[[Picture], Picture]


def clip_row(row: Row) -> ClipRow:
    """A row that sees one frame at a time."""
    return ClipRow(row.name, lambda clip: np.stack([row.run(frame) for frame in clip]))


def shipped_row(model: str) -> ClipRow:
    """The upscale stage with a model, in the engine, as a job runs it."""

    stage = build_stage("upscale", {"model": model}, StageContext())

    def run(clip: Picture) -> Picture:
        frames = [
            Frame(
                torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))).float() / 255,
                number,
                Fraction(1, 24),
                ColorSpec(),
                number,
                duration=1,
            )
            for number, picture in enumerate(clip)
        ]
        settings = EngineSettings("cpu", batch=1, tile_px=0)
        made = [frame.data for frame in process(frames, [stage], settings)]
        codes = (torch.stack(made).clamp(0, 1) * 255).round().byte()
        return np.ascontiguousarray(codes.numpy().transpose(0, 2, 3, 1))

    return ClipRow(model, run)


def _damage(number: int, strength: str, steady: bool) -> FilmDamage:
    gauge = ("super8", "16mm", "8mm", "35mm")[number % 4]
    table = FilmDamage.preset(gauge, strength, 2000 + number).to_json()
    # No dirt: it belongs to another stage, and hides what is measured here.
    table["dirt"] = dict.fromkeys(table["dirt"], 0)
    table["grain_rms"] *= GRAIN
    if steady:
        still = ("weave_px", "zoom_breathing", "flicker", "flicker_uneven", "focus_breathing")
        table |= dict.fromkeys(still, 0.0)
    table["compressions"] = [{"codec": "h264", "quality": CRF}]
    return FilmDamage.from_json(table)


def _case(name: str, clean: NDArray[np.float32], damage: FilmDamage) -> Case:
    clip = degrade(clean, damage, roundtrip)
    low, high = (np.rint(a * 255).astype(np.uint8) for a in (clip.frames, clip.target))
    return Case(name, low, high)


def moving_clips(assets: Path | None, strength: str) -> list[Case]:
    """Clips with a camera, an occluding piece and weave.

    Args:
        assets: adds two photographs where given.
        strength: a key of ``STRENGTHS``.
    """
    size = (4 * SIZE_PX[0], 4 * SIZE_PX[1])
    return [
        _case(
            name, moving_clip(picture, FRAMES, size, 70 + number), _damage(number, strength, False)
        )
        for number, (name, picture) in enumerate(held_out_pictures(assets))
    ]


def steady_pans(assets: Path | None, strength: str) -> list[Case]:
    """Clips whose whole motion is a pan by ``STEP_PX``."""
    cases = []
    for number, (name, picture) in enumerate(held_out_pictures(assets)):
        height, width = (
            min(4 * want, (have - FRAMES * step) // 4 * 4)
            for want, have, step in zip(SIZE_PX, picture.shape, STEP_PX, strict=False)
        )
        y = (picture.shape[0] - height - FRAMES * STEP_PX[0]) // 2
        x = (picture.shape[1] - width - FRAMES * STEP_PX[1]) // 2
        places = [(y + n * STEP_PX[0], x + n * STEP_PX[1]) for n in range(FRAMES)]
        clean = np.stack([picture[a : a + height, b : b + width] for a, b in places])
        damage = _damage(number, strength, True)
        cases.append(_case(name, clean.astype(np.float32) / 255, damage))
    return cases


def score_moving(
    rows: list[ClipRow], assets: Path | None, say: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """PSNR-Y, SSIM and warp error of every row at every strength."""
    results: dict[str, dict[str, Any]] = {row.name: {} for row in rows}
    for strength in STRENGTHS:
        moving, steady = moving_clips(assets, strength), steady_pans(assets, strength)
        for row in rows:
            say(f"… {row.name}, {strength}")
            psnr, ssim = [], []
            for case in moving:
                pairs = list(zip(row.run(case.low), case.high, strict=True))
                psnr.append(np.mean([psnr_y(a, b, BORDER_PX) for a, b in pairs]))
                ssim.append(np.mean([ssim_y(a, b, BORDER_PX) for a, b in pairs]))
            errors = [pan_error(row.run(case.low), STEP_PX, PAN_BORDER_PX) for case in steady]
            results[row.name][f"grainy {strength}"] = {
                "psnr_y_db": float(np.mean(psnr)),
                "ssim_y": float(np.mean(ssim)),
                "warp_error": float(np.mean(errors)),
            }
    return results


def clip_milliseconds(row: ClipRow, size_px: tuple[int, int]) -> float:
    """Shortest of three runs over five frames of a pan with grain, for one frame.

    All that a job would do is counted, the flow search included.
    """
    random = np.random.default_rng(0)
    wide = random.integers(0, 256, (size_px[0] + 10, size_px[1] + 10, 3), np.uint8)
    clip = np.stack([wide[n : n + size_px[0], 2 * n : 2 * n + size_px[1]] for n in range(5)])
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        row.run(clip)
        taken.append(1000.0 * (time.perf_counter() - start) / len(clip))
    return min(taken)
