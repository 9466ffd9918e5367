"""A seeded bug: a rule that is wrong, beside the one that is right, at arguments that do not hide it."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxnn.audit.rule.subjects import Subject, subject_of


class Bug(NamedTuple):
    """wrong and clean are what `audit.check` takes: layers, losses, or pairs (f, backward).

    arguments: a function of a seed, in float64 or integers. source: where it escaped, or how it was made.
    """

    name: str
    source: str
    wrong: Any
    clean: Any
    arguments: Callable[[int], tuple]
    options: dict[str, Any]

    def __str__(self) -> str:
        return self.name

    def subject(self, seed: int = 0, clean: bool = False) -> Subject:
        options = {name: self.options[name] for name in ("key", "train", "rows", "couples") if name in self.options}
        return subject_of(self.clean if clean else self.wrong, self.arguments(seed), **options)
