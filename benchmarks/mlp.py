"""What a step of the textbook MLP costs: jaxnn by hand and by machine, plain JAX, and NumPy in three forms.

By machine is `jax.grad` of our own forward, and once more of an idiomatic one (`jaxnn.audit.idiomatic`). At batch 1
there is also the loop by matrix products, `sgd(block=64)`, whose iterates are the same but for rounding.

    python benchmarks/mlp.py [--rounds 60] [--hidden 128 300] [--quick] [--plot]

784-128-10 and 784-300-10, sigmoid, half squared error, uint8 images, batches of 1 to all. An epoch of each candidate is
timed in turns with the others (see timing.py); all start from the same params and meet the examples in the same order,
and their params afterwards are compared before anything is timed. The JAX candidates shuffle in the compiled program;
NumPy's are given the order. Writes results/mlp.json, mlp.md and mlp.png; --plot makes the latter two from the JSON.
Half an hour on 2 cores; the JSON is written after each row. Expect: by hand = by machine = plain JAX, and at batch 1 at
least 8x plain NumPy, by matrix products 25x.
"""

import argparse
import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import timing
from peers import plain_jax, plain_numpy
from peers.tuned_numpy import TunedNumPy

import jaxnn
from jaxnn import optional
from jaxnn.audit import idiomatic, idiomatic_loss
from jaxnn.reference import neurons
from jaxnn.training.examples import checked

RESULTS = Path(__file__).parent / "results"
LEARNING_RATE, SCALE, N_OUT = 0.1, 1 / 255, 10
BLOCK = 64  # examples whose updates of the first layer are delayed
# Batch size -> examples in the timed epoch: short enough for 60 rounds, and long enough (a quarter of a second) that
# the 2 ms which a call of a loop takes on the host are about 1 % of it, so that the step is what is measured.
EXAMPLES = {1: 24_576, 8: 49_152, 32: 98_304, 128: 131_072, 1024: 131_072, 60_000: 60_000}
CONTROL = "plain JAX, again"
NAMES = {
    "backprop": "jaxnn, backprop",
    "block": "jaxnn, backprop, block=64",
    "autodiff": "jaxnn, autodiff",
    "idiomatic": "jaxnn, autodiff of jax.nn",
    "plain_jax": "plain JAX",
    "tuned_numpy": "NumPy, tuned",
    "plain_numpy": "NumPy, plain",
    "neurons": "NumPy, neuron by neuron",
}


