"""jaxnn: neural networks on JAX in which the backward pass is first class.

The table of contents, in reading order.
"""

# A layer: the protocol, and what an own one is made with.
from jaxnn.arrays import Static, register_node
from jaxnn.layer import (
    Backward,
    Composite,
    Folded,
    Forward,
    Init,
    Layer,
    Node,
    Observer,
    Parameterless,
    Visit,
    couples_batch,
    is_composite,
    is_layer,
    recipe,
    unwatched,
    walk,
)

# Layers.
from jaxnn.layers.activations import (
    ELU,
    GELU,
    Identity,
    LeakyReLU,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from jaxnn.layers.batch_norm import BatchNorm
from jaxnn.layers.cells import Cell, GRUCell, LSTMCell, Step, TanhCell
from jaxnn.layers.convolution import Conv1D, Conv2D
from jaxnn.layers.dense import Dense, DenseParams
from jaxnn.layers.dropout import Dropout
from jaxnn.layers.initializers import Glorot, He, LeCun, Normal, Orthogonal, Uniform, Zeros
from jaxnn.layers.locally_connected import LocallyConnected1D, LocallyConnected2D
from jaxnn.layers.normalization import GroupNorm, LayerNorm, RMSNorm
from jaxnn.layers.pooling import AvgPool, GlobalAvgPool, MaxPool
from jaxnn.layers.rescale import Rescale
from jaxnn.layers.reshape import Flatten, Reshape

# Networks.
from jaxnn.networks import models
from jaxnn.networks.combinators import Branches, Remat, Repeat, Residual, Serial
from jaxnn.networks.rebuild import replaced
from jaxnn.networks.recurrent import Recurrent

# The objective, and its gradient by hand and by machine.
from jaxnn.backward import observers
from jaxnn.backward.observers import norms
from jaxnn.backward.visits import fold
from jaxnn.objective.custom_vjp import as_custom_vjp
from jaxnn.objective.gradient import Gradient, GradientFunction, autodiff, backprop
from jaxnn.objective.losses import (
    AbsoluteError,
    HalfSquaredError,
    Huber,
    Loss,
    LossForward,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
)
from jaxnn.objective.mixed import mixed
from jaxnn.objective.penalties import Penalty, decay_mask, l1, l2, weight_mask

# Training.
from jaxnn.training import augment, parallel, perceptron, schedules
from jaxnn.training.evaluation import Evaluation, accuracy, evaluate, predict
from jaxnn.training.fit import Fit, early_stopping, fit
from jaxnn.training.links import clip_by_global_norm, clip_by_norm, clip_by_value, proximal_l1, weight_decay
from jaxnn.training.loops import bgd, mbgd, sgd
from jaxnn.training.parallel import data_parallel, ensemble, member
from jaxnn.training.run import History, Keys, Run, start
from jaxnn.training.updates import (
    UpdateRule,
    adam,
    adamw,
    apply_updates,
    chain,
    gradient_descent,
    momentum,
    nesterov,
)

# Beside the stream: the audit, what it costs, data, the twins.
from jaxnn import audit, data, reference
from jaxnn.audit import Comparison, Report, check, compare
from jaxnn.costs import aot, memory

__version__ = "0.1.0"
