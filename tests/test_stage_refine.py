"""The stage `refine` on tiny pipelines and moving clips: one film, honest, and off by default."""

from __future__ import annotations

import json
import sys
import zlib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import pytest
import torch
import torch.nn.functional as F

from restore.api import make_job, run
from restore.diffusion.place import weights_bytes
from restore.engine.run import process
from restore.engine.settings import CancelToken, EngineSettings
from restore.errors import (
    Cancelled,
    GatedModel,
    InvalidInput,
    MissingExtra,
    ModelNotFound,
    OutOfMemory,
    UnsupportedModel,
)
from restore.jobs.resume import run_durable
from restore.media.matroska_aspect import find_top_level
from restore.motion.flow import occluded, optical_flow
from restore.motion.warp import warp
from restore.recipe import Recipe, Step, load_preset, preset_names
from restore.refinement.gate import GateTally
from restore.restoration import measured_of
from restore.stages import StageContext, build_stage
from tests.cli_material import write_clip
from tests.diffusion_material import save_pipeline
from tests.engine_stages import frame

CPU = EngineSettings("cpu", batch=1, tile_px=0, job="film")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("pipelines")
    return {kind: str(save_pipeline(kind, root / kind)) for kind in ("sd", "sdxl", "flux")}


def stage_of(model, **more):
    settings = {"model": model, "prompt": "a street", "strength": 0.5, "steps": 2, "detail_px": 2}
    return build_stage("refine", {**settings, **more}, StageContext(job="film"))


