"""The three loops, each against a loop written out by hand, step by step, in float64.

20 steps at moderate rates: two programs that differ in rounding alone agree to 1e-12 (see VERIFICATION.md, "Chaos").
What loops share (carrying on, history, compilation) is in test_run.py; data-parallel ones are in test_parallel.py.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gradients import SAME, error

import jaxnn
from jaxnn import (
    BatchNorm,
    Dense,
    Dropout,
    HalfSquaredError,
    ReLU,
    Remat,
    Repeat,
    Residual,
    Serial,
    Sigmoid,
    SoftmaxCrossEntropy,
    Tanh,
    adam,
    adamw,
    chain,
    clip_by_global_norm,
    gradient_descent,
    l1,
    l2,
    momentum,
    nesterov,
)
from jaxnn.training import augment, schedules

NET, LOSS = Serial(Dense(4), Tanh(), Dense(3)), SoftmaxCrossEntropy()
N = 10


def examples(n=N, weighted=False, seed=0):
    generator = np.random.default_rng(seed)
    x, labels = generator.normal(size=(n, 2)), generator.integers(0, 3, size=n)
    return (x, labels, generator.uniform(0.5, 2.0, size=n)) if weighted else (x, labels)


def by_hand(
    loop, net, data, *, key, epochs, update, loss=LOSS, penalty=None, batch_size=None, shuffle=True, augment=None
):
    """The run and its losses, one step after another in Python."""
    x, target, weights = (*map(jnp.asarray, data), None)[:3]
    run = jaxnn.start(net, x.shape[1:], key=key, update=update, dtype=x.dtype)
    params, state, rule_state, keys, *_ = run
    if weights is not None:
        weights = weights / jnp.mean(weights)  # over the whole set: a batch's sum is then divided by its examples
    gradient = jax.jit(jaxnn.backprop(net, loss, penalty))
    n, step, losses = len(x), 0, []
    size = {jaxnn.bgd: n, jaxnn.mbgd: batch_size, jaxnn.sgd: 1}[loop]
    for epoch in range(epochs):
        order = np.arange(n)
        if shuffle and loop is not jaxnn.bgd:
            order = np.asarray(jax.random.permutation(jax.random.fold_in(keys.order, epoch), n))
        for start in range(0, n, size):
            batch = order[start : start + size]
            noise = jax.random.fold_in(keys.noise, step)
            weighted = {} if weights is None else {"weights": weights[batch], "total": len(batch)}
            seen = x[batch], target[batch]
            if augment is not None:
                seen = augment(jax.random.fold_in(noise, 2**32 - 1), *seen)
            result = gradient(params, state, *seen, key=noise, **weighted)
            updates, rule_state = update.update(result.grads, rule_state, params)
            params, state, step = jaxnn.apply_updates(params, updates), result.state, step + 1
            losses.append(float(result.loss))
    return params, state, np.array(losses).reshape(epochs, -1)


def assert_as_by_hand(loop, net=NET, weighted=False, loss=LOSS, **options):
    options = {"key": jax.random.key(0), "epochs": 2, "update": momentum(0.1)} | options
    data = examples(weighted=weighted)
    run, history = loop(net, loss, data, record="step", **options)
    params, state, losses = by_hand(loop, net, data, loss=loss, **options)
    # Biases before BatchNorm hardly move, so each tensor is measured by the size of 1.
    unit = jax.tree.map(lambda leaf: jnp.ones(()), (params, state))
    assert error((run.params, run.state), (params, state), unit) <= SAME
    np.testing.assert_allclose(history.step_loss, losses, rtol=1e-11)
    return run, history


BATCHES = [(jaxnn.bgd, {}), (jaxnn.mbgd, {"batch_size": 4}), (jaxnn.sgd, {})]  # even ones, and a ragged one
every_loop = pytest.mark.parametrize(("loop", "options"), BATCHES, ids=["bgd", "mbgd", "sgd"])
in_float64 = pytest.mark.usefixtures("x64")


@in_float64
@pytest.mark.parametrize(("loop", "options", "weighted"), [*((*loop, True) for loop in BATCHES), (*BATCHES[1], False)])
def test_steps_by_hand(loop, options, weighted):
    run, _ = assert_as_by_hand(loop, weighted=weighted, **options)
    assert int(run.step) == 2 * {4: 3, 5: 2}.get(options.get("batch_size"), 1 if loop is jaxnn.bgd else N)
    assert int(run.epoch) == 2


@in_float64
@pytest.mark.parametrize(("loop", "options"), BATCHES[1:], ids=["mbgd", "sgd"])
def test_in_the_order_of_the_data(loop, options):
    assert_as_by_hand(loop, shuffle=False, **options)


@in_float64
@every_loop
def test_dropout_and_penalties_by_hand(loop, options):
    """Every step has a noise of its own; a penalty of two parts."""
    net = Serial(Dense(4), Repeat(Residual(Serial(Dense(4), Dropout(0.3), ReLU())), 2), Dense(3))
    assert_as_by_hand(loop, net, penalty=(l2(0.1), l1(0.01)), **options)


def signs(key, x, target):
    return jax.random.rademacher(key, x.shape, x.dtype) * x, target


def halves(key, x, target):
    """Mixup with shares of 1/2."""
    draws = augment.Mixture(jnp.full(len(x), 0.5), jax.random.permutation(key, len(x)))
    mixed = augment.Mixup().apply
    return mixed(draws, x), mixed(draws, jax.nn.one_hot(target, 3, dtype=x.dtype))


@in_float64
@every_loop
def test_augmentation_by_hand(loop, options):
    """Each step's examples by a key of the step's own, weighted; dropout has the masks that it has without.

    What is drawn here is exact: of a normal or a Beta number the last bit hangs on the program around it.
    """
    net = Serial(Dense(4), Dropout(0.3), Tanh(), Dense(3))
    assert_as_by_hand(loop, net, weighted=True, augment=augment.Compose(signs, halves), **options)


@in_float64
def test_bgd_augments_each_chunk_by_a_key_of_its_own(key):
    """Of a rate of 0 the history is the loss of what was met: each chunk of the same examples differs."""
    x, target = np.ones((8, 2)), np.zeros(8, int)
    common = {"key": key, "epochs": 1, "update": gradient_descent(0.0), "augment": augment.Noise(1.0)}
    begin = jaxnn.start(NET, (2,), key=key, update=gradient_descent(0.0), dtype=jnp.float64)
    noise = jax.random.fold_in(begin.keys.noise, 0)
    chunks = [jax.random.fold_in(jax.random.fold_in(noise, first), 2**32 - 1) for first in (0, 4)]
    seen = jnp.concatenate([augment.Noise(1.0)(each, jnp.asarray(x[:4]), target[:4])[0] for each in chunks])
    _, history = jaxnn.bgd(NET, LOSS, (x, target), chunk_size=4, **common)
    expected = jaxnn.evaluate(NET, LOSS, begin.params, begin.state, (seen, target)).loss
    np.testing.assert_allclose(history.loss[0], expected, rtol=1e-7)  # draws of float32
    assert np.abs(seen[:4] - seen[4:]).min() > 0


@in_float64
@pytest.mark.parametrize(("loop", "options"), BATCHES[:2], ids=["bgd", "mbgd"])
def test_batch_norm_by_hand(loop, options):
    """Running statistics move with each step; the ragged last batch has statistics of its own."""
    assert_as_by_hand(loop, Serial(Dense(4), BatchNorm(), Remat(Serial(ReLU(), Dense(3)))), **options)


@in_float64
@pytest.mark.parametrize(
    "update",
    [
        nesterov(schedules.cosine(0.1, 10, warmup=2)),
        chain(clip_by_global_norm(0.1), adamw(schedules.exponential(0.03, 3))),
    ],
    ids=str,
)
def test_rules_by_hand(update):
    assert_as_by_hand(jaxnn.mbgd, update=update, batch_size=4)


@pytest.mark.parametrize(
    ("loop", "options"),
    [
        (jaxnn.bgd, {}),
        (jaxnn.bgd, {"chunk_size": 7}),
        (jaxnn.mbgd, {"batch_size": 2}),
        (jaxnn.sgd, {}),
        (jaxnn.sgd, {"block": 8}),
        (partial(jaxnn.data_parallel, jaxnn.mbgd), {"batch_size": 4, "devices": 2}),
    ],
    ids=["bgd", "chunks", "mbgd", "sgd", "block", "devices"],
)
@pytest.mark.devices
def test_weights_mean_the_same_in_every_loop(loop, options):
    """The constant that fits 30 zeros of weight 1 and 10 ones of weight 9 is their mean, 90/120."""
    t = np.repeat([0.0, 1.0], [30, 10])[:, None]
    data = np.ones((40, 1), np.float32), t.astype(np.float32), np.where(t[:, 0] == 1, 9.0, 1.0).astype(np.float32)
    given = {"key": jax.random.key(0), "update": gradient_descent(0.003), "epochs": 1000}
    net = Serial(Dense(1))
    run, history = loop(net, HalfSquaredError(), data, **given, **options)
    fitted = float(jaxnn.predict(net, run.params, run.state, data[0][:1])[0, 0])
    assert abs(fitted - 0.75) < 0.01 if loop is not jaxnn.bgd else abs(fitted - 0.75) < 0.02  # it takes 1000 steps
    assert history.metric is None  # of quantities there is no accuracy


@in_float64
def test_bgd_in_chunks_is_the_whole(key):
    """Chunks of any size, weighted, also where a whole chunk has weight 0; and in float64 to 1e-12."""
    x, target, weights = examples(weighted=True)
    weights[:4] = 0
    for data, chunk_sizes in ((examples(), (4, 10)), ((x, target, weights), (1, 4, 99))):
        whole = jaxnn.bgd(NET, LOSS, data, key=key, epochs=3, update=momentum(0.1), penalty=l2(0.1), record="step")
        for chunk_size in chunk_sizes:
            options = {"key": key, "epochs": 3, "update": momentum(0.1), "penalty": l2(0.1), "record": "step"}
            run, history = jaxnn.bgd(NET, LOSS, data, chunk_size=chunk_size, **options)
            assert error((run.params, history), (whole[0].params, whole[1])) <= SAME


@in_float64
@every_loop
def test_weights_of_zero_leave_examples_out(loop, options, key):
    """In the history always; in the params where a batch isn't made of them alone."""
    x, target = examples()
    weights = np.where(np.arange(N) < 7, 1.0, 0.0)
    common = {"key": key, "epochs": 1, "update": gradient_descent(0.0)} | options
    _, history = loop(NET, LOSS, (x, target, weights), **common)
    _, expected = jaxnn.bgd(NET, LOSS, (x[:7], target[:7]), key=key, epochs=1, update=gradient_descent(0.0))
    np.testing.assert_allclose(history.loss, expected.loss, rtol=1e-13)
    np.testing.assert_allclose(history.metric, expected.metric, rtol=1e-13)


