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
    Verdict(
        "false alarm",
        "The forward has a kink there, and the rule gives a slope between those to both sides: relu'(0) is 0 by the "
        "rule, 0.5 by the machine (a tie of max), 0 and 1 by one-sided differences.",
        {
            "nn.relu": ("zeros", "integers"),
            "nn.relu6": ("zeros", "integers", "edges"),
            "nn.hard_sigmoid": ("integers",),
            "nn.hard_silu": ("integers",),
            "projections.projection_non_negative": ("zeros",),
        },
    ),
    Verdict(
        "false alarm",
        "The rule is right and the machine isn't: the forward is smooth there and its program isn't, for it chooses, "
        "ties or masks. softplus'(0) is 0.5 by rule and differences, 0 by machine; erfcx'(0) -1.12838, NaN by machine; "
        "i0'(0) 0 and 1; xlogy(x, 2) at 0 0.693147 and 0; sinc''(0) -3.28987 and 0.",
        {
            "nn.softplus": ("zeros", "integers"),
            "nn.log_sigmoid": ("zeros", "integers"),
            "nn.mish": ("zeros", "integers"),
            "numpy.sinc": ("zeros", "integers"),
            "numpy.i0": ("zeros", "integers"),
            "numpy.logaddexp": ("ties",),
            "numpy.linalg.det, 5 x 5": ("rank_3",),
            "scipy.special.log_ndtr": ("huge",),
            "scipy.special.erfcx": ("zeros", "integers", "huge"),
            "scipy.special.dawsn": ("zeros", "integers"),
            "scipy.special.xlogy": ("zeros",),
            "scipy.special.xlog1py": ("zeros",),
            "scipy.special.entr": ("zeros and ones",),
            "sigmoid_binary_cross_entropy": ("zeros",),
            "sigmoid_focal_loss": ("zeros",),
            "log_cosh": ("zeros",),
            "safe_softmax_cross_entropy": ("masked",),
        },
    ),
    Verdict(
        "false alarm",
        "The point is near the edge of the domain, or the numbers are near the largest: differences step over the "
        "edge, or a bound overflows, so that the tolerance is NaN where the error is 0 or a rounding.",
        {
            "nn.log1mexp": ("small",),
            "numpy.i0": ("huge",),
            "numpy.power": ("zeros",),
            "numpy.logaddexp": ("minus infinity",),
            "scipy.special.digamma": EVERY,
            "scipy.special.logit": ("edges",),
            "scipy.special.xlogy": ("zero y",),
            "sigmoid_focal_loss": ("huge",),
            "kl_divergence": ("one_hot",),
            "convex_kl_divergence": ("one_hot", "huge"),
            "generalized_kl_divergence": ("huge",),
        },
    ),
    Verdict(
        "false alarm",
        "The difference is farther off than it says: the second derivative jumps (elu at 0), the function changes "
        "within a step (a norm's epsilon of 1e-8), its values are a difference of larger ones, or it jumps at the "
        "point alone.",
        {
            "nn.celu": ("zeros",),
            "nn.elu": ("zeros",),
            "nn.soft_sign": ("zeros", "integers"),
            "nn.logmeanexp": ("zeros",),
            "numpy.linalg.det": ("rank_1",),
            "scipy.special.i1e": ("zeros", "integers"),
            "cosine_distance, epsilon 1e-8": ("zeros",),
            "projections.projection_l1_sphere": ("zeros",),
        },
    ),
    Verdict(
        "false alarm",
        "The audit crashes where the forward without its rule can't be differentiated by machine (a while loop, a "
        "primitive without a rule). `jax.grad` of the rule agrees with differences: expi'(1) is 2.71828183 by both.",
        {"scipy.special.expi": EVERY, "scipy.special.zeta": EVERY, "scipy.special.hyp1f1": EVERY},
    ),
    Verdict(
        "false alarm",
        "The audit crashes: it merges the module's own variables into a traced copy, and a layer that updates its "
        "statistics can't write them. `nnx.merge(..., copy=True)` works.",
        {"nnx.BatchNorm, train": EVERY},
    ),
    Verdict(
        "false alarm",
        "The audit finds the cotangent's structure wrong where a module has both a field that is None (no bias) and a "
        "leaf without a gradient (Dropout's rate).",
        {"nn.MultiheadAttention": EVERY},
    ),
]
