"""Every frame of a job is in exactly one chunk, and no shot is cut where a stage remembers it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restore.engine.stage import Memory
from restore.errors import InvalidInput
from restore.jobs.partition import Reach, partition
from restore.time import FrameRange

RANGES = st.tuples(st.integers(0, 50), st.one_of(st.none(), st.integers(51, 500))).map(
    lambda pair: FrameRange(*pair)
)


@given(
    RANGES,
    st.integers(60, 600),
    st.sampled_from(Memory),
    st.sets(st.integers(0, 600), max_size=20),
    st.integers(0, 9),
    st.integers(1, 100),
)
def test_cores_are_the_job_once_each_in_order(wanted, total, memory, cuts, halo, size):
    chunks = partition(wanted, total, memory, cuts=cuts, reach=Reach((halo,)), chunk_frames=size)
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    assert chunks[0].core.start == wanted.start
    assert chunks[-1].core.stop == wanted.stop
    assert all(one.core.stop == two.core.start for one, two in pairwise(chunks))
    for chunk in chunks:
        assert chunk.needs.start == max(wanted.start, chunk.core.start - halo)
        if chunk.core.stop is not None and chunk.needs.stop is not None:
            assert chunk.core.stop <= chunk.needs.stop <= chunk.core.stop + halo
            assert wanted.stop is None or chunk.needs.stop <= wanted.stop
    if memory is Memory.CLIP:
        assert len(chunks) == 1
    if memory is Memory.SHOT:
        assert {chunk.core.start for chunk in chunks[1:]} <= cuts
        assert all(two.core.start - one.core.start >= size for one, two in pairwise(chunks))
    if memory is Memory.FRAMES:
        assert all(two.core.start - one.core.start == size for one, two in pairwise(chunks))


def test_a_clip_of_unknown_length_is_one_chunk():
    chunks = partition(
        FrameRange(), None, Memory.FRAMES, cuts=(), reach=Reach((2,)), chunk_frames=10
    )
    assert [(chunk.core, chunk.needs) for chunk in chunks] == [(FrameRange(), FrameRange())]


@pytest.mark.parametrize(
    ("wanted", "total", "size"), [(FrameRange(90), 60, 10), (FrameRange(), 60, 0)]
)
def test_nothing_to_cut_is_refused(wanted, total, size):
    with pytest.raises(InvalidInput):
        partition(wanted, total, Memory.FRAMES, cuts=(), reach=Reach(), chunk_frames=size)
