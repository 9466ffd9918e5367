"""How weights start: recipes that call `jax.nn.initializers`, whose closures are neither equal nor picklable.

An initialiser is called as jax's are, `initialiser(key, shape, dtype)`, so jax's can be used in their place. The last
two axes of a shape are fan-in and fan-out: a Dense weight is (N_in, N_out).
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxnn.arrays import Shape, number
from jaxnn.layer import recipe

Distribution = Literal["truncated_normal", "normal", "uniform"]


@recipe
class Zeros:
    """All zeros: biases."""

    def __call__(self, key: jax.Array, shape: Shape, dtype: Any) -> jax.Array:
        return jnp.zeros(shape, dtype)


@recipe
class Normal:
    """w ~ N(0, std^2)."""

    std: float = number("[0, inf)", 1.0)

    def __call__(self, key: jax.Array, shape: Shape, dtype: Any) -> jax.Array:
        return jax.nn.initializers.normal(self.std)(key, shape, dtype)


@recipe
class Uniform:
    """w ~ U(low, high)."""

    low: float = number("(-inf, inf)", -0.1)
    high: float = number("(-inf, inf)", 0.1)

    def __call__(self, key: jax.Array, shape: Shape, dtype: Any) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, self.low, self.high)


@recipe
class Glorot:
    """Var(w) = 2 / (fan_in + fan_out): keeps signals and error terms through linear or tanh layers.

    The distribution is `truncated_normal` (at two standard deviations, rescaled to the variance), `normal` or
    `uniform`, as in `jax.nn.initializers.variance_scaling`.
    Source: Glorot and Bengio 2010, equation 16.
    """

    distribution: Distribution = "truncated_normal"

    def __call__(self, key: jax.Array, shape: Shape, dtype: Any) -> jax.Array:
        return _variance_scaling(1.0, "fan_avg", self.distribution, key, shape, dtype)


@recipe
class He:
    """Var(w) = 2 / fan_in: keeps signals through ReLU layers, which drop half of them.

    Distributions as in `Glorot`. Source: He et al. 2015, equation 10.
    """

    distribution: Distribution = "truncated_normal"

    def __call__(self, key: jax.Array, shape: Shape, dtype: Any) -> jax.Array:
        return _variance_scaling(2.0, "fan_in", self.distribution, key, shape, dtype)


@recipe
class LeCun:
    """Var(w) = 1 / fan_in: keeps signals through linear layers.

    Distributions as in `Glorot`. Source: LeCun et al. 1998, "Efficient BackProp", section 4.6.
    """

    distribution: Distribution = "truncated_normal"

    def __call__(self, key: jax.Array, shape: Shape, dtype: Any) -> jax.Array:
        return _variance_scaling(1.0, "fan_in", self.distribution, key, shape, dtype)


@recipe
class Orthogonal:
    """gain times a matrix drawn uniformly from those with orthonormal columns, or rows where the rows are fewer.

    An orthonormal matrix keeps the length of what it multiplies: of signals forward, of error terms backward, at any
    depth. A weight (N_in, N_out) is that matrix; of a kernel with more axes all but the last are flattened, so that
    each output channel's filter is one column. A shorter dtype than float32 is drawn in float32 and then rounded.
    Raises: ValueError for a shape of fewer than two axes: a bias has no direction to keep.
    Source: Saxe et al. 2014, section 3; as `jax.nn.initializers.orthogonal`.

    >>> w = Orthogonal(2.0)(jax.random.key(0), (5, 3), jnp.float32)
    >>> jnp.allclose(w.T @ w, 4 * jnp.eye(3), atol=1e-5)
    Array(True, dtype=bool)
    """

    gain: float = number("(-inf, inf)", 1.0)

    def __call__(self, key: jax.Array, shape: Shape, dtype: Any) -> jax.Array:
        if len(shape) < 2:
            raise ValueError(f"{self}: needs two axes or more, got the shape {tuple(shape)}: take Zeros() for a bias")
        draw_dtype = jnp.float32 if jnp.dtype(dtype).itemsize < 4 else dtype  # QR decomposition has no shorter dtype
        return jax.nn.initializers.orthogonal(self.gain)(key, shape, draw_dtype).astype(dtype)


def _variance_scaling(
    scale: float,
    mode: Literal["fan_in", "fan_avg"],
    distribution: Distribution,
    key: jax.Array,
    shape: Shape,
    dtype: Any,
) -> jax.Array:
    return jax.nn.initializers.variance_scaling(scale, mode, distribution)(key, shape, dtype)
