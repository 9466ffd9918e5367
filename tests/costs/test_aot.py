"""Compiling for an accelerator that isn't here. With libtpu a small step is compiled for a TPU; nothing runs there.

Without libtpu that test is skipped, and fails where JAXNN_TEST_AOT is set: there it should be installed.
"""

import importlib.util
import os
import sys
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from gradients import SAME, error
from outsiders import BLOCK, Center, Chain, Forgetful, Gain, Gated, Transparent
from outsiders import NET as OUTSIDE

import jaxnn
from jaxnn import (
    BatchNorm,
    Dense,
    HalfSquaredError,
    ReLU,
    Remat,
    Residual,
    Serial,
    SoftmaxCrossEntropy,
    Tanh,
)
from jaxnn.costs import aot
from jaxnn.training.examples import Examples
from jaxnn.training.step import take_step

NET = Serial(Dense(4), Residual(Remat(Serial(BatchNorm(), ReLU(), Dense(4)))), Dense(3))
LOSS = SoftmaxCrossEntropy()


@pytest.fixture
def libtpu():
    if importlib.util.find_spec("libtpu") is None:
        if os.environ.get("JAXNN_TEST_AOT"):
            pytest.fail("libtpu should be here: pip install 'jaxnn[aot]'")
        pytest.skip("libtpu isn't installed: pip install 'jaxnn[aot]'")


def shape(*dims, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(dims, dtype)


def by_hand(net, loss=LOSS):
    return aot.Form(aot.BY_HAND, "as written", net, loss, jaxnn.backprop)


@pytest.mark.usefixtures("libtpu")
def test_a_step_on_four_tpus():
    """Two matrix products forward, three backward; what the batch is shared over is summed over, once a step."""
    net = Serial(Dense(256), Tanh(), Dense(128))
    one, four = (
        aot.step_cost(target, by_hand(net).task(SGD), shape(1024, 512), shape(1024, dtype=jnp.int32))
        for target in ("v5e", "v5ex4")
    )
    n_params = 512 * 256 + 256 + 256 * 128 + 128
    products = 2 * 1024 * (2 * 512 * 256 + 3 * 256 * 128)
    assert products <= one.flops <= 1.1 * products
    assert products <= 4 * four.flops <= 1.1 * products
    assert not one.collectives
    assert set(four.collectives) == {"all-reduce"}
    assert four.argument_bytes < one.argument_bytes
    assert 4 * n_params <= one.output_bytes
    assert one.library_calls["convolution"] == 5
    assert one.fusions > 0


SGD = jaxnn.gradient_descent(0.1)


@pytest.mark.usefixtures("libtpu")
def test_any_function_of_arrays_or_shapes():
    x = jnp.ones((128, 256))
    assert aot.compiled_for("v5e", lambda x: x.T @ x, x).flops == 2 * 128 * 256 * 256
    rows = jax.sharding.NamedSharding(aot.mesh("v5ex4"), jax.sharding.PartitionSpec(aot.AXIS))
    compiled = aot.compiled_for("v5ex4", lambda x: x.T @ x, jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=rows))
    assert sum(compiled.collectives.values()) >= 1
    assert compiled.argument_bytes == 128 * 256 * 4 // 4


def test_an_unknown_target_is_refused():
    with pytest.raises(ValueError, match=r"no target 'h200': expected one of h100, h100x4, v5e, v5ex4"):
        aot.mesh("h200")


def test_a_missing_tpu_compiler_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "libtpu", None)
    aot.mesh.cache_clear()
    with pytest.raises(ImportError, match=r'libtpu is needed for this.*pip install "jaxnn\[aot\]"'):
        aot.mesh("v5e")


HAS_CUDA = any(importlib.util.find_spec(f"jax_{name}_plugin") for name in ("cuda12", "cuda13"))


@pytest.mark.skipif(HAS_CUDA, reason="it isn't missing")
def test_a_missing_cuda_compiler_names_the_extra():
    with pytest.raises(ImportError, match=r'as part of the extra "cuda13": pip install "jaxnn\[cuda13\]"'):
        aot.mesh("h100")


