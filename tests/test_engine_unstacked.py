"""Stages that take a window's frames one by one: the same bits as from windows, and less work."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from restore.engine.remember import Remembered
from restore.engine.run import process
from restore.engine.settings import EngineSettings
from restore.engine.stage import UnstackedStage
from restore.stages import StageContext, build_stage
from tests.damage_material import damaged, grainy, tensor, texture, windows
from tests.engine_stages import frame

NAMES = ("dust", "scratches", "degrain")


@pytest.fixture(scope="module")
def clip():
    """Dirt and a scratch on a picture that moves."""
    ground = texture(160, 232, 3)
    frames = np.stack([ground[:144, 3 * n : 3 * n + 192] for n in range(7)])
    spot = np.ones((7, 9), np.float32)
    frames = damaged(grainy(frames, 0.02), [("dust", spot)], 0, 4)
    frames[:, :, 100:102] *= 0.4
    return frames


@pytest.mark.parametrize("name", NAMES)
def test_frames_one_by_one_give_the_bits_of_windows(name, clip):
    stage = build_stage(name, {}, StageContext())
    assert isinstance(stage, UnstackedStage)
    every = windows(clip, stage.spec.radius_past)
    wanted = stage.run(every, [0] * len(every))
    source = tensor(clip)
    frames = [replace(frame(n), data=data) for n, data in enumerate(source)]
    fresh = build_stage(name, {}, StageContext())
    got = torch.stack([f.data for f in process(frames, [fresh], EngineSettings("cpu"))])
    assert torch.equal(got, wanted)
    assert not torch.equal(got, source), "nothing was repaired"
    assert torch.equal(source, tensor(clip)), "the source was written to"


def test_what_is_known_of_a_frame_is_worked_out_once():
    seen: list[float] = []
    known = Remembered(lambda f: seen.append(float(f[0])) or float(f[0]), 3)
    frames = [torch.full((2,), float(n)) for n in range(5)]
    for centre in range(1, 4):
        assert [known.of(f) for f in frames[centre - 1 : centre + 2]] == [
            float(n) for n in range(centre - 1, centre + 2)
        ]
    assert seen == [0.0, 1.0, 2.0, 3.0, 4.0]
    # One of the same content is another frame.
    known.of(frames[4].clone())
    assert seen[-1] == 4.0
    assert len(seen) == 6
