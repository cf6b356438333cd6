from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from restore.engine.run import process
from restore.engine.settings import EngineSettings
from restore.engine.stage import StageSpec, Tiling
from restore.engine.tiles import Assembler, plan_grid, smallest_tile_px
from restore.errors import InvalidInput
from tests.engine_stages import Blur, GlobalGain, frame


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    halo=st.integers(0, 24),
    multiple=st.sampled_from([1, 2, 8, 16]),
    extra=st.integers(0, 100),
    feather=st.booleans(),
)
def test_tiles_cover_every_pixel_once_and_keep_their_halo(
    height, width, halo, multiple, extra, feather
):
    spec = StageSpec(name="x", halo_px=halo, multiple_of=multiple)
    height, width = (-(-n // multiple) * multiple for n in (height, width))
    grid = plan_grid(spec, height, width, smallest_tile_px(spec) + extra)
    for axis, length in (("rows", height), ("cols", width)):
        for tile in grid.tiles:
            span = getattr(tile, axis)
            assert 0 <= span.start <= span.core_start < span.core_stop <= span.stop <= length
            assert span.start % multiple == 0
            assert span.start == 0 or span.core_start - span.start >= halo
            assert span.stop == length or span.stop - span.core_stop >= halo
    sizes = {(t.rows.stop - t.rows.start, t.cols.stop - t.cols.start) for t in grid.tiles}
    assert sizes == {grid.tile_px}
    # Assembling constant ones gives ones everywhere: a partition of unity, no hole, no overlap.
    assembler = Assembler(grid, 1, feather=feather)
    whole = None
    for tile in grid.tiles:
        whole = assembler.add(tile, torch.ones(1, *grid.tile_px))
    assert whole is not None
    assert torch.allclose(whole, torch.ones(1, height, width), atol=1e-5)


@pytest.mark.parametrize("tile_px", [24, 32, 40, 57])
@pytest.mark.parametrize("batch", [1, 3, 16])
def test_tiled_equals_whole_for_a_bounded_receptive_field(tile_px, batch):
    frames = [frame(n, 61, 83) for n in range(3)]
    whole = list(process(frames, [Blur()], EngineSettings("cpu", tile_px=0, batch=1)))
    tiled = list(process(frames, [Blur()], EngineSettings("cpu", tile_px=tile_px, batch=batch)))
    for a, b in zip(whole, tiled, strict=True):
        assert a.data.shape == (3, 122, 166)
        assert (a.data - b.data).abs().max() <= 1e-6


def test_too_small_a_halo_would_be_seen():
    """The test above can fail: with half the halo the seams differ."""
    frames = [frame(0, 61, 83)]
    short = Blur(halo_px=2)
    whole = next(process(frames, [short], EngineSettings("cpu", tile_px=0, batch=1)))
    tiled = next(process(frames, [short], EngineSettings("cpu", tile_px=24, batch=1)))
    assert (whole.data - tiled.data).abs().max() > 1e-4


def test_windowed_stages_get_their_multiple_and_the_padding_is_cut_off():
    stage = GlobalGain(multiple_of=16, tiling=Tiling.EXACT, halo_px=0, minimum_px=48)
    out = next(process([frame(0, 33, 50)], [stage], EngineSettings("cpu", tile_px=0, batch=1)))
    assert stage.calls == [(1, 1, 3, 48, 64)]
    assert out.data.shape == (3, 33, 50)


def test_feathered_seams_are_slopes_not_edges():
    stage = GlobalGain()
    ramp = torch.linspace(0, 1, 160).expand(3, 160, 160).contiguous()
    source = [replace(frame(0), data=ramp)]
    whole = next(process(source, [GlobalGain()], EngineSettings("cpu", tile_px=0, batch=1)))
    tiled = next(process(source, [stage], EngineSettings("cpu", tile_px=64, batch=4)))
    assert len(stage.calls) > 1
    error = whole.data - tiled.data
    assert error.abs().max() < 0.02
    # The disagreement of neighbours is about 0.005 here; side by side it would jump by that.
    step = (error[..., 1:] - error[..., :-1]).abs().max()
    assert step < 0.001


def test_a_tile_below_the_halo_is_refused_in_words():
    with pytest.raises(InvalidInput, match=r"tile of 8 px .* at least 24 px"):
        plan_grid(Blur.spec, 100, 100, 8)
