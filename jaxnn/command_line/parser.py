"""The command line: parsing only. What the commands do is in `command_line/commands`.

The dataclasses below are the commands; tyro reads their fields, types and docstrings. Needs the extra `cli`.
"""

import io
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import jax

from jaxnn import __version__
from jaxnn.command_line import commands
from jaxnn.command_line.interrupts import INTERRUPTED
from jaxnn.command_line.keeping import KEPT
from jaxnn.command_line.options import Config
from jaxnn.command_line.streams import lossy_output
from jaxnn.command_line.words import in_options
from jaxnn.optional import require

tyro = require("tyro", "cli")

MISTAKES = (ValueError, TypeError, OSError, ImportError, OverflowError, MemoryError, jax.errors.JaxRuntimeError)
Folder = Annotated[Path, tyro.conf.Positional]
OptionalFolder = Annotated[Path | None, tyro.conf.Positional]


@dataclass(frozen=True)
class Train(Config):
    """Train a network on a data set and write a folder with all that came of it."""

    output: Path | None = None
    """New folder to write; None means runs/<data>-<date>-<time>."""
    progress: bool = True
    """Show a progress bar, or lines where stderr is no terminal."""
    compare: bool = True
    """Compare the gradient by hand with the automatic one before training."""
    overwrite: bool = False
    """Replace the run that is in --output already."""

    def act(self) -> int:
        return commands.train(_config(self), self.output, self.progress, compare=self.compare, overwrite=self.overwrite)


@dataclass(frozen=True)
class Evaluate:
    """Print the loss and accuracy of a trained network."""

    run: Folder
    """Folder that train wrote."""
    data: str | None = None
    """digits, fashion-mnist, mnist, mnist1d, or or an .npz file as train takes it; None means the run's own."""
    data_dir: str | None = None
    """Folder with the four files of mnist or fashion-mnist; None means the run's own."""
    split: Literal["train", "validation", "test"] = "test"
    """Which examples."""

    def act(self) -> int:
        return commands.evaluate(self.run, self.data, self.data_dir, self.split)


@dataclass(frozen=True)
class Compare(Config):
    """Compare the hand-written gradient of a run, of what train would make or of any model with the automatic one.

    Exit status 1 if they differ."""

    run: OptionalFolder = None
    """Folder that train wrote; None means the network of the options below, freshly initialised."""
    save: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """File to write the comparison to, ending in .json, .md or .png; may be given several times."""
    every_rule: bool = False
    """Check each layer's own rule even where all gradients agree."""
    rows: int | None = None
    """Examples to compare on; None means those of a step, at most 32."""

    def act(self) -> int:
        return commands.compare(self.run, _config(self), save=self.save, every_rule=self.every_rule, rows=self.rows)


@dataclass(frozen=True)
class Summary(Config):
    """Show layers, output shapes, parameters and cache bytes, of a run, of what train would make or of any model."""

    run: OptionalFolder = None
    """Folder that train wrote; None means the network of the options below."""
    memory: bool = False
    """Show what each layer keeps for backward, by hand and by jax.grad, and what Remat around it would save."""

    def act(self) -> int:
        return commands.summary(self.run, _config(self), memory=self.memory)


@dataclass(frozen=True)
class Aot(Config):
    """Compile a training step for an accelerator that isn't here, and show what it costs by hand and by machine.

    The counts are the compiler's own, without autotuning. A TPU's compiler is in the extra aot, an H100's in cuda13."""

    run: OptionalFolder = None
    """Folder that train wrote; None means the network of the options below."""
    target: Literal["h100", "h100x4", "v5e", "v5ex4"] = "v5e"
    """One NVIDIA H100 or four, one chip of a TPU v5e or four."""
    save: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """File to write the table to, ending in .json or .md; may be given several times."""

    def act(self) -> int:
        return commands.aot(self.run, _config(self), target=self.target, save=self.save)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status. 2 for a mistake, which is answered in one line on stderr."""
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if words == ["--version"]:
        print(f"jaxnn {__version__}")
        return 0
    name = f"jaxnn {words[0]}" if words[0] in ("train", "evaluate", "compare", "summary", "aot") else "jaxnn"
    with lossy_output() as out:
        status = _acted(words, name)
        if out.error is None or isinstance(out.error, BrokenPipeError):  # whoever closes a pipe has seen enough
            return status
        print(f"{name}: what was printed got lost: {_one_line(out.error)}", file=sys.stderr)
        return status or 2


def _acted(words: list[str], name: str) -> int:
    try:
        command = _parsed(words)
        return 0 if command is None else command.act()
    except MISTAKES as error:
        print(f"{name}: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return INTERRUPTED


def _config(command: Config) -> Config:
    """The config in a command, without the command's own options."""
    return Config(**{field.name: getattr(command, field.name) for field in fields(Config)})


def _parsed(words: list[str]) -> Any:
    """The command in the words, or None if they ask for help, which is then printed.

    Raises: ValueError for words that aren't understood.
    """
    conf = tyro.conf
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            return tyro.cli(
                Train | Evaluate | Compare | Summary | Aot,
                prog="jaxnn",
                description="Neural networks on JAX with a hand-written backward pass, audited against jax.grad.",
                args=words,
                config=(conf.OmitArgPrefixes, conf.DisallowNone, conf.PositionalMetavarFromFieldName),
            )
    except SystemExit as end:
        if end.code in (0, None):
            return None
        raise ValueError(_gist(complaint.getvalue())) from end


def _gist(box: str) -> str:
    """What tyro's box says, in one line: its first paragraph, and the start of the second where that is a hint."""
    paragraphs: list[list[str]] = [[]]
    for line in box.splitlines()[1:-1]:
        words = line.strip("│| ")
        if set(words) <= set("─-"):
            paragraphs.append([])
        else:
            paragraphs[-1].append(words)
    first, *hints = paragraphs
    hint = [] if not hints or hints[0][0].startswith("For full") else hints[0][:2]
    return ". ".join(" ".join(part) for part in (first, hint) if part)


def _one_line(error: BaseException) -> str:
    """What an error says, and what is kept in spite of it; other notes are for scripts."""
    said = in_options(" ".join(str(error).split())) or type(error).__name__
    return "; ".join([said, *(note for note in getattr(error, "__notes__", []) if note.startswith(KEPT))])
