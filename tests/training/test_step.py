"""A step: along the gradient of its batch, by the rule, with the key of its number."""

import jax
import jax.numpy as jnp
import numpy as np
from gradients import SAME, error
from small_runs import LOSS, examples, numbers

import jaxnn
from jaxnn import BatchNorm, Dense, Dropout, Serial, accuracy, adam, backprop, l2
from jaxnn.arrays import norm
from jaxnn.training.examples import checked
from jaxnn.training.step import Task, take_step

NET = Serial(Dense(4, bias=False), BatchNorm(), Dropout(0.3), Dense(3))


def test_a_step_is_the_gradient_and_the_rule(x64):
    """Everything that a step changes and measures, put together from the parts that it is made of."""
    data, rule, penalty = checked(examples(), NET, LOSS), adam(0.1), l2(0.01)
    run = jaxnn.start(NET, (2,), key=jax.random.key(1), update=rule)
    run = run._replace(step=run.step + 5)
    task = Task(net=NET, loss=LOSS, gradient=backprop, update=rule, penalty=penalty, metric=accuracy, record="step")
    after, measured = jax.jit(take_step)(task, run, data)

    key = jax.random.fold_in(run.keys.noise, 5)
    result = backprop(NET, LOSS, penalty)(run.params, run.state, data.x, data.target, key=key)
    updates, update_state = rule.update(result.grads, run.update_state, run.params)
    assert error(after.params, jaxnn.apply_updates(run.params, updates)) <= SAME
    assert error((after.state, after.update_state), (result.state, update_state)) <= SAME
    assert int(after.step) == 6
    assert np.array_equal(numbers(after.keys.noise), numbers(run.keys.noise))
    expected = result.loss, result.penalty, jnp.mean(accuracy(result.outputs, data.target)), norm(result.grads)
    assert error((measured.loss, measured.penalty, measured.metric, measured.gradient_norm), expected) <= SAME
    assert measured.n == data.n


def test_weights_weigh_the_means(x64):
    x, labels = examples()
    weights = np.arange(1.0, 8.0)
    net, rule = Serial(Dense(3)), jaxnn.gradient_descent(0.1)
    run = jaxnn.start(net, (2,), key=jax.random.key(1), update=rule)
    task = Task(net=net, loss=LOSS, gradient=backprop, update=rule, metric=accuracy)
    _, measured = take_step(task, run, checked((x, labels, weights), net, LOSS))
    values = LOSS.forward(net.forward(run.params, run.state, jnp.asarray(x)).y, jnp.asarray(labels)).values
    np.testing.assert_allclose(measured.loss, np.average(values, weights=weights), rtol=1e-13)
    assert measured.n == 7
    assert measured.gradient_norm is None
