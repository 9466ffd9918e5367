"""Trees of NumPy arrays."""

import numpy as np

from jaxnn.reference import arrays
from jaxnn.reference.layers import DenseParams
from jaxnn.reference.normalization import BatchNormParams

TREE = (DenseParams(np.array([1.0, 2.0]), None), (), (BatchNormParams(np.array(3.0), np.array(4.0)),))


def test_map_keeps_the_structure():
    doubled = arrays.map_tree(np.add, TREE, TREE)
    assert repr(doubled) == repr((DenseParams(np.array([2.0, 4.0]), None), (), (BatchNormParams(*np.float64([6, 8])),)))


def test_leaves_from_left_to_right():
    assert [leaf.tolist() for leaf in arrays.leaves(TREE)] == [[1.0, 2.0], 3.0, 4.0]


def test_weights_are_the_fields_of_that_name():
    assert [leaf.tolist() for leaf in arrays.weights(TREE)] == [[1.0, 2.0]]


def test_zeros_like():
    assert [leaf.tolist() for leaf in arrays.leaves(arrays.zeros_like(TREE))] == [[0.0, 0.0], 0.0, 0.0]
