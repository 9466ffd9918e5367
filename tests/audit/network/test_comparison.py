"""A comparison is data: it can be saved, and says what is worst."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn.audit.network.comparison import Tensors, row
from jaxnn.audit.rounding.measure import Terms

TENSOR = np.random.default_rng(0).normal(size=(3, 4))


def judged(manual64, manual=None):
    single = TENSOR.astype(np.float32)
    tensors = Tensors(single if manual is None else manual, single, single, manual64, TENSOR)
    return row("gradient", "w", tensors, Terms(n=12), np.float32)


def test_verdicts():
    assert judged(TENSOR).verdict == "exact"
    assert judged(TENSOR, np.nextafter(TENSOR.astype(np.float32), np.float32(9))).verdict == "close"
    assert judged(TENSOR * 1.001).verdict == "wrong"
    assert judged(TENSOR[:2]).verdict == "wrong"
    assert judged(np.where(TENSOR > 0, np.nan, TENSOR)).verdict == "wrong"
    assert "float32" in judged(TENSOR, (1.001 * TENSOR).astype(np.float32)).reason
    assert judged(TENSOR, TENSOR[0].astype(np.float32)).reason == "the manual gradient is of shape (4,)"


def test_it_is_saved(tmp_path):
    net, loss = jaxnn.Serial(jaxnn.Dense(3), jaxnn.Tanh(), jaxnn.Dense(2)), jaxnn.SoftmaxCrossEntropy()
    params, state = net.init(jax.random.key(0), (4,))
    comparison = jaxnn.compare(net, loss, params, state, jnp.ones((8, 4)), jnp.array([0, 1] * 4))
    for name in ("a.json", "a.md", "a.png"):
        comparison.save(tmp_path / name)
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["ok"] is True
    assert [each["name"] for each in found["costs"]] == ["manual", "automatic", "idiomatic"]
    assert [each["path"] for each in found["rows"]] == [each.path for each in comparison.rows]
    assert all(each["flops"] > 0 for each in found["costs"])
    assert (tmp_path / "a.md").read_text().startswith("| tensor | shape |")
    assert (tmp_path / "a.png").read_bytes()[1:4] == b"PNG"
    assert comparison.worst in comparison.rows
    with pytest.raises(ValueError, match=r"saved as .json, .md or .png, got 'a.txt'"):
        comparison.save(tmp_path / "a.txt")


def test_json_has_no_nan():
    assert judged(np.full((3, 4), math.nan)).float64_error != 0
    bad = jaxnn.audit.Comparison((judged(np.full((3, 4), math.nan)),), (), (), "float32")
    assert json.loads(json.dumps(bad.as_dict(), allow_nan=False))["rows"][0]["float64_error"] == "nan"
    assert bad.worst is bad.rows[0]
