"""What was found in others' rules, one by one: looked into by hand, with `jax.grad`, differences and SciPy in float64.

Kinds: a *fault* is a derivative that is NaN or wrong where there is one; a *loose end* is lost precision, or NaN where
there is no derivative to give; a *false alarm* is the audit's own fault.
"""

from typing import NamedTuple

EVERY = None


class Verdict(NamedTuple):
    """places: by rule, those that it is about, or EVERY."""

    kind: str
    says: str
    places: dict[str, tuple[str, ...] | None]


VERDICTS = [
    Verdict(
        "fault",
        "`jax.scipy.special.spence` has the gradient NaN for 1 < x <= 2 and 0 at 1: at 1.3 it is log(x) / (1 - x) = "
        "-0.874548, by differences of the forward too. `jnp.log(1 - x)` stands in a branch that isn't taken.",
        {"scipy.special.spence": EVERY},
    ),
    Verdict(
        "fault",
        "The gradient of `logsumexp(a, b=b)` for b is 0 where b is 0: at a = (0, 1), b = (1, 0) it is (1, 0) for "
        "(1, e), by differences (1, 2.71828). Known (jax issue 22398); `sigmoid_focal_loss` passes labels as b.",
        {"sigmoid_focal_loss": ("ordinary", "zeros", "ties")},
    ),
    Verdict(
        "loose end",
        "Dawson's rule 1 - 2 x D(x) cancels: in float32 it gives -4.77e-7 at x = 1000 for -5.00e-7, in float64 it is "
        "right to 3e-10 there.",
        {"scipy.special.dawsn": ("huge",)},
    ),
    Verdict(
        "loose end",
        "Below -20 the forward is an asymptotic series of three terms, and the rule exp(-x^2/2 - log_ndtr(x)) "
        "magnifies its error: at -20.01 it gives 20.0597285284 for 20.0597284480 (SciPy's erfcx), 4e-9 off.",
        {"scipy.special.log_ndtr": ("huge",)},
    ),
    Verdict(
        "loose end",
        "The rule's own derivative is p (1 - p) with 1 - p rounded: softplus''(45) is 0 for 2.9e-20, softplus''(20) is "
        "2.06115302e-9 for 2.06115361e-9.",
        {"nn.softplus": ("huge",), "numpy.logaddexp": ("huge",)},
    ),
    Verdict(
        "loose end",
        "It computes its softmax in float32 whatever the arguments' dtype (the jaxpr converts float64 to float32), so "
        "differences of the forward are off by 4e-5.",
        {"nn.dot_product_attention": EVERY},
    ),
    Verdict(
        "loose end",
        "The gradient is NaN at 0, where the value is finite and the norm has a kink: `jax.grad(jnp.linalg.norm)` at "
        "zeros(3) is NaN in every entry.",
        {"numpy.linalg.norm": ("zeros",), "global_norm": ("zeros",)},
    ),
    Verdict(
        "loose end",
        "Eigenvectors of equal eigenvalues have no derivative, and the rule divides by the difference: NaN, of `eigh` "
        "at once, of what is made of singular or eigenvalues in the second order.",
        {
            "numpy.linalg.eigh": ("ties",),
            "numpy.linalg.eigvalsh": ("ties",),
            "numpy.linalg.svd, values": ("ties",),
            "numpy.linalg.norm, spectral": ("zeros", "identity"),
        },
    ),
    Verdict(
        "loose end",
        "There the forward itself is 0 / 0 = NaN, and so is the gradient.",
        {"cosine_similarity": ("zeros",), "projections.projection_l2_sphere": ("zeros",)},
    ),
    Verdict(
        "loose end",
        "At a singular matrix QR's rule gives finite numbers that are no derivative: -4.107 for an entry of Q that "
        "differences show to be constant (the kinks gate goes there, by setting entries to 0).",
        {"numpy.linalg.qr": EVERY},
    ),
]
