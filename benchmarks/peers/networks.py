"""The networks that are measured, in jaxnn, and the data; the peers have the same ones in their own words."""

import numpy as np

import jaxnn
from jaxnn.models import batch_norm_cnn, cnn, lenet5, mlp, residual_block

N_CLASSES = 10


def residual(n_blocks=3, width=32):
    """A stem, pre-activation blocks of one width, and a linear layer on the means of channels."""
    blocks = [residual_block(width) for _ in range(n_blocks)]
    head = (jaxnn.BatchNorm(), jaxnn.ReLU(), jaxnn.GlobalAvgPool(), jaxnn.Dense(N_CLASSES))
    return jaxnn.Serial(jaxnn.Conv2D(width, bias=False), *blocks, *head)


NETWORKS = {
    "two-conv": lambda: cnn((32, 64), N_CLASSES, hidden=(128,)),
    "batch-norm": lambda: batch_norm_cnn(N_CLASSES),
    "residual": residual,
    "lenet5": lambda: lenet5(N_CLASSES),
    "mlp": lambda: mlp((128,), N_CLASSES, "sigmoid"),
}
SHAPE = (28, 28, 1)


def data(batch_size):
    """Images (B, 28, 28, 1) in float32 and labels (B,)."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(batch_size, *SHAPE)).astype(np.float32)
    return images, rng.integers(0, N_CLASSES, batch_size)
