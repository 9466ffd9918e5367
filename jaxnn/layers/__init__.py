"""Layers that are more than an activation function, one file a family."""

from jaxnn.layers.batch_norm import BatchNorm, BatchNormParams, BatchNormState
from jaxnn.layers.cells import Cell, CellParams, GRUCell, LSTMCarry, LSTMCell, Step, TanhCell
from jaxnn.layers.convolution import Conv1D, Conv2D, ConvParams
from jaxnn.layers.dense import Dense, DenseParams
from jaxnn.layers.dropout import Dropout
from jaxnn.layers.locally_connected import LocallyConnected1D, LocallyConnected2D, LocallyConnectedParams
from jaxnn.layers.pooling import AvgPool, GlobalAvgPool, MaxPool
from jaxnn.layers.normalization import GroupNorm, LayerNorm, NormParams, RMSNorm
from jaxnn.layers.rescale import Rescale
from jaxnn.layers.reshape import Flatten, Reshape

__all__ = [
    "AvgPool",
    "BatchNorm",
    "BatchNormParams",
    "BatchNormState",
    "Cell",
    "CellParams",
    "Conv1D",
    "Conv2D",
    "ConvParams",
    "Dense",
    "DenseParams",
    "Dropout",
    "Flatten",
    "GRUCell",
    "GlobalAvgPool",
    "LSTMCarry",
    "LSTMCell",
    "LocallyConnected1D",
    "LocallyConnected2D",
    "LocallyConnectedParams",
    "MaxPool",
    "GroupNorm",
    "LayerNorm",
    "NormParams",
    "RMSNorm",
    "Rescale",
    "Reshape",
    "Step",
    "TanhCell",
]
