"""The gradient audit: hand-written against automatic, both against a float64 truth."""

from jaxnn.audit.rule.check import Auditor, Report, check
from jaxnn.audit.network.compare import compare
from jaxnn.audit.network.comparison import Comparison, Row
from jaxnn.audit.network.idiomatic import idiomatic, idiomatic_loss
from jaxnn.audit.network.rules import WrongRule

__all__ = ["Auditor", "Comparison", "Report", "Row", "WrongRule", "check", "compare", "idiomatic", "idiomatic_loss"]
