"""What every stage promises, held for every stage in the list and every kind of network."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from restore.engine.layout import padded_px
from restore.engine.run import process
from restore.engine.settings import CancelToken, EngineSettings
from restore.engine.stage import Stage, Tiling
from restore.engine.tiles import plan_grid, smallest_tile_px
from restore.errors import Cancelled, InvalidInput
from restore.models.store import ModelStore
from restore.stages import STAGES, StageContext, build_stage, check_settings, stage_class
from tests.engine_stages import frame
from tests.networks import NETWORKS, save_network, seeded_network

# Each stage as it is by default, and each stage that runs a network with each kind of network.
BY_SCALE = {name: ("deartifact" if name in ("omnisr", "dncnn") else "upscale") for name in NETWORKS}
STREAMS = [name for name in STAGES if hasattr(stage_class(name), "stream")]
CASES = [(name, "") for name in STAGES if name not in STREAMS]
CASES += [(stage, net) for net, stage in BY_SCALE.items()]
WINDOWED = "restore-4x-temporal-s"  # ships, and looks at several frames
VIVID = "restore-4x-vivid-s"  # ships, and goes through the gate
CASES += [("upscale", WINDOWED), ("upscale", VIVID)]
CPU = EngineSettings("cpu", batch=1, tile_px=0)


@pytest.fixture(params=CASES, ids=[f"{stage}-{net or 'default'}" for stage, net in CASES])
def stage(request, tmp_path_factory) -> Stage:
    name, network = request.param
    folder = tmp_path_factory.mktemp("weights")
    settings = {}
    if network in (WINDOWED, VIVID):
        settings["model"] = network
    elif network:
        path = save_network(seeded_network(network), folder / f"{network}.safetensors")
        settings["model"] = str(path)
    return build_stage(name, settings, StageContext(ModelStore(folder / "store")))


def picture(index, height, width):
    """Smooth shapes and some detail, as pictures have; noise alone would hide seams."""
    rows = torch.linspace(0, 6, height)[:, None]
    cols = torch.linspace(0, 9, width)[None, :]
    waves = torch.stack([torch.sin(rows * k + cols + index) for k in (1.0, 1.7, 2.3)])
    base = frame(index, height, width)
    return replace(base, data=(0.5 + 0.3 * waves + 0.1 * base.data).clamp(0, 1))


def output(stage, frames, settings=CPU):
    return list(process(frames, [stage], settings))


def test_declared_shape_scale_and_rate(stage):
    spec = stage.spec
    for height, width in ((40, 56), (33, 47)):
        frames = [picture(n, height, width) for n in range(2)]
        out = output(stage, frames)
        assert len(out) == 2 * spec.rate
        for one in out:
            assert one.data.shape == (3, spec.output_px(height), spec.output_px(width))
            assert one.data.dtype == torch.float32
            assert bool(torch.isfinite(one.data).all())
        assert [f.pts * f.time_base for f in out[:: spec.rate]] == [
            f.pts * f.time_base for f in frames
        ]


def test_frames_beyond_the_radius_do_not_matter(stage):
    spec = stage.spec
    count = spec.window + 2
    frames = [picture(n, 40, 40) for n in range(count)]
    centre = spec.radius_past
    changed = list(frames)
    for n in range(count):
        if n < centre - spec.radius_past or n > centre + spec.radius_future:
            changed[n] = replace(frames[n], data=1 - frames[n].data)
    assert changed[-1] is not frames[-1]
    a = output(stage, frames)[centre * spec.rate]
    b = output(stage, changed)[centre * spec.rate]
    assert torch.equal(a.data, b.data)


def test_the_same_input_gives_the_same_bits(stage):
    if not stage.spec.deterministic:
        pytest.skip("declares that it is not deterministic")
    frames = [picture(n, 40, 48) for n in range(2)]
    for a, b in zip(output(stage, frames), output(stage, frames), strict=True):
        assert torch.equal(a.data, b.data)


def test_a_batch_is_its_frames(stage):
    frames = [picture(n, 32, 48) for n in range(3)]
    single = output(stage, frames)
    together = output(stage, frames, EngineSettings("cpu", batch=3, tile_px=0))
    for a, b in zip(single, together, strict=True):
        assert (a.data - b.data).abs().max() <= 2e-5


def test_cancel_is_obeyed(stage):
    token = CancelToken()
    stream = process((picture(n, 32, 32) for n in range(100)), [stage], CPU, token)
    next(stream)
    token.cancel()
    with pytest.raises(Cancelled):
        next(stream)


def test_tiles_make_the_whole(stage):
    spec = stage.spec
    if spec.tiling is Tiling.NEVER:
        pytest.skip("declares that it takes whole frames only")
    tile = smallest_tile_px(spec) + 2 * spec.multiple_of
    height, width = tile + 40, 2 * tile + 9
    source = [picture(0, height, width)]
    whole = output(stage, source)[0].data
    tiled = output(stage, source, EngineSettings("cpu", batch=2, tile_px=tile))[0].data
    grid = plan_grid(spec, *padded_px(spec, height, width), tile)
    assert len(grid.tiles) >= 4
    if spec.tiling is Tiling.EXACT:
        assert (whole - tiled).abs().max() <= 1e-6
    else:
        assert seam_psnr(whole, tiled, grid, int(spec.scale)) >= 45


def seam_psnr(whole, tiled, grid, scale):
    """PSNR within 8 input px of the seams, where a tile's error shows."""
    mask = torch.zeros(whole.shape[-2:], dtype=torch.bool)
    for tile in grid.tiles:
        for row in {tile.rows.core_start, tile.rows.core_stop} - {0, grid.height_px}:
            mask[max(0, row - 8) * scale : (row + 8) * scale] = True
        for col in {tile.cols.core_start, tile.cols.core_stop} - {0, grid.width_px}:
            mask[:, max(0, col - 8) * scale : (col + 8) * scale] = True
    error = float((whole - tiled)[:, mask].square().mean())
    return math.inf if error == 0 else -10 * math.log10(error)


def test_facts_name_what_went_in(stage):
    facts = stage.facts()
    assert all(isinstance(k, str) and isinstance(v, str) for k, v in facts.items())
    if "model" in facts:
        assert len(facts["sha256"].split("+")[0]) == 64
        assert facts["licence"]


@pytest.mark.parametrize("name", STAGES)
def test_unknown_settings_are_refused_by_name(name):
    with pytest.raises(InvalidInput, match="no_such_setting"):
        check_settings(name, {"no_such_setting": 1})


def test_unknown_stages_are_refused():
    with pytest.raises(InvalidInput, match=r"expected one of .*deartifact"):
        build_stage("sharpen", {}, StageContext())