@in_float64
@every_loop
def test_history_is_the_mean_of_what_was_met(loop, options, key):
    """Losses without the penalty, each batch by its examples: a ragged one has fewer."""
    data = examples(weighted=True)
    common = {"key": key, "update": momentum(0.1), "penalty": l2(0.1), "record": "step"} | options
    run, history = loop(NET, LOSS, data, epochs=1, **common)
    begin = jaxnn.start(NET, (2,), key=key, update=momentum(0.1), dtype=jnp.float64)
    order = np.arange(N)
    if loop is not jaxnn.bgd:
        order = np.asarray(jax.random.permutation(jax.random.fold_in(begin.keys.order, 0), N))
    size = options.get("batch_size", N if loop is jaxnn.bgd else 1)
    sizes = [len(order[start : start + size]) for start in range(0, N, size)]
    np.testing.assert_allclose(history.loss[0], np.average(history.step_loss[0], weights=sizes), rtol=1e-13)
    first = order[:size]
    met = jax.jit(jaxnn.backprop(NET, LOSS, l2(0.1)))(
        begin.params,
        begin.state,
        data[0][first],
        data[1][first],
        weights=jnp.asarray(data[2][first]),
        total=len(first) * data[2].mean(),
    )
    np.testing.assert_allclose(history.step_loss[0, 0], met.loss, rtol=1e-13)
    size_of_gradient = np.sqrt(sum(float(jnp.sum(g**2)) for g in jax.tree.leaves(met.grads)))
    np.testing.assert_allclose(history.step_gradient_norm[0, 0], size_of_gradient, rtol=1e-13)
    if loop is jaxnn.bgd:
        np.testing.assert_allclose(history.penalty[0], l2(0.1).value(begin.params), rtol=1e-13)
    else:
        low, high = sorted(float(l2(0.1).value(params)) for params in (begin.params, run.params))
        assert 0.9 * low < history.penalty[0] < 1.1 * high


