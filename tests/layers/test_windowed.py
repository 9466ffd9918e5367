"""Fields that say where windows lie: an int for all axes, lists for tuples, None for the window's own size."""

import pytest

from jaxnn import AvgPool, Conv2D, MaxPool
from jaxnn.kernels.windows import Windows


def test_an_int_stands_for_every_axis():
    assert MaxPool(3, 2, padding=1).windows(2) == Windows((3, 3), (2, 2), (1, 1), ((1, 1), (1, 1)))
    assert MaxPool(3, 2, padding=1).windows(1) == Windows((3,), (2,), (1,), ((1, 1),))


def test_no_stride_is_the_window_s_size():
    assert AvgPool((2, 3)).windows(2).stride == (2, 3)
    assert Conv2D(1, (2, 3)).windows(2).stride == (1, 1)


def test_lists_become_tuples():
    assert MaxPool([2, 2], padding=[[1, 0], [0, 1]]) == MaxPool((2, 2), padding=((1, 0), (0, 1)))
    assert hash(MaxPool([2, 2])) == hash(MaxPool((2, 2)))


@pytest.mark.parametrize("fields", [{"window": (2, 2), "stride": (1, 1, 1)}, {"padding": ((1, 0),)}], ids=str)
def test_counts_that_do_not_agree(fields):
    with pytest.raises(ValueError, match="for each of"):
        MaxPool(**fields).output_shape((4, 4, 1))
