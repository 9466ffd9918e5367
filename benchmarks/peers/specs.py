"""What a spec says about a batch. Every peer imports it, so it needs only NumPy.

A spec is a dict that fits into JSON: "network" is a name in networks.py, with "sizes" and "activation" for a multilayer
perceptron, or "width" and "depth"; "batch" is the examples a step; "steps" the steps in one turn, left out where a turn
is one call.
"""

import numpy as np

N_CLASSES = 10


def shape(spec):
    """The shape of one example."""
    vectors = {"mlp": lambda: (spec["sizes"][0],), "deep": lambda: (spec["width"],)}
    return vectors.get(spec["network"], lambda: (28, 28, 1))()


def batches(spec):
    """x (steps, B, *shape) in float32 and labels (steps, B)."""
    rng = np.random.default_rng(0)
    size = (spec.get("steps") or 1, spec["batch"])
    n_classes = spec.get("sizes", [N_CLASSES])[-1]
    return rng.normal(size=(*size, *shape(spec))).astype(np.float32), rng.integers(0, n_classes, size)