def measure(n_hidden, batch_size, n_rounds):
    """One row: seconds a step of each candidate, the ratios to plain JAX, and what the compiler counts of a step."""
    n = EXAMPLES[batch_size]
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, 784), dtype=np.uint8)
    targets = np.eye(N_OUT, dtype=np.float32)[rng.integers(0, N_OUT, n)]
    params = plain_jax.init(jax.random.key(0), 784, n_hidden, N_OUT)
    on_host = jax.tree.map(np.asarray, params)
    x, t = jnp.asarray(images), jnp.asarray(targets)

    net, loss = network(n_hidden), jaxnn.HalfSquaredError()
    rule = jaxnn.gradient_descent(LEARNING_RATE)
    begin = jaxnn.start(net, (784,), key=jax.random.key(1), update=rule)._replace(params=as_jaxnn(params))
    order_key = jax.random.fold_in(begin.keys.order, 0)
    order = np.asarray(jax.random.permutation(order_key, n)) if batch_size < n else np.arange(n)
    data = checked((x, t), net, loss)

    def ours(gradient, net=net, loss=loss, **options):
        given = options | {"run": begin, "epochs": 1, "update": rule, "metric": None, "gradient": gradient}
        if batch_size == 1:
            return jaxnn.sgd(net, loss, data, **given)[0].params
        if batch_size == n:
            return jaxnn.bgd(net, loss, data, **given)[0].params
        return jaxnn.mbgd(net, loss, data, batch_size=batch_size, **given)[0].params

    def theirs():
        return plain_jax.epoch(params, order_key, x, t, LEARNING_RATE, SCALE, batch_size=batch_size)[0]

    def tuned():
        network = TunedNumPy(on_host, batch_size)
        network.epoch(order, images, targets, LEARNING_RATE, SCALE)
        return (network.w1, network.b1), (network.w2, network.b2)

    candidates = {
        "backprop": partial(ours, jaxnn.backprop),
        "autodiff": partial(ours, jaxnn.autodiff),
        "idiomatic": partial(ours, jaxnn.autodiff, idiomatic(net), idiomatic_loss(loss)),
        "plain_jax": theirs,
        CONTROL: theirs,
    }
    if batch_size == 1:
        candidates["block"] = partial(ours, jaxnn.backprop, block=BLOCK)
    slower = {
        "tuned_numpy": tuned,
        "plain_numpy": lambda: plain_numpy.epoch(
            on_host, order, images, targets, LEARNING_RATE, SCALE, batch_size=batch_size
        )[0],
    }
    difference = same_result(candidates | slower)
    seconds = timing.rounds(candidates, n_rounds)
    # NumPy against JAX takes fewer rounds: nobody claims 3 % there. Both sides of a ratio come from the same rounds.
    faster = {name: candidates[name] for name in ("backprop", "block") if name in candidates}
    against = timing.rounds(faster | slower, max(5, n_rounds // 6))
    steps = n // batch_size
    row = {
        "hidden": n_hidden,
        "batch_size": batch_size,
        "examples": n,
        "rounds": n_rounds,
        "largest_difference": difference,
        "microseconds": {
            name: {"min": 1e6 * times.min() / steps, "median": 1e6 * float(np.median(times)) / steps}
            for name, times in {**{name: against[name] for name in slower}, **seconds}.items()
        },
        "over_plain_jax": {
            name: timing.ratio(seconds[name], seconds["plain_jax"]) for name in candidates if name != "plain_jax"
        },
        "backprop_over_autodiff": timing.ratio(seconds["backprop"], seconds["autodiff"]),
        "backprop_over_idiomatic": timing.ratio(seconds["backprop"], seconds["idiomatic"]),
        "over_backprop": {name: timing.ratio(against[name], against["backprop"]) for name in slower},
        "plain_numpy_over_block": timing.ratio(against["plain_numpy"], against["block"]) if "block" in faster else None,
        "compiler": {name: counted(name, net, loss, batch_size, params) for name in ("backprop", "plain_jax")},
    }
    if batch_size == 1:
        row["microseconds"]["neurons"] = neuron_by_neuron(on_host, images, targets, order)
    return row


def network(n_hidden):
    dense = jaxnn.Dense(n_hidden), jaxnn.Sigmoid(), jaxnn.Dense(N_OUT), jaxnn.Sigmoid()
    return jaxnn.Serial(jaxnn.Rescale(SCALE), *dense)


def as_jaxnn(params):
    first, second = (jaxnn.DenseParams(*layer) for layer in params)
    return (), first, (), second, ()


def same_result(candidates):
    """The largest difference between any candidate's params after the epoch and plain JAX's."""
    expected = jax.tree.leaves(candidates["plain_jax"]())
    results = [jax.tree.leaves(candidate()) for candidate in candidates.values()]
    difference = max(
        float(np.abs(np.asarray(a) - b).max()) for leaves in results for a, b in zip(leaves, expected, strict=True)
    )
    # float32 after thousands of steps of size 0.1: far more than rounding would be another algorithm.
    if difference > 1e-3:
        raise SystemExit(f"the candidates disagree by {difference:.1e}: there is nothing to time")
    return difference


def counted(name, net, loss, batch_size, params):
    """FLOPs and bytes of one step, as the compiler counts them."""
    x, t = jnp.zeros((batch_size, 784), jnp.uint8), jnp.zeros((batch_size, N_OUT))
    rule = jaxnn.gradient_descent(LEARNING_RATE)

    def ours(params, x, t):
        state = tuple(() for _ in net.layers)
        result = jaxnn.backprop(net, loss)(params, state, x, t)
        updates, _ = rule.update(result.grads, rule.init(params), params)
        return jaxnn.apply_updates(params, updates), result.loss

    if name == "backprop":
        compiled = jax.jit(ours).lower(as_jaxnn(params), x, t).compile()
    else:
        step = partial(plain_jax.step, learning_rate=LEARNING_RATE, scale=SCALE)
        compiled = jax.jit(step).lower(params, x, t).compile()
    cost = compiled.cost_analysis()
    return {"flops": cost["flops"], "bytes": cost["bytes accessed"]}


def neuron_by_neuron(params, images, targets, order, n=3):
    """The reference in loops over neurons, on a few examples: it is linear in their number, and slow."""
    layers = [neurons.Layer(*(leaf.astype(np.float64) for leaf in layer)) for layer in params]
    x, t = images[order[:n]] * SCALE, targets[order[:n]].astype(np.float64)
    seconds = timing.rounds(
        {"neurons": lambda: neurons.sgd(layers, x, t, orders=[range(n)], learning_rate=LEARNING_RATE) and None}, 3
    )["neurons"]
    return {"min": 1e6 * seconds.min() / n, "median": 1e6 * float(np.median(seconds)) / n}


def as_markdown(result):
    """The table beside the figure, from the JSON alone; a candidate that no row has measured has no column."""
    table = [columns(row) for row in result["rows"]]
    heads = [head for head in table[0] if any(line[head] for line in table)]
    lines = [heads, ["---"] * len(heads), *([line[head] for head in heads] for line in table)]
    lines = [f"| {' | '.join(line)} |" for line in lines]
    environment = ", ".join(f"{name} {value}" for name, value in result["environment"].items())
    head = "Microseconds a step (minimum of the rounds); ratios are medians within a round, with 95 % intervals."
    return "\n".join([head, "", *lines, "", environment, ""])


def columns(row):
    """A line of the table, by the heads of its columns."""
    times, over = row["microseconds"], row["over_plain_jax"]
    return {
        "network": f"784-{row['hidden']}-10",
        "batch": "all" if row["batch_size"] == row["examples"] else str(row["batch_size"]),
        **{
            label.removeprefix("jaxnn, "): f"{times[name]['min']:,.0f}" if name in times else ""
            for name, label in NAMES.items()
        },
        "backprop / plain JAX": interval(over["backprop"]),
        "A/A control": interval(over[CONTROL]),
        "block / plain JAX": interval(over.get("block")),
        "backprop / autodiff": interval(row["backprop_over_autodiff"]),
        "backprop / autodiff of jax.nn": interval(row.get("backprop_over_idiomatic")),
        "tuned / backprop": interval(row["over_backprop"]["tuned_numpy"], 1),
        "plain / backprop": interval(row["over_backprop"]["plain_numpy"], 1),
        "plain / block": interval(row.get("plain_numpy_over_block"), 1),
    }


def interval(ratio, digits=2):
    if ratio is None:
        return ""
    middle, low, high = ratio
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def plot(result, path):
    """Microseconds an example against the batch size, one panel a network."""
    figure = optional.require("matplotlib.figure", "plot").Figure(figsize=(11, 4.5), layout="constrained")
    sizes = sorted({row["hidden"] for row in result["rows"]})
    panels = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
    # Okabe and Ito, colour-blind safe.
    colours = ["#0072B2", "#000000", "#56B4E9", "#CC79A7", "#009E73", "#E69F00", "#D55E00", "#000000"]
    markers = ["o", "*", "x", "v", "+", "s", "D", "^"]
    for panel, n_hidden in zip(panels, sizes, strict=True):
        rows = [row for row in result["rows"] if row["hidden"] == n_hidden]
        for (name, label), colour, marker in zip(NAMES.items(), colours, markers, strict=True):
            points = [
                (row["batch_size"], row["microseconds"][name]["min"] / row["batch_size"])
                for row in rows
                if name in row["microseconds"]
            ]
            if points:
                style = {"marker": marker, "color": colour, "markersize": 7, "fillstyle": "none"}
                panel.loglog(*zip(*points, strict=True), label=label, **style)
        panel.set(title=f"784-{n_hidden}-10, sigmoid", xlabel="batch size [examples]")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("time [µs an example]")
    panels[-1].legend(loc="upper right")
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few rounds of the first rows, to see that it runs")
    parser.add_argument("--rounds", type=int, default=60, help="60 where a difference of 3 %% is claimed")
    parser.add_argument("--hidden", type=int, nargs="+", default=[128, 300], help="one network each")
    parser.add_argument("--plot", action="store_true", help="make table and figure again, from the JSON")
    options = parser.parse_args()
    path = RESULTS / "mlp.json"
    if not options.plot:
        sizes, hidden, n_rounds = list(EXAMPLES), options.hidden, options.rounds
        if options.quick:
            sizes, hidden, n_rounds = sizes[:2], hidden[:1], 6
        rows = []
        for n_hidden in hidden:
            for batch_size in sizes:
                rows.append(measure(n_hidden, batch_size, n_rounds))
                print(n_hidden, batch_size, json.dumps(rows[-1]["over_plain_jax"]), flush=True)
                result = {"environment": timing.environment(), "rows": rows}
                if not options.quick:
                    path.write_text(json.dumps(result, indent=1) + "\n")
        if options.quick:
            print(as_markdown({"environment": timing.environment(), "rows": rows}))
            return
    result = json.loads(path.read_text())
    path.with_suffix(".md").write_text(as_markdown(result))
    plot(result, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
