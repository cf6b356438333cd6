"""Stages that go by the whole clip give the same bytes in chunks, by one worker or two."""

from __future__ import annotations

import hashlib
import random
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restore.api import make_job
from restore.jobs.durable import DurablePlan, make_durable
from restore.jobs.journal import Journal
from restore.jobs.partition import Reach
from restore.jobs.rows import ChunkRow, JobState
from restore.jobs.storage import Storage
from restore.jobs.timings import Timings
from restore.jobs.work import Work
from restore.recipe import Recipe, Step, load_preset
from restore.restoration import run_job
from restore.time import FrameRange
from tests.faults import barcode
from tests.faults.driver import run_durably

FRAMES = 50
_OUT = {"profile": "h264", "speed": "ultrafast", "threads": 1}


def of(*steps: tuple[str, dict[str, object]]) -> Recipe:
    return Recipe("steps", "", tuple(Step(*step) for step in steps), delivery=_OUT)


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """Film of 18 frames a second in video of 25: seven of 25 frames show one again."""
    shown = [n * 18 // 25 for n in range(FRAMES)]
    folder = tmp_path_factory.mktemp("video")
    return barcode.write(folder / "video.mkv", FRAMES, shown=shown, shots=(25,))


RECIPES = {
    "cadence": of(("cadence", {}), ("degrain", {"radius": 1})),
    "cadence at a rate": of(
        ("cadence", {"fps": 18, "keep": "film rate"}), ("degrain", {"radius": 2})
    ),
    "fields and cadence": of(("fields", {}), ("cadence", {}), ("degrain", {"radius": 1})),
    "speed": of(("degrain", {"radius": 1}), ("speed", {"film_fps": "18"})),
    "speed in ticks": of(("degrain", {"radius": 1}), ("speed", {"film_fps": "18", "fps": "24"})),
    "repeats": of(
        ("speed", {"film_fps": "18", "fps": "60", "how": "repeats"}), ("degrain", {"radius": 2})
    ),
    "cadence and speed": of(
        ("cadence", {"fps": 18, "keep": "film rate"}),
        ("upscale", {}),
        ("speed", {"film_fps": "16", "fps": "24", "how": "repeats"}),
    ),
    "shots after cadence": of(
        ("cadence", {}), ("shots", {"cuts": [25]}), ("deflicker", {}), ("degrain", {"radius": 1})
    ),
    "interpolate": of(("interpolate", {"fps": "50"})),
    "slower and to an odd rate": of(
        ("interpolate", {"fps": "24", "slowmo": "3/2"}), ("degrain", {"radius": 1})
    ),
    "fewer frames": of(("interpolate", {"fps": "10"}), ("degrain", {"radius": 2})),
    "cadence and interpolate": of(
        ("cadence", {"fps": 18, "keep": "film rate"}), ("interpolate", {"fps": "25"})
    ),
    "grain": of(
        ("shots", {"cuts": [25]}), ("grain_learn", {}), ("degrain", {"radius": 1}), ("regrain", {})
    ),
}


def done_at_once(source: Path, folder: Path, recipe: Recipe) -> str:
    """Hash of the result without any chunks."""
    job = make_job(source, folder / "at-once.mp4", recipe, {})
    run_job(job)
    return hashlib.sha256((folder / "at-once.mp4").read_bytes()).hexdigest()


def chunk_count(recipe: Recipe, chunk_frames: int) -> int:
    even = -(-FRAMES // chunk_frames)
    return min(2, even) if any(step.stage == "shots" for step in recipe.steps) else even


@pytest.mark.parametrize("name", RECIPES)
def test_chunks_in_any_order_do_not_change_a_byte(video, tmp_path, name):
    """By two workers in turn, in this process."""
    recipe = RECIPES[name]
    truth = done_at_once(video, tmp_path, recipe)
    job = make_job(video, tmp_path / "pieces.mp4", recipe, {})
    for chunk_frames in (25, 7):
        plan, pinned, _ = make_durable(job, chunk_frames=chunk_frames, threads=1)
        storage = Storage(tmp_path / "work")
        storage.prepare(plan.id)
        workers = [Work(plan, pinned, "cpu", storage, plan.id) for _ in range(2)]
        order = list(range(len(plan.chunks)))
        random.Random(chunk_frames).shuffle(order)
        done = {number: workers[n % 2].chunk(number) for n, number in enumerate(order)}
        rows = [
            ChunkRow(n, True, 0, one.sha256, one.size_bytes, one.times, one.report)
            for n, one in sorted(done.items())
        ]
        result = workers[0].assemble(rows, lambda frames: None, overwrite=True)
        assert len(rows) == chunk_count(recipe, chunk_frames)
        assert result["sha256"] == truth, f"{len(rows)} chunks"


def test_two_worker_processes_do_not_change_a_byte(video, tmp_path):
    recipe = RECIPES["fields and cadence"]
    truth = done_at_once(video, tmp_path, recipe)
    job = make_job(video, tmp_path / "out.mp4", recipe, {})
    row, journal = run_durably(job, tmp_path / "work", chunk_frames=8, devices=("cpu", "cpu"))
    journal.close()
    assert row.state is JobState.SUCCEEDED, row.reason
    assert row.result["sha256"] == truth


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        (
            (("upscale", {}), ("interpolate", {"fps": "50", "place": "after"})),
            "stage interpolate remembers the clip and comes after upscale",
        ),
        (
            (("speed", {"film_fps": "18", "fps": "60", "how": "repeats"}), ("interpolate", {})),
            "stage interpolate: frames come to it more than once",
        ),
        ((("fields", {"scan": "tff"}),), "stage fields: it makes new pictures"),
        ((("upscale", {}), ("cadence", {})), "stage cadence remembers the clip and comes after up"),
    ],
)
def test_what_cannot_be_cut_is_one_chunk_and_the_plan_says_why(video, tmp_path, steps, why):
    job = make_job(video, tmp_path / "out.mp4", of(*steps), {})
    plan, _, _ = make_durable(job, chunk_frames=8, threads=1)
    assert len(plan.chunks) == 1
    assert plan.body["undivided"].startswith(why)


