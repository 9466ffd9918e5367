"""Candidates of several libraries, each in a process of its own, taking turns in random order.

In one process they would disturb one another: PyTorch's threads spin while JAX's work, and two libraries' OpenMP
fight for the cores. A process that waits for its turn does nothing.
"""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

WORKER = Path(__file__).with_name("worker.py")
# By default glibc gives large arrays back to the system at once, and takes them again at the next call, page by page.
# From which size on is a process's luck (which thread came first, and so has the main arena), and a training step of 60
# MB took 1.35 times as long in one process as in another. One arena, and memory that is kept, are best for every peer:
# with them a step's median lies 3 % above its minimum, and the same program in five processes within 5 %.
KEEP_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": f"{2**31}",
    "MALLOC_TRIM_THRESHOLD_": f"{2**32}",
}


class Candidate(NamedTuple):
    """A peer's candidate: its name in tables, the module of peers/, its name there, what its spec has in addition to
    the row's, and the interpreter that has the library."""

    label: str
    peer: str
    name: str
    spec: tuple[tuple[str, object], ...] = ()
    python: str = sys.executable


class Measured(NamedTuple):
    """seconds (rounds,), and what the worker says of itself: first_seconds, peak_bytes, n_params, ..."""

    seconds: np.ndarray
    facts: dict


def measured(candidates, spec, n_rounds, seed=0, log=print):
    """{label: Measured}; a candidate that fails is left out, with a line to `log`."""
    with contextlib.ExitStack() as stack:
        workers, facts = {}, {}
        for candidate in candidates:
            worker = stack.enter_context(_started(candidate, spec))
            line = worker.stdout.readline()
            if not line:
                log(f"{candidate.label} failed: {_reason(worker)}")
                continue
            workers[candidate.label], facts[candidate.label] = worker, json.loads(line)
        rng, labels = np.random.default_rng(seed), list(workers)
        seconds = {label: np.empty(n_rounds) for label in labels}
        for i in range(n_rounds):
            for label in rng.permutation(labels):
                seconds[label][i] = _turn(workers[label])
        return {label: Measured(seconds[label], facts[label]) for label in labels}


@contextlib.contextmanager
def _started(candidate, spec):
    command = [candidate.python, str(WORKER), candidate.peer, candidate.name, json.dumps(spec | dict(candidate.spec))]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=os.environ | KEEP_MEMORY)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _turn(worker):
    worker.stdin.write("\n")
    worker.stdin.flush()
    return float(worker.stdout.readline())


def _reason(worker):
    lines = worker.stderr.read().strip().splitlines()
    return lines[-1] if lines else "no message"