def texture(height, width, seed):
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(3, height, width)
    for size, share in ((4, 0.4), (9, 0.3), (20, 0.2)):
        rough = torch.rand(1, 3, max(2, size * height // 64), size, generator=generator)
        total += share * F.interpolate(rough, (height, width), mode="bicubic")[0]
    return total.clamp(0.02, 0.98)


def clip(count, height=64, width=96, step_px=1.5, shot=0, seed=1):
    """A textured ground that pans, and a patch that goes the other way."""
    ground = texture(height, width + 64, seed)
    patch = texture(height // 2, width // 3, seed + 9)
    still = torch.zeros(1, 2, height, width + 64)
    frames = []
    for n in range(count):
        flow = still.clone()
        flow[:, 0] = step_px * n
        data = warp(ground[None], flow, "bicubic")[0, :, :, :width].contiguous()
        left = min(8 + n, width - width // 3)
        data[:, height // 4 : height // 4 + height // 2, left : left + width // 3] = patch
        base = frame(n, height, width)
        frames.append(replace(base, data=data.clamp(0, 1), shot=shot))
    return frames


def refined(stage, frames, settings=CPU):
    return list(process(frames, [stage], settings))


def test_chunks_of_one_worker_load_the_pipeline_once(folders, tmp_path, monkeypatch):
    """And give the bytes of workers that load it for each chunk."""
    from restore.diffusion import load
    from restore.jobs.durable import make_durable
    from restore.jobs.storage import Storage
    from restore.jobs.work import Work

    real, count = load.load_pipeline, []

    def counted(*args, **kwargs):
        count.append(args)
        return real(*args, **kwargs)

    monkeypatch.setattr(load, "load_pipeline", counted)
    source = write_clip(tmp_path / "in.mkv", 6, size_px=(64, 48))
    more = {"model": folders["sd"], "prompt": "a street", "strength": 0.5, "steps": 2}
    steps = (Step("shots", {"cuts": [2, 4]}), Step("refine", {**more, "detail_px": 2}))
    recipe = Recipe("painted", "", steps, delivery={"profile": "ffv1"})
    job = make_job(source, tmp_path / "out.mkv", recipe, {"device": "cpu"})
    plan, pinned, _ = make_durable(job, chunk_frames=2, threads=1)
    assert len(plan.chunks) == 3
    storage = Storage(tmp_path / "work")
    storage.prepare(plan.id)
    alone = [Work(plan, pinned, "cpu", storage, plan.id).chunk(n).sha256 for n in range(3)]
    count.clear()
    work = Work(plan, pinned, "cpu", storage, plan.id)
    assert [work.chunk(n).sha256 for n in range(3)] == alone
    assert len(count) == 1


def warp_error(frames, source):
    """Mean distance of each frame from the one before, brought along the source's motion."""
    total = []
    for (a, b), (one, other) in zip(pairwise(frames), pairwise(source), strict=True):
        back = optical_flow(other.data[None], one.data[None])
        hidden = occluded(back, optical_flow(one.data[None], other.data[None]))
        gap = (b.data[None] - warp(a.data[None], back, "bicubic")).abs()
        total.append(float(gap[(~hidden).expand_as(gap)].mean()))
    return sum(total) / len(total)


@pytest.mark.parametrize("kind", ["sd", "sdxl", "flux"])
def test_warp_error_is_at_most_half_of_frame_by_frame_refinement(folders, kind):
    source = clip(6)
    same = refined(stage_of(folders[kind], invent=1.0), source)
    fresh = refined(stage_of(folders[kind], invent=1.0, same_film=False), source)
    assert all((a.data - b.data).abs().max() > 1e-3 for a, b in zip(same, source, strict=True))
    steady, loose = warp_error(same, source), warp_error(fresh, source)
    assert steady <= 0.5 * loose, (steady, loose, warp_error(source, source))


def test_without_steadying_moving_noise_alone_lowers_the_warp_error(folders):
    source = clip(5)
    moved = refined(stage_of(folders["sd"], invent=1.0, steadiness=0.0), source)
    fresh = refined(stage_of(folders["sd"], invent=1.0, same_film=False), source)
    assert warp_error(moved, source) < 0.9 * warp_error(fresh, source)


def test_shots_share_nothing(folders):
    first, second = clip(3), clip(3, shot=1, seed=4)
    second = [replace(f, index=f.index + 3, pts=f.pts + 3) for f in second]
    together = refined(stage_of(folders["sd"]), [*first, *second])
    alone = refined(stage_of(folders["sd"]), second)
    for a, b in zip(together[3:], alone, strict=True):
        assert torch.equal(a.data, b.data)


def test_the_same_job_gives_the_same_bits_and_another_seed_others(folders):
    source = clip(2)
    one, again = (refined(stage_of(folders["sdxl"]), source) for _ in range(2))
    other = refined(stage_of(folders["sdxl"], seed=1), source)
    assert all(torch.equal(a.data, b.data) for a, b in zip(one, again, strict=True))
    assert not torch.equal(one[0].data, other[0].data)


def test_size_time_and_grey_stay(folders):
    source = [replace(f, is_gray=True) for f in clip(2, 50, 70)]
    out = refined(stage_of(folders["flux"]), source)
    for a, b in zip(out, source, strict=True):
        assert (a.pts, a.index, a.data.shape) == (b.pts, b.index, b.data.shape)
        assert bool(torch.isfinite(a.data).all())


@pytest.mark.parametrize("invent", [0.0, 1.0])
def test_the_output_reduced_is_the_source_within_the_stated_tolerance(folders, invent):
    source = clip(2)
    stage = stage_of(folders["sd"], invent=invent, coarse_levels=2)
    for a, b in zip(refined(stage, source), source, strict=True):
        size = (a.data.shape[-2] // 2, a.data.shape[-1] // 2)
        small = [
            F.interpolate(x.data[None], size, mode="bicubic", antialias=True)[0] for x in (a, b)
        ]
        gap = F.avg_pool2d((small[0] - small[1]).square().mean(0)[None], 16, ceil_mode=True)
        assert float(gap.sqrt().max()) <= stage.gate.tolerance * 1.001
    facts, listed = stage.facts(), stage.sidecars()["refined.txt"]
    assert "% of the energy not supported by the source" in facts["shot at 0"]
    assert "pulled back" in facts["shot at 0"]
    if invent == 0:
        assert "frame 1, tile at" in listed


@pytest.mark.parametrize("kind", ["sd", "sdxl", "flux"])
def test_a_shorter_number_format_is_held_to_the_source_as_well(folders, kind):
    source = clip(2)
    stage = stage_of(folders[kind], precision="bfloat16", detail_px=1, invent=0.5)
    for a, b in zip(refined(stage, source), source, strict=True):
        assert a.data.dtype == torch.float32
        gap = F.avg_pool2d((a.data - b.data).square().mean(0)[None], 16, ceil_mode=True).sqrt()
        assert 0 < float(gap.max()) <= stage.gate.tolerance * 1.001
    assert stage.facts()["number format"] == "bfloat16 on cpu"


def test_a_format_that_overflows_the_model_is_refused(folders):
    with pytest.raises(InvalidInput, match="float16"):
        refined(stage_of(folders["flux"], precision="float16"), clip(1))


def test_facts_say_what_went_in(folders):
    facts = stage_of(folders["sd"], lora=(), negative="blurred").facts()
    assert len(facts["sha256"]) == 64
    assert facts["prompt"] == "a street"
    assert facts["negative prompt"] == "blurred"
    assert facts["same film"] == "yes"
    assert "within 4." in facts["gate"]


def test_it_is_off_in_every_preset():
    for name in preset_names():
        assert all(step.stage != "refine" for step in load_preset(name).steps)


def test_cancel_is_obeyed(folders):
    token = CancelToken()
    stream = process(iter(clip(50, 32, 32)), [stage_of(folders["sd"])], CPU, token)
    next(stream)
    token.cancel()
    with pytest.raises(Cancelled):
        list(stream)


def test_missing_weights_say_what_to_pull_how_large_and_under_which_licence():
    with pytest.raises(ModelNotFound) as caught:
        stage_of("stabilityai/stable-diffusion-xl-base-1.0", revision=COMMIT)
    for word in ("6.9 GB", "OpenRAIL", "hf download", COMMIT):
        assert word in str(caught.value)


def test_without_the_extra_the_command_that_installs_it_is_said(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(MissingExtra, match=r"pip install 'restore-film\[diffusion\]'"):
        stage_of(folders["sd"])


def test_a_gated_model_says_that_its_licence_has_to_be_accepted():
    with pytest.raises(GatedModel, match="Accept it on the model's page"):
        stage_of("black-forest-labs/FLUX.1-dev", revision=COMMIT)


def test_too_little_memory_says_what_would_fit(folders, monkeypatch):
    stage = stage_of(folders["sd"])
    needed = sum(weights_bytes(stage._loaded, torch.float32).values())
    monkeypatch.setattr("restore.diffusion.place._free_bytes", lambda device: needed * 2 // 3)
    with pytest.raises(OutOfMemory, match="What would fit: bfloat16"):
        refined(stage, clip(1))


def test_memory_that_runs_out_in_a_step_halves_the_tiles_at_once(folders):
    stage = stage_of(folders["sd"], tile_px=32, batch=4, overlap=0.0)
    unet = stage._loaded.denoiser
    own = unet.forward

    def hungry(sample, *args, **kwargs):
        if len(sample) > 4:  # two tiles with and without the prompt
            raise torch.OutOfMemoryError("out of memory")
        return own(sample, *args, **kwargs)

    unet.forward = hungry
    refined(stage, clip(1))
    assert "2 at once" in stage.facts()["tiles"]

    def starved(sample, *args, **kwargs):
        raise torch.OutOfMemoryError("out of memory")

    unet.forward = starved
    with pytest.raises(OutOfMemory, match="tile_px"):
        refined(stage, clip(1))


def test_a_lora_of_another_base_is_refused(folders, tmp_path):
    from restore.diffusion.folder import find_pipeline
    from tests.test_diffusion_lora import load, make

    found = {"sdxl": find_pipeline(folders["sdxl"])}
    path = make(load(found, "sdxl"), tmp_path / "x.safetensors", "kohya")
    with pytest.raises(UnsupportedModel, match="another base model"):
        stage_of(folders["sd"], lora=({"file": str(path)},))
    stage = stage_of(
        folders["sdxl"], lora=({"file": str(path), "model_strength": 0.8, "text_strength": 0.7},)
    )
    assert "strength 0.8, text encoder 0.7" in stage.facts()["lora 1"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"scheduler": "none"}, "scheduler"),
        ({"strength": 0.01}, "none"),
        ({"no_such": 1}, "no_such"),
        ({"invent": 2}, "invent"),
        ({"scheduler": "euler_a"}, "Ancestral"),
    ],
)
def test_settings_that_do_not_do_are_refused(folders, settings, said):
    with pytest.raises(InvalidInput, match=said):
        stage_of(folders["sd"], **settings)


def test_a_folder_that_is_no_pipeline_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnsupportedModel, match=r"model_index\.json"):
        stage_of(str(tmp_path / "empty"))
    with pytest.raises(ModelNotFound):
        stage_of(str(Path(tmp_path) / "none"))


def refining(folder, **more):
    settings = {"model": folder, "strength": 0.5, "steps": 2, "detail_px": 1, "invent": 0.0}
    return Recipe("refining", "", (Step("refine", {**settings, **more}),))


def invented(path):
    with av.open(str(path)) as file:
        tags = {key.lower(): value for key, value in file.metadata.items()}
    return json.loads(tags["restore"]), json.loads(tags["restore_invented"])


@pytest.mark.parametrize("end", ["mp4", "mkv", "mov"])
def test_what_was_made_up_is_in_the_report_beside_the_result_and_in_its_tags(
    folders, tmp_path, end
):
    source = write_clip(tmp_path / "in.mp4", 3)
    codec = {"codec": "prores422hq"} if end == "mov" else {}
    report = run(str(source), str(tmp_path / f"out.{end}"), refining(folders["sd"]), **codec)
    record, told = invented(tmp_path / f"out.{end}")
    assert not [one for one in report.warnings if "tag" in one]
    assert record["stages"][0]["gate"].startswith("reduced by 1")
    assert record["stages"][0]["model"] == folders["sd"]
    assert told["refine"]["shot at 0"] == report.run.stages[0].facts["shot at 0"]
    assert "% of the energy not supported by the source" in told["refine"]["shot at 0"]
    (listed,) = tmp_path.glob("*refined.txt")
    assert "frame 2, tile at 0,0 px" in listed.read_text()


def test_a_late_tag_leaves_a_whole_matroska_file(folders, tmp_path):
    source = write_clip(tmp_path / "in.mp4", 2)
    run(str(source), str(tmp_path / "out.mkv"), refining(folders["sd"]))
    with (tmp_path / "out.mkv").open("rb") as file:
        start, stop = find_top_level(file, 0x1254C367)
        file.seek(start)
        content = file.read(stop - start)
    assert content[:2] == b"\xbf\x84"
    assert content[2:6] == zlib.crc32(content[6:]).to_bytes(4, "little")


@pytest.mark.parametrize("shots", [3, 100, 5000])
def test_what_is_measured_fits_its_tag(shots):
    tally = GateTally(frames=40, tiles=900, unsupported=1.0, energy=50.0)
    facts = {f"shot at {n}": str(tally) for n in range(shots)}
    (text,) = measured_of([("refine", facts)]).values()
    assert len(text) <= 8192
    told = json.loads(text)
    assert "2.00%" in told["refine"]["shot at 0"]
    assert len(told["refine"]) == shots or told["more"]


def test_a_job_in_pieces_writes_it_too(folders, tmp_path):
    source = write_clip(tmp_path / "in.mp4", 4)
    steps = (Step("shots", {"cuts": [2], "save": False}), *refining(folders["sd"]).steps)
    recipe = replace(refining(folders["sd"]), steps=steps)
    job = make_job(str(source), str(tmp_path / "out.mkv"), recipe, {})
    report = run_durable(job, chunk_frames=2)
    _, told = invented(tmp_path / "out.mkv")
    assert set(told["refine"]) == {"shot at 0", "shot at 2"}
    assert all(text.startswith("2 frames") for text in told["refine"].values())
    facts = report.run.stages[-1].facts
    assert {name: facts[name] for name in told["refine"]} == told["refine"]


def test_a_server_does_not_open_what_a_client_names(folders):
    from restore.service.asked import recipe_of
    from restore.service.v1 import common_pb2

    text = '[[steps]]\nstage = "refine"\nmodel = "restore-4x-s"\ncontrolnet = "net"\n'
    with pytest.raises(InvalidInput, match="refine"):
        recipe_of(common_pb2.Recipe(toml=text))
