"""Every preset through a job in chunks: no frame lost, doubled or out of order, sound in step."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from restore.api import make_job
from restore.jobs.durable import make_durable
from restore.jobs.rows import ChunkRow
from restore.jobs.storage import Storage
from restore.jobs.work import Work
from restore.recipe import Recipe, Step, load_preset, preset_names
from tests.faults import barcode
from tests.media_out_clips import packet_times
from tests.media_out_sources import decoded_sound, make_source

FRAMES = 17
# One cell more is lit in each frame and stays so: what is lit for a frame alone, is dust.
LIT = [(1 << number) - 1 for number in range(FRAMES)]


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("film")
    heard = make_source(folder / "heard.mkv", seconds=Fraction(FRAMES, 25))
    return barcode.write(folder / "film.mkv", FRAMES, shown=LIT, sound=heard)


def in_pieces(source: Path, folder: Path, recipe: Recipe, chunk_frames: int) -> Path:
    """A job done chunk by chunk in this process; its result."""
    result = folder / "out.mkv"
    job = make_job(source, result, recipe, {})
    plan, pinned, _ = make_durable(job, chunk_frames=chunk_frames, threads=1)
    storage = Storage(folder / "work")
    storage.prepare(plan.id)
    work = Work(plan, pinned, "cpu", storage, plan.id)
    done = [work.chunk(number) for number in range(len(plan.chunks))]
    rows = [
        ChunkRow(one.number, True, 0, one.sha256, one.size_bytes, one.times, one.report)
        for one in done
    ]
    work.assemble(rows, lambda frames: None, overwrite=True)
    return result


def starts(path: Path) -> list[Fraction]:
    """When each stream begins, in seconds."""
    return [times[0] for _, times in sorted(packet_times(path).items())]


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_keeps_frames_in_order_and_sound_in_step(film, tmp_path, preset):
    result = in_pieces(film, tmp_path, load_preset(preset), 8)
    assert barcode.numbers(result) == LIT
    assert decoded_sound(result) == decoded_sound(film), "the sound's samples at their places"
    off = [abs(ours - theirs) for ours, theirs in zip(starts(result), starts(film), strict=True)]
    assert max(off) <= Fraction(1, 48000)


@pytest.mark.parametrize("preset", ["8mm", "default", "transcode", "vhs"])
def test_a_single_frame_comes_out(tmp_path, preset):
    one = barcode.write(tmp_path / "one.mkv", 1)
    assert barcode.numbers(in_pieces(one, tmp_path, load_preset(preset), 8)) == [0]


PLAIN = Recipe("plain", "", (Step("degrain", {"radius": 1}),), delivery={"profile": "ffv1"})


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=24),
    st.integers(1, 9),
)
def test_any_times_in_any_partition_come_out_as_they_went_in(tmp_path_factory, gaps, size):
    """Frame times of any unevenness, in chunks of any size: each frame once, at its own time."""
    folder = tmp_path_factory.mktemp("vfr")
    times = [4 * sum(gaps[:n]) for n in range(len(gaps))]  # whole milliseconds at 25 fps
    clip = barcode.write(folder / "vfr.mkv", len(times), times=times, rate=Fraction(25, 10))
    result = in_pieces(clip, folder, PLAIN, size)
    assert barcode.numbers(result) == list(range(len(times)))
    assert packet_times(result)[0] == packet_times(clip)[0]
