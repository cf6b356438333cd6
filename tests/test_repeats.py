"""A still is computed once by stages that say so, with the same bits as computing it again."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import restore
from restore.demo.clips import read_clip, write_clip
from restore.engine.run import process
from restore.engine.settings import EngineSettings
from restore.frames import Frame
from restore.media.profiles import Delivery
from tests.engine_stages import RGB, Blur, Mean
from tests.networks import save_network, seeded_network

ONE = EngineSettings("cpu", tile_px=0, batch=1)


def frames_of(pictures, shots=None):
    random = torch.Generator().manual_seed(3)
    distinct = torch.rand(4, 3, 24, 32, generator=random)
    return [
        Frame(
            distinct[p].clone(), n, Fraction(1, 25), RGB, n, duration=1,
            shot=0 if shots is None else shots[n],
        )
        for n, p in enumerate(pictures)
    ]  # fmt: skip


def _times(frame):
    return frame.pts, frame.index, frame.duration, frame.shot


def same(found, wanted):
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one.data, other.data)
        assert (one.pts, one.index, one.duration, one.shot) == (
            other.pts,
            other.index,
            other.duration,
            other.shot,
        )


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.integers(0, 8), st.booleans())
@settings(max_examples=25, deadline=None)
def test_any_clip_in_any_pieces_gives_the_same_bits(pictures, cut, whole):
    every = frames_of(pictures)
    tiles = EngineSettings("cpu", tile_px=0 if whole else 32, batch=1)
    for kind in (Blur, Mean):
        plain = list(process(every, [kind()], tiles))
        same(list(process(every, [kind(repeats=True)], tiles)), plain)
    plain = list(process(every, [Blur()], tiles))
    pieces = [
        list(process(part, [Blur(repeats=True)], tiles)) for part in (every[:cut], every[cut:])
    ]
    same(pieces[0] + pieces[1], plain)


def test_a_still_is_computed_once():
    stage = Blur(repeats=True)
    list(process(frames_of([0, 0, 0, 1, 1, 0]), [stage], ONE))
    assert len(stage.calls) == 3


def test_a_window_counts_as_a_whole():
    stage = Mean(repeats=True)
    list(process(frames_of([0, 0, 0, 0, 0, 0, 1]), [stage], ONE))
    # All windows before the one that sees the last frame are equal.
    assert len(stage.calls) == 3


def test_frames_that_share_a_call_are_all_computed():
    stage = Blur(repeats=True)
    list(process(frames_of([0, 0, 0, 0]), [stage], EngineSettings("cpu", tile_px=0, batch=4)))
    assert stage.calls == [(4, 1, 3, 24, 32)]


@pytest.mark.parametrize("looks", [{"is_gray": True}, {"woven": True}])
def test_frames_that_only_look_alike_are_computed(looks):
    one, other = frames_of([0, 0])
    stage = Blur(repeats=True)
    list(process([one, replace(other, **looks)], [stage], ONE))
    assert len(stage.calls) == 2


def test_a_job_over_black_leader_says_how_many_were_left_out(tmp_path):
    model = save_network(seeded_network("compact"), tmp_path / "compact.safetensors")
    clip = np.zeros((6, 32, 48, 3), np.float32)
    clip[4:] = np.random.default_rng(0).random((2, 32, 48, 3))
    source, out = tmp_path / "leader.mkv", tmp_path / "out.mkv"
    write_clip(source, clip, Fraction(25), Delivery("ffv1"))
    report = restore.run(source, out, model=str(model), codec="ffv1", device="cpu")
    by_name = {stage.stage: stage for stage in report.run.stages}
    assert by_name["upscale"].repeats == 3
    assert by_name["upscale"].frames == 6
    assert len(list(read_clip(out))) == 6
