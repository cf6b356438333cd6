"""Training images in folders, their sizes, and the order in which they are shown."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from restore.errors import InvalidInput
from restore.lora.images import bucket_for, find_images, read_cropped
from restore.lora.order import epoch_batches


def picture(path, size=(40, 24), color=(200, 30, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)


def test_repeats_and_captions_come_from_names(tmp_path):
    picture(tmp_path / "10_sks tram" / "a.png")
    picture(tmp_path / "10_sks tram" / "b.jpg")
    (tmp_path / "10_sks tram" / "b.txt").write_text("\ufeffa red tram,\n in snow\n", "utf-8")
    picture(tmp_path / "2_sks depot" / "c.webp")
    picture(tmp_path / "notes" / "d.png")
    shown = find_images(tmp_path)
    assert [(s.picture.name, s.picture.caption, s.repeats) for s in shown] == [
        ("10_sks tram/a.png", "sks tram", 10),
        ("10_sks tram/b.jpg", "a red tram, in snow", 10),
        ("2_sks depot/c.webp", "sks depot", 2),
    ]


@pytest.mark.parametrize(("held", "counts"), [(1, [6]), (4, [2, 2, 1, 1]), (9, [1] * 6)])
def test_regularisation_is_as_many_as_training(tmp_path, held, counts):
    for name in "ab":
        picture(tmp_path / "in" / "3_sks tram" / f"{name}.png")
    for number in range(held):
        picture(tmp_path / "class" / "1_tram" / f"{number}.png", color=(number, 0, 0))
    shown = find_images(tmp_path / "in", tmp_path / "class")
    assert [s.repeats for s in shown if s.picture.regularisation] == counts
    assert all(s.picture.caption == "tram" for s in shown if s.picture.regularisation)


def test_a_caption_is_part_of_a_pictures_hash(tmp_path):
    picture(tmp_path / "1_tram" / "a.png")
    before = find_images(tmp_path)[0].picture.sha256
    (tmp_path / "1_tram" / "a.txt").write_text("another")
    assert find_images(tmp_path)[0].picture.sha256 != before


def test_what_is_no_picture_is_named(tmp_path):
    with pytest.raises(InvalidInput, match="no folder"):
        find_images(tmp_path / "none")
    with pytest.raises(InvalidInput, match="N_trigger class"):
        find_images(tmp_path)
    picture(tmp_path / "1_tram" / "a.png")
    (tmp_path / "1_tram" / "b.png").write_bytes(b"#EXTM3U\nfile:///etc/passwd\n")
    with pytest.raises(InvalidInput, match=r"b\.png cannot be read as a picture"):
        find_images(tmp_path)
    (tmp_path / "1_tram" / "b.png").unlink()
    (tmp_path / "1_tram" / "a.txt").write_bytes(b"\xff\xfe\x00bad")
    with pytest.raises(InvalidInput, match="UTF-8"):
        find_images(tmp_path)


def test_a_damaged_or_changed_picture_is_refused(tmp_path):
    path = tmp_path / "1_tram" / "a.png"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path.parent.mkdir()
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidInput, match="cannot be read"):
        find_images(tmp_path)
    path.write_bytes(whole)
    found = find_images(tmp_path)[0].picture
    path.write_bytes(whole + b"more")
    with pytest.raises(InvalidInput, match="changed"):
        read_cropped(found, (32, 32))


def test_pictures_are_upright_opaque_and_cut_about_their_middle(tmp_path):
    path = tmp_path / "1_tram" / "a.png"
    path.parent.mkdir()
    planes = np.zeros((16, 48, 4), np.uint8)
    planes[:, 16:32] = (255, 0, 0, 255)  # the middle third; the rest is transparent: white
    Image.fromarray(planes).save(path)
    pixels, crop = read_cropped(find_images(tmp_path)[0].picture, (16, 16))
    assert crop == (16, 0)
    assert (pixels == (255, 0, 0)).all()
    wide, _ = read_cropped(find_images(tmp_path)[0].picture, (48, 16))
    assert (wide[:, :8] == 255).all()
    turned = Image.new("RGB", (40, 20))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "1_tram" / "b.jpg", exif=exif)
    assert find_images(tmp_path)[1].picture.size_px == (20, 40)


@given(
    st.integers(16, 5000),
    st.integers(16, 5000),
    st.integers(8, 160),
    st.sampled_from([8, 16, 64]),
)
def test_buckets_have_about_the_area_and_the_nearest_shape(width, height, resolution, step):
    if resolution < step:
        with pytest.raises(InvalidInput):
            bucket_for((width, height), resolution, step)
        return
    found = bucket_for((width, height), resolution, step)
    assert found[0] % step == found[1] % step == 0
    assert 0 < found[0] * found[1] <= resolution**2
    turned = bucket_for((height, width), resolution, step)
    assert turned[0] * turned[1] <= resolution**2
    square = resolution // step * step
    shape = abs(np.log(found[0] / found[1]) - np.log(width / height))
    assert shape <= abs(np.log(width / height)) + 1e-9
    assert bucket_for((300, 300), resolution, step) == (square, square)


@given(
    st.lists(
        st.tuples(st.sampled_from([(64, 64), (64, 32), (32, 64)]), st.integers(1, 5)),
        min_size=1,
        max_size=12,
    ),
    st.integers(1, 5),
    st.integers(0, 2**62),
    st.integers(0, 50),
)
def test_an_epoch_shows_each_as_often_as_asked_in_batches_of_one_size(rows, batch, seed, epoch):
    buckets, repeats = [row[0] for row in rows], [row[1] for row in rows]
    batches = epoch_batches(buckets, repeats, batch, seed, epoch)
    assert Counter(i for one in batches for i in one) == dict(enumerate(repeats))
    assert all(len({buckets[i] for i in one}) == 1 and len(one) <= batch for one in batches)
    assert batches == epoch_batches(buckets, repeats, batch, seed, epoch)


def test_epochs_differ_in_their_order():
    orders = {tuple(epoch_batches([(64, 64)] * 9, [1] * 9, 1, 0, epoch)) for epoch in range(5)}
    assert len(orders) == 5