@in_float64
@every_loop
def test_autodiff_goes_the_same_way(loop, options, key):
    """20 steps, params and history to 1e-12."""
    net = Serial(Dense(5), Sigmoid(), Dropout(0.2), Residual(Dense(5)), ReLU(), Dense(3))
    epochs = {jaxnn.bgd: 20, jaxnn.mbgd: 7, jaxnn.sgd: 2}[loop]
    common = {
        "key": key,
        "epochs": epochs,
        "update": momentum(0.1),
        "penalty": l2(0.01),
        "validation": examples(seed=1),
    }
    by_rule, by_machine = (
        loop(net, LOSS, examples(), gradient=gradient, **common, **options)
        for gradient in (jaxnn.backprop, jaxnn.autodiff)
    )
    assert error((by_rule[0].params, by_rule[1]), (by_machine[0].params, by_machine[1])) <= SAME


@in_float64
@every_loop
def test_optax_drops_in(loop, options, key):
    runs = []
    for update in (adam(0.03), optax.adam(0.03)):
        with jax.numpy_dtype_promotion("standard"):
            run, history = loop(NET, LOSS, examples(), key=key, epochs=2, update=update, **options)
        runs.append((run.params, history))
    assert error(*runs) <= SAME


def test_a_chain_of_ours_and_optax(key):
    update = chain(clip_by_global_norm(0.1), optax.scale(-0.1))
    with jax.numpy_dtype_promotion("standard"):
        run, _ = jaxnn.bgd(NET, LOSS, examples(), key=key, epochs=2, update=update)
    ours = chain(clip_by_global_norm(0.1), gradient_descent(0.1))
    truth, _ = jaxnn.bgd(NET, LOSS, examples(), key=key, epochs=2, update=ours)
    assert error(run.params, truth.params) <= 1e-6  # float32


