"""The examples that a loop is given, checked on the host before the first step.

JAX silently clamps, wraps or drops what is out of bounds, and a NaN costs the whole run; so what can be checked before
compilation is checked here, once. Tracers are let through.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.arrays import Shape, is_floating, is_traced, kind_of, wide_dtype
from jaxnn.layer import Layer, require_layer
from jaxnn.objective.losses import Loss, n_classes, require_loss


class Examples(NamedTuple):
    """Data that has been checked: x (n, ...), target (n, ...), weights (n,) or None.

    The weights' mean is 1: they are divided by it here, once, so that a step over n of the rows divides its weighted
    sum by n, and is an unbiased estimate of the objective over all, sum w l / sum w.
    """

    x: jax.Array
    target: jax.Array
    weights: jax.Array | None = None

    @property
    def n(self) -> int:
        return self.x.shape[0]

    def at(self, indices: jax.Array) -> "Examples":
        """The examples at indices that are known to be in bounds."""
        return jax.tree.map(lambda leaf: leaf.at[indices].get(mode="promise_in_bounds"), self)


def checked(data: Any, net: Layer, loss: Loss, shape: Shape | None = None, name: str = "data") -> Examples:
    """Data (x, target) or (x, target, weights) as `Examples`, on the device.

    `shape`, if given, is the shape that one example should have (the params were made for it).
    Raises: TypeError or ValueError that names what is wrong with `name`: not a pair or triple of arrays, an empty set,
    different lengths, NaN, infinite or masked numbers, integers that JAX's type for them can't hold, targets that the
    loss doesn't take, a label out of range, weights that are negative or sum to 0.
    """
    require_layer("a loop", net)
    require_loss("a loop", loss)
    if isinstance(data, Examples):
        return data
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise TypeError(f"{name} should be (x, target) or (x, target, weights), got {kind_of(data)}")
    x, target, weights = (*data, None) if len(data) == 2 else data
    x, target = _array(f"{name}: x", x), _array(f"{name}: target", target)
    _require_examples(name, x, target=target)
    if shape is not None and x.shape[1:] != tuple(shape):
        raise ValueError(
            f"{name}: one example should have the shape {tuple(shape)}, as in training, got {x.shape[1:]}: reshape x"
        )
    output_shape = net.output_shape(x.shape[1:])
    loss.check(target, output_shape)
    _require_finite(f"{name}: x", x)
    _require_finite(f"{name}: target", target)
    classes = n_classes(loss, target, output_shape)
    if classes is not None:
        _require_labels(name, target, classes)
    _require_values(loss, target)
    if weights is not None:
        weights = _array(f"{name}: weights", weights)
        _require_weights(name, x, weights)
        weights = of_mean_1(weights)
    return jax.tree.map(jnp.asarray, Examples(x, target, weights))


def of_mean_1(weights: Any) -> Any:
    """Weights divided by their mean, in float32 at least."""
    xp = np if isinstance(weights, np.ndarray) else jnp
    total = xp.mean(weights, dtype=np.float64 if xp is np else wide_dtype(weights.dtype))
    return (weights.astype(total.dtype) / xp.where(total == 0, 1, total)).astype(wide_dtype(weights.dtype))


def checked_splits(data: Any, validation: Any, net: Layer, loss: Loss) -> tuple[Examples, Examples | None]:
    """Training data and, where there is some, validation data whose examples have the same shape."""
    examples = checked(data, net, loss)
    if validation is None:
        return examples, None
    return examples, checked(validation, net, loss, examples.x.shape[1:], "validation")


def features(x: Any, name: str = "x") -> jax.Array:
    """Features without targets, checked in the same way."""
    x = _array(name, x)
    _require_examples(name, x)
    _require_finite(name, x)
    return jnp.asarray(x)


def _array(name: str, value: Any) -> Any:
    """The value as an array in the dtype that it will have on the device. What the cast would change is refused."""
    if isinstance(value, jax.Array):
        return value
    if np.ma.is_masked(value):
        raise ValueError(
            f"{name} has {np.ma.count_masked(value)} masked entries: leave these examples out, or fill the entries "
            "with .filled(value)"
        )
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise TypeError(f"{name} should be an array, got a {type(value).__name__}: {error}") from error
    if not (jnp.issubdtype(array.dtype, jnp.floating) or array.dtype.kind in "iub"):
        raise TypeError(f"{name} should hold numbers, got dtype {array.dtype}: convert it with .astype(float)")
    dtype = jax.dtypes.canonicalize_dtype(array.dtype)
    if array.dtype.kind in "iu":
        _require_range(name, array, dtype)
    # In the dtype that it will have on the device: 1e300 is finite in float64, and infinite in float32.
    with np.errstate(over="ignore"):
        return array.astype(dtype, copy=False)


def _require_range(name: str, array: np.ndarray, dtype: np.dtype) -> None:
    """Refuse integers that would wrap around."""
    if array.size == 0 or np.can_cast(array.dtype, dtype):
        return
    limits = np.iinfo(dtype)
    for number in (int(array.max()), int(array.min())):
        if not limits.min <= number <= limits.max:
            raise ValueError(
                f"{name} holds {number}, and the integers that JAX has here, {dtype}, end at "
                f"{limits.max if number > 0 else limits.min}: count labels from 0, give quantities as floats, "
                '.astype(np.float32), or have integers of 64 bits, jax.config.update("jax_enable_x64", True)'
            )


def _require_examples(name: str, x: Any, **others: Any) -> None:
    for what, array in {"x": x, **others}.items():
        if array.ndim == 0:
            raise ValueError(f"{name}: {what} should have a leading axis of examples, got a single number")
        if array.shape[0] != x.shape[0]:
            raise ValueError(f"{name}: x and {what} have different lengths, {x.shape[0]} and {array.shape[0]}")
    if x.shape[0] == 0:
        raise ValueError(f"{name}: the set is empty: give at least one example")
    for what, array in {"x": x, **others}.items():
        if 0 in array.shape:
            raise ValueError(f"{name}: {what} has nothing in it, its shape is {array.shape}: no axis may have length 0")


@jax.ensure_compile_time_eval()  # so that concrete values stay concrete inside a user's jit
def _require_finite(name: str, array: Any) -> None:
    if is_traced(array) or not is_floating(array):
        return
    xp = np if isinstance(array, np.ndarray) else jnp
    finite = xp.isfinite(array).reshape(array.shape[0], -1).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"{name} has NaN or infinite numbers in {int((~finite).sum())} of {len(finite)} examples "
            f"(the first is example {int(finite.argmin())}): remove or replace them"
        )


@jax.ensure_compile_time_eval()
def _require_labels(name: str, target: Any, n_classes: int) -> None:
    if is_traced(target):
        return
    low, high = int(target.min()), int(target.max())
    if low < 0 or high >= n_classes:
        raise ValueError(
            f"{name}: labels should be 0 to {n_classes - 1}, as the network tells {n_classes} classes apart, "
            f"got {low} to {high}: count classes from 0, or end the network with Dense(n_classes)"
        )


@jax.ensure_compile_time_eval()
def _require_values(loss: Loss, target: Any) -> None:
    """Ask the loss, where it has something to say of targets' values."""
    if not is_traced(target) and hasattr(loss, "check_values"):
        loss.check_values(target)


@jax.ensure_compile_time_eval()
def _require_weights(name: str, x: Any, weights: Any) -> None:
    if not is_floating(weights):
        raise TypeError(f"{name}: weights should be floating, got {weights.dtype}: convert them with .astype(float)")
    if weights.shape != x.shape[:1]:
        raise ValueError(f"{name}: weights should be one number per example, {x.shape[:1]}, got {weights.shape}")
    _require_finite(f"{name}: weights", weights)
    if not is_traced(weights) and (weights.min() < 0 or weights.sum() == 0):
        raise ValueError(f"{name}: weights should not be negative and not sum to 0")
