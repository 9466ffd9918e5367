"""The mathematics of jaxnn again, in NumPy: slow where that is plainer, obviously right, and written independently.

Same names, same trees of params, and whatever is random is an argument: the first params, the orders of the examples,
the masks of Dropout, the draws of an augmentation. The tests compare the compiled code with this.

neurons.py has the textbook network neuron by neuron; the other modules are its vectorised form, for every layer,
combinator, loss, penalty, update rule, schedule, augmentation and loop. perceptron.py has what came before it, and is
imported by its own name. Nothing here checks its arguments: jaxnn does.
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
