"""Each pattern is named where it was planted."""

import numpy as np
import pytest

from jaxnn.audit.rule.patterns import likely_pattern

TRUTH = np.random.default_rng(0).normal(size=(5, 5))
WIDE = np.random.default_rng(1).normal(size=(3, 4))
ONE_ROW = TRUTH.copy()
ONE_ROW[2] = 0
ONE_COLUMN = TRUTH.copy()
ONE_COLUMN[:, 1] *= 2


@pytest.mark.parametrize(
    ("wrong", "truth", "words"),
    [
        (None, TRUTH, "missing: None"),
        (TRUTH, None, "should be None"),
        (np.ones((8, 5)), np.ones(5), "unsummed"),
        (WIDE.T, WIDE, "transposed: shape (4, 3) for (3, 4)"),
        (np.ones(4), np.ones((3, 3)), "shape (4,) for (3, 3)"),
        (np.where(TRUTH > 1, np.nan, TRUTH), TRUTH, "are NaN or infinite"),
        (0 * TRUTH, TRUTH, "zero"),
        (TRUTH, 0 * TRUTH, "not zero"),
        (-TRUTH, TRUTH, "the sign"),
        (2 * TRUTH, TRUTH, "times 2"),
        (TRUTH / 2, TRUTH, "times 1/2"),
        (1.001 * TRUTH, TRUTH, "times 1.001"),
        (8 * TRUTH, TRUTH, "a sum where a mean belongs"),
        (TRUTH / 8, TRUTH, "a mean where a sum belongs"),
        (TRUTH * 8 / 9, TRUTH, "one row too many"),
        (TRUTH * 8 / 7, TRUTH, "B / (B - 1)"),
        (TRUTH.T, TRUTH, "transposed"),
        (WIDE.T.reshape(WIDE.shape), WIDE, "transposed before it was reshaped"),
        (TRUTH[::-1], TRUTH, "reversed along axis 0"),
        (np.roll(TRUTH, 1, 1), TRUTH, "shifted by 1 along axis 1"),
        (ONE_ROW, TRUTH, "5 of 25 entries, all at index 2 of axis 0: zero"),
        (ONE_COLUMN, TRUTH, "all at index 1 of axis 1: a factor: times 2"),
        (TRUTH + TRUTH.mean(0), TRUTH, "the difference is the same all along axis 0"),
        (TRUTH + 0.3 * np.sin(TRUTH), TRUTH, "a dropped or a wrong term"),
    ],
)
def test_a_pattern_is_named(wrong, truth, words):
    assert words in likely_pattern(wrong, truth, n_rows=8)


def test_a_factor_is_seen_through_the_noise_of_rounding():
    noisy = 1.001 * TRUTH + 1e-6 * np.sin(100 * TRUTH)
    assert "times 1.001" in likely_pattern(noisy, TRUTH, noise=1e-6)
    assert "times" not in likely_pattern(TRUTH + 0.3 * np.sin(TRUTH), TRUTH, noise=1.0)
