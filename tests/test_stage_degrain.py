"""Grain lowered along motion: how much goes, what stays sharp, and what must not be touched."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.ndimage import shift as spline_shift

from restore.degrade.film import FilmDamage, degrade
from restore.degrade.grain import grain_field
from restore.degrade.seeds import generator
from restore.engine.run import process
from restore.engine.settings import EngineSettings
from restore.frames import Frame
from restore.stages import StageContext, build_stage
from tests.engine_stages import RGB

CPU = EngineSettings("cpu", batch=1, tile_px=0)
SIZE = (224, 288)


def ground(seed=0):
    """``[h, w, 3]`` with structure from 1.5 px up; a third of it flat."""
    height, width = SIZE[0], SIZE[1] + 60
    parts = [
        amount * grain_field((height, width, 3), size, generator(seed, str(size)))
        for size, amount in ((1.5, 0.06), (5.0, 0.08), (18.0, 0.1))
    ]
    parts[0][: height // 3] = parts[1][: height // 3] = 0
    return np.clip(0.45 + sum(parts), 0.02, 0.98).astype(np.float32)


def panned(count=5, speed_px=2.3, seed=0):
    """A pan by parts of a pixel over the ground."""
    picture = ground(seed)
    moved = [spline_shift(picture, (0, -speed_px * n, 0), order=3) for n in range(count)]
    return np.clip(np.stack([m[:, : SIZE[1]] for m in moved]), 0, 1)


def grainy(clean, rms=0.08, **more):
    damage = FilmDamage(seed=2, downscale=1, grain_rms=rms, grain_size_px=0.7, **more)
    return degrade(clean, damage).frames


def as_frames(pictures, shot=0, start=0):
    return [
        Frame(
            torch.from_numpy(np.ascontiguousarray(p.transpose(2, 0, 1))),
            pts=(start + n) * 100, time_base=Fraction(1, 2500), color=RGB,
            index=start + n, shot=shot,
        )
        for n, p in enumerate(pictures)
    ]  # fmt: skip


def cleaned(frames, **settings):
    stage = build_stage("degrain", settings, StageContext())
    out = list(process(frames, [stage], CPU))
    return np.stack([f.data.permute(1, 2, 0).numpy() for f in out]), stage


def psnr(a, b):
    return -10 * np.log10(np.square(a - b).mean())


def detail(picture):
    """What a fine high pass leaves, of the textured part."""
    part = picture[SIZE[0] // 2 : -8, 16:-16]
    return part - gaussian_filter(part, (1.5, 1.5, 0))


def kept(out, clean):
    """Share of the clean picture's detail that is left, grain not counted."""
    want = detail(clean)
    return float((detail(out) * want).sum() / np.square(want).sum())


