"""Inputs to numbered outputs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restore.batch import expand_inputs, natural_key, number_outputs
from restore.errors import InvalidInput


def touch(folder: Path, *names: str) -> list[str]:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")
    return [str(folder / name) for name in names]


def names(items) -> list[str]:
    return [Path(item.destination).name for item in items]


def test_natural_order():
    assert sorted(["clip10", "Clip9", "clip2", "clip1b", "clip1"], key=natural_key) == [
        "clip1",
        "clip1b",
        "clip2",
        "Clip9",
        "clip10",
    ]


@given(st.lists(st.integers(min_value=0, max_value=10**6), min_size=2, unique=True))
def test_natural_order_is_numeric(numbers):
    texts = [f"reel {number} part" for number in numbers]
    assert sorted(texts, key=natural_key) == [f"reel {number} part" for number in sorted(numbers)]


@given(st.lists(st.text(max_size=12)))
def test_natural_keys_compare(texts):
    assert sorted(sorted(texts, key=natural_key)) == sorted(texts)


def test_a_folder_of_clips_is_a_batch_in_natural_order(tmp_path):
    touch(tmp_path / "in", "b10.mp4", "b9.MKV", ".hidden.mp4", "notes.txt", "cover.jpg")
    sources, is_batch, notes = expand_inputs([str(tmp_path / "in")])
    assert [Path(source).name for source in sources] == ["b9.MKV", "b10.mp4"]
    assert is_batch
    assert len(notes) == 1
    assert "1 pictures" in notes[0]


def test_a_folder_of_one_clip_is_a_batch(tmp_path):
    touch(tmp_path / "in", "only.mp4")
    assert expand_inputs([str(tmp_path / "in")])[1]


def test_a_folder_of_pictures_is_one_sequence(tmp_path):
    touch(tmp_path / "scan", "f_0001.png", "f_0002.png")
    assert expand_inputs([str(tmp_path / "scan")]) == ((str(tmp_path / "scan"),), False, ())


@pytest.mark.parametrize("given_inputs", [[], ["-", "a.mp4"], ["a.mp4", "a.mp4"]])
def test_inputs_that_make_no_sense(given_inputs):
    with pytest.raises(InvalidInput):
        expand_inputs(given_inputs)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="no videos and no pictures"):
        expand_inputs([str(tmp_path)])


def test_outputs_are_numbered_in_order(tmp_path):
    sources = touch(tmp_path / "in", "a.mp4", "b.mkv", "c.webm", "d.avi")
    assert names(number_outputs(sources, str(tmp_path / "out"))) == [
        "0001_a.mp4",
        "0002_b.mkv",
        "0003_c.mp4",
        "0004_d.mp4",
    ]


def test_outputs_keep_the_numbers_of_numbered_inputs(tmp_path):
    sources = touch(tmp_path / "in", "3.mp4", "0007_street.mp4", "12 - fire.mp4")
    assert names(number_outputs(sources, str(tmp_path / "out"))) == [
        "0003.mp4",
        "0007_street.mp4",
        "0012_fire.mp4",
    ]


def test_numbers_that_are_not_distinct_are_not_kept(tmp_path):
    sources = touch(tmp_path / "in", "1_a.mp4", "1_b.mp4")
    assert names(number_outputs(sources, str(tmp_path / "out"))) == [
        "0001_1_a.mp4",
        "0002_1_b.mp4",
    ]


def test_the_delivery_decides_the_ending(tmp_path):
    sources = touch(tmp_path / "in", "a.mp4", "b.mkv")
    found = number_outputs(sources, str(tmp_path / "out"), (".mov", ".mkv"))
    assert names(found) == ["0001_a.mov", "0002_b.mkv"]


def test_a_sequence_delivery_makes_a_folder_of_each_clip(tmp_path):
    sources = touch(tmp_path / "in", "a.mp4", "b.png")
    found = number_outputs(sources, str(tmp_path / "out"), (".png",), is_sequence=True)
    assert [item.destination for item in found] == [
        str(tmp_path / "out" / "0001_a") + "/",
        str(tmp_path / "out" / "0002_b.png"),
    ]


def test_what_is_done_keeps_its_number_when_inputs_come_in_between(tmp_path):
    out = tmp_path / "out"
    sources = touch(tmp_path / "in", "a.mp4", "c.mp4")
    for item in number_outputs(sources, str(out)):
        touch(out, Path(item.destination).name)
    more = touch(tmp_path / "in", "a.mp4", "b.mp4", "c.mp4")
    found = number_outputs(more, str(out))
    assert names(found) == ["0001_a.mp4", "0003_b.mp4", "0002_c.mp4"]
    assert [item.is_done for item in found] == [True, False, True]


def test_an_empty_folder_of_frames_is_not_done(tmp_path):
    sources = touch(tmp_path / "in", "a.mp4")
    (tmp_path / "out" / "0001_a").mkdir(parents=True)
    (item,) = number_outputs(sources, str(tmp_path / "out"), (".png",), is_sequence=True)
    assert not item.is_done


def test_the_output_folder_must_not_hold_the_inputs(tmp_path):
    sources = touch(tmp_path / "in", "a.mp4")
    with pytest.raises(InvalidInput, match="take results for inputs"):
        number_outputs(sources, str(tmp_path / "in"))


def test_the_output_folder_must_not_be_a_file(tmp_path):
    sources = touch(tmp_path / "in", "a.mp4")
    touch(tmp_path, "out")
    with pytest.raises(InvalidInput, match="is a file"):
        number_outputs(sources, str(tmp_path / "out"))
