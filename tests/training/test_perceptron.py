"""The perceptron and the linear unit against the published tables, their theorems and their NumPy twin."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.reference import perceptron as reference
from jaxnn.training import perceptron
from jaxnn.training.perceptron import Unit, find_cycle, predict_perceptron, step, train_linear_unit, train_perceptron

# Rows in the order of the article on the perceptron (hanbingtao, part 1), which the counts depend on.
ROWS = np.array([[1.0, 1.0], [0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
AND, OR, NAND, XOR = (np.array(t) for t in ([1, 0, 0, 0], [1, 0, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1]))

# Years of experience and monthly salary, of the article on the linear unit (part 2).
YEARS = np.array([[5.0], [3.0], [8.0], [1.4], [10.1]])
SALARY = np.array([5500.0, 2300.0, 7600.0, 1800.0, 11400.0])
ASKED = np.array([[3.4], [15.0], [1.5], [6.3]])


# What a unit answers


@pytest.mark.parametrize(("at_zero", "answers"), [(0, [0, 0, 0, 1]), (1, [0, 1, 1, 1])])
def test_step_and_its_convention_at_zero(at_zero, answers):
    z = jnp.array([-1e-30, -0.0, 0.0, 1e-30])
    y = step(z, at_zero)
    assert y.tolist() == answers
    assert y.dtype == z.dtype
    assert [reference.step(value, at_zero) for value in z.tolist()] == answers


@pytest.mark.parametrize(("unit", "targets"), [((0.5, 0.5, -0.8), AND), ((0.5, 0.5, -0.3), OR)])
def test_the_printed_and_and_or_units_answer_all_four_rows(unit, targets):
    *w, b = unit
    assert predict_perceptron(Unit(jnp.array(w), jnp.array(b)), ROWS).tolist() == targets.tolist()
    assert reference.predict_perceptron(reference.Unit(w, b), ROWS).tolist() == targets.tolist()


@pytest.mark.parametrize("module", [perceptron, reference])
def test_two_hidden_steps_answer_xor(module):
    """h1 = step(x1 - x2 - 1/2), h2 = step(x2 - x1 - 1/2), y = step(h1 + h2 - 1/2)."""

    def predict(w, b, x):
        return module.predict_perceptron(module.Unit(np.array(w), np.array(b)), x)

    hidden = np.stack([predict([1.0, -1.0], -0.5, ROWS), predict([-1.0, 1.0], -0.5, ROWS)], axis=1)
    assert predict([1.0, 1.0], -0.5, hidden).tolist() == XOR.tolist()


def test_a_bias_is_the_weight_of_an_input_that_is_always_one(x64):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((100, 7)), rng.standard_normal(8)
    augmented = np.concatenate([x, np.ones((100, 1))], axis=1)
    explicit = reference.predict_linear_unit(reference.Unit(w[:7], w[7]), x)
    # Bit for bit where the order of the sum is written down; XLA may sum 7 and 8 terms in different orders.
    assert (explicit == reference.predict_linear_unit(reference.Unit(w, 0.0), augmented)).all()
    np.testing.assert_allclose(perceptron.predict_linear_unit(Unit(w[:7], w[7]), x), explicit, rtol=0, atol=1e-14)


@pytest.mark.parametrize("at_zero", [0, 1])
def test_the_gradient_of_a_loss_through_step_is_zero(at_zero):
    """So gradient descent can't train a perceptron. On z = 0 too: the first example is met there by zeros."""

    def loss(unit):
        return jnp.square(predict_perceptron(unit, ROWS, at_zero=at_zero) - AND.astype(jnp.float32)).sum()

    for unit in (Unit(jnp.zeros(2), jnp.zeros(())), Unit(jnp.array([0.3, -0.2]), jnp.array(0.1))):
        assert loss(unit) > 0
        assert all(not leaf.any() for leaf in jax.tree.leaves(jax.grad(loss)(unit)))


# The perceptron


