"""Does the test suite see it? Some sixty faults of different kinds, planted into a copy of the library one at a time.

    python benchmarks/planted_faults.py [--only 3 17] [--list] [--quick] [--output FILE]

A fault is a text of one file that becomes another text: a rule without a term, a loop in another order, a check that
no longer checks, an option that is ignored. For each the checkout is copied, the fault planted, and the tests that are
likely to see it are run, then, if all of them pass, the rest of the suite (not with --quick). A fault that survives
means a test that is missing. The text has to stand in its file exactly once: a fault that no longer applies is an
error, and is to be written anew.

Prints a table as it goes, and writes it to FILE. A minute a fault on 2 cores, where the likely tests see it.
Exit status: 0 if every fault was seen.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Fault(NamedTuple):
    """In `file` of jaxnn, `old` becomes `new`; `likely`: pytest's arguments for the tests that should see it first."""

    kind: str
    what: str
    file: str
    old: str
    new: str
    likely: str


FAULTS = [
    # Rules of layers.
    Fault(
        "sign",
        "Tanh: 1 - y^2 becomes 1 + y^2",
        "layers/activations.py",
        "(1 + y) * (1 - y) * dy",
        "(1 + y * y) * dy",
        "tests/test_laws.py -k keeps_the_laws and Tanh",
    ),
    Fault(
        "factor",
        "Dropout: backward and forward don't rescale",
        "layers/dropout.py",
        "scaled(1 / (1 - self.rate), x)",
        "x",
        "tests/layers/test_dropout.py",
    ),
    Fault(
        "missing term",
        "BatchNorm: no gradient through the variance",
        "layers/batch_norm.py",
        "g = g - _rows(mean_g, g) - normalized * _rows(mean_gx, g)",
        "g = g - _rows(mean_g, g)",
        "tests/test_laws.py -k keeps_the_laws and BatchNorm",
    ),
    Fault(
        "swapped axis",
        "Dense: dx by W in place of its transpose, where it fits",
        "layers/dense.py",
        "dx = jnp.matmul(dy, params.weight.T, precision=self.precision)",
        (
            "dx = jnp.matmul(dy, (params.weight if len({*params.weight.shape}) == 1 else params.weight.T), "
            "precision=self.precision)"
        ),
        "tests/test_laws.py -k keeps_the_laws and Dense",
    ),
    Fault(
        "wrong padding",
        "the gradient of a convolution's input starts one place late",
        "kernels/convolution.py",
        "before = extent - 1 - low",
        "before = extent - low",
        "tests/test_laws.py -k keeps_the_laws and Conv",
    ),
    Fault(
        "wrong padding",
        "pooling and taps spread from one place beside",
        "kernels/windows.py",
        "before = d * u - low",
        "before = d * u",
        "tests/test_laws.py -k keeps_the_laws and Pool",
    ),
    Fault(
        "dropped state",
        "BatchNorm: running statistics stay as they were",
        "layers/batch_norm.py",
        ("return mean, variance, BatchNormState(self._moved(state.mean, mean), self._moved(state.variance, unbiased))"),
        "return mean, variance, state",
        "tests/layers/test_batch_norm.py",
    ),
    Fault(
        "dtype",
        "BatchNorm: dx in the wide type",
        "layers/batch_norm.py",
        "return Backward(dparams, dx.astype(x.dtype))",
        "return Backward(dparams, dx)",
        "tests/test_laws.py -k shapes and BatchNorm",
    ),
    Fault(
        "kink",
        "ReLU: the subgradient at 0 is 1",
        "layers/activations.py",
        "negative = x <= 0\n        return Forward(jnp.where(negative, 0, x)",
        "negative = x < 0\n        return Forward(jnp.where(negative, 0, x)",
        "tests/layers/test_activations.py",
    ),
    Fault(
        "tie",
        "max pooling: the last of equal numbers wins",
        "kernels/pooling.py",
        "better = ~(x_tap <= best)",
        "better = ~(x_tap < best)",
        "tests/kernels/test_pooling.py",
    ),
    Fault(
        "wrong axis",
        "PReLU: a shared slope takes its sum over rows alone",
        "layers/activations.py",
        "rows = tuple(range(x.ndim if self.shared else x.ndim - 1))",
        "rows = tuple(range(x.ndim - 1))",
        "tests/test_laws.py -k keeps_the_laws and PReLU",
    ),
    # Networks.
    Fault(
        "missing term",
        "Recurrent: params have the gradient of the first step alone",
        "networks/recurrent.py",
        "lambda total, part: total + part.astype(total.dtype)",
        "lambda total, part: part.astype(total.dtype)",
        "tests/test_laws.py -k keeps_the_laws and Recurrent",
    ),
    Fault(
        "wrong order",
        "Recurrent: reverse doesn't turn its outputs back",
        "networks/recurrent.py",
        "return jnp.swapaxes(steps[::-1] if self.reverse else steps, 0, 1)",
        "return jnp.swapaxes(steps, 0, 1)",
        "tests/networks/test_recurrent.py",
    ),
    Fault(
        "wrong order",
        "Serial: notes of a fold in backward order",
        "networks/combinators.py",
        "notes = below | notes\n        return Folded(tuple(reversed(dparams)), dx, notes)",
        "notes = notes | below\n        return Folded(tuple(reversed(dparams)), dx, notes)",
        "tests/objective/test_gradient.py tests/backward tests/networks",
    ),
    Fault(
        "rebuild",
        "replaced() gives the network as it was below the first step",
        "networks/rebuild.py",
        "replaced(child, tuple(rest), layer) if key == step else child",
        "child if key == step and rest else layer if key == step else child",
        "tests/networks/test_rebuild.py",
    ),
    Fault(
        "rebuild",
        "Recurrent.with_children loses its other fields",
        "networks/recurrent.py",
        "return changed(self, inner=inner)",
        "return Recurrent(inner)",
        "tests/networks tests/audit/network/test_idiomatic.py",
    ),
    # Losses and penalties.
    Fault(
        "missing factor",
        "softmax cross-entropy: p - t for targets of any sum",
        "objective/losses.py",
        "wide * jnp.sum(t, axis=-1, keepdims=True) - t, p.dtype",
        "wide - t, p.dtype",
        "tests/test_laws.py -k loss",
    ),
    Fault(
        "factor",
        "the half squared error isn't halved",
        "objective/losses.py",
        "_row_sums(jnp.square(residual)) / 2",
        "_row_sums(jnp.square(residual))",
        "tests/test_laws.py -k loss",
    ),
    Fault(
        "factor",
        "l2's gradient is half of it",
        "objective/penalties.py",
        "lambda w: scaled(self.strength, w), params",
        "lambda w: scaled(self.strength / 2, w), params",
        "tests/objective/test_penalties.py",
    ),
    Fault(
        "missing term",
        "the penalty has no gradient in backprop",
        "objective/gradient.py",
        "grads = result.grads if penalty is None else",
        "grads = result.grads if True else",
        "tests/objective/test_gradient.py",
    ),
    # Update rules and schedules.
    Fault(
        "factor",
        "momentum: 1 - mu in front of the gradient",
        "training/updates.py",
        "wide_like(decay, g) * v.astype(wide_dtype(g.dtype)) + widened(g)",
        "wide_like(decay, g) * v.astype(wide_dtype(g.dtype)) + wide_like(1 - decay, g) * widened(g)",
        "tests/training/test_updates.py -k momentum",
    ),
    Fault(
        "missing factor",
        "Adam: no correction of the second moment's start",
        "training/updates.py",
        "s_hat = s / (1 - wide_like(self.b2, m) ** t)",
        "s_hat = s",
        "tests/training/test_updates.py",
    ),
    Fault(
        "wrong scope",
        "clip_by_global_norm: each tensor by its own norm",
        "training/links.py",
        "return _shortened(grads, length(grads), self.limit), state",
        "return jax.tree.map(lambda g: _shortened(g, length(g), self.limit), grads), state",
        "tests/training/test_updates.py -k clip",
    ),
    Fault(
        "off by one",
        "the warm-up starts at a rate of 0",
        "training/schedules.py",
        "rising = (step + 1) / ",
        "rising = step / ",
        "tests/training/test_schedules.py",
    ),
    # Loops.
    Fault(
        "order",
        "each epoch has the order of the first",
        "training/epochs.py",
        "jax.random.fold_in(run.keys.order, run.epoch)",
        "run.keys.order",
        "tests/training/test_epochs.py tests/training/test_loops.py tests/test_trajectories.py",
    ),
    Fault(
        "key reuse",
        "each step draws the noise of the first",
        "training/step.py",
        "local_means(task, run, batch, n, jax.random.fold_in(run.keys.noise, run.step))",
        "local_means(task, run, batch, n, run.keys.noise)",
        "tests/training",
    ),
    Fault(
        "ragged batch",
        "what remains after the whole batches makes no step",
        "training/epochs.py",
        "if n_equal < len(sizes):\n        run, last",
        "if False:\n        run, last",
        "tests/training/test_epochs.py tests/training/test_loops.py tests/test_trajectories.py",
    ),
    Fault(
        "weights",
        "a batch's weighted sum is divided by its own weights",
        "training/step.py",
        '{"weights": weights, "total": total}',
        '{"weights": weights}',
        "tests/training/test_loops.py",
    ),
    Fault(
        "weights",
        "a chunk counts as much as any other, however many examples it has",
        "training/epochs.py",
        "widened(mean) * (n / data.n)",
        "widened(mean) * (self.chunk_size / data.n)",
        "tests/training/test_loops.py",
    ),
    # Numbers of short types, of any size, and as they were given.
    Fault(
        "short type",
        "Adam's averages are in the params' own type",
        "training/updates.py",
        "dtype=wide_dtype(p.dtype) if dtype is None else dtype",
        "dtype=p.dtype if dtype is None else dtype",
        "tests/training/test_short_types.py",
    ),
    Fault(
        "short type",
        "a chunk's means are added in the params' own type",
        "training/epochs.py",
        "return jax.tree.map(lambda mean: widened(mean) * (n / data.n), means), state",
        "return jax.tree.map(lambda mean: (mean * (n / data.n)).astype(mean.dtype), means), state",
        "tests/training/test_short_types.py",
    ),
    Fault(
        "short type",
        "losses have the outputs' type",
        "objective/gradient.py",
        "    return widened(values)",
        "    return values.astype(outputs.dtype)",
        "tests/training/test_short_types.py",
    ),
    Fault(
        "short type",
        "what rounding takes from the params is lost",
        "training/rounding.py",
        "wide = jnp.where((wide + r).astype(p.dtype) == p, wide + r, wide)",
        "wide = wide + 0 * r",
        "tests/training/test_rounding.py",
    ),
    Fault(
        "short type",
        "running statistics have the params' type",
        "layers/batch_norm.py",
        "running = jnp.zeros(features, wide_dtype(dtype)), jnp.ones(features, wide_dtype(dtype))",
        "running = jnp.zeros(features, dtype), jnp.ones(features, dtype)",
        "tests/training/test_short_types.py",
    ),
    Fault(
        "overflow",
        "a norm by its squares, whatever their size",
        "arrays.py",
        "scale = jnp.where(largest > safe,",
        "scale = jnp.where(largest > jnp.inf,",
        "tests/training/test_links.py",
    ),
    Fault(
        "narrowing cast",
        "integers wrap around on their way to the device",
        "training/examples.py",
        "if array.size == 0 or np.can_cast(array.dtype, dtype):",
        "if array.size >= 0:",
        "tests/training/test_examples.py",
    ),
    Fault(
        "unchecked values",
        "targets that are no distribution are taken",
        "training/examples.py",
        'if not is_traced(target) and hasattr(loss, "check_values"):',
        "if False:",
        "tests/training/test_examples.py",
    ),
    Fault(
        "two dtypes",
        "a gradient has the data's type",
        "objective/gradient.py",
        "dparams = as_typed(dparams, params)",
        "dparams = dparams",
        "tests/objective/test_gradient.py",
    ),
    Fault(
        "unchecked number",
        "rules take any number",
        "arrays.py",
        "    if not (above & below).all():",
        "    if False:",
        "tests/training/test_rules_in_loops.py",
    ),
    Fault(
        "epoch count",
        "a run doesn't count its steps",
        "training/step.py",
        "step=run.step + 1",
        "step=run.step",
        "tests/training/test_step.py tests/training/test_epochs.py tests/training/test_run.py",
    ),
    # Parallel.
    Fault(
        "parallel",
        "on a mesh, examples of padding count",
        "training/epochs.py",
        "weights = jnp.where(real, 1 if weights is None else weights, jnp.zeros((), dtype))",
        "weights = jnp.where(real, 1 if weights is None else weights, jnp.ones((), dtype))",
        "tests/training/test_parallel.py",
    ),
    Fault(
        "parallel",
        "members of an ensemble don't share their order when they should",
        "training/parallel.py",
        "return members_keys._replace(order=members_keys.order[0]) if share_order else members_keys",
        "return members_keys",
        "tests/training/test_parallel.py",
    ),
    # Checks that no longer check.
    Fault(
        "check",
        "labels out of range pass",
        "training/examples.py",
        "if low < 0 or high >= n_classes:",
        "if low < 0:",
        "tests/training/test_examples.py",
    ),
    Fault(
        "check",
        "weights may be negative",
        "training/examples.py",
        "weights.min() < 0 or weights.sum() == 0",
        "weights.sum() == 0",
        "tests/training/test_examples.py",
    ),
    # Evaluation and fit.
    Fault(
        "evaluation",
        "predict leaves out what remains after whole chunks",
        "training/evaluation.py",
        "return jnp.concatenate([whole, outputs(x[n - rest :])]) if rest else whole",
        "return whole",
        "tests/training/test_evaluation.py",
    ),
    Fault(
        "early stopping",
        "fit gives the last params, not the best",
        "training/fit.py",
        "run if best is None else run._replace(**best.best)",
        "run",
        "tests/training/test_fit.py",
    ),
    Fault(
        "log",
        "a log that is there is overwritten",
        "training/fit.py",
        '.open("ab", buffering=0)',
        '.open("wb", buffering=0)',
        "tests/training/test_fit.py",
    ),
    # Audit.
    Fault(
        "audit",
        "a finding is ok up to a thousand tolerances",
        "audit/rule/findings.py",
        "off == 0 or off <= tolerance",
        "off == 0 or off <= 1000 * tolerance",
        "tests/audit/rule tests/test_bugs.py",
    ),
    Fault(
        "audit",
        "the gate of linearity compares a rule with itself",
        "audit/rule/gates.py",
        "g[N_COTANGENTS], a * g[0] + b * g[1], tolerance",
        "g[N_COTANGENTS], g[N_COTANGENTS], tolerance",
        "tests/audit/rule tests/test_bugs.py",
    ),
    # Command line, data, costs.
    Fault(
        "command line",
        "evaluate ignores --data",
        "command_line/commands/evaluate.py",
        "config = replace(config, data=Data(data, data_dir))",
        "config = replace(config, data=replace(config.data, data_dir=data_dir))",
        "tests/command_line/commands/test_evaluate.py",
    ),
    Fault(
        "command line",
        "a diverged training ends with the exit status 0",
        "command_line/commands/train.py",
        "file=sys.stderr,\n    )\n    return 1",
        "file=sys.stderr,\n    )\n    return 0",
        "tests/command_line/commands/test_train.py",
    ),
    Fault(
        "command line",
        "train writes no result.json",
        "command_line/commands/train.py",
        "        write_json(folder / RESULT, result)\n",
        "",
        "tests/command_line/commands/test_train.py",
    ),
    Fault(
        "data",
        "an IDX file that is too long passes",
        "data/idx.py",
        "elements = stream.read(declared + 1)",
        "elements = stream.read(declared)",
        "tests/data/test_idx.py",
    ),
    Fault(
        "costs",
        "the ledger counts params that are kept",
        "costs/memory.py",
        "{var for var, computed in made if computed} - free",
        "{var for var, computed in made if computed}",
        "tests/costs/test_memory.py",
    ),
    Fault(
        "command line",
        "what an error has learned is dropped",
        "command_line/keeping.py",
        'self._latest = getattr(error, "fit", self._latest)',
        "self._latest = None",
        "tests/command_line/test_keeping.py tests/command_line/commands/test_train.py",
    ),
    Fault(
        "command line",
        "a flipped bit passes",
        "command_line/run_folder.py",
        "if checksum != _checksum(metadata, arrays):",
        "if not _checksum(metadata, arrays):",
        "tests/command_line/test_run_folder.py",
    ),
    Fault(
        "command line",
        "a first Ctrl-C ends at once",
        "command_line/interrupts.py",
        "if number == signal.SIGINT and self.may_finish and not self.pressed:",
        "if number == signal.SIGTERM and self.may_finish and not self.pressed:",
        "tests/command_line/test_interrupts.py",
    ),
    Fault(
        "command line",
        "a broken pipe ends the run",
        "command_line/streams.py",
        "except (OSError, ValueError) as error:  # ValueError: it was closed",
        "except EOFError as error:  # ValueError: it was closed",
        "tests/command_line/test_streams.py",
    ),
    Fault(
        "files",
        "a file is written in its place",
        "data/files.py",
        "partial = _partial(path)\n    with naming(path):\n        try:\n            # What",
        "partial = path\n    with naming(path):\n        try:\n            # What",
        "tests/data/test_files.py",
    ),
    Fault(
        "check",
        "dparams of another form pass",
        "layer.py",
        "if form != given and form[1]:",
        "if form != given and not form[1]:",
        "tests/test_layer.py",
    ),
    Fault(
        "evaluation",
        "quantities have an accuracy",
        "training/evaluation.py",
        "sums_to_1 = abs(widened(target).sum(axis=1) - 1) <= rounding",
        "sums_to_1 = abs(widened(target).sum(axis=1) - 1) <= 9",
        "tests/training/test_evaluation.py",
    ),
    Fault(
        "recompilation",
        "each number of epochs has a program of its own",
        "training/program.py",
        "return max(min(1024, 1 << (room.bit_length() - 1)), 1 << (epochs - 1).bit_length())",
        "return epochs",
        "tests/training/test_program.py",
    ),
]


