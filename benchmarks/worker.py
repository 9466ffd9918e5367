"""One candidate in a process of its own, which runs once for each line on stdin; started by `turns.py`.

    python benchmarks/worker.py PEER CANDIDATE SPEC

PEER is a module of peers/ with a function `candidate(name, spec)` that gives a function and facts about it; the
function does its work once, one turn, and returns when it is done. Unless the facts say how long it compiled, the time
of the first turn stands for that. The worker writes the facts to stdout as a line of JSON, and then, for every line on
stdin, the seconds of one turn.
"""

import json
import resource
import sys
import time
from importlib import import_module


def main():
    peer, name, spec = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    began = time.perf_counter()
    turn, facts = import_module(f"peers.{peer}").candidate(name, spec)
    made = time.perf_counter()
    turn()
    now = time.perf_counter()
    facts = {"first_seconds": now - began, "compile_seconds": now - made} | facts
    turn()
    facts["peak_bytes"] = peak_on_accelerator() or 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps(facts), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        turn()
        print(time.perf_counter() - began, flush=True)


def peak_on_accelerator():
    """The most bytes of an accelerator's memory that were in use, by whichever library is loaded; None on a CPU."""
    if torch := sys.modules.get("torch"):
        return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    if jax := sys.modules.get("jax"):
        return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return None


if __name__ == "__main__":
    main()
