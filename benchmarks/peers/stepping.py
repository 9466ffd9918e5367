"""How the other JAX libraries step: "jit", a compiled step called from Python, or "scan", all in one program."""

import time

import jax


def stepping(step, carry, x, t, form):
    """A turn of step(carry, (x, t)) -> (carry, loss) over batches x, t, and facts about it; the carry is donated."""
    if form == "scan":
        program, calls = (lambda carry, batches: jax.lax.scan(step, carry, batches)), [(x, t)]
    else:
        program, calls = step, list(zip(x, t, strict=True))
    began = time.perf_counter()
    compiled = jax.jit(program, donate_argnums=0).lower(carry, calls[0]).compile()
    facts = {
        "compile_seconds": time.perf_counter() - began,
        "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
    }
    carried = [carry]

    def turn():
        for call in calls:
            carried[0], loss = compiled(carried[0], call)
        jax.block_until_ready(loss)

    return turn, facts
