"""The gradient audit: hand-written against automatic, both against a float64 truth."""

from jaxnn.audit.check import Auditor, Report, check
from jaxnn.audit.compare import compare
from jaxnn.audit.comparison import Comparison, Row
from jaxnn.audit.idiomatic import idiomatic, idiomatic_loss
from jaxnn.audit.rules import WrongRule

__all__ = ["Auditor", "Comparison", "Report", "Row", "WrongRule", "check", "compare", "idiomatic", "idiomatic_loss"]
