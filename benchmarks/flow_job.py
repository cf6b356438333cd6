"""Whole jobs that double a film's rate: ours through the engine, and the published plain loop.

Both get decoded frames and hand theirs to nobody. Ours takes packed YUV to the device, converts,
looks for cuts and repeats as every job does, makes the frames, converts back to 10 bit with its
planes on the host. The loop takes R'G'B' of 8 bit, makes the frames with convolutions in float16
(float32 on a CPU) and warps in float32, and brings R'G'B' of 8 bit back; conversions from and to
YUV are not counted against it.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.machine import median_s
from benchmarks.stages import film
from restore.color import ChromaSite, ColorSpec, Matrix, Primaries, Range, Transfer
from restore.demo.clips import frames_of
from restore.engine.pixels import from_frame
from restore.engine.run import run
from restore.engine.settings import EngineSettings
from restore.frames import RawFrame, pixel_format
from restore.models.interpolators import Interpolator, load_interpolator
from restore.models.nets.ifnet import IFNet
from restore.models.store import ModelStore
from restore.stages.interpolate import Interpolate

__all__ = ["JobRow", "job_rows"]

_RATE = Fraction(25)


@dataclass(frozen=True)
class JobRow:
    """One way to do the job.

    Attributes:
        way: ``ours`` or ``plain loop``, with the number format of the convolutions.
        size: of the frames, width x height px.
        fps: frames of the result a second.
        times_loop: fps over the loop's.
    """

    way: str
    size: str
    fps: float
    times_loop: float


class _Sink:
    """Takes frames as an encoder would, and drops them."""

    pixel_format = pixel_format("yuv420p10le")
    color = ColorSpec(Matrix.BT709, Primaries.BT709, Transfer.BT709, Range.LIMITED, ChromaSite.LEFT)

    def __init__(self) -> None:
        self.frames = 0

    def write(self, frame: RawFrame) -> None:
        """Count it and drop it."""
        self.frames += 1


def _loop(net: IFNet, pictures: list[Tensor], device: torch.device) -> int:
    """The published way: each picture, and a new one between it and the next."""
    multiple = net.variant.multiple_of()

    def sent(picture: Tensor) -> Tensor:
        data = picture.to(device).permute(2, 0, 1)[None].float() / 255
        below, right = (-n % multiple for n in data.shape[-2:])
        return F.pad(data, (0, right, 0, below))

    height, width = pictures[0].shape[:2]
    given = 0
    with torch.inference_mode():
        last = sent(pictures[0])
        for picture in pictures[1:]:
            following = sent(picture)
            made = net.begin(last, following)(0.5).clamp(0, 1)
            codes = (made[0] * 255).byte().permute(1, 2, 0)[:height, :width]
            codes.cpu()
            given += 2
            last = following
    return given + 1


def _ours(model: Interpolator, frames: list[RawFrame]) -> int:
    """Frames of the result, by the engine; the network is loaded already, as the loop's is."""
    settings = Interpolate.Settings(model=model.name, fps="50", grain="keep")
    sink = _Sink()
    stage = Interpolate(settings, model, "")
    run(iter(frames), sink, [stage], EngineSettings(model.device, "fast"))
    return sink.frames


def _enlarged(count: int, size: tuple[int, int], device: torch.device) -> np.ndarray:
    """Film, four times as large as it was shot: making it at its size would take minutes."""
    small = film(count, (-(-size[0] // 4), -(-size[1] // 4)))
    pictures = []
    for picture in small:
        data = torch.from_numpy(picture).permute(2, 0, 1)[None].to(device)
        large = F.interpolate(data, size, mode="bicubic").clamp(0, 1)[0].permute(1, 2, 0)
        pictures.append(large.cpu().numpy())
    return np.stack(pictures)


def job_rows(
    net: IFNet, device: torch.device, size: tuple[int, int], count: int, turns: int
) -> list[JobRow]:
    """Both jobs in turns.

    Args:
        net: in float32 on the CPU.
        device: where they compute.
        size: of the film, height and width px.
        count: frames of the film.
        turns: of each.
    """
    clip = _enlarged(count, size, device)
    layout = pixel_format("yuv420p")
    raw = [from_frame(frame, layout, _Sink.color) for frame in frames_of(clip, _RATE)]
    pictures = [torch.from_numpy((picture * 255).astype("uint8")) for picture in clip]
    form = torch.float16 if device.type == "cuda" else torch.float32
    there = copy.deepcopy(net).to(device, form)
    with tempfile.TemporaryDirectory() as name:
        weights = Path(name) / "rife.safetensors"
        save_file({key: value.contiguous() for key, value in net.state_dict().items()}, weights)
        store = ModelStore(Path(name))
        model = load_interpolator(weights, store=store, device=device, precision="fast")
    given, looped = _ours(model, raw), _loop(there, pictures, device)
    calls: dict[str, Callable[[], object]] = {
        "ours": lambda: _ours(model, raw),
        "loop": lambda: _loop(there, pictures, device),
    }
    spent_s = median_s(calls, device, 60.0, most=turns, warm_up=False)
    ours_fps, loop_fps = given / spent_s["ours"], looped / spent_s["loop"]
    text = f"{size[1]}x{size[0]}"
    loop_form = str(form).removeprefix("torch.")
    return [
        JobRow(f"ours, {model.dtype}", text, round(ours_fps, 2), round(ours_fps / loop_fps, 3)),
        JobRow(f"plain loop, {loop_form}", text, round(loop_fps, 2), 1.0),
    ]
