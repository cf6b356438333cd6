"""What people use, behind one call each: a picture ``[h, w, 3]`` uint8 R'G'B' in and out.

Same weights for all of them. Peers that are not installed, or that cannot take a network, say why.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import realesrgan_peer

__all__ = ["PEERS", "NotMeasured", "Peer", "Picture", "comfy", "ncnn", "realesrgan", "spandrel"]

Picture = NDArray[np.uint8]
Peer = Callable[[Picture], Picture]


class NotMeasured(Exception):
    """Why there is no figure of a peer."""


def _bytes_of(result: Tensor) -> Picture:
    array: Picture = (result[0].float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return array


def _tensor_of(picture: Picture) -> Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255


def _eager(weights: Path, device: torch.device) -> Any:  # noqa: ANN401
    from spandrel import ModelLoader

    model = ModelLoader(device).load_from_file(weights)
    model.eval()
    return model


def spandrel(weights: Path, device: torch.device) -> Peer:
    """spandrel's model in a plain loop: half precision on a GPU where its flags allow, as usual."""
    model = _eager(weights, device)
    half = device.type == "cuda" and (model.supports_half or model.supports_bfloat16)
    dtype = torch.float32
    if half:
        dtype = torch.float16 if model.supports_half else torch.bfloat16
    model.to(dtype)

    @torch.inference_mode()
    def call(picture: Picture) -> Picture:
        return _bytes_of(model(_tensor_of(picture).to(device, dtype)).cpu())

    return call


def comfy(weights: Path, device: torch.device) -> Peer:
    """In the manner of ComfyUI's upscale node: one frame at a time, float32, tiles of 512 px with
    32 px of overlap, brought back to the host one by one and blended there."""
    model = _eager(weights, device)
    side, lap = 512, 32

    @torch.inference_mode()
    def call(picture: Picture) -> Picture:
        x = _tensor_of(picture)
        height, width = x.shape[-2:]
        s = model.scale
        total = torch.zeros(1, 3, height * s, width * s)
        share = torch.zeros_like(total)
        for top in range(0, height, side - lap):
            for left in range(0, width, side - lap):
                y, z = max(0, min(height - lap, top)), max(0, min(width - lap, left))
                part = model(x[..., y : y + side, z : z + side].to(device)).cpu()
                weight = torch.ones_like(part)
                for n in range(lap * s):
                    ramp = (n + 1) / (lap * s)
                    weight[..., n : n + 1, :] *= ramp
                    weight[..., -1 - n, :] *= ramp
                    weight[..., :, n : n + 1] *= ramp
                    weight[..., :, -1 - n] *= ramp
                where = (..., slice(y * s, y * s + part.shape[-2]),
                         slice(z * s, z * s + part.shape[-1]))  # fmt: skip
                total[where] += part * weight
                share[where] += weight
        return _bytes_of(total / share)

    return call


def realesrgan(weights: Path, device: torch.device) -> Peer:
    """RealESRGANer, half precision on a GPU as its command line does; for general-x4v3's shape."""
    if not realesrgan_peer.is_installed():
        raise NotMeasured("realesrgan is not installed (extra parity)")
    half = device.type == "cuda"
    try:
        upsampler = realesrgan_peer.realesrganer(weights, half=half)
    except RuntimeError as error:  # their loader on weights of another shape
        raise NotMeasured("RealESRGANer was built for general-x4v3's shape") from error

    def call(picture: Picture) -> Picture:
        found: Picture = upsampler.enhance(picture[..., ::-1].copy())[0][..., ::-1]
        return found

    return call


def ncnn(weights: Path, device: torch.device) -> Peer:
    """ncnn's Python package on the CPU, from pnnx's own conversion of the traced network."""
    if importlib.util.find_spec("ncnn") is None or importlib.util.find_spec("pnnx") is None:
        raise NotMeasured("ncnn and pnnx are not installed")
    if device.type != "cpu":
        raise NotMeasured("ncnn is measured on the CPU; on a GPU it would need Vulkan")
    import ncnn as library
    import pnnx

    model = _eager(weights, device).model.float()
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        with Path(os.devnull).open("w") as null, contextlib.redirect_stdout(null):
            try:
                with torch.no_grad():
                    sample = torch.rand(1, 3, 64, 64)
                    pnnx.export(model, "net.pt", inputs=sample, inputs2=torch.rand(1, 3, 96, 80),
                                fp16=False)  # fmt: skip
            except Exception as error:  # whatever an unknown graph provokes
                raise NotMeasured(f"pnnx cannot convert it: {str(error)[:120]}") from error
        if not Path("net.ncnn.param").exists():
            raise NotMeasured("pnnx wrote no network")
        net = library.Net()
        net.opt.num_threads = torch.get_num_threads()
        net.opt.use_vulkan_compute = False
        if net.load_param("net.ncnn.param") or net.load_model("net.ncnn.bin"):
            raise NotMeasured("ncnn cannot load what pnnx wrote")

    def call(picture: Picture) -> Picture:
        planes = np.ascontiguousarray(picture.transpose(2, 0, 1)).astype(np.float32) / 255
        with net.create_extractor() as extractor:
            extractor.input("in0", library.Mat(planes))
            code, out = extractor.extract("out0")
            if code:
                raise NotMeasured(f"ncnn fails with code {code}")
            found = np.array(out).transpose(1, 2, 0)
        result: Picture = (found.clip(0, 1) * 255).round().astype(np.uint8)
        return result

    return call


PEERS: dict[str, Callable[[Path, torch.device], Peer]] = {
    "realesrgan": realesrgan,
    "spandrel": spandrel,
    "comfy": comfy,
    "ncnn": ncnn,
}