@pytest.mark.skipif(HAS_CUDA, reason="the plugin itself is there")
@pytest.mark.parametrize("before", [None, "0"])
def test_the_cuda_plugin_registers_where_there_is_no_gpu(monkeypatch, before):
    """With a backend that was started before, too; and the environment is left as it was."""
    environment = []
    plugin = SimpleNamespace(initialize=lambda: environment.append(os.environ.get(aot.SKIP_GPU_CHECK)))
    monkeypatch.setitem(sys.modules, "jax_plugins.xla_cuda13", plugin)
    if before is None:
        monkeypatch.delenv(aot.SKIP_GPU_CHECK, raising=False)
    else:
        monkeypatch.setenv(aot.SKIP_GPU_CHECK, before)
    jax.devices()
    with pytest.raises(NotImplementedError):  # this plugin registered nothing
        aot.mesh("h100")
    assert environment == ["1"]
    assert os.environ.get(aot.SKIP_GPU_CHECK) == before


@pytest.mark.skipif(not HAS_CUDA, reason="its wheels are 4 GB")
def test_an_h100s_compiler_counts():
    jax.devices()
    x = jnp.ones((128, 256))
    assert aot.compiled_for("h100", lambda x: x.T @ x, x).argument_bytes == 128 * 256 * 4
    rows = jax.sharding.NamedSharding(aot.mesh("h100x4"), jax.sharding.PartitionSpec(aot.AXIS))
    compiled = aot.compiled_for("h100x4", lambda x: x.T @ x, jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=rows))
    assert sum(compiled.collectives.values()) >= 1
    assert compiled.argument_bytes == 128 * 256 * 4 // 4


PROGRAM = """
HloModule step
%fused (p: f32[8,4]) -> f32[8,4] {
  %convolution.1 = f32[8,4]{1,0:T(8,128)} convolution(%p, %q), window={size=1}, dim_labels=bf_io->bf
}
ENTRY %main {
  %fusion.1 = f32[8,4]{1,0:T(8,128)} fusion(%x), kind=kOutput, calls=%fused
  %pair = (f32[8]{0}, f32[8]{0}) fusion(%fusion.1), kind=kLoop, calls=%other
  %cudnn = (f32[8,4]{1,0}, u8[0]{0}) custom-call(%x, %w), custom_call_target="__cudnn$convForward"
  %start = (f32[8]{0}, f32[8]{0}) all-reduce-start(%pair), to_apply=%add
  %done = f32[8]{0} all-reduce-done(%start)
  ROOT %gathered = f32[16]{0} all-gather(%done), dimensions={0}
}
"""


def test_what_is_read_of_a_compilers_text():
    memory = SimpleNamespace(temp_size_in_bytes=5, argument_size_in_bytes=6, output_size_in_bytes=7)
    compiled = SimpleNamespace(
        memory_analysis=lambda: memory, cost_analysis=lambda: {"flops": 8.0}, as_text=lambda: PROGRAM
    )
    facts = aot._facts(compiled)
    assert facts[:4] == (5, 6, 7, 8.0)
    assert facts.bytes_accessed != facts.bytes_accessed  # NaN: the compiler didn't say
    assert facts.fusions == 2
    assert facts.library_calls == {"__cudnn$convForward": 1, "convolution": 1}
    assert facts.collectives == {"all-gather": 1, "all-reduce": 1}


def random_batch():
    generator = jax.random.key(1)
    return jax.random.normal(generator, (6, 5)), jnp.arange(6) % 3


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_all_forms_have_one_gradient():
    x, labels = random_batch()
    penalty = jaxnn.l2(0.1)
    forms = aot.forms(NET, LOSS, penalty)
    assert {form.kind for form in forms} == set(aot.KINDS)
    assert len({form.name for form in forms if form.kind == aot.CHECKPOINT}) == 7

    def gradient(form, key):
        result = form.gradient(form.net, form.loss, form.penalty)(*form.net.init(key, (5,)), x, labels)
        return jax.tree.leaves((result.value, result.grads, result.state))

    results = jax.jit(lambda key: [gradient(form, key) for form in forms])(jax.random.key(0))

    for result in results[1:]:
        assert error(result, results[0]) <= SAME


