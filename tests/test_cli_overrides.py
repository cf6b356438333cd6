"""Options laid over recipes, and amounts read from text."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restore.api import make_job
from restore.console.words import bytes_text, duration_text, parse_bytes, rate_text
from restore.errors import InvalidInput
from restore.overrides import DENOISE_MODEL, Overrides, adapted
from restore.recipe import Step, load_preset, load_recipe, recipe_from_canonical
from restore.time import FrameRange


def stages(recipe) -> list[str]:
    return [step.stage for step in recipe.steps]


@pytest.fixture
def default():
    return load_preset("default")


def test_nothing_asked_changes_nothing(default):
    assert adapted(default, Overrides()) == default


def test_scale_one_drops_the_upscaling(default):
    recipe = adapted(default, Overrides(scale="1"))
    assert stages(recipe) == ["deartifact"]
    assert recipe.scale == 1


def test_without_networks_the_rest_stays_and_so_does_the_size():
    recipe = adapted(load_preset("film"), Overrides(no_networks=True))
    assert recipe.scale is None
    assert "dust" in stages(recipe)
    assert not {"deartifact", "upscale"} & set(stages(recipe))
    with pytest.raises(InvalidInput, match=r"no networks, and scale 4"):
        adapted(recipe, Overrides(no_networks=True, scale=4))
    with pytest.raises(InvalidInput, match=r"model omnisr"):
        adapted(recipe, Overrides(no_networks=True, model="omnisr"))


def test_scale_below_one_leaves_no_network_that_enlarges(default):
    assert stages(adapted(default, Overrides(scale="1/2"))) == ["deartifact"]


def test_scale_adds_the_upscaling_where_there_is_none():
    recipe = adapted(load_preset("clean"), Overrides(scale=2))
    assert stages(recipe) == ["deartifact", "upscale"]
    assert recipe.scale == 2


@pytest.mark.parametrize("scale", ["0", "-1", "17", "four", ""])
def test_scales_that_are_none(default, scale):
    with pytest.raises(InvalidInput):
        adapted(default, Overrides(scale=scale))


def test_models_go_to_their_stages(default):
    recipe = adapted(default, Overrides(model="m", deartifact_model="d"))
    assert recipe.steps == (
        Step("deartifact", {"model": "d"}),
        Step("upscale", {"model": "m"}),
    )


@pytest.mark.parametrize("word", ["none", "None"])
def test_no_deartifact_model_drops_the_stage(default, word):
    assert stages(adapted(default, Overrides(deartifact_model=word))) == ["upscale"]


def test_a_deartifact_model_brings_its_stage():
    recipe = adapted(load_preset("upscale"), Overrides(deartifact_model="d"))
    assert recipe.steps[0] == Step("deartifact", {"model": "d"})
    assert stages(recipe) == ["deartifact", "upscale"]


@pytest.mark.parametrize("wanted", [Overrides(model="m"), Overrides(denoise_strength=0.5)])
def test_a_model_without_its_stage_is_refused(wanted):
    with pytest.raises(InvalidInput, match="does not do"):
        adapted(load_preset("clean"), wanted)


def test_a_model_contradicts_scale_one(default):
    with pytest.raises(InvalidInput, match="scale 1"):
        adapted(default, Overrides(scale=1, model="m"))


def test_denoise_strength_takes_the_model_with_a_twin(default):
    recipe = adapted(default, Overrides(denoise_strength=0.25))
    assert recipe.steps[1].settings == {"model": DENOISE_MODEL, "denoise_strength": 0.25}


def test_denoise_strength_leaves_a_named_model_alone(default):
    recipe = adapted(default, Overrides(denoise_strength=0.25, model="m"))
    assert recipe.steps[1].settings["model"] == "m"


@pytest.mark.parametrize("strength", [-0.1, 1.1])
def test_denoise_strength_out_of_range(default, strength):
    with pytest.raises(InvalidInput, match="denoise_strength"):
        adapted(default, Overrides(denoise_strength=strength))


def test_another_codec_starts_from_its_own_defaults():
    recipe = adapted(load_preset("generated"), Overrides(codec="prores422hq", bit_depth=10))
    assert recipe.delivery == {"profile": "prores422hq", "bit_depth": 10, "speed": "auto"}


def test_the_same_codec_keeps_the_recipes_settings():
    recipe = adapted(load_preset("generated"), Overrides(codec="h264", speed="slow"))
    assert recipe.delivery == {"profile": "h264", "crf": 14, "speed": "slow"}


def test_quality_and_seed(default):
    recipe = adapted(default, Overrides(quality="best", seed=5))
    assert (recipe.quality, recipe.seed) == ("best", 5)
    with pytest.raises(InvalidInput, match="quality"):
        adapted(default, Overrides(quality="finest"))
    with pytest.raises(InvalidInput, match="seed"):
        adapted(default, Overrides(seed=-1))


def test_the_look_goes_into_the_recipe_and_the_job(default):
    plain, vivid = adapted(default, Overrides()), adapted(default, Overrides(look="vivid"))
    assert (plain.look, vivid.look) == ("faithful", "vivid")
    assert adapted(vivid, Overrides(look="faithful")).canonical() == plain.canonical()
    assert plain.job_name() != vivid.job_name()
    assert recipe_from_canonical(vivid.canonical()).look == "vivid"
    assert make_job("in.mp4", "out.mkv", default, {"look": "vivid"}).context.look == "vivid"
    with pytest.raises(InvalidInput, match="look 'gaudy'"):
        adapted(default, Overrides(look="gaudy"))


def test_a_vivid_look_needs_a_network_that_upscales(default, tmp_path):
    clean = load_preset("clean")
    assert adapted(clean, Overrides(look="faithful")).look == "faithful"
    for recipe, wanted in (
        (clean, Overrides(look="vivid")),
        (default, Overrides(look="vivid", scale=1)),
        (default, Overrides(look="vivid", no_networks=True)),
    ):
        with pytest.raises(InvalidInput, match="does not upscale"):
            adapted(recipe, wanted)
    with pytest.raises(InvalidInput, match="look of its own"):
        adapted(default, Overrides(look="vivid", model="m"))
    path = tmp_path / "r.toml"
    path.write_text('look = "vivid"\n[[steps]]\nstage = "deartifact"\n')
    with pytest.raises(InvalidInput, match="does not upscale"):
        load_recipe(path)
    path.write_text('look = "vivid"\nscale = 4\n[[steps]]\nstage = "upscale"\n')
    vivid = load_recipe(path)
    assert vivid.look == "vivid"
    assert adapted(vivid, Overrides(scale=1)).look == "faithful"
    assert adapted(vivid, Overrides(scale=1, look="faithful")).look == "faithful"


def test_a_job_carries_everything(default):
    job = make_job(
        "in.mp4",
        "out.mkv",
        default,
        {
            "scale": "2",
            "quality": "best",
            "range": "10:20",
            "rate": "23.976",
            "tile_px": 256,
            "memory_bytes": 1 << 30,
            "precision": "fast",
            "strict": True,
        },
    )
    assert job.recipe.scale == 2
    assert job.context.quality == "best"
    assert job.range == FrameRange(10, 20)
    assert job.rate == Fraction(24000, 1001)
    assert (job.settings.tile_px, job.settings.memory_bytes) == (256, 1 << 30)
    assert job.settings.precision == "fast"
    assert job.settings.job == job.recipe.job_name()
    assert job.strict
    assert not job.overwrite


def test_a_job_refuses_unknown_options(default):
    with pytest.raises(InvalidInput, match="colour"):
        make_job("a", "b", default, {"colour": 1})


def test_timecodes_on_a_pipe_are_refused(default):
    with pytest.raises(InvalidInput, match="pipe"):
        make_job("-", "b.mp4", default, {"range": "00:00:01:00-00:00:02:00"})


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("2GiB", 2 << 30),
        ("512 mib", 512 << 20),
        ("1.5g", 1_500_000_000),
        ("800MB", 800_000_000),
        ("1000000", 1_000_000),
        ("64k", 64_000),
        ("3 b", 3),
    ],
)
def test_amounts_of_memory(text, amount):
    assert parse_bytes(text) == amount


@pytest.mark.parametrize("text", ["", "0", "-1GiB", "2 GiBB", "lots", "1ib", "0.1"])
def test_amounts_that_are_none(text):
    with pytest.raises(InvalidInput, match="memory"):
        parse_bytes(text)


@given(st.integers(min_value=1, max_value=1 << 50))
def test_bytes_are_written_with_the_unit_that_fits(amount):
    number, unit = bytes_text(amount).split()
    power = ["B", "KiB", "MiB", "GiB", "TiB"].index(unit)
    assert float(number) == pytest.approx(amount / 1024**power, rel=0.06)
    assert float(number) >= 0.99


def test_words_for_time_and_rate():
    assert duration_text(0.4249) == "0.42 s"
    assert duration_text(12.34) == "12.3 s"
    assert duration_text(99.97) == "1 min 40 s"
    assert duration_text(3599.6) == "1 h 00 min"
    assert rate_text(Fraction(25)) == "25 fps"
    assert rate_text(Fraction(30000, 1001)) == "29.97 fps (30000/1001)"
    assert rate_text(None) == "no frame rate"


def test_invent_goes_to_every_stage_that_may_invent(default, tmp_path):
    said = adapted(default, Overrides(look="vivid", invent=0.25))
    assert [s.settings["invent"] for s in said.steps if s.stage == "upscale"] == [0.25]
    refine = replace(default, steps=(*default.steps, Step("refine", {"model": "folder"})))
    said = adapted(refine, Overrides(invent=0.0))
    assert {s.stage for s in said.steps if s.settings.get("invent") == 0.0} == {"upscale", "refine"}
    assert all(s.stage != "refine" for s in adapted(refine, Overrides(no_networks=True)).steps)
    with pytest.raises(InvalidInput, match="nothing invents"):
        adapted(default, Overrides(scale=1, invent=0.5))
    with pytest.raises(InvalidInput, match="invent"):
        adapted(default, Overrides(invent=1.5))
