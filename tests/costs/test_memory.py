"""The memory ledger: bytes counted by hand on paper, arrays that are kept once and twice, what Remat saves."""

import jax
import jax.numpy as jnp
import pytest
from outsiders import BLOCK, NET, Forgetful, Gain, Transparent
from table import FORMS

from jaxnn import BatchNorm, Conv2D, Dense, MaxPool, ReLU, Remat, Repeat, Residual, Serial, Sigmoid
from jaxnn.arrays import n_bytes
from jaxnn.costs.memory import ledger

KEY = 8  # bytes of a typed key


def test_bytes_of_a_small_network():
    """10 rows: Dense(3) keeps x of 4 floats, ReLU a bool of 3, Sigmoid its output, Dense(2) that same array."""
    layers, whole = ledger(Serial(Dense(3), ReLU(), Dense(3), Sigmoid(), Dense(2)), (4,), 10)
    assert [row.by_hand for row in layers] == [160, 30, 120, 120, 120]
    assert whole.by_hand == 160 + 30 + 120 + 120
    assert [row.output_shape for row in layers] == [(3,), (3,), (3,), (3,), (2,)]
    assert [row.path for row in layers] == ["[0]", "[1]", "[2]", "[3]", "[4]"]


def test_params_are_there_anyway_and_are_not_counted():
    """10 rows: by jax.grad Dense(3) keeps x of 4 floats and Dense(2) x of 3; their weights are the network's own."""
    layers, _ = ledger(Serial(Dense(3), Dense(2)), (4,), 10)
    assert [row.automatic for row in layers] == [160, 120]


def test_a_winner_is_a_byte_where_the_machine_keeps_masks():
    whole = ledger(MaxPool(2), (8, 8, 3), 5).whole
    assert whole.by_hand == 5 * 4 * 4 * 3
    assert whole.automatic >= 3 * whole.by_hand


def test_constants_take_no_memory():
    """The zeros that where() chooses are filled in, not kept."""
    assert ledger(ReLU(), (7,), 5).whole.automatic == 35


def test_what_remat_saves():
    """[BatchNorm, ReLU, Conv] keeps x twice, a mask and x again; in Remat x, the old statistics and a key."""
    block = Serial(BatchNorm(), ReLU(), Conv2D(4))
    x, mask, feature = 3 * 6 * 6 * 4 * 4, 3 * 6 * 6 * 4, 4 * 4
    whole = ledger(block, (6, 6, 4), 3).whole
    assert whole.by_hand == 2 * x + mask + 2 * feature
    assert whole.saved_by_remat == x + mask - 8  # the key
    assert ledger(Remat(block), (6, 6, 4), 3).whole.by_hand == x + 2 * feature + 8
    assert ledger(Remat(block), (6, 6, 4), 3).whole.saved_by_remat == 0


def test_combinators_are_one_row_and_serial_is_not():
    layers, _ = ledger(Serial(Residual(Dense(4)), Serial(Dense(4), Repeat(Dense(4), 5))), (4,), 2)
    assert [row.layer for row in layers] == ["Residual(Dense(4))", "Dense(4)", "Repeat(Dense(4), 5)"]
    assert layers[2].by_hand == 5 * 2 * 4 * 4


def test_integers_have_no_derivative_and_may_be_kept():
    whole = ledger(Serial(MaxPool(2)), (4, 4, 1), 2, jnp.bfloat16).whole
    assert whole.by_hand == 2 * 2 * 2


@pytest.mark.parametrize("case", FORMS, ids=str)
def test_it_counts_what_the_forward_pass_of_every_layer_keeps(case):
    """At most the bytes of the cache's leaves, which counts an array that is kept twice twice."""
    kept = ledger(case.layer, case.shape, case.batch).whole.by_hand
    point = case.point()
    cache = jax.eval_shape(lambda: case.layer.forward(*point[:3], key=point.key, train=True).cache)
    assert kept <= n_bytes(cache)


def test_somebody_elses_chain_is_taken_apart_as_serial_is():
    """The block keeps x of 4 features and the key in its state; Remat x and its own key; the last layer 5 features."""
    layers, whole = ledger(NET, (4,), 2)
    center, block, remat, head = layers
    assert [row.path for row in layers] == ["['center']", "['block']", "['head'][0]", "['head'][1]"]
    assert [row.output_shape for row in layers] == [(4,), (4,), (5,), (3,)]
    assert (center.by_hand, center.automatic, center.saved_by_remat) == (0, 0, 0)
    assert block.by_hand == 2 * 4 * 4 + KEY
    assert block.automatic >= 3 * 2 * 4 * 4
    assert remat.by_hand == 2 * 4 * 4 + KEY
    assert head.by_hand == 2 * 5 * 4
    assert whole.by_hand == sum(row.by_hand for row in layers)


def test_params_are_a_tree_and_not_a_tuple():
    """Params as dicts aren't counted; nor are they in a composite around them."""
    assert ledger(Gain(), (4,), 2).whole.by_hand == 2 * 4 * 4
    assert ledger(BLOCK, (4,), 2).layers == (ledger(BLOCK, (4,), 2).whole,)
    assert ledger(Forgetful(BLOCK), (4,), 2).whole.by_hand == 2 * 4 * 4 + KEY


def test_a_wrapper_around_a_serial_is_one_row():
    (row,), whole = ledger(Transparent(Serial(Dense(3), ReLU())), (4,), 2)
    assert row == whole
    assert row.by_hand == 2 * 4 * 4 + 2 * 3