# What is learned.


def test_linear_regression_finds_the_line(x64, key):
    x = np.linspace(-1, 1, 9)[:, None]
    data = (x, 3 * x - 2)
    for loop, options in ((jaxnn.bgd, {}), (jaxnn.mbgd, {"batch_size": 4}), (jaxnn.sgd, {})):
        common = {"key": key, "epochs": 300, "update": gradient_descent(0.3), "metric": None}
        run, history = loop(Dense(1), HalfSquaredError(), data, **common, **options)
        np.testing.assert_allclose((run.params.weight[0, 0], run.params.bias[0]), (3.0, -2.0), rtol=1e-9)
        assert history.loss[-1] < 1e-18
        assert history.metric is None


def test_every_example_is_met_once_an_epoch(x64, key):
    """A loss whose value is the example's number tells which examples were met."""
    x = 2.0 ** np.arange(N)[:, None]
    net, update = Dense(1, bias=False), gradient_descent(0.0)
    for loop, options in ((jaxnn.mbgd, {"batch_size": 1}), (jaxnn.sgd, {})):
        _, history = loop(
            net, HalfSquaredError(), (x, 0 * x), key=key, epochs=3, update=update, metric=None, record="step", **options
        )
        met = np.round(np.log2(np.asarray(history.step_loss) / np.min(history.step_loss)) / 2).astype(int)
        assert (np.sort(met, axis=1) == np.arange(N)).all()
        assert len({tuple(row) for row in met}) == 3  # in an order of its own each time


# What is refused.


def train(loop=jaxnn.mbgd, net=NET, data=None, loss=LOSS, **options):
    options = {"key": jax.random.key(0), "epochs": 1, "update": momentum(0.1)} | options
    if loop is jaxnn.mbgd:
        options = {"batch_size": 4} | options
    return loop(net, loss, examples() if data is None else data, **options)


X, LABELS = examples()


