"""What rounding takes from params of a short type is carried on."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.training.rounding import first_rounding, moved_params


def test_a_step_that_a_short_type_cannot_hold_is_carried_on():
    """1,000 steps of 0.001 from 1, where one leaves a bfloat16 as it is; what is replaced carries nothing on."""
    params = {"w": jnp.ones(3, jnp.bfloat16), "b": jnp.ones((), jnp.float32)}
    rounding = first_rounding(params)
    step = {"w": jnp.full(3, 0.001, jnp.bfloat16), "b": jnp.full((), 0.001, jnp.float32)}
    move = jax.jit(lambda params, rounding: moved_params(params, rounding, step))
    for _ in range(1000):
        params, rounding = move(params, rounding)
    exact = 1 + 1000 * np.asarray(step["w"][0], float)
    np.testing.assert_allclose(np.asarray(params["w"], float) + np.asarray(rounding["w"], float), exact, rtol=1e-5)
    assert abs(float(params["b"]) - 2) < 1e-3
    other, _ = move(
        {"w": jnp.zeros(3, jnp.bfloat16), "b": jnp.ones(())}, {"w": rounding["w"] + 0.003, "b": rounding["b"]}
    )
    np.testing.assert_array_equal(other["w"], step["w"])
    assert first_rounding({"b": jnp.ones(3)}) is None
