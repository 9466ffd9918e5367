"""Arithmetic of trees, and the wording of errors about arrays."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import Static, arrays, fit
from jaxnn.objective import penalties
from jaxnn.training import links, schedules, updates

TREE = {"a": jnp.array([3.0, 4.0]), "b": (jnp.array([[12.0]], jnp.bfloat16), None)}


def test_static_is_structure_and_not_a_leaf():
    assert jax.tree.leaves(Static(3)) == []
    assert jax.tree.structure(Static(3)) != jax.tree.structure(Static(4))
    traces = []
    same = jax.jit(lambda box: (traces.append(box.value), box)[1])
    assert [same(Static((1, 2))), same(Static((1, 2))), same(Static("train"))][2] == Static("train")
    assert traces == [(1, 2), "train"]


def test_default_float_follows_x64():
    assert arrays.default_float() == jnp.float32
    assert arrays.default_float("bfloat16") == jnp.bfloat16
    with jax.enable_x64(True):
        assert arrays.default_float() == jnp.float64
        assert arrays.default_float(jnp.float32) == jnp.float32


def test_arithmetic_keeps_dtypes():
    doubled = arrays.scaled(2, TREE)
    assert [leaf.dtype for leaf in jax.tree.leaves(doubled)] == [jnp.float32, jnp.bfloat16]
    np.testing.assert_array_equal(doubled["a"], [6.0, 8.0])
    np.testing.assert_array_equal(arrays.added(TREE, doubled)["b"][0].astype(float), [[36.0]])
    assert not any(jax.tree.leaves(jax.tree.map(np.any, arrays.zeros_like(TREE))))


@pytest.mark.parametrize(
    ("dtype", "expected"), [("bfloat16", "float32"), ("float16", "float32"), ("float32", "float32"), ("float64",) * 2]
)
def test_widened_is_float32_at_least(x64, dtype, expected):
    assert arrays.widened(jnp.ones(3, dtype)).dtype == expected


def test_weighted_mean():
    values, weights = jnp.array([1.0, 2.0, 6.0]), jnp.array([1.0, 0.0, 3.0])
    assert arrays.weighted_mean(values, None) == 3.0
    assert arrays.weighted_mean(values, weights) == 4.75
    assert arrays.weighted_mean(values, weights, total=jnp.array(2.0)) == 9.5
    assert arrays.weighted_mean(values, 0 * weights) == 0.0


def test_norm_size_and_bytes():
    assert arrays.norm({"a": jnp.array([3.0]), "b": jnp.array([[4.0, 12.0]])}) == 13.0
    assert arrays.norm(()) == 0.0
    assert arrays.size(TREE) == 3
    assert arrays.n_bytes(TREE) == 2 * 4 + 2


def test_tracers_are_known():
    assert not arrays.is_traced(TREE)
    assert not arrays.is_traced(np.ones(2))
    jax.jit(lambda x: pytest.fail("not traced") if not arrays.is_traced((x, 1.0)) else x)(jnp.ones(2))


def test_what_x_should_be():
    with pytest.raises(TypeError, match="Tanh: x should be floating, got uint8: put Rescale"):
        arrays.require_floating("Tanh", jnp.ones(2, jnp.uint8))
    with pytest.raises(ValueError, match=r"Dense: the last axis of x should have 3 features.*got x of shape \(2, 4\)"):
        arrays.require_features("Dense", (2, 4), 3)
    with pytest.raises(ValueError, match="got x of shape"):
        arrays.require_features("Dense", (), 3)
    with pytest.raises(ValueError, match="Dropout: needs a key in training"):
        arrays.require_key("Dropout", None)


def numbered(cls):
    """An instance whose fields are different numbers, each in its interval."""
    fields = [field for field in dataclasses.fields(cls) if not field.metadata.get("static")]
    first = {field.name: 1.0 if field.metadata["within"].startswith("[1") else 0.5 for field in fields}
    return cls(*(first[field.name] + i / 16 for i, field in enumerate(fields)))


NODES = [
    cls
    for module in (updates, links, penalties, schedules, fit)
    for cls in vars(module).values()
    if isinstance(cls, type)
    and dataclasses.is_dataclass(cls)
    and cls.__module__ == module.__name__
    and cls is not penalties.decay_mask  # a recipe
]


def test_no_two_rules_penalties_or_schedules_have_one_structure():
    """`jax.jit` would take one's program for the other's, if their hashes fell into one place of its table."""
    assert len(NODES) >= 17
    for one, other in itertools.product(NODES, repeat=2):
        structures = [jax.tree.structure(numbered(cls)) for cls in (one, other)]
        assert (structures[0] == structures[1]) == (one is other), (one, other)
        assert (hash(structures[0]) == hash(structures[1])) == (one is other), (one, other)


@pytest.mark.parametrize("cls", NODES)
def test_a_node_comes_back_from_its_leaves_and_names_them(cls):
    node = numbered(cls)
    leaves, structure = jax.tree.flatten(node)
    assert jax.tree.unflatten(structure, leaves) == node
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(node)]
    numbers = [field for field in dataclasses.fields(cls) if not field.metadata.get("static")]
    assert names == [f".{field.name}" for field in numbers]
    if len(numbers) < len(dataclasses.fields(cls)):  # what isn't a number is part of the structure, and of the repr
        name = next(field.name for field in dataclasses.fields(cls) if field.metadata.get("static"))
        other = dataclasses.replace(node, **{name: len})
        assert jax.tree.structure(other) != structure
        assert jax.tree.unflatten(jax.tree.structure(other), leaves) == other
        assert repr(other) == repr(node).removesuffix(")") + f", {name}=<built-in function len>)"
