"""The networks that are measured, in jaxnn; each peer has the same ones in its own library."""

from peers.specs import N_CLASSES

import jaxnn
from jaxnn.costs import aot
from jaxnn.networks.models import ACTIVATIONS, batch_norm_cnn, cnn, lenet5, residual_block


def mlp(spec):
    _, *hidden, n_out = spec["sizes"]
    activation = ACTIVATIONS[spec["activation"]]
    layers = (layer for n in hidden for layer in (jaxnn.Dense(n), activation))
    return jaxnn.Serial(*layers, jaxnn.Dense(n_out))


def residual(spec, n_blocks=3, width=32):
    """A stem, pre-activation blocks of one width, and a linear layer on the means of channels."""
    blocks = [residual_block(width) for _ in range(n_blocks)]
    head = (jaxnn.BatchNorm(), jaxnn.ReLU(), jaxnn.GlobalAvgPool(), jaxnn.Dense(N_CLASSES))
    net = jaxnn.Serial(jaxnn.Conv2D(width, bias=False), *blocks, *head)
    return aot.without_remat(net) if spec.get("without_remat") else net


def deep(spec):
    """One block `depth` times, as one `Repeat` or layer by layer."""
    block = jaxnn.Serial(jaxnn.Dense(spec["width"]), jaxnn.Tanh())
    blocks = [block] * spec["depth"] if spec.get("unrolled") else [jaxnn.Repeat(block, spec["depth"])]
    return jaxnn.Serial(jaxnn.Dense(spec["width"]), *blocks, jaxnn.Dense(N_CLASSES))


NETWORKS = {
    "two-conv": lambda spec: cnn((32, 64), N_CLASSES, hidden=(128,)),
    "batch-norm": lambda spec: batch_norm_cnn(N_CLASSES),
    "residual": residual,
    "lenet5": lambda spec: lenet5(N_CLASSES),
    "mlp": mlp,
    "deep": deep,
}


def network(spec):
    return NETWORKS[spec["network"]](spec)
