"""The same networks and the same step in PyTorch: "eager", "channels_last" and "compiled" in channels_last; for many
networks "one by one", and "vmap" of `torch.func`.

The environment variable THREADS sets the number of threads; without it PyTorch chooses. It has no loop to compile:
steps are called from Python. On a GPU products are in TensorFloat-32, as JAX's are by default, and a turn ends when the
GPU has done its work.
"""

import itertools
import os

import torch
from peers.specs import batches
from torch import func, nn

THREADS = int(os.environ.get("THREADS", "0"))
if THREADS:
    torch.set_num_threads(THREADS)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cuda":
    torch.set_float32_matmul_precision("high")
UPDATES = {
    "momentum": lambda params: torch.optim.SGD(params, lr=0.01, momentum=0.9),
    "adam": lambda params: torch.optim.Adam(params, lr=0.001),
}
ACTIVATIONS = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}


def two_conv(spec, batch_norm=False):
    norm = nn.BatchNorm2d if batch_norm else (lambda n: nn.Identity())
    hidden = [nn.Linear(64 * 49, 128, bias=not batch_norm), nn.BatchNorm1d(128) if batch_norm else nn.Identity()]
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1, bias=not batch_norm), norm(32), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, padding=1, bias=not batch_norm), norm(64), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Flatten(), *hidden, nn.ReLU(), nn.Linear(128, 10)),
    )


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        layers = []
        for _ in range(2):
            layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1, bias=False)]
        self.f = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.f(x)


def residual(spec, n_blocks=3, width=32):
    head = (nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
    return nn.Sequential(nn.Conv2d(1, width, 3, padding=1, bias=False), *(Block(width) for _ in range(n_blocks)), *head)


def lenet5(spec):
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(6, 16, 5), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


def mlp(spec):
    sizes, layers = spec["sizes"], []
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), ACTIVATIONS[spec["activation"]]()]
    return nn.Sequential(*layers[:-1])


NETWORKS = {
    "two-conv": two_conv,
    "batch-norm": lambda spec: two_conv(spec, batch_norm=True),
    "residual": residual,
    "lenet5": lenet5,
    "mlp": mlp,
}
LOSS = nn.functional.cross_entropy


def candidate(name, spec):
    torch.manual_seed(0)
    x, t = (torch.as_tensor(part, device=DEVICE) for part in batches(spec))
    if spec["network"] != "mlp":
        x = x.movedim(-1, 2)  # channels first; channels_last is this order of axes, and the other one in memory
        x = x.contiguous() if name == "eager" else x
    calls = list(zip(x, t, strict=True))
    nets = [NETWORKS[spec["network"]](spec).to(DEVICE) for _ in range(spec.get("members") or 1)]
    if name == "vmap":
        turn = members_at_once(nets, calls)
    else:
        turn = one_by_one(nets, calls, name, spec)
    return finished(turn), {
        "n_params": sum(p.numel() for net in nets for p in net.parameters()),
        "version": f"torch {torch.__version__}",
        "threads": torch.get_num_threads(),
    }


def finished(turn):
    """The turn, and no sooner back than the device is done."""

    def run():
        turn()
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    return run


def one_by_one(nets, calls, name, spec):
    steps = []
    for net in nets:
        net = net.to(memory_format=torch.channels_last) if name in ("channels_last", "compiled") else net
        optimizer = UPDATES[spec.get("update", "momentum")](net.parameters())
        steps.append((torch.compile(net) if name == "compiled" else net, optimizer))

    def turn():
        for forward, optimizer in steps:
            for x, t in calls:
                optimizer.zero_grad(set_to_none=True)
                LOSS(forward(x), t).backward()
                optimizer.step()

    return turn


def members_at_once(nets, calls, learning_rate=0.01, decay=0.9):
    """All members' steps by `torch.func.vmap`; momentum's few lines are written out, for optimisers know no members."""
    params, buffers = func.stack_module_state(nets)
    params = {name: leaf.detach() for name, leaf in params.items()}
    velocity = {name: torch.zeros_like(leaf) for name, leaf in params.items()}

    def loss(params, buffers, x, t):
        return LOSS(func.functional_call(nets[0], (params, buffers), (x,)), t)

    gradient = func.vmap(func.grad(loss), in_dims=(0, 0, None, None))

    def turn():
        for x, t in calls:
            for name, grad in gradient(params, buffers, x, t).items():
                velocity[name].mul_(decay).add_(grad)
                params[name].sub_(velocity[name], alpha=learning_rate)

    return turn
