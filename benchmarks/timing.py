"""How to time candidates on a machine that others use too: in turns, in random order, and as ratios within a round.

Absolute times say little on a shared machine; the ratio of two candidates in one round says much more, and the same
program timed against itself (the A/A control) says how far to trust it.
"""

import os
import platform
import time

import jax
import jaxlib
import numpy as np


def rounds(candidates, n_rounds, seed=0):
    """Seconds of each candidate in each round, {name: (n_rounds,)}, after one warm-up call of each.

    A candidate is a function that returns when its work is done, or returns arrays to wait for.
    """
    rng = np.random.default_rng(seed)
    names = list(candidates)
    for name in names:
        jax.block_until_ready(candidates[name]())
    seconds = {name: np.empty(n_rounds) for name in names}
    for i in range(n_rounds):
        for name in rng.permutation(names):
            began = time.perf_counter()
            jax.block_until_ready(candidates[name]())
            seconds[name][i] = time.perf_counter() - began
    return seconds


def ratio(over, under, n_resamples=10_000, seed=0):
    """The median of the per-round ratios over/under, with its bootstrap 95 % interval: (median, low, high)."""
    ratios = np.asarray(over) / np.asarray(under)
    rng = np.random.default_rng(seed)
    medians = np.median(rng.choice(ratios, (n_resamples, len(ratios))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(np.median(ratios)), float(low), float(high)


def environment():
    """What a figure depends on: versions, device, precision and threads."""
    return {
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "numpy": np.__version__,
        "device": str(jax.devices()[0].device_kind),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "dtype": "float32",
        "matmul_precision": str(jax.config.jax_default_matmul_precision or "default"),
    }


def _processor():
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