def test_the_rule_descends_the_perceptron_criterion(x64):
    """One update is minus eta times the gradient of (y - t) z with y held fixed."""
    rng = np.random.default_rng(1)
    start = Unit(jnp.array(rng.standard_normal(3)), jnp.array(rng.standard_normal()))
    for x in rng.standard_normal((8, 3)):
        for t in (0.0, 1.0):

            def criterion(unit, x=x, t=t):
                z = perceptron.net_input(unit, x)
                return (jax.lax.stop_gradient(step(z)) - t) * z

            gradient = jax.grad(criterion)(start)
            trained, _ = train_perceptron(x[None], np.array([t]), learning_rate=0.25, epochs=1, start=start)
            for new, old, slope in zip(trained, start, gradient, strict=True):
                np.testing.assert_allclose(new, old - 0.25 * slope, rtol=0, atol=1e-15)


def test_the_articles_and_trace_in_float64(x64):
    """Learning rate 0.1, ten epochs, step(0) = 0: exactly the printed decimals, converged at epoch 5."""
    unit, trace = train_perceptron(ROWS, AND, learning_rate=0.1, epochs=10)
    assert trace.mistakes.tolist() == [3, 3, 2, 2, 0, 0, 0, 0, 0, 0]
    assert trace.w.dtype == jnp.float64
    assert trace.w.tolist() == [[0, 0.1], [0, 0.1], [0.1, 0.1], *[[0.1, 0.2]] * 7]
    assert trace.b.tolist() == [-0.1, *[-0.2] * 9]
    assert predict_perceptron(unit, ROWS).tolist() == AND.tolist()
    assert perceptron.net_input(unit, ROWS)[3] == 0  # the line passes through (0, 1): right only since step(0) = 0
    assert find_cycle(trace) is None


def test_the_articles_and_trace_in_float32_has_the_same_mistakes():
    _, trace = train_perceptron(ROWS, AND, learning_rate=0.1, epochs=10)
    assert trace.mistakes.tolist() == [3, 3, 2, 2, 0, 0, 0, 0, 0, 0]
    assert trace.w.dtype == jnp.float32
    assert trace.w[-1].tolist() == [np.float32(0.1), np.float32(0.2)]


@pytest.mark.parametrize(
    ("targets", "at_zero", "mistakes"),
    [(OR, 0, 2), (OR, 1, 5), (NAND, 0, 11), (NAND, 1, 10), (AND, 0, 10), (AND, 1, 11)],
)
def test_mistakes_at_rate_one_where_arithmetic_is_exact(targets, at_zero, mistakes):
    unit, trace = train_perceptron(ROWS, targets, learning_rate=1, epochs=10, at_zero=at_zero)
    assert trace.mistakes.sum() == mistakes
    assert trace.mistakes[-1] == 0
    assert predict_perceptron(unit, ROWS, at_zero=at_zero).tolist() == targets.tolist()
    assert find_cycle(trace) is None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("targets", "at_zero"), [(AND, 1), (NAND, 0)])
def test_rounding_at_the_zero_margin_changes_the_count(targets, at_zero, dtype, x64):
    """At rate 0.1 a sum that should be 0 isn't: 8 mistakes instead of the 11 of exact arithmetic."""
    x = ROWS.astype(dtype)
    assert train_perceptron(x, targets, learning_rate=0.1, epochs=10, at_zero=at_zero)[1].mistakes.sum() == 8


@pytest.mark.parametrize(("at_zero", "first"), [(0, 3), (1, 2)])
def test_xor_never_converges_and_is_caught_in_a_cycle(at_zero, first):
    _, trace = train_perceptron(ROWS, XOR, learning_rate=1, epochs=50, at_zero=at_zero)
    assert (trace.mistakes[first - 1 :] == 4).all()
    assert trace.mistakes[first - 2] == 3
    assert find_cycle(trace) == (
        first - 1,
        1,
    )  # the weights with which epoch `first` begins come back at its end
    assert reference.find_cycle(reference.PerceptronTrace(*map(np.array, trace))) == (first - 1, 1)


