"""Shots: cuts found in spliced real film and pans, through flicker, flashes and dissolves."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest
import torch

from restore.analysis.cutlist import CutList, read_cut_list
from restore.analysis.cuts import LOOKAHEAD
from restore.demo.clips import read_clip
from restore.engine.run import process
from restore.engine.settings import CancelToken, EngineSettings
from restore.errors import InvalidInput
from restore.recipe import Recipe, Step
from restore.restoration import Job, run_job
from restore.stages import StageContext, build_stage
from tests.cli_material import write_clip
from tests.engine_stages import Mean
from tests.stage_clips import FILMS, film, frames_of, pan, weathered

CPU = EngineSettings("cpu", batch=1, tile_px=0)
SIZE = (96, 128)


def shots(**settings):
    return build_stage("shots", settings, StageContext())


def cuts_of(clip):
    stage = shots()
    marked = list(process(frames_of(clip), [stage], CPU))
    assert [frame.index for frame in marked] == list(range(len(clip)))
    changes = [n for n in range(1, len(marked)) if marked[n].shot != marked[n - 1].shot]
    assert tuple(changes) == stage.found.cuts
    return stage.found


@pytest.fixture(scope="module")
def scenes(assets) -> list[np.ndarray]:
    """Shots without a cut in them: three films and seven pans with an object before them."""
    found = [film(assets, name, SIZE, 48) for name in FILMS]
    return found + [pan(assets, number, 30, SIZE) for number in range(1, 15, 2)]


def spliced(scenes, seed, pieces=10):
    """A reel of pieces, and the frames that begin one; no scene follows itself."""
    random = np.random.default_rng(seed)
    parts, starts, last = [], [], -1
    for _ in range(pieces):
        which = int(random.integers(len(scenes)))
        which = (which + 1) % len(scenes) if which == last else which
        length = int(random.integers(5, 30))
        begin = int(random.integers(0, len(scenes[which]) - length + 1))
        starts.append(sum(map(len, parts)))
        parts.append(scenes[which][begin : begin + length])
        last = which
    return np.concatenate(parts), starts[1:]


def flashed(clip, cuts, seed):
    """Overexposed, white and black frames of one to three at a time, away from the splices."""
    random = np.random.default_rng(seed)
    out, count = clip.copy(), 0
    for begin, stop in zip([0, *cuts], [*cuts, len(clip)], strict=True):
        if stop - begin < 12:
            continue
        at, length = int(random.integers(begin + 1, stop - 4)), int(random.integers(1, 4))
        kind = random.random()
        piece = out[at : at + length]
        out[at : at + length] = (
            np.clip(piece * 3, 0, 1) if kind < 0.4 else piece * 0.1 + (0.85 if kind < 0.8 else 0)
        )
        count += 1
    return out, count


def test_cuts_are_found_and_flicker_weave_grain_and_flashes_are_none(scenes):
    hits = missed = wrong = flashes = 0
    for seed in range(5):
        clip, truth = spliced(scenes, seed)
        clip, count = flashed(clip, truth, seed)
        clip = weathered(clip, seed, flicker=0.08, weave_px=0.6, grain=0.06)
        found = set(cuts_of(clip).cuts)
        hits += len(found & set(truth))
        missed += len(set(truth) - found)
        wrong += len(found - set(truth))
        flashes += count
    assert flashes >= 20
    assert hits / (hits + missed) >= 0.95
    assert hits / (hits + wrong) >= 0.95


def test_uncut_film_has_no_cuts_and_no_dissolves(scenes):
    for clip in scenes[:3]:
        assert cuts_of(clip) == CutList((), (), len(clip))


def test_dissolves_are_reported_and_not_cut(scenes):
    reported = 0
    for length in (8, 14, 20):
        for first, second in ((3, 5), (4, 1), (2, 8), (1, 6)):
            a, b = scenes[first][:30], scenes[second][:30]
            share = (np.arange(1, length + 1) / (length + 1))[:, None, None, None]
            mixed = (1 - share) * a[-length:] + share * b[:length]
            clip = np.concatenate([a[:-length], mixed, b[length:]]).astype(np.float32)
            found = cuts_of(weathered(clip, length, flicker=0.03, weave_px=0.3, grain=0.05))
            assert found.cuts == ()
            assert len(found.dissolves) <= 1
            for start, stop in found.dissolves:
                assert abs((start + stop) / 2 - (30 - length / 2)) <= 5
                assert 0.5 * length <= stop - start <= 1.5 * length
                reported += 1
    assert reported >= 11


def test_cuts_of_a_published_clip(assets):
    stage = shots()
    path = assets / "media" / "clips" / "bikes.mp4"
    assert len(list(process(read_clip(path), [stage], CPU))) == 250
    assert stage.found == CutList((30, 76, 137, 187, 242), (), 250)


def test_a_dissolve_of_a_published_clip(assets):
    stage = shots()
    frames = islice(read_clip(assets / "media" / "clips" / "nasa_13013.mp4"), 180)
    assert len(list(process(frames, [stage], CPU))) == 180
    assert stage.found.cuts == ()
    ((start, stop),) = stage.found.dissolves
    assert abs(start - 149) <= 2
    assert abs(stop - 174) <= 2


def test_windows_of_later_stages_obey_the_cuts_that_were_found(scenes):
    clip = np.concatenate([scenes[0][:10], scenes[4][:10]])
    together = list(process(frames_of(clip), [shots(), Mean()], CPU))
    alone = list(process(frames_of(clip[:10]), [Mean()], CPU))
    for a, b in zip(together[:10], alone, strict=True):
        assert torch.equal(a.data, b.data)


def test_no_more_than_the_declared_frames_are_held(scenes):
    stage = shots()
    frames, taken = frames_of(scenes[0][:20]), []

    def source():
        for frame in frames:
            taken.append(frame.index)
            yield frame

    for frame in process(source(), [stage], CPU, CancelToken()):
        assert len(taken) <= frame.index + 1 + stage.spec.delay
    assert stage.spec.delay == LOOKAHEAD


@pytest.mark.parametrize("count", [1, 2, 4])
def test_clips_shorter_than_the_look_ahead_come_through(scenes, count):
    assert cuts_of(scenes[0][:count]) == CutList((), (), count)


def test_a_shot_of_two_frames_at_the_end_is_cut(scenes):
    assert cuts_of(np.concatenate([scenes[0][:10], scenes[5][:2]])).cuts == (10,)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.toml", "cuts = [4, 9]\ndissolves = [[5, 7]]\n"),
        ("a.json", json.dumps({"cuts": [9, 4, 0]})),
        ("b.json", "[4, 9]"),
        ("a.csv", "frame,why\n4,splice\n9,new scene\n"),
        ("b.csv", "\ufeff4\n9\n"),
    ],
)
def test_lists_are_read_and_obeyed(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    stage = shots(cuts=str(path))
    frames = frames_of(np.zeros((12, 8, 8, 3), np.float32))
    assert [f.shot for f in process(frames, [stage], CPU)] == [0] * 4 + [1] * 5 + [2] * 3
    assert stage.sidecars() == {}
    assert stage.facts()["cuts"] == "4, 9"


def test_given_cuts_count_source_frames(tmp_path):
    frames = frames_of(np.zeros((6, 8, 8, 3), np.float32), start=100)
    assert [f.shot for f in process(frames, [shots(cuts=[103])], CPU)] == [0, 0, 0, 1, 1, 1]
    assert [f.shot for f in process(frames, [shots(cuts=[])], CPU)] == [0] * 6


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.toml", "cuts = [4, -9]"),
        ("b.toml", "cuts = 4"),
        ("c.toml", "cuts = ["),
        ("a.json", '{"cuts": ["x"]}'),
        ("a.csv", "4\nnine\n"),
        ("a.txt", "4"),
        ("b.csv", None),
    ],
)
def test_bad_lists_are_refused_by_name(tmp_path, name, text):
    path = tmp_path / name
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInput, match=name):
        shots(cuts=str(path))


def test_the_list_survives_its_own_file(tmp_path):
    found = CutList((3, 40), ((10, 20), (50, 61)), 99)
    (tmp_path / "x.toml").write_text(found.to_toml(), encoding="utf-8")
    again = read_cut_list(tmp_path / "x.toml")
    assert (again.cuts, again.dissolves) == (found.cuts, found.dissolves)


def test_a_job_saves_its_list_beside_the_result_and_takes_it_back(tmp_path):
    source = write_clip(tmp_path / "in.mkv", 8)
    recipe = Recipe("x", "", (Step("shots"),))
    report = run_job(Job(str(source), str(tmp_path / "out.mkv"), recipe))
    path = tmp_path / "out.shots.toml"
    assert read_cut_list(path) == CutList(())
    assert report.run.stages[0].facts["shots"] == "1"
    path.write_text("cuts = [3]\n", encoding="utf-8")
    given = Recipe("x", "", (Step("shots", {"cuts": str(path)}),))
    report = run_job(Job(str(source), str(tmp_path / "out.mkv"), given, overwrite=True))
    assert report.run.stages[0].facts["cuts"] == "3"
    assert path.read_text(encoding="utf-8") == "cuts = [3]\n"
    assert not any("shots.toml" in said for said in report.warnings)


def test_a_corrected_list_is_not_replaced_unasked(tmp_path):
    source = write_clip(tmp_path / "in.mkv", 4)
    (tmp_path / "out.shots.toml").write_text("cuts = [2]\n", encoding="utf-8")
    report = run_job(Job(str(source), str(tmp_path / "out.mkv"), Recipe("x", "", (Step("shots"),))))
    assert any("out.shots.toml" in said for said in report.warnings)
    assert (tmp_path / "out.shots.toml").read_text(encoding="utf-8") == "cuts = [2]\n"
    assert Fraction(report.run.frames_out) == 4
