"""Tags in PNG files: written with every picture, read back by us and by others, carried on."""

from __future__ import annotations

import io
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from restore.api import probe, run
from restore.generate.marks import said_by
from restore.media.png_text import SOURCE_TYPE, with_tags

TRAINED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def png() -> bytes:
    y, x = np.mgrid[:32, :48]
    picture = np.stack([x * 5, y * 7, (x + y) * 3], -1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=79)
TEXTS = st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=200)


@given(st.dictionaries(KEYS, TEXTS, max_size=4))
def test_another_reader_finds_every_tag_and_the_same_picture(tags):
    tags = {k: v for k, v in tags.items() if k not in ("XML:com.adobe.xmp", "xmp")}
    made = with_tags(png(), tags)
    with Image.open(io.BytesIO(made)) as seen, Image.open(io.BytesIO(png())) as plain:
        assert np.array_equal(np.asarray(seen), np.asarray(plain))
        assert {k: str(v) for k, v in seen.text.items()} == tags  # type: ignore[attr-defined]


def test_a_tag_that_png_cannot_hold_is_left_out_and_the_file_stays_whole():
    made = with_tags(png(), {"": "x", "é": "x", "k" * 80: "x", "fine": "y"})
    with Image.open(io.BytesIO(made)) as seen:
        seen.load()
        assert seen.text == {"fine": "y"}  # type: ignore[attr-defined]


def test_the_kind_of_source_is_in_the_xmp_that_picture_tools_read(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(with_tags(png(), {SOURCE_TYPE: TRAINED}))
    with Image.open(path) as seen:
        seen.load()
        packet = ElementTree.fromstring(seen.info["xmp"])
    (described,) = packet.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    name = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
    assert described.get(name) == TRAINED
    assert said_by(path) == TRAINED
    assert probe(path).metadata[SOURCE_TYPE] == TRAINED


@pytest.mark.parametrize("ending", ["jpg", "webp", "png"])
def test_what_other_tools_say_of_a_picture_is_found(tmp_path, ending):
    xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{TRAINED}</x:xmpmeta>'.encode()
    path = tmp_path / f"a.{ending}"
    with Image.open(io.BytesIO(png())) as picture:
        picture.save(path, xmp=xmp)
    if ending == "png":  # Pillow writes it to PNG from another place
        path.write_bytes(with_tags(png(), {"XML:com.adobe.xmp": xmp.decode()}))
    assert said_by(path) == TRAINED
    plain = tmp_path / f"b.{ending}"
    with Image.open(io.BytesIO(png())) as picture:
        picture.save(plain)
    assert said_by(plain) == ""


def test_a_marked_picture_and_its_sequence_stay_marked_through_restoration(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    for number in range(3):
        tags = {SOURCE_TYPE: TRAINED, "Author": "a person"}
        (source / f"f_{number:03}.png").write_bytes(with_tags(png(), tags))
    (tmp_path / "out").mkdir()
    run(source, tmp_path / "out" / "f_%03d.png", "transcode", rate=12)
    for path in sorted((tmp_path / "out").iterdir()):
        with Image.open(path) as seen:
            seen.load()
            text = seen.text  # type: ignore[attr-defined]
        assert text[SOURCE_TYPE] == TRAINED
        assert text["Author"] == "a person"
        assert '"recipe"' in text["restore"]
    run(source, tmp_path / "out.mp4", "transcode", rate=12)
    assert probe(tmp_path / "out.mp4").metadata[SOURCE_TYPE] == TRAINED


def test_picture_files_that_hold_no_tags_are_said_to_lose_the_mark(tmp_path):
    (tmp_path / "a.png").write_bytes(with_tags(png(), {SOURCE_TYPE: TRAINED}))
    (tmp_path / "b.png").write_bytes(png())
    told = run(tmp_path / "a.png", tmp_path / "a.tif", "transcode")
    assert any("do not say that the clip was generated" in w for w in told.warnings)
    told = run(tmp_path / "b.png", tmp_path / "b.tif", "transcode")
    assert not any("generated" in w for w in told.warnings)