@pytest.mark.parametrize("module", [perceptron, reference])
def test_find_cycle_on_made_traces(module):
    def trace(mistakes, w, b):
        return module.PerceptronTrace(np.array(mistakes), np.array(w, dtype=float)[:, None], np.array(b, dtype=float))

    find = module.find_cycle
    assert find(trace([2, 2, 2, 2, 2], [0, 1, 2, 3, 1], [0, 5, 5, 5, 5])) == (2, 3)
    assert find(trace([2, 2, 2], [1, 1, 1], [0, 1, 2])) is None  # the bias still moves
    assert find(trace([2, 2, 2], [1, 2, 3], [0, 0, 0])) is None
    assert find(trace([2, 1, 0, 0], [1, 2, 2, 2], [0, 0, 0, 0])) is None
    assert find(trace([2, 2], [0.0, -0.0], [1, 1])) == (1, 1)  # 0 and -0 are one number


@pytest.mark.parametrize("at_zero", [0, 1])
@pytest.mark.parametrize("targets", [AND, OR, NAND, XOR])
def test_from_zeros_the_rate_only_scales_the_weights(targets, at_zero):
    """Rates whose ratio is a power of two keep every bit; a whole grid is one vmapped program."""
    rates = jnp.array([2.0**-20, 0.125, 1.0, 1024.0])

    def run(rate):
        return train_perceptron(ROWS, targets, learning_rate=rate, epochs=12, at_zero=at_zero)[1]

    traces = jax.vmap(run)(rates)
    assert (traces.mistakes == traces.mistakes[2:3]).all()
    assert (traces.w == rates[:, None, None] * traces.w[2:3]).all()
    assert (traces.b == rates[:, None] * traces.b[2:3]).all()


def planted(rng, n_sets, n_examples, n_in):
    """Separable sets x, t with margins from 0.05 to 1: every row is pushed away from a random hyperplane."""
    normal = rng.standard_normal((n_sets, n_in + 1))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    x = rng.uniform(-2, 2, (n_sets, n_examples, n_in))
    side = rng.choice([-1.0, 1.0], (n_sets, n_examples))
    distance = np.einsum("sbn,sn->sb", x, normal[:, :-1]) + normal[:, -1:]
    wanted = side * (np.geomspace(0.05, 1, n_sets)[:, None] + rng.exponential(0.5, side.shape))
    flat = (normal[:, :-1] ** 2).sum(axis=1)[:, None]
    x += ((wanted - distance) / flat)[:, :, None] * normal[:, None, :-1]
    margin = (side * (np.einsum("sbn,sn->sb", x, normal[:, :-1]) + normal[:, -1:])).min(axis=1)
    return x, (side + 1) / 2, margin


@pytest.mark.parametrize("at_zero", [0, 1])
def test_novikoffs_bound_on_planted_separable_sets(at_zero, x64):
    """Mistakes <= (R / gamma)^2, for each of 128 sets at a rate of its own, and then none."""
    rng = np.random.default_rng(2)
    x, t, margin = planted(rng, n_sets=128, n_examples=20, n_in=3)
    rates = 10 ** rng.uniform(-3, 3, 128)

    def run(x, t, rate):
        return train_perceptron(x, t, learning_rate=rate, epochs=3000, at_zero=at_zero)[1].mistakes

    mistakes = np.asarray(jax.vmap(run)(x, t, rates))
    radius = np.sqrt((x**2).sum(axis=2) + 1).max(axis=1)
    assert (margin > 0.04).all()
    assert (mistakes.sum(axis=1) <= (radius / margin) ** 2).all()
    assert (mistakes[:, -1] == 0).all()
    assert mistakes.sum(axis=1).max() > 50  # the sets are not all easy


