from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restore.errors import InvalidInput
from restore.time import FrameRange, Timecode, format_rate, parse_range, parse_rate, rescale

NTSC = Fraction(30000, 1001)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("25", Fraction(25)),
        ("23.976", Fraction(24000, 1001)),
        ("29.97", NTSC),
        ("59.94", Fraction(60000, 1001)),
        ("45000/1499", Fraction(45000, 1499)),
        ("12.5", Fraction(25, 2)),
        ("pal", Fraction(25)),
    ],
)
def test_rates_are_read_exactly(text, rate):
    assert parse_rate(text) == rate
    assert parse_rate(format_rate(rate)) == rate


@pytest.mark.parametrize("text", ["0", "-25", "abc", "1/0", ""])
def test_bad_rates_are_refused(text):
    with pytest.raises(InvalidInput, match="frame rate"):
        parse_rate(text)


def test_drop_frame_labels_of_smpte_st_12():
    assert str(Timecode(1799, NTSC, True)) == "00:00:59;29"
    assert str(Timecode(1800, NTSC, True)) == "00:01:00;02"
    assert str(Timecode(17982, NTSC, True)) == "00:10:00;00"
    assert Timecode.parse("01:00:00;00", NTSC).frame == 107892
    with pytest.raises(InvalidInput, match="drop frame does not skip"):
        Timecode.parse("00:01:00;00", NTSC)


@given(st.integers(0, 24 * 107892 - 1), st.booleans())
def test_timecode_labels_give_their_frame_back(frame, drop):
    label = str(Timecode(frame, NTSC, drop))
    read = Timecode.parse(label, NTSC)
    assert str(read) == label
    day = 24 * 107892 if drop else 24 * 3600 * 30
    assert read.frame == frame % day


@given(st.integers(0, 24 * 3600 * 60), st.sampled_from([Fraction(24), Fraction(25), Fraction(60)]))
def test_whole_rates_count_without_gaps(frame, rate):
    day = 24 * 3600 * int(rate)
    assert Timecode.parse(str(Timecode(frame, rate)), rate).frame == frame % day


@given(
    st.integers(-(10**12), 10**12),
    st.sampled_from([Fraction(1, 90000), Fraction(1001, 30000), Fraction(1, 12800)]),
)
def test_rescaling_to_a_finer_base_and_back_is_exact(value, base):
    finer = base / 7
    assert rescale(rescale(value, base, finer), finer, base) == value


def test_rescaling_rounds_half_away_from_zero():
    assert rescale(1, Fraction(1, 2), Fraction(1)) == 1
    assert rescale(-1, Fraction(1, 2), Fraction(1)) == -1
    assert rescale(1, Fraction(1, 3), Fraction(1)) == 0


def test_ranges_are_half_open():
    taken = parse_range("10:20", Fraction(25))
    assert 10 in taken
    assert 19 in taken
    assert 20 not in taken
    assert parse_range(":5", Fraction(25)) == FrameRange(0, 5)
    assert parse_range("5:", Fraction(25)) == FrameRange(5)
    assert FrameRange().is_whole


def test_ranges_in_timecode_follow_the_clips_own_start():
    first = Timecode.parse("01:00:00:00", Fraction(25))
    taken = parse_range("01:00:02:00-01:00:04:12", Fraction(25), first)
    assert taken == FrameRange(50, 112)
    with pytest.raises(InvalidInput, match="begins before the clip"):
        parse_range("00:00:02:00-01:00:04:12", Fraction(25), first)


@pytest.mark.parametrize("text", ["20:10", "10:10", "a:b", "-", "1-2", "00:00:61:00-00:02:00:00"])
def test_bad_ranges_are_refused(text):
    with pytest.raises(InvalidInput):
        parse_range(text, Fraction(25))
