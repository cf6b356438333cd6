"""Ways to make the frame between two frames, ours and others'."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restore.interpolation.flowed import FlowInterpolator
from restore.models.interpolators import load_interpolator
from restore.models.store import ModelStore
from restore.motion.flow import Effort, optical_flow
from restore.motion.warp import warp

__all__ = ["Method", "Picture", "methods"]

Picture = NDArray[np.uint8]
#: From two frames to the one in their middle.
Method = Callable[[Picture, Picture], Picture]

_FLDR = "fLDRnet_X4K1000FPS_exp1_best_PSNR.pt"


def methods(assets: Path, models: list[str]) -> dict[str, Method]:
    """By name, in the order of the table; ``models`` names networks of the user's store."""
    flow, quick = FlowInterpolator(), FlowInterpolator(quick=True)
    found: dict[str, Method] = {
        "blending": lambda a, b: _picture((_tensor(a) + _tensor(b)) / 2),
        "DIS alone": lambda a, b: _picture(_half_flows(_tensor(a), _tensor(b))),
        "minterpolate": minterpolated,
        "flow, fast": lambda a, b: _picture(quick.between(_tensor(a), _tensor(b), [0.5])[0]),
        "flow": lambda a, b: _picture(flow.between(_tensor(a), _tensor(b), [0.5])[0]),
    }
    with tempfile.TemporaryDirectory() as folder:
        store = ModelStore(Path(folder))
        store.import_file(assets / "models" / _FLDR)
        found["fLDR-VFI"] = _network("fLDR-VFI", store)
    return found | {name: _network(name, ModelStore()) for name in models}


def _network(name: str, store: ModelStore) -> Method:
    model = load_interpolator(name, store=store)
    return lambda a, b: _picture(model.between(_tensor(a), _tensor(b), [0.5])[0])


def minterpolated(first: Picture, second: Picture) -> Picture:
    """libavfilter's motion-compensated interpolation, at its best settings."""
    graph = av.filter.Graph()
    height, width = first.shape[:2]
    source = graph.add_buffer(
        width=width,
        height=height,
        format=av.VideoFormat("yuv444p"),
        time_base=Fraction(1, 4),
    )
    settings = "fps=2:mi_mode=mci:mc_mode=aobmc:me_mode=bidir:vsbmc=1:scd=none"
    kept, sink = graph.add("minterpolate", settings), graph.add("buffersink")
    source.link_to(kept)
    kept.link_to(sink)
    graph.configure()
    shown = {}
    for number, picture in enumerate((first, first, second, second, second)):
        frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv444p")
        frame.pts, frame.time_base = 4 * number, Fraction(1, 4)
        graph.vpush(frame)
    graph.vpush(None)
    while True:
        try:
            frame = graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            break
        shown[float(frame.pts * frame.time_base)] = frame.to_ndarray(format="rgb24")
    return np.asarray(shown[1.5])


def _half_flows(first: Tensor, second: Tensor) -> Tensor:
    """DIS at its medium preset both ways, half of each flow, mean of the two."""
    there, back = (
        optical_flow(a[None], b[None], Effort.MEDIUM) for a, b in ((first, second), (second, first))
    )
    return (warp(first[None], back / 2) + warp(second[None], there / 2))[0] / 2


def _tensor(picture: Picture) -> Tensor:
    return torch.tensor(np.asarray(picture)).permute(2, 0, 1).float() / 255


def _picture(frame: Tensor) -> Picture:
    rounded = (frame.clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(rounded.permute(1, 2, 0).numpy())
