"""Toy data: the numbers of the articles, and that planted facts are there."""

import numpy as np
import pytest

from jaxnn.data import toys
from jaxnn.training.perceptron import hessian


@pytest.mark.parametrize(
    ("name", "gate"),
    [
        ("and", lambda a, b: a and b),
        ("or", lambda a, b: a or b),
        ("nand", lambda a, b: not (a and b)),
        ("xor", lambda a, b: a != b),
    ],
)
def test_a_truth_table_is_its_gate(name, gate):
    x, t = toys.truth_table(name)
    assert sorted(x.tolist()) == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert t.tolist() == [int(gate(bool(a), bool(b))) for a, b in x]


def test_an_unknown_gate_is_named():
    with pytest.raises(ValueError, match="no truth table 'nor': expected one of and, or, nand, xor"):
        toys.truth_table("nor")


def test_the_salary_data_has_the_curvatures_of_the_notes(x64):
    assert np.linalg.eigvalsh(hessian(toys.salary()[0])) == pytest.approx([1.23264, 205.73736], abs=1e-5)


@pytest.mark.parametrize(("n", "n_features", "margin"), [(1, 2, 0.5), (300, 2, 0.01), (300, 17, 0.9)])
def test_the_margin_is_planted(n, n_features, margin):
    x, t, normal = toys.separable(n, n_features, margin, seed=3)
    assert (x.shape, t.shape, normal.shape) == ((n, n_features), (n,), (n_features,))
    assert np.linalg.norm(normal) == pytest.approx(1)
    assert np.linalg.norm(x, axis=1).max() <= 1 + 1e-12
    assert ((2 * t - 1) * (x @ normal)).min() == pytest.approx(margin)
    assert (toys.separable(n, n_features, margin, seed=3)[0] == x).all()


@pytest.mark.parametrize("wrong", [(0, 2, 0.1), (5, 1, 0.1), (5, 2, 0.0), (5, 2, 1.0)])
def test_what_cannot_be_planted_is_refused(wrong):
    with pytest.raises(ValueError, match="separable: expected n >= 1, n_features >= 2 and 0 < margin < 1"):
        toys.separable(*wrong)


def test_bit_codes_are_all_numbers():
    codes = toys.bit_codes(8)
    assert codes.shape == (256, 8)
    assert ((codes == 0.9) @ 2 ** np.arange(8) == np.arange(256)).all()
