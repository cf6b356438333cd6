"""Medians and quantiles without numpy's overhead."""

import numpy as np
import pytest

from restore.motion.middle import median, medians, quantile


def numbers(dtype):
    random = np.random.default_rng(5)
    for count in (*range(1, 40), 999, 2000, 4001):
        values = random.normal(size=count).astype(dtype)
        yield values
        yield values.round(1)  # ties


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_they_are_numpys_to_the_bit(dtype):
    for values in numbers(dtype):
        before = values.copy()
        assert median(values) == float(np.median(values))
        for share in (0.0, 0.2, 0.3, 0.5, 0.7, 0.99, 1.0):
            assert quantile(values, share) == float(np.quantile(values, share))
        np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [1, 2, 7, 24, 720])
def test_rows_each_have_their_own(count, dtype):
    rows = np.random.default_rng(count).normal(size=(9, count)).astype(dtype)
    found = medians(rows)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.median(rows, axis=1))


def test_shape_does_not_matter():
    plane = np.random.default_rng(1).random((40, 50), np.float32)
    assert median(plane[::2, ::2]) == float(np.median(plane[::2, ::2]))
    assert quantile(plane[:, 3], 0.7) == float(np.quantile(plane[:, 3], 0.7))
