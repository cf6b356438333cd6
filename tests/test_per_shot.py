"""Settings that differ from shot to shot: in recipes, over the engine, in whole jobs."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import replace
from fractions import Fraction
from itertools import groupby, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from restore.engine.run import process
from restore.engine.settings import EngineSettings
from restore.engine.stage import Memory, StreamSpec
from restore.engine.varied import Variant, VariedStage
from restore.errors import InvalidInput
from restore.media.reader import ClipReader
from restore.overrides import Overrides, adapted
from restore.recipe import Recipe, Step, load_preset, load_recipe, recipe_from_canonical
from restore.restoration import Job, metadata_of, plan_job, run_job
from restore.stages import StageContext, build_stage
from restore.time import FrameRange
from tests.engine_stages import Blur, Double, Mean, Noise, frame
from tests.test_restoration import make

CPU = EngineSettings("cpu", batch=1, tile_px=0, job="job")


class Running:
    """A stream stage that holds frames back and remembers its shot: a sum so far, late."""

    def __init__(self, factor, delay=2):
        self.spec = StreamSpec("running", delay=delay, memory=Memory.SHOT)
        self._factor = factor

    def facts(self):
        return {"factor": str(self._factor)}

    def stream(self, frames):
        for _, shot in groupby(frames, key=lambda one: one.shot):
            total, held = 0.0, deque()
            for one in shot:
                total = total + one.data * self._factor
                held.append(replace(one, data=total))
                if len(held) > self.spec.delay:
                    yield held.popleft()
            yield from held


class Scaled(Mean):
    """The mean over the window, times a factor, so that variants can be told apart."""

    def __init__(self, factor, **changes):
        super().__init__(**changes)
        self._factor = factor

    def facts(self):
        return {"factor": str(self._factor)}

    def compute(self, windows, seeds):
        return super().compute(windows, seeds) * self._factor


def clip(count, seed=0):
    random = torch.Generator().manual_seed(seed)
    return [replace(frame(n), data=torch.rand(3, 6, 5, generator=random)) for n in range(count)]


def spans(bounds):
    return [FrameRange(*pair) for pair in pairwise(bounds)]


@st.composite
def divided(draw):
    """A clip's length, and ranges of it that have settings of their own (or are left out)."""
    count = draw(st.integers(1, 14))
    bounds = sorted(draw(st.sets(st.integers(0, count + 3), max_size=6)))
    parts = spans(bounds)
    kinds = draw(st.lists(st.sampled_from(["base", "other", "off", "none"]), min_size=len(parts)))
    return count, [(span, kind) for span, kind in zip(parts, kinds, strict=False) if kind != "none"]


@given(divided())
def test_every_range_gets_what_it_would_get_alone(drawn):
    count, ranges = drawn
    for make_stage in (Scaled, Running):
        base, other = make_stage(1.0), make_stage(3.0)
        kinds = {"base": base, "other": other, "off": None}
        varied = VariedStage(base, tuple(Variant(span, kinds[kind]) for span, kind in ranges))
        cuts = {end for span, _ in ranges for end in (span.start, span.stop)}
        settings = replace(CPU, cuts=frozenset(cuts))
        got = list(process(clip(count), [varied, Noise()], settings))

        bounds = sorted({0, count, *(end for end in cuts if end < count)})
        wanted = []
        for span in spans(bounds):
            kind = next((kind for s, kind in ranges if span.start in s), "base")
            part = [one for one in clip(count) if one.index in span]
            alone = [make_stage({"base": 1.0, "other": 3.0}[kind])] if kind != "off" else []
            wanted += process(part, [*alone, Noise()], CPU)
        assert [one.index for one in got] == list(range(count))
        assert all(torch.equal(a.data, b.data) for a, b in zip(got, wanted, strict=True))


def test_variants_share_the_seeds_of_their_stage():
    varied = VariedStage(Noise(), (Variant(FrameRange(2, 4), Noise()),))
    for one, other in zip(
        process(clip(6), [varied], replace(CPU, cuts=frozenset({2, 4}))),
        process(clip(6), [Noise()], CPU),
        strict=True,
    ):
        assert torch.equal(one.data, other.data)


def test_what_cannot_vary_is_refused():
    span = FrameRange(0, 4)
    stage = build_stage("cadence", {}, StageContext())
    with pytest.raises(InvalidInput, match="one setting for the whole clip"):
        VariedStage(stage, (Variant(span, stage),))
    with pytest.raises(InvalidInput, match="keeps size and number"):
        VariedStage(Blur(), (Variant(span, None),))
    with pytest.raises(InvalidInput, match="same size and number"):
        VariedStage(Blur(), (Variant(span, Blur(scale=Fraction(3))),))
    with pytest.raises(InvalidInput, match="from as many frames"):
        VariedStage(Mean(), (Variant(span, Mean(radius_past=3)),))
    with pytest.raises(InvalidInput, match="keeps size and number"):
        VariedStage(Double(), (Variant(span, None),))
    with pytest.raises(InvalidInput, match="do not overlap"):
        VariedStage(Mean(), (Variant(span, None), Variant(FrameRange(3, 5), None)))