def test_novikoffs_bound_for_and():
    """R^2 = 3 and the widest margin is 1 / sqrt(17), of (2, 2, -3): at most 51 mistakes; 10 are made."""
    distance = (2 * ROWS.sum(axis=1) - 3) * (2 * AND - 1) / np.sqrt(17)
    np.testing.assert_allclose(distance.min(), 17**-0.5, rtol=1e-15)
    np.testing.assert_allclose(3 / distance.min() ** 2, 51, rtol=1e-14)


@pytest.mark.parametrize("at_zero", [0, 1])
def test_the_perceptron_is_its_numpy_twin(at_zero, x64):
    """On overlapping classes, where mistakes never end.

    Tolerance: decisions agree unless |z| is near the rounding, 1e-16, which 2,000 continuous draws don't
    meet; then both add the same 2,000 terms in the same order, each rounded to 1e-16 |w|: below 1e-12 in all.
    """
    rng = np.random.default_rng(3)
    x, t, start = rng.standard_normal((100, 5)), rng.integers(0, 2, 100), Unit(rng.standard_normal(5), 0.5)
    options = {"learning_rate": 0.3, "epochs": 20, "at_zero": at_zero, "start": start}
    unit, trace = train_perceptron(x, t, **options)
    twin, twin_trace = reference.train_perceptron(x, t, **options)
    assert trace.mistakes.tolist() == twin_trace.mistakes.tolist()
    for mine, other in zip((*unit, *trace), (*twin, *twin_trace), strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("targets", [AND, XOR])
def test_on_binary_inputs_the_numpy_twin_has_the_same_bits(targets, x64):
    """Products with 0 and 1 are exact, so no order of summing two of them and no fused multiply-add shows."""
    trace = train_perceptron(ROWS, targets, learning_rate=0.1, epochs=12)[1]
    twin = reference.train_perceptron(ROWS, targets, learning_rate=0.1, epochs=12)[1]
    for mine, other in zip(trace, twin, strict=True):
        assert np.asarray(mine).tolist() == other.tolist()


# The linear unit


def settled(loop, rate):
    """The (w, b) that an epoch, an affine map, leaves as it is, and the factor by which it is approached."""
    starts = Unit(jnp.array([[0.0], [1.0], [0.0]]), jnp.array([0.0, 0.0, 1.0]))

    def epoch(start):
        unit, _ = train_linear_unit(YEARS, SALARY, learning_rate=rate, epochs=1, loop=loop, start=start)
        return jnp.concatenate([unit.w, unit.b[None]])

    ends = np.asarray(jax.vmap(epoch)(starts))
    matrix = (ends[1:] - ends[0]).T
    return np.linalg.solve(np.eye(2) - matrix, ends[0]), np.abs(np.linalg.eigvals(matrix)).max()


@pytest.mark.parametrize(
    ("loop", "rate", "epochs", "w", "b", "loss", "predictions"),
    [
        ("sgd", 0.01, 10, "1124.0634970", "85.4852888", "1794174.15", "3907.30 16946.44 1771.58 7167.09"),
        ("sgd", 0.01, 3000, "1183.0369837", "-518.3889231", "1397707.01", None),
        ("sgd", 0.0001, 100_000, "1095.97822", "-306.35608", None, None),
        (
            "bgd",
            0.001,
            1500,
            "1085.8082660",
            "-234.6382007",
            "1026164.01",
            "3457.11 16052.49 1394.07 6605.95",
        ),
    ],
)
def test_the_salary_table(loop, rate, epochs, w, b, loss, predictions, x64):
    """From zeros, to the table's digits.

    Two of them are corrected: the table prints a loss of 1397707.71 and a b of -306.35606 in the second and
    third row, where decimal arithmetic of 40 digits, in the same order, gives 1397707.0077 and -306.3560839.
    """
    unit, trace = train_linear_unit(YEARS, SALARY, learning_rate=rate, epochs=epochs, loop=loop)
    digits = len(w.partition(".")[2])
    assert (f"{unit.w[0]:.{digits}f}", f"{unit.b:.{digits}f}") == (w, b)
    if loss:
        assert f"{trace.loss[-1]:.2f}" == loss
    if predictions:
        assert " ".join(f"{y:.2f}" for y in perceptron.predict_linear_unit(unit, ASKED)) == predictions


def test_least_squares_on_the_salary_data(x64):
    unit = perceptron.least_squares(YEARS, SALARY)
    assert (f"{unit.w[0]:.7f}", f"{unit.b:.7f}") == ("1095.4258675", "-304.8422713")
    assert f"{perceptron.half_squared_error(unit, YEARS, SALARY):.2f}" == "1023069.40"
    predictions = " ".join(f"{y:.2f}" for y in perceptron.predict_linear_unit(unit, ASKED))
    assert predictions == "3419.61 16126.55 1338.30 6596.34"


def test_the_salary_hessian_and_its_limit(x64):
    least, largest = np.linalg.eigvalsh(perceptron.hessian(YEARS))
    assert (f"{least:.5f}", f"{largest:.5f}", f"{largest / least:.2f}") == ("1.23264", "205.73736", "166.91")
    assert f"{perceptron.stable_learning_rate(YEARS):.7f}" == "0.0097211"
    kappa = largest / least
    assert f"{2 / (least + largest):.7f} {(kappa - 1) / (kappa + 1):.5f}" == "0.0096632 0.98809"
    automatic = jax.hessian(lambda v: perceptron.half_squared_error(Unit(v[:1], v[1]), YEARS, SALARY))(jnp.zeros(2))
    np.testing.assert_allclose(perceptron.hessian(YEARS), automatic, rtol=1e-14)


def test_batch_descent_turns_over_at_two_over_the_largest_eigenvalue(x64):
    limit = perceptron.stable_learning_rate(YEARS)

    def losses(rate):
        return train_linear_unit(YEARS, SALARY, learning_rate=rate, epochs=4000, loop="bgd")[1].loss

    below, above, article = jax.vmap(losses)(jnp.array([0.999 * limit, 1.001 * limit, 0.01]))
    np.testing.assert_allclose(below[-1], 1_023_069.40, rtol=1e-4)
    assert above[-1] > 10 * above[0]
    assert article[-1] > 1e80
    # at the best rate the distance falls by 0.98809 an epoch
    (_, factor), (_, at_limit) = settled("bgd", 0.0096632), settled("bgd", limit)
    assert f"{factor:.5f}" == "0.98809"
    np.testing.assert_allclose(at_limit, 1, rtol=1e-12)


def test_descent_that_diverges_ends_in_infinity_without_a_warning():
    _, trace = train_linear_unit(YEARS, SALARY, learning_rate=0.01, epochs=3000, loop="bgd")
    assert not np.isfinite(trace.loss[-1])


def test_sgd_settles_away_from_least_squares_where_the_fit_is_not_exact(x64):
    point, factor = settled("sgd", 0.01)
    assert [f"{value:.7f}" for value in point] == ["1183.0369837", "-518.3889231"]
    assert f"{factor:.5f}" == "0.98650"
    loss = perceptron.half_squared_error(Unit(point[:1], point[1]), YEARS, SALARY)
    assert f"{loss / 1_023_069.40 - 1:.3f}" == "0.366"
    exact = 3 * YEARS[:, 0] - 2
    unit, _ = train_linear_unit(YEARS, exact, learning_rate=0.01, epochs=3000)
    np.testing.assert_allclose([unit.w[0], unit.b], [3, -2], rtol=1e-12)


@pytest.mark.parametrize("loop", ["sgd", "bgd"])
def test_the_linear_unit_is_its_numpy_twin(loop, x64):
    """Tolerance: both add a few terms in their own order and round by 1e-16 of the largest in each epoch.

    An epoch shrinks the rounding of those before it, on the salary data by 1 - 0.001 x 1.23 at least, so
    that no more than 1 / 0.00123 = 811 epochs' worth adds up: less than 1e-12.
    """
    rng = np.random.default_rng(4)
    wide = rng.standard_normal((30, 4))
    for x, t, rate in ((YEARS, SALARY, 0.001), (wide, rng.standard_normal(30), 0.01)):
        options = {"learning_rate": rate, "epochs": 200, "loop": loop}
        unit, trace = train_linear_unit(x, t, **options)
        twin, twin_trace = reference.train_linear_unit(x, t, **options)
        for mine, other in zip((*unit, *trace), (*twin, *twin_trace), strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-12, atol=1e-12)


def test_the_closed_forms_are_their_numpy_twins(x64):
    rng = np.random.default_rng(5)
    x, t = rng.standard_normal((30, 4)), rng.standard_normal(30)
    np.testing.assert_allclose(perceptron.hessian(x), reference.hessian(x), rtol=0, atol=1e-13)
    mine, other = perceptron.stable_learning_rate(x), reference.stable_learning_rate(x)
    np.testing.assert_allclose(mine, other, rtol=1e-13)
    # Singular values here, normal equations there, which square a condition number of about 2.
    for a, b in zip(perceptron.least_squares(x, t), reference.least_squares(x, t), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)


def test_least_squares_is_where_batch_descent_goes(x64):
    """Also with more inputs than examples, where many units fit: both give the one of smallest norm."""
    rng = np.random.default_rng(6)
    for n_examples in (40, 3):
        x, t = rng.standard_normal((n_examples, 5)), rng.standard_normal(n_examples)
        rate = 0.5 * perceptron.stable_learning_rate(x)
        unit, _ = train_linear_unit(x, t, learning_rate=rate, epochs=5000, loop="bgd")
        for mine, other in zip(unit, perceptron.least_squares(x, t), strict=True):
            np.testing.assert_allclose(mine, other, rtol=0, atol=1e-11)


# Both: dtypes, transformations, compilation, errors

TRAINERS = [train_perceptron, train_linear_unit]


@pytest.mark.parametrize("train", TRAINERS)
def test_training_goes_on_where_it_stopped(train, x64):
    whole, _ = train(ROWS, AND, learning_rate=0.1, epochs=7)
    part, _ = train(ROWS, AND, learning_rate=0.1, epochs=3)
    rest, _ = train(ROWS, AND, learning_rate=0.1, epochs=4, start=part)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), whole, rest))


