"""jaxnn: neural networks on JAX in which the backward pass is first class.

The table of contents, in reading order.
"""

from jaxnn import augment, schedules
from jaxnn.activations import (
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
from jaxnn.arrays import Static
from jaxnn.audit import Comparison, compare
from jaxnn.combinators import Branches, Remat, Repeat, Residual, Serial
from jaxnn.rebuild import replaced
from jaxnn.custom_vjp import as_custom_vjp
from jaxnn.descent import bgd, mbgd, sgd
from jaxnn.evaluation import Evaluation, accuracy, evaluate, predict
from jaxnn.fit import Fit, early_stopping, fit
from jaxnn.initializers import Glorot, He, LeCun, Normal, Orthogonal, Uniform, Zeros
from jaxnn.layer import Backward, Folded, Forward, Init, Layer, Node, couples_batch, fold, walk
from jaxnn.layers import (
    AvgPool,
    BatchNorm,
    Cell,
    Conv1D,
    Conv2D,
    Dense,
    DenseParams,
    Dropout,
    Flatten,
    GlobalAvgPool,
    GRUCell,
    LocallyConnected1D,
    LocallyConnected2D,
    LSTMCell,
    MaxPool,
    GroupNorm,
    LayerNorm,
    RMSNorm,
    Rescale,
    Reshape,
    Step,
    TanhCell,
)
from jaxnn.losses import AbsoluteError, HalfSquaredError, Huber, Loss, SigmoidCrossEntropy, SoftmaxCrossEntropy
from jaxnn.mixed import mixed
from jaxnn.objective import Gradient, autodiff, backprop
from jaxnn.penalties import l1, l2, weight_mask
from jaxnn.recurrent import Recurrent
from jaxnn.run import History, Keys, Run, start
from jaxnn.parallel import data_parallel, ensemble, member
from jaxnn.updates import (
    UpdateRule,
    adam,
    adamw,
    apply_updates,
    chain,
    clip_by_global_norm,
    clip_by_norm,
    clip_by_value,
    gradient_descent,
    momentum,
    nesterov,
    proximal_l1,
    weight_decay,
)

__version__ = "0.1.0"
