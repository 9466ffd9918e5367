"""What the library says to a script, in the words of the command line: options in place of names and calls."""

import re

LOSSES = {
    "SoftmaxCrossEntropy": "softmax-cross-entropy",
    "SigmoidCrossEntropy": "sigmoid-cross-entropy",
    "HalfSquaredError": "half-squared-error",
    "AbsoluteError": "absolute-error",
    "Huber": "huber",
}
OPTIONS = {
    r"jax\.config\.update\(.jax_enable_x64., True\)": "--dtype float64",
    r"(?<![-\w])validation=(?=\d)": "--validation ",
    r"^epochs: ": "--epochs: ",
    r"(?<![-\w])(batch_size|label_smoothing|chunk_size|weight_decay|learning_rate)\b": None,
    r"\buse mbgd\b": "use --loop mbgd",
    rf"\b({'|'.join(LOSSES)})\([^)]*\)": None,
}


def in_options(text: str) -> str:
    """The same sentence, for somebody who typed options.

    >>> in_options("HalfSquaredError(): targets should be floating; or take SigmoidCrossEntropy()")
    '--loss half-squared-error: targets should be floating; or take --loss sigmoid-cross-entropy'
    >>> in_options("a step has one example: use mbgd with a larger batch_size")
    'a step has one example: use --loop mbgd with a larger --batch-size'
    """
    for pattern, option in OPTIONS.items():
        text = re.sub(pattern, lambda found, option=option: option or _option(found[1]), text)
    return text


def _option(name: str) -> str:
    return f"--loss {LOSSES[name]}" if name in LOSSES else "--" + name.replace("_", "-")
