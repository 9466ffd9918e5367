"""jaxnn by hand, and its automatic opponents: the forms of `jaxnn.aot`, here to be run.

A turn is one step on one batch, called from Python; with `spec["steps"]` n, n steps on n batches in one `lax.scan`;
with `spec["members"]` n, the same for n networks by `vmap`; with `spec["devices"]` n, a step whose batch is shared over
n devices, as `jaxnn.parallel.data_parallel` shares it.
"""

import time
from functools import partial

import jax
import jax.numpy as jnp
import timing
from jax.sharding import PartitionSpec as P
from peers.networks import network
from peers.specs import batches, shape

import jaxnn
from jaxnn.costs import aot
from jaxnn.training.examples import Examples
from jaxnn.training.parallel import AXIS
from jaxnn.training.step import take_step

LOSS = jaxnn.SoftmaxCrossEntropy()
RULES = {"momentum": jaxnn.momentum(0.01, 0.9), "adam": jaxnn.adam(0.001)}


def candidate(name, spec):
    """The fastest form of a kind of `aot.KINDS`; `least_temporary_bytes` are those of the form with the fewest."""
    jax.config.update("jax_num_cpu_devices", spec.get("devices") or 1)
    x, t = map(jnp.asarray, batches(spec))
    net = network(spec)
    net = aot.across_devices(net) if spec.get("devices", 1) > 1 else net
    forms = {form.name: prepared(form, spec, x, t) for form in aot.forms(net, LOSS) if form.kind == name}
    fastest = next(iter(forms))
    if len(forms) > 1:
        seconds = timing.rounds({form: turn for form, (turn, _) in forms.items()}, 3)
        fastest = min(forms, key=lambda form: seconds[form].min())
    turn, facts = forms[fastest]
    return turn, facts | {"least_temporary_bytes": min(facts["temporary_bytes"] for _, facts in forms.values())}


def prepared(form, spec, x, t):
    """A form's turn, compiled, and facts about it."""
    rule = RULES[spec.get("update", "momentum")]
    step, n_members = one_step(form, rule, spec.get("devices", 1)), spec.get("members")

    def begin(key):
        return jaxnn.start(form.net, shape(spec), key=key, update=rule)

    def steps(carry, x, t):
        return jax.lax.scan(lambda carry, batch: step(carry, *batch), carry, (x, t))

    turn, arguments = (steps, (x, t)) if spec.get("steps") else (step, (x[0], t[0]))
    if n_members:
        carry = jax.vmap(begin)(jax.random.split(jax.random.key(0), n_members))
        turn = jax.vmap(turn, in_axes=(0, None, None))
    else:
        carry = begin(jax.random.key(0))
    began = time.perf_counter()
    program = jax.jit(turn, donate_argnums=0).lower(carry, *arguments).compile()
    compile_seconds = time.perf_counter() - began
    arguments = jax.device_put(arguments, program.input_shardings[0][1:])
    carried = [jax.device_put(carry, program.input_shardings[0][0])]

    def run():
        carried[0], loss = program(carried[0], *arguments)
        jax.block_until_ready(loss)

    return run, {
        "compile_seconds": compile_seconds,
        "form": form.name,
        "n_params": jaxnn.arrays.size(carry.params),
        "temporary_bytes": program.memory_analysis().temp_size_in_bytes,
        "flops": (program.cost_analysis() or {}).get("flops"),
        "version": f"jax {jax.__version__}",
    }


def one_step(form, rule, n_devices):
    """(run, x, t) -> (run, loss): the loops' own step."""
    step = partial(take_step, form.task(rule, AXIS if n_devices > 1 else None))
    if n_devices > 1:
        mesh = jax.make_mesh((n_devices,), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,))
        step = jax.shard_map(step, mesh=mesh, in_specs=(P(), P(AXIS)), out_specs=P())

    def losing(run, x, t):
        run, measured = step(run, Examples(x, t))
        return run, measured.loss

    return losing
