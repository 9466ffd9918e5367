"""A timing counts what a program does."""

import jax
import numpy as np

from jaxnn.audit.network.timing import timed


def test_a_matrix_product_costs_its_flops():
    x = np.ones((8, 16), np.float32)
    found = timed("product", jax.jit(lambda x: x @ x.T), (x,))
    assert found.name == "product"
    assert 2 * 8 * 8 * 16 <= found.flops <= 1.1 * 2 * 8 * 8 * 16
    assert found.compile_seconds > 0
    assert found.run_seconds > 0
    assert found.temporary_bytes >= 0
