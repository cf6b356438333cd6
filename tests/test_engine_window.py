from hypothesis import given
from hypothesis import strategies as st

from restore.engine.window import marked_shots, windows
from tests.engine_stages import frame

PLAIN = [frame(n, 1, 1) for n in range(40)]


@given(
    count=st.integers(0, 20),
    past=st.integers(0, 4),
    future=st.integers(0, 4),
    cuts=st.sets(st.integers(0, 21)),
)
def test_every_frame_is_a_centre_once_and_no_window_crosses_a_cut(count, past, future, cuts):
    got = list(windows(marked_shots(PLAIN[:count], cuts), past, future))
    assert [window[past].index for window in got] == list(range(count))
    starts = sorted({0, *cuts})
    for window in got:
        centre = window[past].index
        start = max(s for s in starts if s <= centre)
        stop = min([s for s in starts if s > centre] + [count])
        wanted = [min(max(n, start), stop - 1) for n in range(centre - past, centre + future + 1)]
        assert [f.index for f in window] == wanted


def test_windows_are_lazy_and_hold_no_more_than_they_need():
    taken = []

    def source():
        for one in PLAIN:
            taken.append(one.index)
            yield one

    stream = windows(source(), 3, 2)
    next(stream)
    assert taken == [0, 1, 2]
    next(stream)
    assert taken == [0, 1, 2, 3]


def test_several_frames_of_one_source_index_stay_in_their_shot():
    doubled = [frame(n // 2, 1, 1, pts=n) for n in range(8)]
    got = list(windows(marked_shots(doubled, {2}), 1, 1))
    assert [[f.pts for f in window] for window in got[3:5]] == [[2, 3, 3], [4, 4, 5]]
