"""A convolution is a dense layer whose matrix is zero outside a band and equal along its diagonals.

The notes give three faults of fully connected layers on images, and local connections, shared weights and pooling as
the cure: one matrix, more and more of it fixed. Pooling has a script of its own. What holds of the others, exactly:

1. Parameters. A dense layer of M outputs has (side^2 C + 1) M: linear in the pixels and quadratic in the side, not
   "exponential". A convolution has (k^2 C + 1) F, whatever the side.

2. A convolution is a dense layer whose matrix is zero outside a band (local connections: one window an output) and
   equal along the diagonals (shared weights). So its gradient is the dense layer's, taken on the band alone and summed
   along each diagonal.

3. Shared weights make it commute with shifts: shift(x) * w = shift(x * w), on a circle for every pixel.

Source: PRINCIPLES G3, G6, G7, section 4 (19); hanbingtao, part 4 (56 parameters).

    python scripts/experiments/dense_to_convolution.py

Seconds. All is exact: expect no output and no gradient that differs.
"""

import jax
import jax.numpy as jnp
import numpy as np
from claims import BLUE, GREEN, ORANGE, PREDICTED, main, panels

import jaxnn
from jaxnn.layers.convolution import ConvParams

SIDES = 2 ** np.arange(5, 11)  # 32 to 1024


def experiment(claims, quick, seed):
    """The same in both forms."""
    counts = claim_the_parameters(claims)
    rng = np.random.default_rng(seed)
    matrices = claim_that_convolution_is_a_dense_layer(claims, rng)
    claim_that_it_commutes_with_shifts(claims, rng)
    return drawn(counts, matrices)


def n_params(layer, shape):
    params, _ = jax.eval_shape(lambda key: layer.init(key, shape), jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def claim_the_parameters(claims):
    dense = jaxnn.Serial(jaxnn.Flatten(), jaxnn.Dense(100))
    claims.equal("dense, 1000 x 1000 to 100: params", n_params(dense, (1000, 1000, 1)), 100_000_100)
    of_dense, of_local, of_shared = (
        np.array([n_params(layer, (side, side, 1)) for side in SIDES])
        for layer in (dense, jaxnn.LocallyConnected2D(1), jaxnn.Conv2D(100))
    )
    slope = np.log2(of_dense[-1] / of_dense[-2])
    # log2 of (4 s^2 + 1) / (s^2 + 1) at s = 512: 2 less 3 / (4 s^2 ln 2) at most, which the biases make.
    claims.near("dense: d log params / d log side, 512 to 1024", slope, 2, 3 / (4 * 512**2 * np.log(2)))
    claims.equal("3 x 3 convolution to 100: params, at every side", of_shared, 1000)
    claims.equal("two filters of 3 x 3 x 3: params", n_params(jaxnn.Conv2D(2), (5, 5, 3)), 56)
    return {"dense, to 100": of_dense, "local, 3 x 3": of_local, "convolution, 3 x 3 to 100": of_shared}


def whole_numbers(rng, *shape):
    """From -3 to 3: their products and sums are exact in float32, in whatever order they are added."""
    return jnp.asarray(rng.integers(-3, 4, shape), jnp.float32)


def claim_that_convolution_is_a_dense_layer(claims, rng, shape=(6, 7, 2), n_out=3, k=3):
    """Local and shared weights, and a dense layer with these weights written out at their places."""
    local, shared = (kind(n_out, k, padding="VALID", bias=False) for kind in (jaxnn.LocallyConnected2D, jaxnn.Conv2D))
    counts = shared.output_shape(shape)
    dense = jaxnn.Dense(int(np.prod(counts)), bias=False)
    # Weight (i, j, u, v, c, f) leads from the pixel (i + u, j + v, c) to the output (i, j, f).
    i, j, u, v, c, f = np.indices((*counts[:2], k, k, shape[2], n_out))
    places = np.ravel_multi_index((i + u, j + v, c), shape), np.ravel_multi_index((i, j, f), counts)
    x, dy = whole_numbers(rng, 10, *shape), whole_numbers(rng, 10, *counts)
    matrices = {}
    for name, layer in (("local", local), ("shared", shared)):
        params, _ = layer.init(jax.random.key(0), shape)
        params = params._replace(weight=whole_numbers(rng, *params.weight.shape))
        y, _, cache = layer.forward(params, (), x)
        dparams, dx = layer.backward(params, cache, dy)

        matrix = np.full((np.prod(shape), np.prod(counts)), np.nan, np.float32)  # NaN: no connection
        matrix[places] = params.weight  # the same at all places (i, j), if it is shared
        of_dense = jaxnn.DenseParams(jnp.nan_to_num(matrix), None)
        flat_y, _, cache = dense.forward(of_dense, (), x.reshape(10, -1))
        of_matrix, flat_dx = dense.backward(of_dense, cache, dy.reshape(10, -1))
        on_band = np.asarray(of_matrix.weight)[places]

        dweight = on_band if name == "local" else on_band.sum(axis=(0, 1))
        pairs = (y, flat_y.reshape(y.shape)), (dx, flat_dx.reshape(dx.shape)), (dparams.weight, dweight)
        apart = [float(jnp.abs(a - b).max()) for a, b in pairs]
        claims.equal(f"{name} weights, and as a matrix: y, dx, dW apart", apart, 0)
        matrices[name] = matrix
    return matrices


def claim_that_it_commutes_with_shifts(claims, rng, side=8):
    """On a circle: the image is continued beyond its edges by itself."""
    layer = jaxnn.Conv2D(3, 3, padding="VALID", bias=False)
    params = ConvParams(whole_numbers(rng, 3, 3, 2, 3), None)

    @jax.jit
    def convolved(x):
        return layer.forward(params, (), jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="wrap")).y

    x = np.asarray(whole_numbers(rng, 10, side, side, 2))
    y = np.asarray(convolved(x))
    shifts = np.ndindex(side, side)
    differ = sum(np.sum(convolved(np.roll(x, by, (1, 2))) != np.roll(y, by, (1, 2))) for by in shifts)
    claims.equal("circular convolution: outputs that differ, all 64 shifts before or after", int(differ), 0)


def drawn(counts, matrices):
    figure, (sizes, *bands) = panels(columns=3)
    for (name, numbers), color in zip(counts.items(), (BLUE, ORANGE, GREEN), strict=True):
        sizes.loglog(SIDES, numbers, "o", color=color, label=name)
        slope = 0 if name.startswith("conv") else 2
        sizes.plot(SIDES, numbers[0] * (SIDES / SIDES[0]) ** float(slope), **PREDICTED)
    sizes.plot([], [], **PREDICTED, label="slopes 2, 2, 0")
    sizes.set(xlabel="side of the image in pixels", ylabel="parameters", title="quadratic in the side, or constant")
    for (name, matrix), band in zip(matrices.items(), bands, strict=True):
        band.imshow(matrix, cmap="PuOr", interpolation="nearest", aspect="auto")
        band.grid(False)
        band.set(xlabel="output (i, j, f)", ylabel="pixel (i, j, c)", title=f"{name} weights as a dense layer's matrix")
    return figure


if __name__ == "__main__":
    raise SystemExit(main(__doc__, experiment))
