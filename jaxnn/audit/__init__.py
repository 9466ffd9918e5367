"""The gradient audit: hand-written against automatic, both against a float64 truth."""

from jaxnn.audit.compare import Comparison, Row, compare

__all__ = ["Comparison", "Row", "compare"]
