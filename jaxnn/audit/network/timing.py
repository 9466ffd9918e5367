"""What a compiled gradient costs, by the clock and by the compiler's own count."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

N_RUNS = 3


class Timing(NamedTuple):
    """Seconds to compile and to run (the fastest of three), floating-point operations, bytes of temporary memory.

    FLOPs and bytes are the compiler's count; NaN where it gives none.
    """

    name: str
    compile_seconds: float
    run_seconds: float
    flops: float
    temporary_bytes: float


def timed(name: str, program: Callable[..., Any], arguments: tuple) -> Timing:
    """Compile a jitted function for its arguments, and run it."""
    began = time.perf_counter()
    compiled = program.lower(*arguments).compile()  # type: ignore[attr-defined]
    compile_seconds = time.perf_counter() - began
    jax.block_until_ready(compiled(*arguments))
    seconds = []
    for _ in range(N_RUNS):
        began = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        seconds.append(time.perf_counter() - began)
    memory, counted = compiled.memory_analysis(), compiled.cost_analysis() or {}
    temporary = float("nan") if memory is None else float(memory.temp_size_in_bytes)
    return Timing(name, compile_seconds, min(seconds), float(counted.get("flops", "nan")), temporary)
