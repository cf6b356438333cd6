"""Blobs parted along the straight lines in them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from restore.motion.straight import parted

SIZE = (160, 200)


def drawn(*shapes):
    plane = np.zeros(SIZE, np.uint8)
    for draw in shapes:
        draw(plane)
    _, labels = cv2.connectedComponents(plane, connectivity=8)
    place = np.flatnonzero(plane)
    return place, labels.ravel()[place].astype(np.intp) - 1


def line(start, stop, width=3):
    return lambda plane: cv2.line(plane, start, stop, 1, width)


def spot(x, y, radius):
    return lambda plane: cv2.circle(plane, (x, y), radius, 1, -1)


def owners_at(place, owner, *points):
    return [int(owner[np.flatnonzero(place == y * SIZE[1] + x)[0]]) for x, y in points]


@pytest.mark.parametrize(
    ("start", "stop"), [((20, 10), (60, 150)), ((10, 40), (190, 40)), ((100, 5), (100, 155))]
)
def test_a_spot_on_a_line_is_parted_from_it(start, stop):
    middle = tuple((a + b) // 2 for a, b in zip(start, stop, strict=True))
    place, owner = drawn(line(start, stop), spot(middle[0] + 6, middle[1] + 6, 9))
    assert owner.max() == 0
    found = parted(place, owner, SIZE, 40.0)
    first, last, beside = owners_at(place, found, start, stop, (middle[0] + 10, middle[1] + 10))
    assert first == last
    assert beside != first


def test_stripes_joined_by_a_hair_are_parted():
    place, owner = drawn(
        line((10, 50), (180, 50)), line((10, 80), (180, 80)), line((100, 45), (110, 85), 3)
    )
    assert owner.max() == 0
    found = parted(place, owner, SIZE, 40.0)
    one, two, hair = owners_at(place, found, (30, 50), (30, 80), (104, 63))
    assert len({one, two, hair}) == 3


def test_what_is_no_line_or_nothing_else_stays_whole():
    for shape in (spot(80, 80, 30), line((20, 10), (150, 140)), spot(50, 50, 5)):
        place, owner = drawn(shape)
        assert not parted(place, owner, SIZE, 40.0).any()
    nothing = np.zeros(0, np.intp)
    assert not len(parted(nothing, nothing, SIZE, 40.0))


def test_numbers_have_no_gaps_and_other_blobs_stay_apart():
    place, owner = drawn(line((20, 10), (60, 150)), spot(46, 86, 9), spot(150, 30, 6))
    assert owner.max() == 1
    found = parted(place, owner, SIZE, 40.0)
    assert set(found) == set(range(found.max() + 1))
    far = owner == owner[np.flatnonzero(place == 30 * SIZE[1] + 150)[0]]
    assert len(set(found[far])) == 1
    assert not set(found[far]) & set(found[~far])