class Outcome(NamedTuple):
    """The test that saw it, "" where none did, and the seconds that it took."""

    killed_by: str
    seconds: float


def planted(fault: Fault, folder: Path) -> None:
    """Copy the checkout into a folder, with the fault in it. Raises: ValueError if it doesn't apply."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in tracked.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    path = folder / "jaxnn" / fault.file
    text = path.read_text()
    if text.count(fault.old) != 1:
        raise ValueError(f"{fault.file} has {text.count(fault.old)} times, and not once: {fault.old!r}")
    path.write_text(text.replace(fault.old, fault.new))


def first_failure(folder: Path, arguments: list[str]) -> str:
    """The first test that fails, "" where all pass. Warnings of a fault are errors too, as in the suite."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    failed = [line for line in run.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    if failed:
        return failed[0].split(" ", 1)[1].split(" - ")[0]
    if run.returncode not in (0, 5):  # 5: no test was selected
        return f"pytest ended with {run.returncode}"
    return ""


def outcome(fault: Fault, quick: bool) -> Outcome:
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        planted(fault, folder)
        likely = fault.likely.split(" -k ")
        arguments = [*likely[0].split(), *(["-k", likely[1]] if len(likely) > 1 else [])]
        killed_by = first_failure(folder, arguments)
        if not killed_by and not quick:
            killed_by = first_failure(folder, ["-n", "auto"])
    return Outcome(killed_by, time.perf_counter() - began)


