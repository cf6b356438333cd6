"""Interpolated jobs in chunks: the bytes of the whole clip, whatever happens in it."""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from restore.api import make_job
from restore.degrade.grain import add_grain
from restore.demo.clips import write_clip
from restore.grain.profile import BLOCK_PX, LEVELS, GrainProfile
from restore.interpolation.survey import Survey
from restore.interpolation.target import Ticks
from restore.jobs.durable import DurablePlan, make_durable
from restore.jobs.rows import ChunkRow, JobState
from restore.jobs.storage import Storage
from restore.jobs.work import Work
from restore.media.profiles import Delivery
from restore.recipe import Recipe, Step
from restore.restoration import run_job
from tests.faults.driver import run_durably
from tests.test_stage_interpolate import cloth

FRAMES = 62
_OUT = {"profile": "h264", "speed": "ultrafast", "threads": 1}


def pan(seed: int, step_px: int) -> np.ndarray:
    """Soft cloth that moves by: flat enough for grain to be learned from."""
    ground = cloth(seed, 96, 128 + step_px * FRAMES, soft=8.0)
    return np.stack([ground[:, n * step_px : n * step_px + 128] for n in range(FRAMES)])


def eventful() -> np.ndarray:
    """Grain over a pan, a flash, a stutter, a cut, a pause and a dissolve: ``[T, h, w, 3]``."""
    share = np.clip((np.arange(FRAMES) - 42) / 12, 0, 1)[:, None, None, None]
    second, third = 1 - pan(10, 0), pan(12, 0)
    shown = np.concatenate([pan(9, 1)[:26], (second * (1 - share) + third * share)[26:]])
    smooth = (0.25 + 0.4 * shown).astype(np.float32)
    clip = np.stack([add_grain(smooth[n], 0.1, 0.5, 0.3, (1, n)) for n in range(FRAMES)])
    clip[12] += 0.3
    clip[20] = clip[19]
    clip[33:39] = clip[33]
    return np.clip(clip, 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.mkv"
    write_clip(path, eventful(), Fraction(25), Delivery("ffv1", bit_depth=8))
    return path


def recipe(**settings: object) -> Recipe:
    return Recipe("steps", "", (Step("interpolate", settings),), delivery=_OUT)


def in_pieces(plan: DurablePlan, pinned: object, folder: Path) -> dict[str, object]:
    storage = Storage(folder)
    storage.prepare(plan.id)
    work = Work(plan, pinned, "cpu", storage, plan.id)
    done = {number: work.chunk(number) for number in reversed(range(len(plan.chunks)))}
    rows = [
        ChunkRow(n, True, 0, one.sha256, one.size_bytes, one.times, one.report)
        for n, one in sorted(done.items())
    ]
    return work.assemble(rows, lambda frames: None, overwrite=True)


@pytest.mark.parametrize(
    ("chunk_frames", "settings"),
    [
        (17, {"fps": "60"}),
        (8, {"fps": "40", "grain": "keep"}),
        (23, {"fps": "24", "slowmo": "5/4", "at_cuts": "hold", "repeats": "keep"}),
    ],
)
def test_every_piece_is_as_in_the_whole(film, tmp_path, chunk_frames, settings):
    """Pieces are cut inside shots, at a flash, in a dissolve: what was learned before is known."""
    job = make_job(film, tmp_path / "out.mp4", recipe(**settings), {})
    run_job(job)
    truth = hashlib.sha256((tmp_path / "out.mp4").read_bytes()).hexdigest()
    plan, pinned, _ = make_durable(job, chunk_frames=chunk_frames, threads=1)
    assert plan.body["undivided"] == ""
    assert len(plan.chunks) == -(-FRAMES // chunk_frames)
    assert in_pieces(plan, pinned, tmp_path / "work")["sha256"] == truth


def test_the_clip_of_these_tests_has_all_that_can_happen(film, tmp_path):
    job = make_job(film, tmp_path / "out.mp4", recipe(fps="60"), {})
    plan, _, planned = make_durable(job, chunk_frames=17, threads=1)
    survey = plan.timings["interpolate"]
    seen = 0
    for bits in survey.marks.values():
        seen |= bits
    begins, repeat, flash, _, mixed = (bool(seen >> bit & 1) for bit in range(5))
    assert (begins, repeat, flash, mixed) == (True, True, True, True)
    assert len(survey.grain) >= 2, "each shot has its grain"
    whole = run_job(job).run.stages[0].facts
    assert dict(survey.facts) == dict(whole), "what is told of the clip is what is told of the run"
    assert planned.frames == len(survey.shown)


def test_it_is_killed_and_goes_on_by_two_workers(film, tmp_path, monkeypatch):
    job = make_job(film, tmp_path / "out.mp4", recipe(fps="50"), {})
    run_job(job)
    truth = hashlib.sha256((tmp_path / "out.mp4").read_bytes()).hexdigest()
    (tmp_path / "out.mp4").unlink()
    monkeypatch.setenv("FAULT", "dies once")
    monkeypatch.setenv("FAULT_MARK", str(tmp_path / "mark"))
    row, journal = run_durably(
        job,
        tmp_path / "work",
        chunk_frames=12,
        devices=("cpu", "cpu"),
        program="tests.faults.broken_worker",
    )
    lost = [event for event in journal.events(row.id) if event[2] == "chunk lost"]
    journal.close()
    assert (tmp_path / "mark").exists()
    assert len(lost) == 1
    assert row.state is JobState.SUCCEEDED, row.reason
    assert row.result["sha256"] == truth


def profile(seed: int) -> GrainProfile:
    random = np.random.default_rng(seed)
    spectrum = random.random((BLOCK_PX, BLOCK_PX // 2 + 1, 3, 3))
    return GrainProfile(90, 120, random.random((3, LEVELS)), spectrum, 77)


def test_a_survey_comes_back_bit_for_bit():
    marks = {3 * n + 1: n % 16 * 2 + (n in (0, 31)) for n in range(500)}
    grain = {1: profile(0), 94: profile(1)}
    survey = Survey(Fraction(-7, 90), marks, grain, [1, 1, 4, 4, 7], {"a": "b"}, {"c": "d"})
    back = Survey.unpacked(json.loads(json.dumps(survey.packed())))
    assert (back.origin_s, back.marks, back.shown) == (survey.origin_s, marks, survey.shown)
    assert (back.facts, back.sidecars) == (survey.facts, survey.sidecars)
    for index, one in grain.items():
        assert back.grain[index].spectrum.tobytes() == one.spectrum.tobytes()
        assert back.grain[index].strength.tobytes() == one.strength.tobytes()
    assert back.grain_of(1 + 3 * 31) is back.grain[94]
    assert back.grain_of(4) is back.grain[1]
    assert back.grain_of(0) is None


rates = st.fractions(min_value=Fraction(1, 10), max_value=240, max_denominator=1001)


@given(
    rates,
    st.fractions(min_value=Fraction(1, 8), max_value=8, max_denominator=8),
    st.fractions(min_value=-1, max_value=1, max_denominator=90),
    st.fractions(min_value=0, max_value=100, max_denominator=1000),
)
def test_a_piece_counts_on_where_the_one_before_it_ends(fps, slow, origin_s, after_s):
    ticks = Ticks(fps, slow, origin_s)
    first = ticks.first(origin_s + after_s)
    assert ticks.source_s(first) >= origin_s + after_s
    assert first == 0 or ticks.source_s(first - 1) < origin_s + after_s
