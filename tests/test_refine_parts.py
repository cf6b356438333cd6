"""The parts of refinement by themselves: shared tiles, moving noise, colour, the gate."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from restore.diffusion.folder import find_pipeline
from restore.diffusion.load import load_pipeline
from restore.errors import InvalidInput
from restore.refinement.carry import motion_back, steadied
from restore.refinement.colour import ShotColours, coarse, coarse_kept
from restore.refinement.gate import Gate, GateTally, tolerance_of
from restore.refinement.noise import SceneNoise
from restore.refinement.painter import Brush, Painter
from restore.refinement.tiles import LatentGrid
from tests.diffusion_material import save_controlnet, save_pipeline

KINDS = ("sd", "sdxl", "flux", "controlnet", "sdxl-controlnet")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    root = tmp_path_factory.mktemp("pipelines")
    found = {}
    for kind in ("sd", "sdxl", "flux"):
        folder = find_pipeline(str(save_pipeline(kind, root / kind)))
        found[kind] = load_pipeline(folder, "image-to-image")
    for kind, name in (("sd", "controlnet"), ("sdxl", "sdxl-controlnet")):
        control = find_pipeline(str(save_controlnet(root / name, kind=kind)))
        found[name] = load_pipeline(found[kind].folder, "image-to-image", controlnet=control)
    return found


def smooth(height, width, seed=0):
    rows, cols = torch.linspace(0, 6, height)[:, None], torch.linspace(0, 9, width)
    return torch.stack([0.5 + 0.35 * torch.sin(rows * k + cols + seed) for k in (1.0, 1.7, 2.3)])


@pytest.mark.parametrize("kind", KINDS)
def test_one_tile_is_the_plain_pipelines_output_bit_for_bit(loaded, kind):
    brush = Brush("a sharp street", "blurred", strength=0.5, steps=4, tile_px=64)
    painter = Painter(loaded[kind], brush, carried=True)
    data = smooth(48, 56)
    noise = SceneNoise(painter.channels, painter.latent_size(48, 56), painter.cell_px, 11).first()
    ours = painter.painted(data, noise, 11)
    with torch.inference_mode():
        latents = painter.encoded(data)
        plain = loaded[kind].pipeline(**painter.arguments(data, latents, 11)).images[0]
    assert torch.equal(ours, plain[:, :48, :56])
    assert (ours - data).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_the_pipeline_is_left_as_it_was(loaded, kind):
    pipeline = loaded[kind].pipeline
    painter = Painter(loaded[kind], Brush(strength=0.5, steps=2, tile_px=32), carried=True)
    data = smooth(64, 64)
    size = painter.latent_size(64, 64)
    painter.painted(data, SceneNoise(painter.channels, size, painter.cell_px, 1).first(), 1)
    assert "forward" not in loaded[kind].denoiser.__dict__
    changed = {"add_noise", "scale_noise", "set_timesteps"} & set(pipeline.scheduler.__dict__)
    assert not changed


@pytest.mark.parametrize("kind", KINDS)
def test_tiles_leave_no_seam(loaded, kind):
    """At the tiles' borders nothing is worse than elsewhere.

    Random weights differ between a tile and the frame all over, since norms and attention see
    other surroundings; what must not be is an edge where one tile ends.
    """
    data = smooth(64, 160)
    results = {}
    for tile in (160, 64):
        brush = Brush("a street", strength=0.3, steps=4, tile_px=tile, batch=2)
        painter = Painter(loaded[kind], brush, carried=True)
        size = painter.latent_size(64, 160)
        noise = SceneNoise(painter.channels, size, painter.cell_px, 3).first()
        results[tile] = painter.painted(data, noise, 3)
    places, cell = painter.grid(64, 160).places, painter.cell_px
    assert len(places) >= 3
    borders = sorted({side * cell for _, s in places for side in (s.start, s.stop)} - {0, 160})
    error = results[160] - results[64]
    near = torch.zeros(160, dtype=torch.bool)
    for column in borders:
        near[column - 8 : column + 8] = True
    assert psnr_db(error) >= 30
    assert psnr_db(error[..., near]) >= psnr_db(error) - 1
    jumps = error.diff(dim=-1).abs().mean((0, 1))
    assert float(jumps[torch.tensor(borders) - 1].mean() / jumps.mean()) <= 1.2


def psnr_db(error):
    return -10 * float(error.square().mean().log10())


def test_tiles_at_once_change_nothing_but_last_bits(loaded):
    data = smooth(64, 96)
    found = []
    for batch in (1, 3):
        painter = Painter(
            loaded["sdxl"], Brush(strength=0.5, steps=2, tile_px=48, batch=batch), carried=True
        )
        noise = SceneNoise(4, painter.latent_size(64, 96), painter.cell_px, 3).first()
        found.append(painter.painted(data, noise, 3))
    assert (found[0] - found[1]).abs().max() <= 2e-5


@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 20), st.floats(0, 0.5), st.integers(1, 4)
)
@settings(max_examples=100, deadline=None)
def test_tiles_cover_the_latents(rows, cols, tile, share, multiple):
    height, width, side = rows * multiple, cols * multiple, tile * multiple
    grid = LatentGrid(height, width, side, int(side * share), multiple)
    seen = torch.zeros(height, width)
    for r, c in grid.places:
        assert r.start % multiple == c.start % multiple == 0
        assert r.stop <= height
        assert c.stop <= width
        seen[r, c] += grid.weight(seen)
    assert bool((seen > 0).all())
    for one, other in pairwise(sorted({c.start for _, c in grid.places})):
        assert other - one <= side - int(side * share) or other - one == multiple


def flow_of(x, y, height, width):
    return torch.tensor([x, y], dtype=torch.float32)[None, :, None, None].expand(
        1, 2, height, width
    )


def test_noise_of_a_still_shot_stands(loaded):
    noise = SceneNoise(4, (8, 12), 4, 5)
    still = noise.moved(flow_of(0, 0, 32, 48), torch.zeros(1, 1, 32, 48, dtype=torch.bool))
    assert torch.allclose(still, noise.first(), atol=1e-5)


@pytest.mark.parametrize("step_px", [0.5, 1.0, 3.0, 4.0])
def test_noise_moves_with_the_picture_and_keeps_its_variance(step_px):
    size, cell, frames = (24, 40), 4, 8
    noise = SceneNoise(4, size, cell, 9)
    height, width = size[0] * cell, size[1] * cell
    hidden = torch.zeros(1, 1, height, width, dtype=torch.bool)
    columns = torch.arange(width)
    hidden[..., columns < step_px] = True  # the picture moves to the right
    for _ in range(frames):
        now = noise.moved(flow_of(-step_px, 0, height, width), hidden)
    assert abs(float(now.std()) - 1) < 0.03
    assert abs(float(now.mean())) < 0.05
    first, shift = noise.first(), frames * step_px / cell
    assert shift == int(shift)
    gone = int(shift)
    a, b = first[..., : size[1] - gone].flatten(), now[..., gone:].flatten()
    assert float(torch.corrcoef(torch.stack([a, b]))[0, 1]) > 0.95
    beside = torch.corrcoef(torch.stack([now[..., 1:].flatten(), now[..., :-1].flatten()]))
    assert abs(float(beside[0, 1])) < 0.06


def test_noise_that_is_stretched_keeps_its_variance():
    size, cell = (32, 32), 8
    generator = torch.Generator().manual_seed(0)
    found = []
    for seed in range(4):
        noise = SceneNoise(4, size, cell, seed)
        px = size[0] * cell
        rows = torch.arange(px, dtype=torch.float32) - px / 2
        flow = torch.stack([rows.expand(px, px), rows[:, None].expand(px, px)])[None] * -0.35
        flow = flow + torch.randn(1, 2, px, px, generator=generator) * 0.3
        hidden = torch.zeros(1, 1, px, px, dtype=torch.bool)
        for _ in range(2):
            found.append(noise.moved(flow, hidden))
    assert abs(float(torch.cat(found).std()) - 1) < 0.03


def moving(shift_px, height=96, width=128, seed=3):
    """A rough ground, and a rough square on it that lies further right."""
    generator = torch.Generator().manual_seed(seed)
    ground = F.interpolate(
        torch.rand(1, 3, 24, 32, generator=generator), (height, width), mode="bicubic"
    )[0]
    square = F.interpolate(torch.rand(1, 3, 12, 12, generator=generator), (40, 40), mode="bicubic")[
        0
    ]
    out = ground.clone()
    out[:, 28:68, 30 + shift_px : 70 + shift_px] = square
    return out.clamp(0, 1)


def test_the_frame_before_is_blended_in_where_it_shows_the_same_and_nowhere_else():
    before, here = moving(0), moving(8)
    motion = motion_back(before, here)
    still, square = motion.trust[0, 0, 4:20], motion.trust[0, 0, 36:60, 46:70]
    uncovered = motion.trust[0, 0, 36:60, 31:37]
    assert float(still.mean()) > 0.95
    assert float(square.mean()) > 0.8
    assert float(uncovered.mean()) < 0.3
    generator = torch.Generator().manual_seed(1)
    jitter = [0.1 * torch.randn(3, 96, 128, generator=generator) for _ in range(2)]
    out = steadied(here + jitter[0], before + jitter[1], motion, 0.7)
    assert float((out - here)[:, 4:20].std()) < 0.85 * 0.1
    assert torch.allclose((out - here)[:, 36:60, 32:35], jitter[0][:, 36:60, 32:35], atol=0.08)


def test_behind_a_cut_nothing_is_carried():
    motion = motion_back(moving(0), moving(0, seed=8))
    assert float(motion.trust.mean()) < 0.25


def test_flicker_is_no_change_of_what_is_shown():
    before = moving(0) * 0.7
    assert float(motion_back(before, before * 1.25).trust.mean()) > 0.9


def test_coarse_stays_the_sources_and_details_stay_painted():
    source = smooth(96, 96)
    detail = torch.randn(3, 96, 96, generator=torch.Generator().manual_seed(1)) * 0.05
    detail = detail - coarse(detail, 5)
    cast = torch.tensor([0.1, -0.05, 0.02])[:, None, None] + torch.linspace(0, 0.2, 96)
    kept = coarse_kept(source + cast + detail, source, 5)
    inner = (slice(None), slice(None), slice(32, -32))  # beyond it a slope ends at the border
    assert torch.allclose((kept - detail)[inner], source[inner], atol=6e-3)
    assert (cast.abs().mean() / (kept - detail - source).abs().mean()) > 10


def test_a_shots_colours_are_the_sources():
    colours = ShotColours()
    for seed in range(3):
        source = smooth(32, 48, seed)
        out = colours.matched(source * 0.8 + 0.15, source)
        assert torch.allclose(out, source, atol=1e-4)


@pytest.mark.parametrize("factor", [1, 2, 4])
@pytest.mark.parametrize("invent", [0.0, 0.5, 1.0])
def test_the_gate_pulls_back_what_goes_too_far_and_lists_it(factor, invent):
    source = smooth(128, 192)
    gate, tally = Gate(factor, invent), GateTally()
    output = source.clone()
    output[:, 32:80, 64:112] += 0.1  # a shape that was never filmed
    out = gate.held(source, output, tally, 7)
    assert tally.outside
    assert all(one.frame == 7 and one.before > gate.tolerance for one in tally.outside)
    assert all(one.after <= gate.tolerance * 1.0001 for one in tally.outside)
    again = GateTally()
    gate.held(source, out, again)
    assert not again.outside
    assert tolerance_of(0) == pytest.approx(0.5 / 255)
    assert tolerance_of(1) == pytest.approx(8 / 255)


def test_the_gate_lets_detail_pass_that_the_source_is_too_coarse_to_deny():
    source = smooth(128, 128)
    checker = torch.ones(128, 128)
    checker[::2, ::2] = checker[1::2, 1::2] = -1
    tally = GateTally()
    out = Gate(4, 0.0).held(source, source + 0.05 * checker, tally)
    assert not tally.outside
    assert torch.equal(out, source + 0.05 * checker)
    assert 0.01 < tally.share < 0.2


def test_the_gate_holds_an_enlarging_stage_to_its_input():
    small = smooth(32, 48)
    large = F.interpolate(small[None], scale_factor=4, mode="nearest")[0] + 0.06
    tally = GateTally()
    gate = Gate(4, 0.25)
    out = gate.held(small, large, tally)
    assert tally.outside
    again = GateTally()
    gate.held(small, out, again)
    assert not again.outside


def test_a_prompt_that_no_encoder_sees_whole_is_refused_with_what_is_cut(loaded):
    words = " ".join(["film"] * 90 + ["clock"])
    with pytest.raises(InvalidInput, match=r"tokenizer takes 77 tokens.*clock"):
        Painter(loaded["sd"], Brush(words, steps=4), carried=True)
    # FLUX has an encoder that sees it, and one that does not.
    painter = Painter(loaded["flux"], Brush(words, steps=4), carried=True)
    assert any("clock" in note for note in painter.notes)


@pytest.mark.parametrize("kind", KINDS)
def test_text_encoders_see_a_prompt_once_for_all_frames(loaded, kind):
    brush = Brush("a street", "blurred", strength=0.5, steps=2, tile_px=64)
    painter = Painter(loaded[kind], brush, carried=True)
    calls = []
    hook = loaded[kind].pipeline.text_encoder.register_forward_hook(lambda *_: calls.append(1))
    noise = SceneNoise(painter.channels, painter.latent_size(48, 48), painter.cell_px, 1).first()
    try:
        painter.painted(smooth(48, 48), noise, 1)
        first = len(calls)
        again = painter.painted(smooth(48, 48, 1), noise, 1)
        assert len(calls) == first > 0
    finally:
        hook.remove()
    assert "encode_prompt" not in loaded[kind].pipeline.__dict__
    fresh = Painter(loaded[kind], brush, carried=True)
    assert torch.equal(fresh.painted(smooth(48, 48, 1), noise, 1), again)


def test_a_scheduler_that_draws_noise_at_every_step_is_refused(loaded):
    from restore.diffusion.schedule import set_scheduler

    own = loaded["sd"].pipeline.scheduler
    set_scheduler(loaded["sd"], "euler_a")
    try:
        with pytest.raises(InvalidInput, match="EulerAncestral"):
            Painter(loaded["sd"], Brush(steps=4), carried=True)
        Painter(loaded["sd"], Brush(steps=4), carried=False)
    finally:
        loaded["sd"].pipeline.scheduler = own


def test_a_strength_of_no_steps_is_refused(loaded):
    with pytest.raises(InvalidInput, match="none"):
        Painter(loaded["sd"], Brush(strength=0.1, steps=4), carried=True)


def test_fluxs_noise_levels_are_those_of_a_tile(loaded):
    flux = loaded["flux"]
    own = flux.pipeline.scheduler
    flux.pipeline.scheduler = type(own).from_config(own.config, use_dynamic_shifting=True)
    try:
        sigmas = {}
        for name, height, width, tile in (("alone", 64, 64, 64), ("tiled", 64, 256, 64)):
            painter = Painter(flux, Brush(strength=1.0, steps=4, tile_px=tile), carried=True)
            size = painter.latent_size(height, width)
            noise = SceneNoise(painter.channels, size, painter.cell_px, 1).first()
            painter.painted(smooth(height, width), noise, 1)
            sigmas[name] = flux.pipeline.scheduler.sigmas.clone()
        assert torch.allclose(sigmas["alone"], sigmas["tiled"])
    finally:
        flux.pipeline.scheduler = own


@pytest.mark.release
def test_the_benchmark_takes_its_way_at_a_tiny_size(tmp_path):
    from benchmarks.diffusion import Place, cogvideox, painted

    place = Place(torch.device("cpu"), torch.float32)
    rows = [*painted(place, tiny=True), *cogvideox(place, tiny=True)]
    assert len(rows) == 3
    assert all(row.weights > 0 and row.peak_bytes > 0 for row in rows)