@pytest.mark.parametrize("preset", ["film", "super8", "16mm", "8mm"])
def test_film_presets_are_cut_by_shots(video, tmp_path, preset):
    recipe = load_preset(preset).with_settings("shots", cuts=[25])
    job = make_job(video, tmp_path / "out.mp4", recipe, {"no_networks": True})
    plan, _, _ = make_durable(job, chunk_frames=8, threads=1)
    assert plan.body["undivided"] == ""
    assert [chunk.core for chunk in plan.chunks] == [FrameRange(0, 25), FrameRange(25)]


@pytest.mark.parametrize("save", [True, False])
def test_shots_are_looked_for_once_and_chunks_are_cut_then(video, tmp_path, save):
    """Whether or not a list of them is to lie beside the result."""
    job = make_job(video, tmp_path / "out.mp4", of(("shots", {"save": save})), {})
    plan, pinned, _ = make_durable(job, chunk_frames=25, threads=1)
    assert len(plan.chunks) == 2
    assert bool(plan.body["sidecars"]) is save
    storage = Storage(tmp_path / "work")
    storage.prepare(plan.id)
    assert len(Work(plan, pinned, "cpu", storage, plan.id).chunk(1).times) == 25


@given(
    st.dictionaries(
        st.integers(0, 10**6),
        st.lists(
            st.tuples(
                st.integers(-(10**9), 10**9),
                st.fractions(min_value=Fraction(1, 10**6), max_value=1, max_denominator=10**6),
                st.none() | st.integers(0, 10**6),
            ),
            min_size=1,
            max_size=3,
        ),
        max_size=20,
    )
)
def test_lists_come_back_as_they_were_written(rows):
    shown = {index: tuple(rows[index]) for index in sorted(rows)}
    timings = Timings(shown, {"a": "b"}, {"c": "d"})
    assert Timings.unpacked(timings.packed()) == timings


@given(
    st.lists(st.integers(0, 60), max_size=40).map(sorted),
    st.integers(0, 60),
    st.integers(0, 4),
    st.integers(0, 4),
)
def test_the_reach_holds_as_many_frames_as_the_later_stage_sees(shown, bound, later, earlier):
    reach = Reach((later, tuple(shown), earlier))
    begin, end = reach.before(bound), reach.after(bound)
    assert begin <= bound - earlier
    assert end >= bound + earlier
    before = [index for index in shown if begin + earlier <= index < bound]
    after = [index for index in shown if bound <= index < end - earlier]
    assert len(before) >= min(later, sum(index < bound for index in shown))
    assert len(after) >= min(later, sum(index >= bound for index in shown))


def test_a_list_of_a_long_clip_is_small(tmp_path):
    base = Fraction(1, 25)
    shown = {n: ((n, base, 1),) for n in range(100_000) if n % 25 not in (3, 7, 10, 14, 17, 21, 24)}
    packed = Timings(shown, {}, {}).packed()
    assert len(packed["shown"]) < 20_000
    plan = DurablePlan({"timings": {"cadence": packed}})
    assert plan.timings["cadence"].shown == shown
    journal = Journal(tmp_path / "journal.sqlite")
    assert journal.create("a", plan.canonical(), "", 1).plan == plan.canonical()
    journal.close()
