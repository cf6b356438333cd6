"""Small real clips and networks for tests of the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from restore.color import ChromaSite, ColorSpec, Matrix, Primaries, Range, Transfer
from restore.demo.clips import frames_of
from restore.engine.pixels import from_frame
from restore.media.profiles import Delivery
from restore.media.writer import VideoSpec, open_writer
from restore.time import Timecode
from tests.networks import save_network, seeded_network

ROOT = Path(__file__).parent.parent
RATE = Fraction(25)
_RGB = ColorSpec(Matrix.RGB, Primaries.BT709, Transfer.BT709, Range.FULL, ChromaSite.UNSPECIFIED)


def pictures(frames: int, width_px: int = 48, height_px: int = 32) -> np.ndarray:
    """A bright bar that moves over a gradient, ``[T, h, w, 3]`` float32."""
    x = np.linspace(0.1, 0.8, width_px, dtype=np.float32)
    y = np.linspace(0.2, 0.7, height_px, dtype=np.float32)
    still = np.stack(np.broadcast_arrays(x[None, :], y[:, None], 0.4), axis=-1)
    clip = np.repeat(still[None].astype(np.float32), frames, axis=0)
    for number in range(frames):
        start = (3 * number) % (width_px - 4)
        clip[number, :, start : start + 4] = 0.95
    return clip


def write_clip(
    path: Path,
    frames: int,
    *,
    size_px: tuple[int, int] = (48, 32),
    delivery: Delivery | None = None,
    timecode: Timecode | None = None,
) -> Path:
    video = VideoSpec(
        width_px=size_px[0],
        height_px=size_px[1],
        time_base=1 / RATE,
        color_used=_RGB,
        frame_rate=RATE,
        is_vfr=False,
        timecode=timecode,
    )
    wanted = delivery or Delivery("h264", crf=18, speed="ultrafast")
    with open_writer(str(path), wanted, video) as writer:
        for frame in frames_of(pictures(frames, *size_px), RATE):
            writer.write(from_frame(frame, writer.pixel_format, writer.color))
    return path


def network(path: Path) -> Path:
    """A seeded 4x network of the kind that published models are, too small to be slow."""
    return save_network(seeded_network("compact"), path)


def environment(**more: str) -> dict[str, str]:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH", "")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
        **more,
    }


def program(
    code: str, *arguments: object, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Python code in a process of its own, which has to end well."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=280,
        env=environment() if env is None else env,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def restore(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "restore", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        env=environment(**more),
        check=False,
    )


def events(text: str) -> list[dict[str, object]]:
    """Every line as JSON; fails where one is not."""
    return [json.loads(line) for line in text.splitlines()]


def of_kind(told: Sequence[dict[str, object]], kind: str) -> list[dict[str, object]]:
    return [event for event in told if event["event"] == kind]