@pytest.mark.parametrize("train", TRAINERS)
@pytest.mark.parametrize("dtype", ["bool", "uint8", "float16", "bfloat16", "float32", "float64"])
def test_dtypes(train, dtype, x64):
    expected = jnp.dtype(dtype if "float" in dtype else "float64")
    for x in (ROWS.astype(jnp.dtype(dtype)), jnp.asarray(ROWS, dtype)):
        for t in (AND, AND.astype(bool), AND.astype(np.float32)):
            unit, trace = train(x, t, learning_rate=0.5, epochs=2)
            assert {leaf.dtype for leaf in (*unit, *trace[1:])} == {expected}
            assert trace.w.shape == (2, 2)
            assert trace.b.shape == (2,)
    assert perceptron.net_input(unit, x).dtype == expected


@pytest.mark.parametrize("train", TRAINERS)
def test_vmap_over_starts_and_jit_of_everything_equal_separate_runs(train, x64):
    rng = np.random.default_rng(7)
    starts = Unit(rng.standard_normal((4, 2)), rng.standard_normal(4))

    def run(x, t, rate, start):
        return train(x, t, learning_rate=rate, epochs=5, start=start)

    together = jax.jit(jax.vmap(run, in_axes=(None, None, None, 0)))(ROWS, AND, 0.1, starts)
    for member in range(4):
        alone = run(ROWS, AND, 0.1, jax.tree.map(lambda leaf, member=member: leaf[member], starts))
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a[member], b, rtol=0, atol=1e-14)


