"""The gradient audit: hand-written against automatic, both against a float64 truth."""

from jaxnn.audit.compare import compare
from jaxnn.audit.comparison import Comparison, Row
from jaxnn.audit.idiomatic import idiomatic, idiomatic_loss
from jaxnn.audit.rules import WrongRule

__all__ = ["Comparison", "Row", "WrongRule", "compare", "idiomatic", "idiomatic_loss"]