RECIPE = """
name = "reel"
[[steps]]
stage = "dust"
sensitivity = 0.5
[[steps]]
stage = "resize"
scale = "1/2"
[[steps]]
stage = "resize"
scale = "2"
[[shots]]
start = 8
dust = false
[[shots]]
start = 2
stop = 8
dust = { sensitivity = 2.0 }
"""


def recipe(tmp_path, text=RECIPE):
    path = tmp_path / "reel.toml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(path)


def test_a_recipe_holds_settings_for_each_shot(tmp_path):
    read = recipe(tmp_path)
    assert [shot.span for shot in read.shots] == [FrameRange(2, 8), FrameRange(8, None)]
    assert read.shots[0].steps == {"dust": {"sensitivity": 2.0}}
    assert read.shots[1].steps == {"dust": None}
    assert read.cuts == {2, 8}
    assert read.labels() == ("dust", "resize", "resize-2")
    again = recipe_from_canonical(read.canonical())
    assert again.shots == read.shots
    assert again.canonical() == read.canonical()


def test_a_recipe_without_shots_has_the_text_and_seeds_that_it_always_had():
    plain = load_preset("film")
    assert set(json.loads(plain.canonical())) == {
        "name",
        "steps",
        "scale",
        "quality",
        "delivery",
        "seed",
    }
    assert not plain.cuts


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("start = 0\nstop = 4\nblur = false", "blur"),
        ("start = 0\nstop = 4\ndust = true", "or false to leave the stage out"),
        ("start = 0\nstop = 4\ndust = {sensitivity = 99}", "sensitivity"),
        ("start = 4\nstop = 4\ndust = false", "START < STOP"),
        ("start = -1\nstop = 4", "start"),
        ("stop = 4", "start"),
        ("start = 0\nstop = 4\n[[shots]]\nstart = 3", "do not overlap"),
        ("start = 0\n[[shots]]\nstart = 3", "do not overlap"),
    ],
)
def test_wrong_shots_are_refused_with_a_reason(tmp_path, text, said):
    with pytest.raises(InvalidInput, match=said):
        recipe(tmp_path, '[[steps]]\nstage = "dust"\n[[shots]]\n' + text)


def test_what_is_asked_for_wins_over_the_shots(tmp_path):
    read = recipe(tmp_path)
    changed = read.with_settings("dust", sensitivity=1.5)
    assert changed.shots[0].steps == {}
    assert changed.shots[1].steps == {"dust": None}
    assert all(not shot.steps for shot in read.without("dust").shots)
    text = RECIPE.replace("dust", "deartifact").replace("sensitivity = 0.5", "")
    text = text.replace("sensitivity = 2.0", "strength = 0.5")
    shots = adapted(recipe(tmp_path, text), Overrides(deartifact_model="none")).shots
    assert all(not shot.steps for shot in shots)


def test_a_job_gives_each_shot_its_settings(tmp_path):
    source = make(tmp_path / "in.mkv", range(0, 480, 40), Fraction(1, 1000), codec="ffv1")
    steps = (Step("deflicker", {"radius": 2}), Step("degrain"))
    table = {
        "name": "x",
        "steps": [{"stage": s.stage, "settings": dict(s.settings)} for s in steps],
        "shots": [
            {"start": 0, "stop": 5, "degrain": False},
            {"start": 5, "stop": 9, "deflicker": {"strength": 0.5}, "degrain": {"strength": 0.5}},
        ],
    }
    varied = recipe_from_canonical(json.dumps(table))
    lossless = {"profile": "ffv1", "bit_depth": 8}

    def job(name, chosen, span):
        destination = str(tmp_path / f"{name}.mkv")
        return Job(str(source), destination, replace(chosen, delivery=lossless), CPU, span)

    def pictures(done):
        with ClipReader(done.written.path) as reader:
            return [np.stack([plane.copy() for plane in raw.planes[:1]]) for raw in reader]

    plan = plan_job(job("all", varied, FrameRange()))
    assert plan.stages[1].facts["frames [0, 5)"] == "left out"
    assert "strength: 0.5" in plan.stages[0].facts["frames [5, 9)"]
    assert "frames [5, 9)" in metadata_of(plan)["restore"]
    report = run_job(plan)
    assert json.loads(json.dumps(report.to_dict()))["recipe"]["shots"][1]["start"] == 5
    middle = (Step("deflicker", {"radius": 2, "strength": 0.5}), Step("degrain", {"strength": 0.5}))
    alone = [
        (FrameRange(0, 5), (steps[0],)),
        (FrameRange(5, 9), middle),
        (FrameRange(9, None), steps),
    ]
    wanted = []
    for number, (span, these) in enumerate(alone):
        # The delivery dithers by the frame's number in the source, as in the whole job.
        wanted += pictures(run_job(job(f"part{number}", Recipe("x", "", these), span)))
    got = pictures(report)
    assert len(got) == 12
    assert all(np.array_equal(a, b) for a, b in zip(got, wanted, strict=True))