def row(number: int, fault: Fault, found: Outcome) -> str:
    test = f"`{found.killed_by}`" if found.killed_by else "**survived**"
    return f"| {number} | {fault.what} | {fault.kind} | {test} | {found.seconds:.0f} |"


HEAD = "| | fault | kind | killed by | seconds |\n| --- | --- | --- | --- | --- |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=int, nargs="+", help="numbers of the faults to plant, from 1")
    parser.add_argument("--list", action="store_true", help="plant all and run nothing: do they still apply?")
    parser.add_argument("--quick", action="store_true", help="only the tests that are likely to see it")
    parser.add_argument("--output", type=Path, help="a file for the table")
    settings = parser.parse_args()
    chosen = [(i, fault) for i, fault in enumerate(FAULTS, 1) if settings.only is None or i in settings.only]
    lines, survived = [HEAD], 0
    print(HEAD, flush=True)
    for i, fault in chosen:
        if settings.list:
            with tempfile.TemporaryDirectory() as name:
                planted(fault, Path(name))
            print(f"| {i} | {fault.what} | {fault.kind} | | |")
            continue
        found = outcome(fault, settings.quick)
        survived += not found.killed_by
        lines.append(row(i, fault, found))
        print(lines[-1], flush=True)
        if settings.output:
            settings.output.write_text("\n".join(lines) + "\n")
    return 1 if survived else 0


if __name__ == "__main__":
    raise SystemExit(main())
