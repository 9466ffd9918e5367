"""How a comparison looks: right, and wrong."""

import io

import jax
import numpy as np
import rich.console

import jaxnn


class Doubled(jaxnn.Dense):
    def backward(self, params, cache, dy):
        dparams, dx = super().backward(params, cache, dy)
        return jaxnn.Backward(dparams, 2 * dx)


def compared(layer):
    net, loss = jaxnn.Serial(jaxnn.Dense(3), layer, jaxnn.Dense(2)), jaxnn.HalfSquaredError()
    params, state = net.init(jax.random.key(0), (4,))
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(5, 4)).astype(np.float32), rng.normal(size=(5, 2)).astype(np.float32)
    return jaxnn.compare(net, loss, params, state, x, t, costs=False)


def test_rich_has_every_tensor_and_the_verdict():
    comparison, out = compared(Doubled(3)), io.StringIO()
    rich.console.Console(file=out, width=300).print(comparison)
    text = out.getvalue()
    assert all(row.name in text for row in comparison.rows)
    assert "WRONG RULE [1]" in text
    assert "times 2" in text


def test_a_narrow_line_has_fewer_columns_and_no_line_is_too_long():
    comparison = compared(jaxnn.Dense(3))
    full, narrow = str(comparison), comparison.text(80)
    assert comparison.text() == full
    assert "worst element" in full
    assert max(map(len, narrow.splitlines())) <= 80
    head = narrow.splitlines()[0].split()
    assert head[0] == "tensor"
    assert {"verdict", "float64", "manual", "automatic"} <= set(head)
    assert "worst" not in head
    assert "idiomatic" not in narrow
    assert "More columns where there is room" in narrow
    assert narrow.endswith("all gradients agree")
    assert comparison.text(1).splitlines()[0].split() == ["tensor", "verdict", "float64", "manual", "automatic"]
    out = io.StringIO()
    rich.console.Console(file=out, width=80).print(comparison)
    assert all(row.name in out.getvalue() for row in comparison.rows)


def test_markdown_escapes_its_bars():
    text = compared(jaxnn.Dense(3)).markdown()
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    assert "all gradients agree" in text