@pytest.mark.parametrize("loop", [jaxnn.bgd, jaxnn.mbgd, jaxnn.sgd])
@pytest.mark.parametrize("make", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
@pytest.mark.parametrize(
    ("x", "target", "kind", "words"),
    [
        (np.where(X[3, 1] == X, np.nan, X), LABELS, ValueError, "data: x has NaN or infinite"),
        (np.where(X[3, 1] == X, np.inf, X), LABELS, ValueError, "data: x has NaN or infinite"),
        (X, LABELS - 1, ValueError, "labels should be 0 to 2.*got -1 to"),
        (X, LABELS + 1, ValueError, "labels should be 0 to 2.*got . to 3"),
        (X, LABELS.astype(float), TypeError, "integer labels"),
        (X, LABELS[1:], ValueError, "different lengths, 10 and 9"),
        (X[:0], LABELS[:0], ValueError, "the set is empty"),
        (LABELS[:, None], LABELS, TypeError, r"Dense\(4\): x should be floating, got int32: put Rescale"),
    ],
)
def test_bad_data(loop, make, x, target, kind, words):
    with pytest.raises(kind, match=words):
        train(loop, data=(make(x), make(target)))


@pytest.mark.parametrize("loop", [jaxnn.bgd, jaxnn.mbgd, jaxnn.sgd])
def test_bad_calls(loop):
    with pytest.raises(ValueError, match="a run needs a key to start from"):
        train(loop, key=None)
    with pytest.raises(TypeError, match="takes layers one by one, got a list"):
        train(loop, net=Serial([Dense(4), Dense(3)]))
    run, _ = train(loop)
    with pytest.raises(ValueError, match=r"the last axis of x should have 2 features.*got x of shape"):
        train(loop, data=(np.ones((N, 5)), LABELS), run=run, key=None)
    with pytest.raises(ValueError, match="pass either key=.* or run="):
        train(loop, run=run)
    with pytest.raises(ValueError, match=r"labels should be 0 to 9.*10 classes apart, got 0 to 10"):
        train(loop, net=Dense(10), data=(X, np.arange(N) + (np.arange(N) == N - 1)))


@pytest.mark.parametrize("loop", [jaxnn.bgd, jaxnn.mbgd, jaxnn.sgd])
@pytest.mark.parametrize("net", [[Dense(4), Tanh(), Dense(3)], (Dense(3),), Dense], ids=["list", "tuple", "class"])
def test_a_list_where_layers_belong(loop, net):
    with pytest.raises(TypeError, match="layers"):
        train(loop, net=net)


def test_sizes_of_batches():
    with pytest.raises(ValueError, match="batch_size 11 is larger than the set of 10 examples: use at most 10, or bgd"):
        train(batch_size=11)
    for size in (0, -1, 2.5):
        with pytest.raises(ValueError, match="batch_size should be a positive int"):
            train(batch_size=size)
        with pytest.raises(ValueError, match="chunk_size should be a positive int"):
            train(jaxnn.bgd, chunk_size=size)


def test_batch_norm_where_it_cannot_be():
    net = Serial(Dense(4), BatchNorm(), Dense(3))
    with pytest.raises(ValueError, match=r"sgd: .*couples the rows of a batch \(BatchNorm\).*use mbgd"):
        train(jaxnn.sgd, net=net)
    with pytest.raises(ValueError, match=r"bgd: .*couples the rows.*leave out chunk_size"):
        train(jaxnn.bgd, net=net, chunk_size=5)
    with pytest.raises(ValueError, match="training needs at least two rows, got 1"):
        train(net=net, batch_size=1)
    with pytest.raises(ValueError, match=r"training needs at least two rows, got 1: .*also the ragged last one"):
        train(net=net, batch_size=3)
    with pytest.raises(ValueError, match="training needs at least two rows, got 1"):
        train(jaxnn.bgd, net=net, data=(X[:1], LABELS[:1]))


def test_sgd_has_nothing_to_mix():
    mixup = augment.Compose(augment.Noise(0.3), augment.Mixup(n_classes=3))
    with pytest.raises(ValueError, match=r"sgd: Compose\(.* mixes the examples .*one here: use mbgd with a larger"):
        train(jaxnn.sgd, augment=mixup)


def test_sgd_is_not_shared_over_devices():
    with pytest.raises(ValueError, match=r"sgd: a step has one example.*use mbgd.*ensemble"):
        train(jaxnn.sgd, axis_name="devices")
