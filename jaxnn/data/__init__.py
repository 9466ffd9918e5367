"""Data sets by name, and the readers behind them, in NumPy alone."""

from jaxnn.data import idx, npz, toys
from jaxnn.data.datasets import Dataset, load
from jaxnn.data.downloads import download

__all__ = ["load", "Dataset", "download", "idx", "npz", "toys"]
