"""Layers that are more than an activation function, one file a family."""

from jaxnn.layers.dense import Dense, DenseParams
from jaxnn.layers.dropout import Dropout
from jaxnn.layers.normalization import BatchNorm, BatchNormParams, BatchNormState
from jaxnn.layers.rescale import Rescale
from jaxnn.layers.reshape import Flatten, Reshape

__all__ = [
    "BatchNorm",
    "BatchNormParams",
    "BatchNormState",
    "Dense",
    "DenseParams",
    "Dropout",
    "Flatten",
    "Rescale",
    "Reshape",
]