@pytest.mark.parametrize("rms", [0.05, 0.1])
def test_grain_goes_and_detail_stays(rms):
    clean = panned()
    clip = grainy(clean, rms)
    out, stage = cleaned(as_frames(clip))
    middle, before, after = clean[2], clip[2], out[2]
    assert psnr(after, middle) >= psnr(before, middle) + 3
    # A blur that lowers grain in the flat part as much, and what it does to detail.
    flat = slice(16, SIZE[0] // 3 - 16)

    def left(picture):
        return float((picture - middle)[flat, 16:-16].std())

    blurs = (gaussian_filter(before, (s, s, 0)) for s in np.arange(0.3, 3, 0.1))
    spatial = next(b for b in blurs if left(b) <= left(after))
    assert left(after) < 0.6 * left(before)
    assert kept(after, middle) >= 0.9
    assert kept(after, middle) > kept(spatial, middle) + 0.2
    assert float(stage.facts()["averaged"].split()[0]) > 3


def test_weave_and_flicker_do_not_stop_it():
    clean = panned()
    damage = {"weave_px": 1.0, "flicker": 0.01}
    clip = grainy(clean, **damage)
    truth = degrade(clean, FilmDamage(seed=2, downscale=1, **damage)).frames
    out, _ = cleaned(as_frames(clip))
    assert psnr(out[2], truth[2]) >= psnr(clip[2], truth[2]) + 3


def test_nothing_comes_through_a_cut_marked_or_not():
    clean = np.concatenate([panned(3), panned(3, seed=7)])
    clip = grainy(clean)
    unmarked, _ = cleaned(as_frames(clip))
    marked, _ = cleaned(as_frames(clip[:3]) + as_frames(clip[3:], 1, 3))
    alone, _ = cleaned(as_frames(clip[:3]))
    assert np.array_equal(marked[:3], alone)
    for n in range(6):
        other = clean[3 if n < 3 else 2]
        for out in (unmarked, marked):
            ghost = float(
                ((out[n] - clean[n]) * (other - clean[n])).sum() / np.square(other - clean[n]).sum()
            )
            assert abs(ghost) < 0.02
            assert psnr(out[n], clean[n]) >= psnr(clip[n], clean[n])


def test_a_thing_too_fast_for_the_flow_leaves_no_ghost():
    clean = panned(speed_px=0.0)
    boxes = []
    for n in range(5):
        rows, columns = slice(120, 150), slice(20 + 50 * n, 50 + 50 * n)
        clean[n, rows, columns] = (0.9, 0.2, 0.15)
        boxes.append((rows, columns))
    clip = grainy(clean, 0.06)
    out, _ = cleaned(as_frames(clip))
    assert psnr(out[2][boxes[2]], clean[2][boxes[2]]) >= psnr(clip[2][boxes[2]], clean[2][boxes[2]])
    for n in (1, 3):
        where = boxes[n]
        assert psnr(out[2][where], clean[2][where]) >= psnr(clip[2][where], clean[2][where]) - 0.2


def test_a_clean_clip_stays_as_it_is():
    clean = panned()
    out, _ = cleaned(as_frames(clean))
    assert psnr(out[2][:, 8:-8], clean[2][:, 8:-8]) > 42


def test_one_frame_and_no_strength_change_nothing():
    clip = grainy(panned(3))
    out, _ = cleaned(as_frames(clip[:1]))
    assert np.array_equal(out[0], clip[0])
    out, _ = cleaned(as_frames(clip), strength=0.0)
    assert np.array_equal(out, clip)
    full, _ = cleaned(as_frames(clip))
    half, _ = cleaned(as_frames(clip), strength=0.5)
    assert np.allclose(half, (clip + full) / 2, atol=1e-6)


def test_a_repeated_frame_is_not_taken_for_another():
    clip = grainy(panned(3))
    frames = as_frames(clip)
    twice = [frames[0], replace(frames[0], index=1, pts=100), *frames[1:]]
    out, _ = cleaned(twice, radius=1)
    # Its twin adds nothing: the first frame has itself alone.
    assert np.array_equal(out[0], clip[0])


@pytest.mark.parametrize("radius", [1, 2])
@pytest.mark.parametrize(
    "device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)], ids=["twin", "gpu"]
)
def test_a_gpu_makes_the_same_mean(radius, device):
    """Its way by torch, on the CPU here, beside OpenCV's."""
    clean = panned()
    frames = [frame.data for frame in as_frames(grainy(clean))]
    stage = build_stage("degrain", {"radius": radius}, StageContext())
    there = build_stage("degrain", {"radius": radius}, StageContext())
    window = frames[2 - radius : 3 + radius]
    here = stage.run_frames(window, 0)
    window = [frame.to(device) for frame in window]
    others = [frame for n, frame in enumerate(window) if n != radius]
    found = there.mean_there(window[radius], others)
    assert found.device.type == device
    found = found.cpu()
    # OpenCV fetches from the nearest 32nd of a pixel.
    assert (found - here).abs().mean() < 1e-3
    truth = torch.from_numpy(np.ascontiguousarray(clean[2].transpose(2, 0, 1))).float()
    before, ours, theirs = (
        float(-10 * (picture - truth).square().mean().log10())
        for picture in (frames[2], here, found)
    )
    assert theirs >= ours - 0.05
    assert theirs >= before + 3
    averaged = [float(one.facts()["averaged"].split()[0]) for one in (stage, there)]
    assert averaged[0] == pytest.approx(averaged[1], abs=0.1)
