"""What the suite measures: families of rows; a row is a spec (see peers/specs.py) and the candidates that meet it."""

from typing import NamedTuple

from peers.operations import OPERATIONS, WEIGHT_GRADIENTS
from turns import Candidate

from jaxnn.costs import aot

HAND = "by hand"
CONTROL = "by hand, again"
OURS = {
    HAND: aot.BY_HAND,
    CONTROL: aot.BY_HAND,
    "(a) jax.grad, idiomatic": aot.IDIOMATIC,
    "(b) jax.grad, our forward": aot.OWN_FORWARD,
    "(c) jax.grad, checkpoint": aot.CHECKPOINT,
}
NO_CHECKPOINT = tuple(OURS)[:4]
IMAGE_NETWORKS = ("two-conv", "batch-norm", "residual", "lenet5")
BATCH = 128


class Row(NamedTuple):
    """`at` is its place on the family's axis: a name, or a number."""

    at: str | float
    spec: dict
    candidates: tuple[Candidate, ...]


class Family(NamedTuple):
    """`axis` names what a row's `at` is; numbers are drawn as lines, names as bars. `note` goes under the table.

    A family that is not `by_default` has to be named: it is for another kind of machine.
    """

    name: str
    axis: str
    rows: tuple[Row, ...]
    n_rounds: int
    note: str = ""
    by_default: bool = True


WITHOUT_REMAT = Candidate("by hand, without Remat", "ours", aot.BY_HAND, (("without_remat", True),))


def ours(*kinds, peer="ours"):
    return tuple(Candidate(label, peer, OURS[label]) for label in kinds or OURS)


