"""Which settings follow from what was found, as a recipe, on the command line and from Python."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import restore
from restore.analysis.telecine import Scan
from restore.cli import app
from restore.color import ColorSpec, Matrix, Primaries, Range, Transfer
from restore.degrade.film import FilmDamage, degrade
from restore.errors import InvalidInput, MediaError
from restore.frames import ClipInfo, FieldOrder
from restore.inspection.findings import Dyes, Light, ReelFindings, ShotFindings
from restore.media.reader import ClipReader
from restore.proposal.choice import Reel
from restore.proposal.propose import propose
from restore.proposal.shot_rules import SHOT_RULES
from restore.proposal.toml import recipe_toml
from restore.recipe import load_recipe, recipe_from_toml
from restore.time import FrameRange
from tests.cli_material import write_clip
from tests.test_inspection import scene

FULL = ColorSpec(Matrix.BT709, Primaries.BT709, Transfer.BT709, Range.LIMITED)
LIGHT = Light((0.02, 0.02, 0.02), (0.95, 0.95, 0.95), (0.4, 0.4, 0.4), 0.1)
FRESH = Dyes((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), 0.0)
STEADY = ShotFindings(
    FrameRange(0, 50), 40, Scan.PROGRESSIVE, 0.0, LIGHT, FRESH, (0.02, 0.03), 0.001, 0.4, 0.0001,
    0.0, 0.002, 0.5, 0.01,
)  # fmt: skip


def info(codec="ffv1", fps=Fraction(25)):
    return ClipInfo(
        "reel.mkv", "matroska", codec, 720, 576, "yuv420p", Fraction(1), fps, Fraction(1, 1000),
        False, 100, None, None, FieldOrder.PROGRESSIVE, 0, FULL, FULL,
    )  # fmt: skip


def reel(*shots, codec="ffv1", bits=None, **facts):
    total = sum(shot.frames for shot in shots)
    found = ReelFindings(
        720, 576, total, total, (), shots, Scan.PROGRESSIVE, 0.0, None, (),
    )  # fmt: skip
    return Reel(replace(found, **facts), info(codec), bits)


def stages(proposal):
    return [step.stage for step in proposal.recipe.steps]


def test_a_clean_scan_gets_nothing_but_size():
    assert stages(propose(reel(STEADY))) == ["shots", "upscale"]


def test_black_borders_are_cut_unless_registration_needs_them():
    borders = (75, 0, 74, 2)
    proposal = propose(reel(STEADY, borders_px=borders))
    assert proposal.recipe.crop == "75:0:74:2"
    written = recipe_toml(proposal, "a reel")
    assert "# a black border: 75 px on the left" in written
    assert recipe_from_toml(written, "mine").crop == "75:0:74:2"
    holes = propose(reel(replace(STEADY, perforation="super8"), borders_px=borders))
    assert not holes.recipe.crop
    assert "registration needs it" in holes.why_not["crop"]
    assert "no black border" in propose(reel(STEADY)).why_not["crop"]


def test_mixed_frames_are_left_and_said():
    mixed = replace(STEADY, scan=Scan.BLENDED)
    proposal = propose(reel(mixed, scan=Scan.BLENDED))
    assert "fields" not in stages(proposal)
    assert "mixed of neighbouring film frames" in recipe_toml(proposal, "a reel")


def test_every_finding_has_its_stage_in_the_order_of_the_chain():
    worn = replace(
        STEADY, scan=Scan.TFF, weave_px=(1.0, 2.0), flicker=0.05, dirt_marks=12.0,
        dirt_share=0.002, scratches=1.0, grain=0.03, blocking=0.2,
        dyes=Dyes((0.7, 1.0, 0.9), (1.0, 1.0, 1.0), 0.06),
    )  # fmt: skip
    proposal = propose(reel(worn, scan=Scan.TFF, repeats=0.36, film_fps=Fraction(16)))
    assert stages(proposal) == [
        "shots", "fields", "cadence", "grain_learn", "stabilise", "deflicker", "dust",
        "scratches", "degrain", "deartifact", "upscale", "fade", "regrain",
    ]  # fmt: skip
    settings = {step.stage: dict(step.settings) for step in proposal.recipe.steps}
    assert settings["fields"] == {"scan": "tff"}
    assert settings["cadence"] == {"fps": "16"}
    assert "cyan by 30%" in proposal.why["fade"]
    assert proposal.recipe.scale == 4
    assert not proposal.recipe.shots


def test_shots_that_differ_are_told_apart():
    worn = replace(STEADY, weave_px=(1.0, 2.0), dirt_marks=40.0, dirt_share=0.01)
    spotted = replace(worn, dirt_marks=5.0)
    spans = [(STEADY, 0, 50), (worn, 50, 200), (spotted, 200, 220), (spotted, 220, 230)]
    proposal = propose(reel(*(replace(s, span=FrameRange(a, b)) for s, a, b in spans)))
    settings = {step.stage: dict(step.settings) for step in proposal.recipe.steps}
    assert settings["shots"] == {"cuts": [50, 200, 220]}
    assert settings["dust"] == {"sensitivity": 1.25}
    assert "in 3 of 4 shots" in proposal.why["dust"]
    first, last = proposal.recipe.shots
    assert (first.span, first.steps) == (FrameRange(0, 50), {"stabilise": None, "dust": None})
    assert (last.span, last.steps) == (FrameRange(200, 230), {"dust": {"sensitivity": 0.8}})
    assert "steady" in proposal.shot_why[0]["stabilise"]


def test_what_a_codec_and_a_size_ask_for():
    thin = propose(reel(STEADY, codec="h264", bits=0.1))
    assert "deartifact" in stages(thin)
    assert "h264 with 0.1 bits a pixel" in thin.why["deartifact"]
    assert "deartifact" in propose(reel(STEADY, codec="ffv1", bits=0.1)).why_not
    assert "upscale" not in stages(propose(reel(STEADY, height_px=1080)))


def test_the_speed_is_asked_for_where_a_scan_shows_its_gauge():
    holes = replace(STEADY, perforation="super8")
    proposal = propose(reel(holes))
    if "speed" not in [*stages(proposal), *proposal.why_not]:
        pytest.skip("this version has no stage speed")
    assert stages(proposal)[-1] == "speed"
    assert proposal.recipe.steps[-1].settings == {"film_fps": "18"}
    known = propose(reel(holes, repeats=0.3, film_fps=Fraction(18)))
    assert "speed" not in stages(known)


def test_pieces_of_a_reel_give_one_setting_for_all():
    worn = replace(STEADY, span=FrameRange(90, 140), weave_px=(1.0, 2.0))
    proposal = propose(reel(STEADY, worn, gaps=(FrameRange(50, 90),)))
    assert not proposal.recipe.shots
    assert proposal.recipe.steps[0].settings == {}


@st.composite
def reels(draw):
    maybe = lambda top: st.one_of(st.none(), st.floats(0, top))  # noqa: E731
    shots, start = [], draw(st.integers(0, 5))
    for _ in range(draw(st.integers(1, 6))):
        stop = start + draw(st.integers(1, 300))
        marks = draw(maybe(50))
        weave = draw(maybe(8))
        shots.append(
            ShotFindings(
                FrameRange(start, stop),
                40,
                draw(st.sampled_from(Scan)),
                draw(maybe(1)),
                draw(st.sampled_from([LIGHT, None])),
                draw(st.sampled_from([FRESH, replace(FRESH, lifted=0.1), None])),
                None if weave is None else (weave, weave / 2),
                draw(maybe(0.2)),
                marks,
                None if marks is None else marks / 1e4,
                draw(maybe(3)),
                draw(maybe(0.1)),
                draw(maybe(2)),
                draw(maybe(1)),
            )
        )
        start = stop
    return reel(
        *shots,
        repeats=draw(st.floats(0, 0.6)),
        film_fps=draw(st.sampled_from([None, Fraction(16), Fraction(1300, 59)])),
    )


@settings(max_examples=30)
@given(reels())
def test_every_shot_gets_what_it_needs_and_the_file_says_the_same(tmp_path_factory, drawn):
    proposal = propose(drawn)
    path = tmp_path_factory.mktemp("recipe") / "reel.toml"
    path.write_text(recipe_toml(proposal, "one\ntwo"), encoding="utf-8")
    read = load_recipe(path)
    assert read.canonical() == proposal.recipe.canonical()
    base = {step.stage: step.settings for step in read.steps}
    for shot in drawn.found.shots:
        there = [one.steps for one in read.shots if shot.span.start in one.span]
        differs = there[0] if there else {}
        for stage, rule in SHOT_RULES.items():
            wanted = None if shot.is_black else rule(shot, drawn)
            if wanted is None:
                continue  # nothing told: as the rest of the reel
            used = stage in base and differs.get(stage, {}) is not None
            assert used == wanted.used
            if used:
                assert {**base[stage], **(differs.get(stage) or {})} == wanted.settings


def test_auto_is_the_analysis_and_its_recipe(tmp_path):
    clip = degrade(scene(20, 3, (48, 64)), FilmDamage(downscale=1, flicker=0.08)).frames * 255
    source = write_pictures(tmp_path / "scan", clip)
    found = restore.analyse(source)
    assert "deflicker" in stages(found.proposal)
    chosen = {"codec": "ffv1", "no_networks": True, "range": "2:16"}
    auto = restore.run(source, tmp_path / "auto.mkv", preset="auto", **chosen)
    told = json.loads(auto.plan.job.recipe.canonical())
    assert auto.to_dict()["recipe"] == told
    assert "deflicker" in [step["stage"] for step in told["steps"]]
    proposed = restore.analyse(source, range="2:16").proposal.recipe
    run = restore.run(source, tmp_path / "run.mkv", preset=proposed, **chosen)
    assert run.plan.job.recipe == auto.plan.job.recipe
    for one, other in zip(pictures(auto), pictures(run), strict=True):
        assert np.array_equal(one, other)


def write_pictures(folder, clip):
    import cv2

    folder.mkdir()
    for number, picture in enumerate(np.rint(clip).astype(np.uint8)):
        cv2.imwrite(str(folder / f"{number:03d}.png"), picture[..., ::-1])
    return folder


def pictures(report):
    with ClipReader(report.written.path) as reader:
        return [raw.planes[0].copy() for raw in reader]


def command(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_the_commands_say_what_was_found_and_write_the_recipe(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", 6)
    recipe = tmp_path / "clip.toml"
    told = command("analyse", clip, "-o", recipe)
    assert told.exit_code == 0, told.output
    for words in ("what follows", "left out", "all 6 frames were read", "gauge"):
        assert words in told.output
    assert load_recipe(recipe).name == "auto"
    assert command("analyse", clip, "-o", recipe).exit_code != 0, "a recipe was replaced unasked"
    table = json.loads(command("analyse", clip, "--json").output)
    assert table["frames"] == 6
    assert table["shots"][0]["start"] == 0
    assert {"stage", "settings", "why"} == set(table["recipe"]["steps"][0])
    dry = command(
        "run", clip, "-o", tmp_path / "out.mp4", "--preset", "auto", "--dry-run", "--no-networks"
    )
    assert dry.exit_code == 0, dry.output
    assert "what follows" in dry.output
    assert "[[steps]]" in dry.output
    assert not (tmp_path / "out.mp4").exists()


def test_what_cannot_be_analysed_says_why(tmp_path):
    with pytest.raises(InvalidInput, match="standard input"):
        restore.analyse("-")
    strange = tmp_path / "notes.mp4"
    strange.write_text("no film at all" * 50, encoding="utf-8")
    with pytest.raises(MediaError):
        restore.analyse(strange)
    failed = command("analyse", tmp_path / "missing.mp4")
    assert failed.exit_code != 0
    assert "missing.mp4" in failed.output


def test_a_still_picture_is_analysed_as_far_as_it_goes(tmp_path):
    source = write_pictures(tmp_path / "still", scene(1) * 255)
    found = restore.analyse(source / "000.png")
    assert found.notes[0].startswith("a single picture")
    assert "dust" in found.proposal.why_not
    assert "too few frames" in found.proposal.why_not["dust"]
