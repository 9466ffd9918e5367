"""Small data sets of which everything is known, so that one can say beforehand what will be learned from them.

NumPy arrays in float64, the same ones for the same seed.
"""

import numpy as np

from jaxnn.data.npz import Split

TRUTH_TABLES = {"and": (1, 0, 0, 0), "or": (1, 0, 1, 1), "nand": (0, 1, 1, 1), "xor": (0, 0, 1, 1)}


def truth_table(name: str) -> Split:
    """The four rows of a gate: and, or, nand, xor. Shapes: x (4, 2), t (4,) int32.

    The rows are (1, 1), (0, 0), (1, 0), (0, 1): the order of the article on the perceptron, on which its counts depend.
    Raises: ValueError for another name.
    Source: hanbingtao, part 1.

    >>> truth_table("and")[1].tolist()
    [1, 0, 0, 0]
    """
    if name not in TRUTH_TABLES:
        raise ValueError(f"there is no truth table {name!r}: expected one of {', '.join(TRUTH_TABLES)}")
    return np.array([[1.0, 1], [0, 0], [1, 0], [0, 1]]), np.array(TRUTH_TABLES[name], np.int32)


def salary() -> Split:
    """Years of experience and salary a month of five people. Shapes: x (5, 1) in years, t (5,).

    With a constant input beside x, the sum of squares / 2 has the curvatures 1.23264 and 205.73736.
    Source: hanbingtao, part 2.
    """
    return np.array([[5], [3], [8], [1.4], [10.1]]), np.array([5500.0, 2300, 7600, 1800, 11400])


def separable(n: int, n_features: int, margin: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points in the unit ball on both sides of a plane through 0, none of them closer to it than the margin.

    Returns x (n, N), t (n,) int32 of 0 and 1, and the plane's unit normal u (N,): u . x >= margin where t is 1, and
    <= -margin where it is 0; the first point is exactly at the margin.
    Raises: ValueError unless n >= 1, n_features >= 2 and 0 < margin < 1.

    >>> x, t, normal = separable(100, 3, margin=0.1)
    >>> bool(np.min((2 * t - 1) * (x @ normal)).round(12) == 0.1)
    True
    """
    if n < 1 or n_features < 2 or not 0 < margin < 1:
        raise ValueError(
            f"separable: expected n >= 1, n_features >= 2 and 0 < margin < 1, got {n}, {n_features} and {margin}"
        )
    rng = np.random.default_rng(seed)
    normal = _directions(rng, 1, n_features)[0]
    distance = rng.uniform(margin, 1, n)
    distance[0] = margin
    along = _directions(rng, n, n_features)
    along -= np.outer(along @ normal, normal)
    along *= (rng.uniform(0, 1, n) * np.sqrt(1 - distance**2) / np.linalg.norm(along, axis=1))[:, None]
    t = rng.integers(0, 2, n).astype(np.int32)
    return along + np.outer((2 * t - 1) * distance, normal), t, normal


def bit_codes(bits: int = 8, on: float = 0.9, off: float = 0.1) -> np.ndarray:
    """All 2^bits numbers, one a row, each bit being `on` or `off`: what an autoencoder learns to give back.

    Shape: (2^bits, bits), the lowest bit first.  Source: the demo of hanbingtao, part 3 (8-3-8).

    >>> bit_codes(2)
    array([[0.1, 0.1],
           [0.9, 0.1],
           [0.1, 0.9],
           [0.9, 0.9]])
    """
    ones = np.arange(2**bits)[:, None] >> np.arange(bits) & 1
    return np.where(ones == 1, on, off)


def _directions(rng: np.random.Generator, n: int, n_features: int) -> np.ndarray:
    vectors = rng.standard_normal((n, n_features))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
