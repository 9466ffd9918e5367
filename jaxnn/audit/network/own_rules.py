"""Rules that are meant to differ from the derivative of their forward: a surrogate, a straight-through estimate.

There is nothing to hold such a rule against. In the automatic gradient it stands in for the derivative of its layer, so
that all around it is judged as it would be beside any other layer.
"""

from typing import Any

from jaxnn.arrays import PyTree
from jaxnn.audit.rule.subjects import design_of
from jaxnn.layer import Backward, Forward, Layer, backward_of, forward_of, is_composite, recipe
from jaxnn.networks.rebuild import mapped
from jaxnn.networks.wrapped import Wrapped
from jaxnn.objective.custom_vjp import as_custom_vjp


@recipe
class WithOwnRule(Wrapped):
    """The layer, whose backward is also what `jax.grad` makes of its forward."""

    def forward(self, params: PyTree, state: PyTree, x: PyTree, *, key: Any = None, train: bool = False) -> Forward:
        y, _ = as_custom_vjp(self.layer)(params, state, x, key=key, train=train)
        _, new_state, cache = forward_of(self.layer, params, state, x, key=key, train=train)
        return Forward(y, new_state, cache)

    def backward(self, params: PyTree, cache: PyTree, dy: PyTree) -> Backward:
        return backward_of(self.layer, params, cache, dy)


def with_own_rules(net: Layer) -> Layer:
    """The network with `with_own_rule(layer)` in every layer's place."""
    return mapped(net, with_own_rule, opaque=True)


def with_own_rule(layer: Layer) -> Layer:
    """`WithOwnRule` around a layer whose rule is meant to differ; any other layer is itself."""
    return WithOwnRule(layer) if is_meant_to_differ(layer) else layer


def is_meant_to_differ(layer: Any) -> bool:
    """Whether a layer says that its rule isn't what `jax.grad` makes of its forward. A wrapper that is one layer says
    it where one inside of it does; a composite's layers are asked one by one.
    """
    said = getattr(layer, "differs_by_design", None) if is_composite(layer) else design_of(layer)
    return said == "from autodiff"
