"""The same multilayer perceptron in scikit-learn: `MLPClassifier.partial_fit`, one pass over all batches of a turn.

It computes in float32 where the examples are float32. Its loss and its step are ours (momentum without Nesterov's
form, no penalty); shuffling and early stopping are off. A first call, on one example, says how many classes there are.
"""

import numpy as np
import sklearn
from peers.specs import batches
from sklearn.neural_network import MLPClassifier

UPDATES = {
    "momentum": {"solver": "sgd", "learning_rate_init": 0.01, "momentum": 0.9, "nesterovs_momentum": False},
    "adam": {"solver": "adam", "learning_rate_init": 0.001},
}


def candidate(name, spec):
    n_in, *hidden, n_out = spec["sizes"]
    activation = {"sigmoid": "logistic"}.get(spec["activation"], spec["activation"])
    x, t = batches(spec)
    x, t = x.reshape(-1, n_in), t.ravel()
    model = MLPClassifier(
        hidden, activation=activation, alpha=0.0, batch_size=spec["batch"], shuffle=False, random_state=0,
        **UPDATES[spec.get("update", "momentum")],
    )  # fmt: skip

    def turn():
        model.partial_fit(x, t)

    model.partial_fit(x[:1], t[:1], classes=np.arange(n_out))
    facts = {
        "n_params": sum(leaf.size for leaf in model.coefs_ + model.intercepts_),
        "version": f"scikit-learn {sklearn.__version__}",
    }
    assert model.coefs_[0].dtype == np.float32
    return turn, facts