@pytest.mark.parametrize("train", TRAINERS)
def test_other_numbers_recompile_nothing(train, caplog):
    train(ROWS, AND, learning_rate=0.1, epochs=3)
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        train(ROWS + 1, OR, learning_rate=1, epochs=3)
        train(ROWS, XOR, learning_rate=jnp.float32(0.3), epochs=3, start=Unit(np.ones(2), 0.5))
        assert "Compiling" not in caplog.text
        train(ROWS, AND, learning_rate=0.1, epochs=4)
        assert "Compiling" in caplog.text  # the log does tell


@pytest.mark.parametrize("train", TRAINERS)
@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"x": ROWS[0]}, ValueError, r"x should be \(B, N\).*\(2,\)"),
        ({"x": ROWS[:0], "t": AND[:0]}, ValueError, r"x should hold examples.*\(0, 2\)"),
        ({"x": ROWS[:, :0]}, ValueError, r"x should hold examples.*\(4, 0\)"),
        ({"t": AND[:3]}, ValueError, r"t should be \(4,\).*\(3,\)"),
        ({"t": AND[:, None]}, ValueError, r"t should be \(4,\).*\(4, 1\)"),
        ({"x": ROWS * np.nan}, ValueError, "x should be finite in float32"),
        ({"x": ROWS * 1e300}, ValueError, "x should be finite in float32"),
        ({"t": AND * np.nan}, ValueError, "t should be finite"),
        ({"x": ROWS.astype(str)}, TypeError, "x should be real numbers"),
        ({"x": ROWS.astype(complex)}, TypeError, "x should be real numbers, got complex128"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate should be positive"),
        ({"learning_rate": -1}, ValueError, "learning_rate should be positive.*-1"),
        ({"learning_rate": np.nan}, ValueError, "learning_rate should be finite"),
        ({"learning_rate": np.ones(3)}, ValueError, r"learning_rate should be one number.*\(3,\).*vmap"),
        ({"epochs": 0}, ValueError, "epochs should be a whole number of at least 1, got 0"),
        ({"epochs": 2.5}, ValueError, "epochs should be a whole number of at least 1, got 2.5"),
        ({"start": Unit(np.zeros(3), 0.0)}, ValueError, r"start's w and b should be \(2,\) and \(\).*\(3,\)"),
        ({"start": Unit(np.zeros((4, 2)), np.zeros(4))}, ValueError, "start's w and b should be .*jax.vmap"),
        ({"start": Unit(np.array([np.inf, 0]), 0.0)}, ValueError, r"start\.w should be finite"),
    ],
)
def test_errors_of_both(train, changes, error, words):
    arguments = {"x": ROWS, "t": AND, "learning_rate": 0.1, "epochs": 2} | changes
    with pytest.raises(error, match=words):
        train(**arguments)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: train_perceptron(ROWS, 2 * AND - 1, learning_rate=1, epochs=1),
            r"labels 0 and 1.*\(t \+ 1\) / 2",
        ),
        (lambda: train_perceptron(ROWS, AND / 2, learning_rate=1, epochs=1), "labels 0 and 1"),
        (
            lambda: train_perceptron(ROWS, AND, learning_rate=1, epochs=1, at_zero=2),
            "at_zero should be 0 or 1.*2",
        ),
        (lambda: step(0.0, at_zero=0.5), "at_zero should be 0 or 1"),
        (
            lambda: train_linear_unit(ROWS, AND, learning_rate=1, epochs=1, loop="mbgd"),
            'loop should be.*"sgd".*mbgd',
        ),
        (lambda: perceptron.net_input(Unit(jnp.ones(3), 0.0), ROWS), r"should have 3 inputs.*\(4, 2\)"),
        (lambda: perceptron.net_input(Unit(jnp.ones(3), 0.0), 1.0), r"should have 3 inputs.*\(\)"),
        (lambda: perceptron.least_squares(ROWS, AND[:3]), r"t should be \(4,\)"),
        (lambda: perceptron.stable_learning_rate(ROWS[0]), r"x should be \(B, N\)"),
        (lambda: find_cycle(perceptron.PerceptronTrace(*np.ones((3, 2, 2)))), "one run"),
    ],
)
def test_errors_of_one(call, words):
    with pytest.raises(ValueError, match=words):
        call()
