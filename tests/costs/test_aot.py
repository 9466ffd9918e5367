"""Compiling for an accelerator that isn't here. With libtpu a small step is compiled for a TPU; nothing runs there.

Without libtpu that test is skipped, and fails where JAXNN_TEST_AOT is set: there it should be installed.
"""

import importlib.util
import os
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from gradients import SAME, error

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


@pytest.mark.usefixtures("libtpu")
def test_a_step_on_four_tpus():
    """Two matrix products forward, three backward; what the batch is shared over is summed over, once a step."""
    net = Serial(Dense(256), Tanh(), Dense(128))
    one, four = (
        aot.step_cost(target, net, jaxnn.backprop(net, LOSS), shape(1024, 512), shape(1024, dtype=jnp.int32), SGD)
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
    found = aot.compiled_for("v5ex4", lambda x: x.T @ x, jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=rows))
    assert sum(found.collectives.values()) >= 1
    assert found.argument_bytes == 128 * 256 * 4 // 4


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
    told = []
    plugin = SimpleNamespace(initialize=lambda: told.append(os.environ.get(aot.SKIP_GPU_CHECK)))
    monkeypatch.setitem(sys.modules, "jax_plugins.xla_cuda13", plugin)
    if before is None:
        monkeypatch.delenv(aot.SKIP_GPU_CHECK, raising=False)
    else:
        monkeypatch.setenv(aot.SKIP_GPU_CHECK, before)
    jax.devices()
    with pytest.raises(NotImplementedError):  # this plugin registered nothing
        aot.mesh("h100")
    assert told == ["1"]
    assert os.environ.get(aot.SKIP_GPU_CHECK) == before


@pytest.mark.skipif(not HAS_CUDA, reason="its wheels are 4 GB")
def test_an_h100s_compiler_counts():
    jax.devices()
    x = jnp.ones((128, 256))
    assert aot.compiled_for("h100", lambda x: x.T @ x, x).argument_bytes == 128 * 256 * 4
    rows = jax.sharding.NamedSharding(aot.mesh("h100x4"), jax.sharding.PartitionSpec(aot.AXIS))
    found = aot.compiled_for("h100x4", lambda x: x.T @ x, jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=rows))
    assert sum(found.collectives.values()) >= 1
    assert found.argument_bytes == 128 * 256 * 4 // 4


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
    found = aot.forms(NET, LOSS, penalty)
    assert {form.kind for form in found} == set(aot.KINDS)
    assert len({form.name for form in found if form.kind == aot.CHECKPOINT}) == 7

    def gradient(form, key):
        result = form.gradient(*form.net.init(key, (5,)), x, labels)
        return jax.tree.leaves((result.value, result.grads, result.state))

    results = jax.jit(lambda key: [gradient(form, key) for form in found])(jax.random.key(0))

    for result in results[1:]:
        assert error(result, results[0]) <= SAME


def test_the_first_two_automatic_forms_have_no_remat():
    by_hand, *automatic = aot.forms(NET, LOSS)
    of = lambda form: any(isinstance(layer, Remat) for _, layer in jaxnn.walk(form.net))  # noqa: E731
    assert of(by_hand)
    assert [of(form) for form in automatic[:3]] == [False, False, True]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("n_devices", [1, 2])
def test_the_step_is_the_loops(n_devices):
    """One step of mbgd on the whole set, and of data_parallel with the batch's rows over the devices."""
    net, loss = aot.across_devices(Serial(Dense(4, bias=False), BatchNorm(), Dense(2))), HalfSquaredError()
    x, target = jax.random.normal(jax.random.key(1), (6, 5)), jnp.ones((6, 2))
    update, key = jaxnn.momentum(0.1), jax.random.key(0)
    axis_name, P = aot.AXIS, jax.sharding.PartitionSpec
    devices = jax.sharding.Mesh(jax.devices()[:n_devices], (axis_name,))
    start = jaxnn.start(net, (5,), key=key, update=update)
    step = aot.training_step(jaxnn.backprop(net, loss), update, axis_name)
    rows = P(axis_name)
    step = jax.shard_map(step, mesh=devices, in_specs=(*(P(),) * 4, rows, rows), out_specs=P())
    params, state, _, value = jax.jit(step)(start.params, start.state, start.update_state, key, x, target)
    options = {"epochs": 1, "batch_size": 6, "update": update, "metric": None, "devices": n_devices}
    run, history = jaxnn.data_parallel(jaxnn.mbgd, net, loss, (x, target), key=key, **options)
    assert error((params, state, value), (run.params, run.state, history.loss[0])) <= SAME


def test_the_best_of_each_kind():
    facts = aot.Compiled(3, 0, 0, 0.0, 0.0, 0, {}, {})
    found = [
        aot.Cost(aot.CHECKPOINT, "much", facts),
        aot.Cost(aot.BY_HAND, "as written", facts),
        aot.Cost(aot.CHECKPOINT, "little", facts._replace(temporary_bytes=2)),
    ]
    assert [(cost.kind, cost.form) for cost in aot.best(iter(found))] == [
        (aot.BY_HAND, "as written"),
        (aot.CHECKPOINT, "little"),
    ]


def test_a_checkpointed_layer_has_no_backward():
    with pytest.raises(NotImplementedError, match="use autodiff"):
        aot.Checkpointed(Dense(2)).backward((), (), jnp.ones(()))
