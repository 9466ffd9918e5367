"""The mathematics of jaxnn once more, in NumPy: slow where that is plainer, obviously right, and written on its own.

Same names, same trees of params, and whatever is random is an argument: first params, the orders of the examples, the
masks of Dropout, the draws of an augmentation. What is compiled is held against what stands here.

neurons.py has the textbook network neuron by neuron; the other modules are its vectorised form, for every layer,
combinator, loss, penalty, update rule, schedule, augmentation and loop; perceptron.py, to be imported by its own name,
what came before. Nothing here checks its arguments, which is jaxnn's business.
"""

from jaxnn.reference import augment, neurons, schedules
from jaxnn.reference.activations import (
    ELU,
    GELU,
    Identity,
    LeakyReLU,
    PReLU,
    PReLUParams,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from jaxnn.reference.combinators import Branches, Remat, Repeat, Residual, Serial
from jaxnn.reference.loops import bgd, mbgd, sgd
from jaxnn.reference.layers import (
    Dense,
    DenseParams,
    Dropout,
    Flatten,
    Rescale,
    Reshape,
)
from jaxnn.reference.normalization import (
    BatchNorm,
    BatchNormParams,
    BatchNormState,
    GroupNorm,
    LayerNorm,
    NormParams,
    RMSNorm,
)
from jaxnn.reference.losses import AbsoluteError, HalfSquaredError, Huber, SigmoidCrossEntropy, SoftmaxCrossEntropy
from jaxnn.reference.gradient import Gradient, backprop
from jaxnn.reference.penalties import l1, l2
from jaxnn.reference.recurrent import GRUCell, LSTMCell, Recurrent, TanhCell
from jaxnn.reference.twins import twin
from jaxnn.reference.updates import (
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
from jaxnn.reference.windows import (
    AvgPool,
    Conv1D,
    Conv2D,
    ConvParams,
    GlobalAvgPool,
    LocallyConnected1D,
    LocallyConnected2D,
    LocallyConnectedParams,
    MaxPool,
    Windows,
)
