"""Layers that are more than an activation function, one file a family."""

from jaxnn.layers.batch_norm import BatchNorm, BatchNormParams, BatchNormState
from jaxnn.layers.cells import Cell, CellParams, LSTMCarry, LSTMCell, Step, TanhCell
from jaxnn.layers.dense import Dense, DenseParams
from jaxnn.layers.dropout import Dropout
from jaxnn.layers.normalization import GroupNorm, LayerNorm, NormParams, RMSNorm
from jaxnn.layers.rescale import Rescale
from jaxnn.layers.reshape import Flatten, Reshape

__all__ = [
    "BatchNorm",
    "BatchNormParams",
    "BatchNormState",
    "Cell",
    "CellParams",
    "Dense",
    "DenseParams",
    "Dropout",
    "Flatten",
    "GroupNorm",
    "LSTMCarry",
    "LSTMCell",
    "LayerNorm",
    "NormParams",
    "RMSNorm",
    "Rescale",
    "Reshape",
    "Step",
    "TanhCell",
]