def test_the_first_two_automatic_forms_have_no_remat():
    by_hand, *automatic = aot.forms(NET, LOSS)
    has_remat = lambda form: any(isinstance(layer, Remat) for _, layer in jaxnn.walk(form.net))  # noqa: E731
    assert has_remat(by_hand)
    assert [has_remat(form) for form in automatic[:3]] == [False, False, True]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("n_devices", [1, 2])
def test_the_step_is_the_loops(n_devices):
    """One step of mbgd on the whole set, and of data_parallel with the batch's rows over the devices."""
    net, loss = aot.across_devices(Serial(Dense(4, bias=False), BatchNorm(), Dense(2))), HalfSquaredError()
    x, target = jax.random.normal(jax.random.key(1), (6, 5)), jnp.ones((6, 2))
    update, key = jaxnn.momentum(0.1), jax.random.key(0)
    devices, P = jax.sharding.Mesh(jax.devices()[:n_devices], (aot.AXIS,)), jax.sharding.PartitionSpec
    start = jaxnn.start(net, (5,), key=key, update=update)
    step = partial(take_step, by_hand(net, loss).task(update, aot.AXIS))
    step = jax.shard_map(step, mesh=devices, in_specs=(P(), P(aot.AXIS)), out_specs=P())
    after, measured = jax.jit(step)(start, Examples(x, target))
    options = {"epochs": 1, "batch_size": 6, "update": update, "metric": None, "devices": n_devices}
    run, history = jaxnn.data_parallel(jaxnn.mbgd, net, loss, (x, target), key=key, **options)
    assert error((after.params, after.state, measured.loss), (run.params, run.state, history.loss[0])) <= SAME


def test_the_best_of_each_kind():
    facts = aot.Compiled(3, 0, 0, 0.0, 0.0, 0, {}, {})
    costs = [
        aot.Cost(aot.CHECKPOINT, "much", facts),
        aot.Cost(aot.BY_HAND, "as written", facts),
        aot.Cost(aot.CHECKPOINT, "little", facts._replace(temporary_bytes=2)),
    ]
    assert [(cost.kind, cost.form) for cost in aot.best(iter(costs))] == [
        (aot.BY_HAND, "as written"),
        (aot.CHECKPOINT, "little"),
    ]


def test_a_checkpointed_layer_has_no_backward():
    with pytest.raises(NotImplementedError, match="use autodiff"):
        aot.Checkpointed(Dense(2)).backward((), (), jnp.ones(()))


WORDS = {form.name for form in aot.forms(NET, LOSS) if form.kind == aot.CHECKPOINT}


@pytest.mark.usefixtures("x64")
def test_all_forms_of_somebody_elses_network_have_one_gradient():
    """Composites, a leaf and a Remat of theirs, params as dicts and a typed key in the state."""
    x, labels = random_batch()
    forms = aot.forms(OUTSIDE, LOSS)
    assert {form.kind for form in forms} == set(aot.KINDS)
    assert {form.name for form in forms if form.kind == aot.CHECKPOINT} == WORDS

    def gradient(form, key):
        params, state = form.net.init(key, (5,))
        result = form.gradient(form.net, form.loss)(params, state, x, labels)
        return jax.tree.leaves((result.value, result.grads, jax.tree.map(numbers, result.state)))

    results = jax.jit(lambda key: [gradient(form, key) for form in forms])(jax.random.key(0))
    for result in results[1:]:
        assert error(result, results[0]) <= SAME


def numbers(leaf):
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def test_without_remat_is_without_whatever_makes_its_cache_again():
    bare = Chain(OUTSIDE.names, (Center(), BLOCK, Serial(Dense(5), Dense(3))))
    assert aot.without_remat(OUTSIDE) == bare
    assert aot.without_remat(Forgetful(Remat(Forgetful(Gain())))) == Gain()
    assert aot.without_remat(Gated(Gain(2.0), Gain())) == Gated(Gain(2.0), Gain())  # `inner` is a field like any other