def families(torch):
    """All families; `torch` is an interpreter that has PyTorch, or None."""

    def pytorch(*names):
        labels = {"eager": "PyTorch", "channels_last": "PyTorch, channels last", "compiled": "PyTorch, compiled"}
        return tuple(Candidate(labels.get(n, f"PyTorch, {n}"), "pytorch", n, python=torch) for n in names if torch)

    def flax_and_equinox(*forms):
        peers = {"Flax NNX": "flax_nnx", "Equinox": "equinox_optax"}
        return tuple(
            Candidate(f"{label}, {form}" if len(forms) > 1 else label, peer, form)
            for label, peer in peers.items()
            for form in forms
        )

    def networks():
        for name in IMAGE_NETWORKS:
            peers = pytorch("eager", "channels_last", "compiled") + flax_and_equinox("jit")
            if name == "residual":
                peers = (WITHOUT_REMAT, *peers)
            yield Row(name, {"network": name, "batch": BATCH}, ours() + peers)

    def in_scan():
        for name in ("two-conv", "batch-norm", "lenet5"):
            yield Row(name, {"network": name, "batch": BATCH, "steps": 3}, ours())
        spec = {"operation": "dW of convolution 3 x 3, 32 to 64", "batch": BATCH, "steps": 3}
        yield Row("dW of convolution", spec, ours(*NO_CHECKPOINT, peer="operations"))

    def operations():
        for name in [*OPERATIONS, *WEIGHT_GRADIENTS]:
            yield Row(name, {"operation": name, "batch": BATCH}, ours(*NO_CHECKPOINT, peer="operations"))

    def perceptrons():
        others = (
            Candidate("scikit-learn", "sklearn_mlp", "partial_fit"),
            Candidate("NumPy, plain", "numpy_mlp", "loop"),
        )
        peers = pytorch("eager", "compiled") + flax_and_equinox("jit", "scan") + others
        for batch, steps in ((1, 256), (32, 64), (128, 32), (1024, 8), (60_000, 1)):
            spec = {"network": "mlp", "sizes": [784, 128, 10], "activation": "sigmoid", "batch": batch, "steps": steps}
            yield Row(f"784-128-10, {batch}", spec, ours() + peers)
        spec = {"network": "mlp", "sizes": [4, 32, 16, 4], "activation": "tanh", "batch": 200, "steps": 64}
        yield Row("4-32-16-4, Adam, 200", spec | {"update": "adam"}, ours() + peers[:-1])

    def ensembles():
        for members in (1, 4, 16, 64, 256):
            spec = {"network": "mlp", "sizes": [64, 32, 10], "activation": "sigmoid", "batch": 32, "steps": 50}
            one_by_one = pytorch("one by one") if members <= 64 else ()
            yield Row(members, spec | {"members": members}, ours() + one_by_one + pytorch("vmap"))

    def batches():
        for batch in (1, 8, 32, 128, 512):
            spec = {"network": "two-conv", "batch": batch}
            yield Row(batch, spec, ours() + pytorch("channels_last"))

    def widths():
        for width in (32, 128, 512, 2048):
            spec = {"network": "mlp", "sizes": [784, width, width, 10], "activation": "sigmoid", "batch": BATCH}
            yield Row(width, spec | {"steps": 4}, ours() + pytorch("eager"))

    def depths():
        for depth in (4, 16, 64, 256):
            spec = {"network": "deep", "width": 64, "depth": depth, "batch": 32, "steps": 16}
            unrolled = (("unrolled", True),)
            layer_by_layer = (
                Candidate("by hand, layer by layer", "ours", aot.BY_HAND, unrolled),
                Candidate("(a) jax.grad, layer by layer", "ours", aot.IDIOMATIC, unrolled),
            )
            yield Row(depth, spec, ours() + (layer_by_layer if depth <= 64 else ()))

    def devices():
        for n in (1, 2, 4):
            yield Row(n, {"network": "two-conv", "batch": 2 * BATCH, "devices": n}, ours(*NO_CHECKPOINT))

    def accelerator():
        """Large enough to keep a GPU busy, with so many steps in a program that the cost of its call doesn't count."""
        for name in ("two-conv", "batch-norm", "residual"):
            peers = (WITHOUT_REMAT,) if name == "residual" else ()
            peers += pytorch("eager", "channels_last", "compiled")
            yield Row(f"{name}, 1024", {"network": name, "batch": 1024, "steps": 20}, ours() + peers)
        spec = {"network": "mlp", "sizes": [784, 2048, 2048, 10], "activation": "sigmoid", "batch": 4096, "steps": 50}
        yield Row("784-2048-2048-10, 4096", spec, ours() + pytorch("eager", "compiled"))
        spec = {"network": "mlp", "sizes": [784, 128, 10], "activation": "sigmoid", "batch": 32, "steps": 256}
        yield Row("784-128-10, 32", spec, ours() + pytorch("eager", "compiled"))
        spec = {"network": "mlp", "sizes": [64, 32, 10], "activation": "sigmoid", "batch": 32, "steps": 50}
        yield Row("256 of 64-32-10, 32", spec | {"members": 256}, ours() + pytorch("vmap"))

    return [
        Family("networks", f"network, batch {BATCH}, a call", tuple(networks()), 60),
        Family(
            "in-scan",
            f"network, batch {BATCH}, in lax.scan",
            tuple(in_scan()),
            5,
            "Three steps on three batches in one program. Left out: the residual network, whose automatic step takes "
            "a minute here.",
        ),
        Family("operations", f"operation, batch {BATCH}", tuple(operations()), 60, "Forward, dparams and dx."),
        Family(
            "perceptrons",
            "network, batch",
            tuple(perceptrons()),
            60,
            "jit: steps called from Python; scan: one program.",
        ),
        Family("ensembles", "networks of 64-32-10, 50 steps at batch 32", tuple(ensembles()), 20),
        Family("batch", "batch, two-conv", tuple(batches()), 20),
        Family("width", "hidden neurons, 784-n-n-10", tuple(widths()), 20),
        Family(
            "depth", "blocks of Dense(64) and Tanh", tuple(depths()), 20, "With Repeat, unless the row says otherwise."
        ),
        Family(
            "devices",
            "devices, two-conv, batch 256 shared over them",
            tuple(devices()),
            20,
            "Devices are threads of this machine, which has 2 cores: one device already uses both in its larger "
            "operations, so this shows what sharing costs, not what devices would gain.",
        ),
        Family(
            "accelerator",
            "network, batch, in lax.scan",
            tuple(accelerator()),
            30,
            "PyTorch's steps are called from Python. Programs come from a cache where one was made before. Peaks are "
            "those of the accelerator's memory, of JAX's candidates with what was tried while compiling.",
            by_default=False,
        ),
    ]
