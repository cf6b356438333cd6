"""Chroma of interlaced 4:2:0 belongs to fields: sited there, brought up there, and back exactly."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest
import torch

from restore.color import ChromaSite, ColorSpec, Matrix, Primaries, Range, Transfer
from restore.demo.clips import read_clip
from restore.engine.chroma import downsample, upsample
from restore.engine.pixels import from_frame, to_frame
from restore.engine.run import process
from restore.engine.settings import EngineSettings
from restore.frames import RawFrame, pixel_format
from restore.stages import StageContext, build_stage

CPU = torch.device("cpu")
SETTINGS = EngineSettings("cpu", batch=1, tile_px=0)
BT601 = ColorSpec(Matrix.SMPTE170M, Primaries.BT709, Transfer.BT709, Range.LIMITED, ChromaSite.LEFT)


def raw(name, height, width, seed=0, *, site=ChromaSite.LEFT, woven=True):
    fmt = pixel_format(name)
    random = np.random.default_rng(seed)
    top = 1 << fmt.depth_bits
    planes = tuple(
        random.integers(0, top, fmt.plane_shape(n, width, height)).astype(
            np.uint8 if fmt.depth_bits <= 8 else np.uint16
        )
        for n in range(3)
    )
    color = BT601.with_(chroma_site=site)
    return RawFrame(planes, fmt, width, height, 0, Fraction(1, 25), color, 0, woven=woven)


@pytest.mark.parametrize("site", [s for s in ChromaSite if s is not ChromaSite.UNSPECIFIED])
@pytest.mark.parametrize("height", [4, 8, 36, 30])
def test_planes_come_back(site, height):
    pair = torch.rand(2, (height + 1) // 2, 9, generator=torch.Generator().manual_seed(1))
    up = upsample(pair, height, 18, 1, 1, site, woven=True)
    assert up.shape == (2, height, 18)
    back = downsample(up, 1, 1, site, woven=True)
    assert (back - pair).abs().max() < 2e-5


@pytest.mark.parametrize("name", ["yuv420p", "yuv420p10le", "yuv422p", "yuv444p"])
def test_an_empty_pipeline_is_bit_exact(name):
    source = raw(name, 36, 40)
    frame = to_frame(source, CPU)
    assert frame.woven
    again = from_frame(frame, source.format, source.color)
    assert again.woven
    for a, b in zip(again.planes, source.planes, strict=True):
        assert np.array_equal(a, b)


def test_a_quarter_turn_leaves_no_fields_in_the_lines():
    assert not to_frame(raw("yuv420p", 36, 40), CPU, 90).woven
    assert to_frame(raw("yuv420p", 36, 40), CPU, 180).woven
    assert not to_frame(raw("yuv420p", 36, 40, woven=False), CPU).woven


def test_samples_lie_a_quarter_within_their_field():
    # H.264, figures 6-2 and 6-3: in lines of its field, sample k lies at 2k + 1/4 or 2k + 3/4.
    k = torch.arange(12, dtype=torch.float32)
    for first, phase in ((0, 0.25), (1, 0.75)):
        chroma = torch.zeros(1, 24, 1)
        chroma[0, first::2, 0] = 2 * k + phase
        got = upsample(chroma, 48, 1, 1, 0, ChromaSite.LEFT, woven=True)[0, first::2, 0]
        assert torch.allclose(got[2:-2], torch.arange(24.0)[2:-2], atol=1e-5)


def flags(shift):
    """Saturated bars, upright, ``[h, w]`` of one chroma channel, moved to the right."""
    x = (np.arange(96)[None] - shift) / 16 + 0.15 * np.sin(np.arange(96)[:, None] / 7)
    return np.where(np.floor(x) % 2 == 0, 0.45, -0.45).astype(np.float32)


def field_subsampled(woven):
    """``[h, w]`` to ``[h / 2, w]``, each field sampled at 1/4 and 3/4 between its lines."""
    out = np.empty((woven.shape[0] // 2, woven.shape[1]), np.float32)
    top, bottom = woven[0::2], woven[1::2]
    out[0::2] = 0.75 * top[0::2] + 0.25 * top[1::2]
    out[1::2] = 0.25 * bottom[0::2] + 0.75 * bottom[1::2]
    return out


def test_moving_colour_edges_stay_in_their_fields():
    error = {}
    for woven in (True, False):
        errors = []
        for number in range(6):
            truth = flags(6.0 * number)
            truth[1::2] = flags(6.0 * number + 3.0)[1::2]
            small = torch.from_numpy(field_subsampled(truth))[None]
            got = upsample(small, 96, 96, 1, 0, ChromaSite.LEFT, woven=woven)[0].numpy()
            errors.append(np.square(got - truth)[8:-8].mean())
        error[woven] = float(np.sqrt(np.mean(errors)))
    assert error[True] < 0.35 * error[False], error


def test_a_declared_clip_says_so_and_deinterlaced_pictures_do_not(assets):
    path = assets / "media" / "clips" / "bt601-525_480_interlaced_tff.mkv"
    frames = list(islice(read_clip(path), 3))
    assert all(frame.woven for frame in frames)
    stage = build_stage("fields", {"scan": "tff"}, StageContext())
    small = [replace(f, data=f.data[:, :64, :64].contiguous()) for f in frames]
    assert not any(frame.woven for frame in process(small, [stage], SETTINGS))
    plain = list(islice(read_clip(assets / "media" / "clips" / "bikes.mp4"), 1))
    assert not plain[0].woven