@pytest.mark.parametrize("inside", [Remat(Dense(3)), Serial(Remat(Dense(3))), Forgetful(Dense(3))], ids=str)
def test_a_wrapper_that_hands_on_every_word_stays(inside):
    """The word is that of the layer inside, and what it gives would be without the wrapper."""
    net = Serial(Transparent(inside), Remat(Gain()))
    assert aot.without_remat(net) == Serial(Transparent(inside), Gain())


@dataclass(frozen=True)
class Coupled(Gain):
    """It couples the rows of a batch, and knows no axis."""

    couples_batch = True


@dataclass(frozen=True)
class Fixed(Coupled):
    """It has the axis and no other copy."""

    axis_name: str = aot.AXIS


def test_across_devices_goes_whoever_couples_the_batch():
    net = Chain(("a", "b"), (Gated(Center(), BatchNorm()), Residual(Remat(Center()))))
    over = Chain(
        ("a", "b"), (Gated(Center(aot.AXIS), BatchNorm(axis_name=aot.AXIS)), Residual(Remat(Center(aot.AXIS))))
    )
    assert aot.across_devices(net) == over
    assert aot.across_devices(over) == over
    assert aot.across_devices(BLOCK) is BLOCK
    assert aot.across_devices(Fixed()) == Fixed()


class Around(Transparent):
    """A wrapper that hands on every word, and can be copied around another layer."""

    @property
    def children(self):
        return (("wrapped", self.wrapped),)

    def with_children(self, layers):
        return Around(*layers)

    def fold(self, *_):
        raise NotImplementedError


def test_a_wrapper_with_children_of_its_own_hands_on_nothing_twice():
    assert aot.across_devices(Around(Center())) == Around(Center(aot.AXIS))
    assert aot.without_remat(Around(Remat(Gain()))) == Around(Gain())


@pytest.mark.parametrize(
    ("layer", "complaint"),
    [
        (Coupled(), r"Coupled\(inner=1.0\) couples the rows of a batch, .* write over_axis\(name\)"),
        (Transparent(Center()), "Transparent has no over_axis of its own"),
        (Transparent(Serial(Center())), "Transparent has children but no with_children of its own"),
    ],
)
def test_what_can_not_go_across_devices_is_refused(layer, complaint):
    with pytest.raises(TypeError, match=complaint):
        aot.across_devices(Serial(Gain(), layer))


def test_a_network_of_one_layer_has_no_layer_by_layer():
    for net in (Gain(), Transparent(Serial(Gain(), Gain()))):
        assert not [form.name for form in aot.forms(net, LOSS) if "layer by layer" in form.name]
    assert [form.net for form in aot.forms(BLOCK, LOSS) if form.name == "own forward, layer by layer"] == [
        Gated(*map(aot.Checkpointed, (BLOCK.f, BLOCK.g)))
    ]


@pytest.mark.parametrize("n_devices", [1, 2])
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_steps_of_somebody_elses_network_lower(platform, n_devices):
    """Without its compiler, as far as one can go for a platform that isn't here."""
    net = aot.across_devices(OUTSIDE) if n_devices > 1 else OUTSIDE
    axis_name = aot.AXIS if n_devices > 1 else None
    mesh, P = jax.sharding.Mesh(jax.devices()[:n_devices], (aot.AXIS,)), jax.sharding.PartitionSpec
    update, key = jaxnn.momentum(0.1), jax.random.key(0)
    for form in aot.forms(net, LOSS):
        step = partial(take_step, form.task(update, axis_name))
        if axis_name is not None:
            step = jax.shard_map(step, mesh=mesh, in_specs=(P(), P(axis_name)), out_specs=P())
        run = jaxnn.start(form.net, (5,), key=key, update=update)
        program = jax.jit(step).trace(run, Examples(*random_batch())).lower(lowering_platforms=(platform,)).as_text()
        assert ("all_reduce" in program) == (n_devices > 1)
