"""Golden pictures of spandrel and the realesrgan package, held against our own engine."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import realesrgan_peer
from restore.color import ColorSpec, Matrix, Primaries, Range, Transfer
from restore.degrade.jpeg import jpeg_roundtrip
from restore.degrade.optics import blur
from restore.engine.run import run
from restore.engine.settings import EngineSettings
from restore.frames import RawFrame, pixel_format
from restore.models.store import ModelStore
from restore.stages import StageContext, build_stage

MODEL = "models/realesr-general-x4v3.safetensors"
NEEDS_PEER = pytest.mark.skipif(
    not realesrgan_peer.is_installed(), reason="extra 'parity' is not installed"
)
RGB = ColorSpec(Matrix.RGB, Primaries.BT709, Transfer.SRGB, Range.FULL)


class Last:
    """A sink in 16 bit, so that no dither stands between us and them."""

    pixel_format = pixel_format("gbrp16le")
    color = RGB

    def write(self, frame):
        self.rgb = np.stack([frame.planes[i] for i in (2, 0, 1)], -1).astype(np.float64) / 65535


def through_engine(picture, weights, store, **settings):
    """An 8-bit RGB picture ``[h, w, 3]`` through the upscale stage; float 0..1."""
    planes = tuple(np.ascontiguousarray(picture[..., c]) for c in (1, 2, 0))
    height, width = picture.shape[:2]
    gbrp = pixel_format("gbrp")
    raw = RawFrame(planes, gbrp, width, height, 0, Fraction(1, 25), RGB, 0)
    stage = build_stage("upscale", {"model": str(weights)}, StageContext(ModelStore(store)))
    sink = Last()
    report = run([raw], sink, [stage], EngineSettings("cpu", **settings))
    return sink.rgb, report.stages[0]


@pytest.mark.parametrize("side", [16, 32, 64])
def test_golden_pictures_are_reproduced(assets, tmp_path, side):
    picture = np.array(Image.open(assets / f"golden/{side}x{side}.png").convert("RGB"))
    golden = np.array(
        Image.open(assets / f"golden/{side}x{side}-realesr-general-x4v3.png").convert("RGB")
    )
    ours, _ = through_engine(picture, assets / MODEL, tmp_path, batch=1, tile_px=0)
    assert np.abs(ours - golden / 255).max() <= 1 / 255 + 1e-4


def test_golden_picture_is_reproduced_in_tiles(assets, tmp_path):
    """64 px fit in one tile beside this network's halo of 34 px, so the picture is laid out 4x2."""
    picture = np.array(Image.open(assets / "golden/64x64.png").convert("RGB"))
    large = np.tile(picture, (2, 4, 1))
    whole, _ = through_engine(large, assets / MODEL, tmp_path, batch=1, tile_px=0)
    tiled, report = through_engine(large, assets / MODEL, tmp_path, batch=2, tile_px=96)
    assert "tiles of 96x96 px" in report.grid
    assert np.abs(whole - tiled).max() <= 1e-4
    golden = np.array(Image.open(assets / "golden/64x64-realesr-general-x4v3.png").convert("RGB"))
    assert np.abs(tiled[:120, :120] - golden[:120, :120] / 255).max() <= 1 / 255 + 1e-4


@NEEDS_PEER
def test_parity_with_realesrganer(assets, tmp_path):
    # In colour: of a black-and-white frame we deliver black and white, they what the network gave.
    picture = np.array(Image.open(assets / "media/eval/woman.png").convert("RGB"))[20:180, 10:210]
    ours, _ = through_engine(picture, assets / MODEL, tmp_path, batch=1, tile_px=0)
    peer = realesrgan_peer.realesrganer(assets / MODEL)
    with torch.inference_mode():
        theirs, mode = peer.enhance(picture[..., ::-1].copy())
    assert mode == "RGB"
    theirs = theirs[..., ::-1] / 255
    assert theirs.shape == ours.shape
    assert np.abs(np.rint(ours * 255) / 255 - theirs).max() <= 1 / 255 + 1e-9


@NEEDS_PEER
@pytest.mark.parametrize(("down", "across"), [(0.8, 0.8), (1.7, 1.7), (0.7, 2.4), (3.0, 1.2)])
def test_our_blur_is_their_gaussian_kernel_along_the_axes(down, across):
    theirs = realesrgan_peer.degradations().bivariate_Gaussian(
        31, across, down, 0.0, isotropic=down == across
    )
    impulse = np.zeros((31, 31, 1), np.float32)
    impulse[15, 15] = 1.0
    ours = blur(impulse, (down, across))[..., 0]
    # We cut the kernel off at 3.5 sigma, they at the edge of 31 px.
    assert np.abs(ours - theirs).max() < 2e-3 * theirs.max()


@NEEDS_PEER
@pytest.mark.parametrize("quality", [15, 40, 80])
def test_our_jpeg_loses_what_theirs_loses(assets, quality):
    picture = np.array(Image.open(assets / "media/eval/woman.png").convert("RGB"))
    theirs = realesrgan_peer.degradations().add_jpg_compression(
        picture[..., ::-1].astype(np.float32) / 255, quality
    )[..., ::-1]
    ours = jpeg_roundtrip(picture, quality, True)
    losses = [np.mean((p - picture) ** 2.0) for p in (ours.astype(float), theirs * 255.0)]
    assert 10 * abs(np.log10(losses[0] / losses[1])) < 0.3
