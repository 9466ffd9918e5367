"""The same networks and the same step in PyTorch: eager, eager in channels_last, and compiled in channels_last."""

import os
import time

import torch
from torch import nn

THREADS = int(os.environ.get("THREADS", "0"))
if THREADS:
    torch.set_num_threads(THREADS)


def two_conv(batch_norm=False):
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
        conv = lambda: nn.Conv2d(width, width, 3, padding=1, bias=False)  # noqa: E731
        self.f = nn.Sequential(
            nn.BatchNorm2d(width), nn.ReLU(), conv(), nn.BatchNorm2d(width), nn.ReLU(), conv()
        )  # fmt: skip

    def forward(self, x):
        return x + self.f(x)


def residual(n_blocks=3, width=32):
    head = (nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
    return nn.Sequential(nn.Conv2d(1, width, 3, padding=1, bias=False), *(Block(width) for _ in range(n_blocks)), *head)


def lenet5():
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(6, 16, 5), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.Sigmoid(), nn.Linear(128, 10))


NETWORKS = {
    "two-conv": two_conv,
    "batch-norm": lambda: two_conv(batch_norm=True),
    "residual": residual,
    "lenet5": lenet5,
    "mlp": mlp,
}


def candidate(name, spec):
    torch.manual_seed(0)
    net, loss = NETWORKS[spec["network"]](), nn.CrossEntropyLoss()
    x, t = torch.randn(spec["batch"], 1, 28, 28), torch.randint(10, (spec["batch"],))
    if name != "eager":
        net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    n_params = sum(p.numel() for p in net.parameters())
    forward = torch.compile(net) if name == "compiled" else net

    def turn():
        for _ in range(spec.get("steps") or 1):
            optimizer.zero_grad(set_to_none=True)
            loss(forward(x), t).backward()
            optimizer.step()

    began = time.perf_counter()
    turn()
    facts = {
        "compile_seconds": time.perf_counter() - began,
        "n_params": n_params,
        "version": f"torch {torch.__version__}",
    }
    return turn, facts
